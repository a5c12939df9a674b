package rtpin

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lineout/media"
)

// Sender reports of baresip on a machine that was busy, in milliseconds: y and
// sent over what the fastest packets say. Each report is carried on from when the
// first packet after the one before was sent, and so off by what that was late
// by; the first one's packet is unknown.
func TestReportsOfABusySender(t *testing.T) {
	for _, c := range []struct {
		name   string
		y, way []float64
		sound  int // reports after which they may be believed
	}{
		{"a", []float64{121.05, 487.98, 3.50, 2.14, 32.16, 1138.22}, []float64{0, 487.60, 3.61, 2.58, 25.47, 1252.46}, 3},
		{"b", []float64{155.55, 7.74, 4.49, 8.30, 98.28, 892.30}, []float64{0, 7.47, 4.52, 8.61, 99.93, 936.61}, 3},
		{"c", []float64{90.41, 904.28, 18.78, 97.61, 19.29, 1031.36}, []float64{0, 907.10, 18.45, 106.39, 11.86, 1243.94}, 3},
		{"d", []float64{23.09, .87, 2.32, 1.25, 47.23, 296.23}, []float64{0, 0, 2.49, 1.21, 47.53, 343.96}, 2},
	} {
		var s senderClock
		for i, y := range c.y {
			at := time.Duration(i) * 5 * sec
			s.add(srSample{at: at, y: time.Hour + msec(y), arr: sec, sent: sec + msec(c.way[i]), way: i > 0, jitter: 10 * ms})
			if got, want := s.sound(), i+1 >= c.sound; got != want {
				t.Errorf("%s: after %d reports they are believed: %v", c.name, i+1, got)
			}
			if off := s.offset(at) - time.Hour; s.sound() && off.Abs() > 20*ms {
				t.Errorf("%s: after %d reports media is put %v late", c.name, i+1, off)
			}
		}
		if s.how != lessLate || s.broken {
			t.Errorf("%s: the reports are read as %d, given up: %v", c.name, s.how, s.broken)
		}
	}
}

// Reports that repeat the newest frame's timestamp, always as old, are known for
// what they are also where later frames overtake them: sound stays where arrival puts it.
func TestRepeatsAreOvertaken(t *testing.T) {
	for _, behind := range []time.Duration{0, 30 * ms, 150 * ms, 250 * ms} {
		a := flow{end: 30 * sec, latency: 41 * ms, srStuck: true, srDelay: behind}
		v := flow{end: 30 * sec, latency: 21 * ms}
		newSim(t, DefaultConfig(), 1, &a, &v).run().check().bound(fmt.Sprintf("reports overtaken by %v", behind), 0, 30*sec, 20*ms)
	}
}

func msec(f float64) time.Duration { return time.Duration(f * 1e6) }

// What frames say of the sender's time puts picture and sound of such a sender as
// near to each other as they were captured, from the first frame that says it.
func TestNTPOfABusySender(t *testing.T) {
	for seed := range int64(40) {
		a := flow{end: mins, srSent: true, latency: 25 * ms, burst: 600 * ms, encode: stalls(.01, 300*ms)}
		v := flow{end: mins, srSent: true, latency: 15 * ms, burst: 600 * ms, encode: stalls(.05, sec)}
		s := newSim(t, DefaultConfig(), seed, &a, &v).run().check()
		var offs []time.Duration
		var sound time.Duration
		for _, f := range s.frames {
			if f.NTP.IsZero() {
				continue
			}
			if off := f.NTP.Sub(t0) - f.captured; f.Track.Kind == media.Audio {
				sound = off
			} else if sound != 0 {
				offs = append(offs, (off - sound).Abs())
			}
		}
		if len(offs) < 300 {
			t.Fatalf("seed %d: only %d pictures say the sender's time", seed, len(offs))
		}
		slices.Sort(offs)
		if p99 := offs[len(offs)*99/100]; p99 > 25*ms {
			t.Errorf("seed %d: picture and sound up to %v apart (p50 %v, p99 %v)", seed, offs[len(offs)-1], offs[len(offs)/2], p99)
		}
	}
}

package mix

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// talker says a tone in packets of 20 ms, by a clock that is drift (1e-6 = 1 ppm)
// faster than ours.
type talker struct {
	hz    float64
	rate  int
	drift float64
	sent  int
	amp   float64
}

func (s *talker) packet() (pts time.Duration, pcm []int16) {
	n := s.rate / 50
	pts = time.Duration(s.sent) * time.Second / time.Duration(s.rate)
	for range n {
		pcm = append(pcm, int16(math.Round(s.amp*math.Sin(2*math.Pi*s.hz*float64(s.sent)/float64(s.rate)))))
		s.sent++
	}
	return pts, pcm
}

// due is when the next packet comes, by our clock.
func (s *talker) due() time.Duration {
	return time.Duration(float64(s.sent+s.rate/50) / float64(s.rate) / (1 + s.drift) * 1e9)
}

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// run lets both talk for a time and returns what came out, by channel.
func run(t *testing.T, dual bool, length time.Duration, a, b *talker, skip func(who int, at time.Duration) bool) (m *Mixer, out [][]int16) {
	t.Helper()
	m = NewMixer(dual, begin)
	out = make([][]int16, m.Channels())
	next := time.Duration(0)
	take := func(pts time.Duration, pcm []byte) {
		if pts != next {
			t.Fatalf("a block at %v, want %v", pts, next)
		}
		n := len(pcm) / 2 / m.Channels()
		for i := range n * m.Channels() {
			c := i % m.Channels()
			out[c] = append(out[c], int16(binary.BigEndian.Uint16(pcm[2*i:])))
		}
		next += time.Duration(n) * time.Second / Rate
	}
	for at := time.Duration(0); at < length; at += 5 * time.Millisecond {
		now := begin.Add(at)
		for i, s := range []*talker{a, b} {
			for s != nil && s.due() <= at {
				pts, pcm := s.packet()
				if skip == nil || !skip(i, at) {
					m.Write(i, pts, s.rate, pcm, now)
				}
			}
		}
		m.Read(now, take)
	}
	m.Flush(begin.Add(length), take)
	for c := range out {
		if got, want := len(out[c]), int(length.Seconds()*Rate); got != want {
			t.Fatalf("channel %d has %d samples, want exactly %d", c, got, want)
		}
	}
	return m, out
}

// level is the strength of a tone in dB of full scale, by its correlation.
func level(x []int16, hz float64) float64 {
	var re, im float64
	for i, v := range x {
		// A Hann window, so that other tones do not leak into this one.
		w := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(len(x)))
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / Rate)
		re += w * float64(v) * c
		im += w * float64(v) * s
	}
	return 20 * math.Log10(math.Hypot(re, im)*4/float64(len(x))/32768+1e-12)
}

// TestEachPartyHasItsSide: caller left, callee right, and nothing of one in the
// other, whatever rates they come at (S2, dual-channel recording).
func TestEachPartyHasItsSide(t *testing.T) {
	t.Parallel()
	for _, rates := range [][2]int{{48000, 8000}, {16000, 48000}} {
		a, b := &talker{hz: 440, rate: rates[0], amp: 16000}, &talker{hz: 1000, rate: rates[1], amp: 16000}
		_, out := run(t, true, 2*time.Second, a, b, nil)
		left, right := out[0][Rate:Rate*3/2], out[1][Rate:Rate*3/2]
		own, leak := level(left, 440), level(left, 1000)
		own2, leak2 := level(right, 1000), level(right, 440)
		t.Logf("%v: left %.1f dB and %.1f dB of the other, right %.1f dB and %.1f dB", rates, own, leak, own2, leak2)
		if math.Abs(own+6.2) > 0.2 || math.Abs(own2+6.2) > 0.2 || leak > -90 || leak2 > -90 {
			t.Errorf("%v: left %.1f and %.1f dB, right %.1f and %.1f dB", rates, own, leak, own2, leak2)
		}
	}
}

// TestMixIsTheSum, saturated.
func TestMixIsTheSum(t *testing.T) {
	t.Parallel()
	a, b := &talker{hz: 440, rate: Rate, amp: 12000}, &talker{hz: 1000, rate: Rate, amp: 9000}
	_, out := run(t, false, 3*time.Second, a, b, nil)
	if x, y := level(out[0][Rate:2*Rate], 440), level(out[0][Rate:2*Rate], 1000); math.Abs(x+8.7) > 0.2 || math.Abs(y+11.2) > 0.2 {
		t.Errorf("tones of %.1f and %.1f dB", x, y)
	}
	for _, c := range [][3]int16{{30000, 30000, math.MaxInt16}, {-30000, -30000, math.MinInt16}, {30000, -30000, 0}, {math.MaxInt16, 1, math.MaxInt16}} {
		if got := add(c[0], c[1]); got != c[2] {
			t.Errorf("%d + %d = %d", c[0], c[1], got)
		}
	}
}

// TestToTheSample: at our own rate, sound comes out as it went in, at its place.
func TestToTheSample(t *testing.T) {
	t.Parallel()
	a := &talker{hz: 997, rate: Rate, amp: 20000}
	_, out := run(t, true, 2*time.Second, a, nil, nil)
	ref := &talker{hz: 997, rate: Rate, amp: 20000}
	var want []int16
	for len(want) < Rate {
		_, pcm := ref.packet()
		want = append(want, pcm...)
	}
	from := Rate / 50 // it came when the first packet was whole
	for i, v := range want {
		if out[0][from+i] != v {
			t.Fatalf("sample %d is %d, want %d", i, out[0][from+i], v)
		}
	}
	for i, v := range out[1] {
		if v != 0 {
			t.Fatalf("the silent side has %d at %d", v, i)
		}
	}
}

// TestHoles: what does not come is silence of the same length, and what follows
// is where it belongs.
func TestHoles(t *testing.T) {
	t.Parallel()
	a, b := &talker{hz: 440, rate: 8000, amp: 16000}, &talker{hz: 440, rate: 8000, amp: 16000}
	_, out := run(t, true, 4*time.Second, a, b, func(who int, at time.Duration) bool {
		return who == 0 && at > time.Second && at < 3*time.Second
	})
	if x := level(out[0][Rate*3/2:Rate*2], 440); x > -100 {
		t.Errorf("%.1f dB in the hole", x)
	}
	for i := Rate * 13 / 4; i < Rate*15/4; i++ { // both said the same at the same time
		if d := int(out[0][i]) - int(out[1][i]); d > 1 || d < -1 {
			t.Fatalf("after the hole the sides are apart at sample %d: %d and %d", i, out[0][i], out[1][i])
		}
	}
}

// TestClocksDrift: a sender whose clock is off stays in step for as long as the
// call takes, without a click.
func TestClocksDrift(t *testing.T) {
	t.Parallel()
	for _, ppm := range []float64{3000, -3000} {
		a := &talker{hz: 440, rate: 8000, drift: ppm * 1e-6, amp: 16000}
		m, out := run(t, false, 30*time.Second, a, nil, nil)
		early := float64(m.ch[0].next-m.at(begin.Add(30*time.Second))) / Rate * 1000
		if st := m.Stats(0); early > 65 || early < -65 || st.Late > 0 || st.Jumps > 0 || st.Stretched == 0 {
			t.Errorf("%v ppm: after 30 s, at which the clocks are 90 ms apart, %.1f ms off, %+v", ppm, early, st)
		}
		most := 0
		for i := Rate; i < len(out[0])-Rate; i++ {
			most = max(most, int(math.Abs(float64(out[0][i])-float64(out[0][i-1]))))
		}
		if limit := 922 + 60; most > limit {
			t.Errorf("%v ppm: a step of %d, the tone itself has 921, limit %d", ppm, most, limit)
		}
	}
}

// TestAnotherTimeline: a sender that begins its time anew is heard on.
func TestAnotherTimeline(t *testing.T) {
	t.Parallel()
	m := NewMixer(true, begin)
	s := &talker{hz: 440, rate: 8000, amp: 16000}
	var out []int16
	for i := range 500 {
		now := begin.Add(time.Duration(i) * 20 * time.Millisecond)
		if i == 250 {
			s.sent = 0
		}
		pts, pcm := s.packet()
		if i >= 100 && i < 250 {
			pts += time.Hour // and one that jumps ahead
		}
		m.Write(0, pts, 8000, pcm, now)
		m.Read(now, func(_ time.Duration, pcm []byte) {
			for j := 0; j < len(pcm); j += 4 {
				out = append(out, int16(binary.BigEndian.Uint16(pcm[j:])))
			}
		})
	}
	for _, sec := range []int{1, 4, 8} {
		if x := level(out[sec*Rate:(sec+1)*Rate-Rate/2], 440); math.Abs(x+6.2) > 1 {
			t.Errorf("second %d: %.1f dB", sec, x)
		}
	}
}

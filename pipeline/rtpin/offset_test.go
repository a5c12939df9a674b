package rtpin

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"lineout/media"
)

// TestOffset is what the sync of sound and picture is worth: the offset of what
// was captured together, of the pictures from 3 s after both tracks began, with
// and without rtp_in_buffer, over networks and senders of all kinds. 99 of 100
// pictures must be within 20 ms; where a case has a limit of its own it says why.
//
// A live sender has a sound packet ready 20 ms after the capture of its first
// sample and sends it 5 ms later, a picture 15 ms after its capture. A player of
// files sends both when they are due.
func TestOffset(t *testing.T) {
	const usual = 20 * ms
	const length = 2 * mins
	bad := exponential(8 * ms)
	j150 := func(r *rand.Rand) time.Duration { return time.Duration(r.Int63n(int64(150 * ms))) }
	live := func(f *flow, a bool) {
		f.latency = 15 * ms
		if a {
			f.latency = 25 * ms
		}
	}
	for _, c := range []struct {
		name  string
		limit time.Duration
		set   func(a, v *flow)
		until time.Duration
	}{
		{name: "exact reports, live", set: func(a, v *flow) {}},
		{name: "exact reports, player of files", set: func(a, v *flow) { a.latency, v.latency = 0, 0 }},
		{name: "no reports, live", set: func(a, v *flow) { a.quietSR, v.quietSR = true, true }},
		{name: "no reports, player of files", set: func(a, v *flow) { a.latency, v.latency, a.quietSR, v.quietSR = 0, 0, true, true }},
		{name: "reports of the newest frame, as it is", set: func(a, v *flow) { a.srStuck, v.srStuck = true, true }},
		{name: "reports of the newest frame, carried on", set: func(a, v *flow) {
			a.srSent, v.srSent = true, true
			v.encode = exponential(6 * ms)
		}},
		{name: "the same, on a busy machine", set: func(a, v *flow) {
			a.srSent, v.srSent, a.burst, v.burst = true, true, 600*ms, 600*ms
			a.encode, v.encode = stalls(.01, 300*ms), stalls(.05, sec)
		}},
		{name: "reports of sound only", set: func(a, v *flow) { v.quietSR = true }},
		{name: "reports of the picture only", set: func(a, v *flow) { a.quietSR = true }},
		{name: "reports cease after 1 min", set: func(a, v *flow) { a.srEnd, v.srEnd = mins, mins }},
		{name: "reports begin after 1 min", set: func(a, v *flow) { a.srFirst, v.srFirst, a.srEvery, v.srEvery = mins, mins, 5*sec, 5*sec }},
		{name: "reports of 1970, both", set: func(a, v *flow) { a.srTime, v.srTime = unset, unset }},
		{name: "reports of 1970, picture", set: func(a, v *flow) { v.srTime = unset }},
		{name: "clock set by an hour, both", set: func(a, v *flow) { a.srTime, v.srTime = hourAt(mins), hourAt(mins) }},
		{name: "clock set by an hour every 20 s", set: func(a, v *flow) { a.srTime, v.srTime = hourly(20*sec), hourly(20*sec) }},
		{name: "picture's reports jump by 300 ms", set: func(a, v *flow) {
			v.srTime = func(d time.Duration) time.Duration {
				if d > mins {
					d += 300 * ms
				}
				return d
			}
		}},
		{name: "picture's reports at a rate 1 % wrong", set: func(a, v *flow) { v.srTime = func(d time.Duration) time.Duration { return d + d/100 } }},
		{name: "picture's reports off by -40 to 40 ms", set: func(a, v *flow) { v.srStamp = uniform(-40*ms, 40*ms) }},
		{name: "reports with random timestamps", set: func(a, v *flow) { v.srStamp, a.srStamp = uniform(-4*sec, 4*sec), uniform(-4*sec, 4*sec) }},
		// What says that it was captured later was: nothing else in RTP contradicts it.
		{name: "reports lie by 100 ms, always", limit: 101 * ms, set: func(a, v *flow) { v.srTime = func(d time.Duration) time.Duration { return d + 100*ms } }},
		{name: "picture 100 ms slower, reports each second", set: func(a, v *flow) {
			v.latency = 125 * ms
			a.srFirst, v.srFirst, a.srEvery, v.srEvery = 900*ms, 900*ms, sec, sec
		}},
		// Before the second report nothing tells that the picture is old.
		{name: "picture 100 ms slower, reports at 5, 10 s …", limit: 119 * ms, set: func(a, v *flow) { v.latency = 125 * ms }},
		{name: "sound's new source at 30 and 70 s", set: func(a, v *flow) { a.newSSRC = []time.Duration{30 * sec, 70 * sec} }},
		{name: "picture's new source at 30 and 70 s", set: func(a, v *flow) { v.newSSRC = []time.Duration{30 * sec, 70 * sec} }},
		{name: "both sources new at 30 s", set: func(a, v *flow) { a.newSSRC, v.newSSRC = []time.Duration{30 * sec}, []time.Duration{30 * sec} }},
		{name: "new timestamp bases at 30 and 50 s", set: func(a, v *flow) { a.newBase, v.newBase = []time.Duration{30 * sec}, []time.Duration{50 * sec} }},
		{name: "sound 8 s late", set: func(a, v *flow) { a.start = 8 * sec }},
		{name: "picture 8 s late", set: func(a, v *flow) { v.start = 8 * sec }},
		{name: "5 s of silence (DTX)", set: func(a, v *flow) { a.silent = [][2]time.Duration{{10 * sec, 15 * sec}, {30 * sec, 35 * sec}} }},
		{name: "hold of 20 s, both silent", set: func(a, v *flow) {
			a.silent, v.silent = [][2]time.Duration{{30 * sec, 50 * sec}}, [][2]time.Duration{{30 * sec, 50 * sec}}
		}},
		{name: "hold of 20 s, timestamps stand still", set: func(a, v *flow) {
			a.silent, v.silent = [][2]time.Duration{{30 * sec, 50 * sec}}, [][2]time.Duration{{30 * sec, 50 * sec}}
			a.frozen, v.frozen = true, true
		}},
		{name: "loss 2 %", set: func(a, v *flow) { a.loss, v.loss = .02, .02 }},
		{name: "loss 10 %", set: func(a, v *flow) { a.loss, v.loss = .1, .1 }},
		{name: "reorder and 5 % duplicates", set: func(a, v *flow) { a.jitter, v.jitter, a.dup, v.dup = bad, bad, .05, .05 }},
		{name: "jitter 150 ms, exact reports", set: func(a, v *flow) { a.jitter, v.jitter = j150, j150 }},
		{name: "jitter 150 ms, no reports", set: func(a, v *flow) { a.jitter, v.jitter, a.quietSR, v.quietSR = j150, j150, true, true }},
		{name: "jitter 150 ms, loss 10 %, newest frame", set: func(a, v *flow) {
			a.jitter, v.jitter, a.loss, v.loss, a.srStuck, v.srStuck = j150, j150, .1, .1, true, true
		}},
		{name: "starts with 1 s in a burst, both", set: func(a, v *flow) { a.burst, v.burst = sec, sec }},
		{name: "starts with 1 s in a burst, sound", set: func(a, v *flow) { a.burst = sec }},
		{name: "10 min, sound +200 ppm", until: 10 * mins, set: func(a, v *flow) { a.ppm = 200 }},
		{name: "10 min, sound +200, picture -200 ppm, jitter", until: 10 * mins, set: func(a, v *flow) { a.ppm, v.ppm, a.jitter, v.jitter = 200, -200, bad, bad }},
	} {
		for _, buffered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, rtp_in_buffer %v", c.name, buffered), func(t *testing.T) {
				t.Parallel()
				cfg := DefaultConfig()
				cfg.InBuffer = buffered
				end := max(c.until, length)
				limit := max(c.limit, usual)
				seed := int64(0)
				if buffered {
					seed = 1
				}
				small := exponential(2 * ms)
				a, v := flow{end: end, jitter: small, srFirst: 5 * sec, srEvery: 5*sec + 7*ms}, flow{end: end, jitter: small, srFirst: 5*sec + 3*ms, srEvery: 5*sec + 11*ms}
				live(&a, true)
				live(&v, false)
				c.set(&a, &v)
				s := newSim(t, cfg, seed, &a, &v).run().check()
				errs := s.errors(max(a.start, v.start, a.burst, v.burst)+3*sec, end)
				if len(errs) < 200 {
					t.Fatalf("only %d pictures to measure", len(errs))
				}
				p99 := errs[len(errs)*99/100]
				t.Logf("%-48s p50 %5.1f  p99 %5.1f  max %5.1f ms", c.name, millis(errs[len(errs)/2]), millis(p99), millis(errs[len(errs)-1]))
				if p99 > limit {
					t.Errorf("p99 is %v, limit %v", p99, limit)
				}
				s.smooth()
			})
		}
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// stalls is a machine that has other things to do: each frame takes some
// milliseconds, some of them up to longest.
func stalls(chance float64, longest time.Duration) func(*rand.Rand) time.Duration {
	usual := exponential(3 * ms)
	return func(r *rand.Rand) time.Duration {
		if r.Float64() < chance {
			return time.Duration(r.Int63n(int64(longest)))
		}
		return usual(r)
	}
}

func unset(d time.Duration) time.Duration { return d - 56*365*24*time.Hour }

// smooth holds that sound is never moved: its frames lie where its samples put
// them, except over a hole, which is told (Gap). Pictures are moved by at most a
// tenth of the time between them, or it is told.
func (s *sim) smooth() {
	s.tb.Helper()
	last := map[media.Kind]*outFrame{}
	for i := range s.frames {
		f := &s.frames[i]
		p := last[f.Track.Kind]
		last[f.Track.Kind] = f
		if p == nil || f.Filler || p.Filler || f.Gap {
			continue
		}
		step, captured := f.DTS-p.DTS, f.captured-p.captured
		limit := captured/1000 + 200*time.Microsecond
		if f.Track.Kind == media.Video {
			limit = captured/8 + 2*ms
		}
		if d := step - captured; d > limit || d < -limit {
			s.tb.Errorf("%v at %v: %v after the one before, captured %v after it", f.Track.Kind, f.DTS, step, captured)
			return
		}
	}
	if n := s.in.Stats().Audio.Restamped; n > 0 {
		s.tb.Errorf("%d audio frames were restamped", n)
	}
}

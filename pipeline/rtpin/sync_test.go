package rtpin

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sec  = time.Second
	mins = time.Minute
)

// In these scenarios sound is sent a packet's length (20 ms) after the capture
// of its first sample, and pictures some ms after theirs; whatever is said of
// a slower video comes on top of that. Arrival takes 15 ms for the 20 (see
// trackClock.captured), which is the 5 ms that "clean, no reports" is off.
func TestSyncScenarios(t *testing.T) {
	type step struct {
		name            string
		from, to, limit time.Duration
	}
	year1970 := func(d time.Duration) time.Duration { return d - time.Duration(56*365*24)*time.Hour }
	for _, c := range []struct {
		name  string
		cfg   func(*Config)
		a, v  flow
		steps []step
	}{
		{
			name:  "clean, no reports",
			a:     flow{end: mins, latency: 20 * ms, quietSR: true},
			v:     flow{end: mins, quietSR: true},
			steps: []step{{"all", 0, mins, 5 * ms}},
		},
		{
			name:  "jitter, loss, no reports",
			a:     flow{end: 5 * mins, latency: 20 * ms, jitter: exponential(8 * ms), loss: .01, quietSR: true},
			v:     flow{end: 5 * mins, latency: 5 * ms, jitter: exponential(12 * ms), loss: .01, quietSR: true},
			steps: []step{{"all", 0, 5 * mins, 30 * ms}, {"after 10 s", 10 * sec, 5 * mins, 20 * ms}},
		},
		{
			name:  "video 300 ms slower, exact reports",
			a:     flow{end: 5 * mins, latency: 20 * ms, jitter: exponential(3 * ms)},
			v:     flow{end: 5 * mins, latency: 300 * ms, jitter: exponential(5 * ms)},
			steps: []step{{"all", 0, 5 * mins, 310 * ms}, {"after 70 s", 70 * sec, 5 * mins, 20 * ms}},
		},
		{
			name:  "video 700 ms slower, exact reports (one jump)",
			a:     flow{end: 2 * mins, latency: 20 * ms},
			v:     flow{end: 2 * mins, latency: 700 * ms},
			steps: []step{{"before reports", 0, 10 * sec, 710 * ms}, {"after 11 s", 11 * sec, 2 * mins, 60 * ms}},
		},
		{
			name:  "in step, reports of the last frame",
			a:     flow{end: 5 * mins, latency: 20 * ms, jitter: exponential(1 * ms), srFirst: 5 * sec, srEvery: 5*sec + 7*ms},
			v:     flow{end: 5 * mins, latency: 5 * ms, jitter: exponential(3 * ms), srStuck: true, srFirst: 5*sec + 3*ms, srEvery: 5*sec + 11*ms},
			steps: []step{{"all", 0, 5 * mins, 20 * ms}},
		},
		{
			name:  "in step, reports off by +-40 ms",
			a:     flow{end: 5 * mins, latency: 20 * ms, jitter: exponential(1 * ms)},
			v:     flow{end: 5 * mins, latency: 5 * ms, jitter: exponential(3 * ms), srStamp: uniform(-40*ms, 40*ms)},
			steps: []step{{"all", 0, 5 * mins, 20 * ms}},
		},
		{
			name:  "video 200 ms slower, reports off by +-40 ms",
			a:     flow{end: 5 * mins, latency: 20 * ms, jitter: exponential(1 * ms)},
			v:     flow{end: 5 * mins, latency: 200 * ms, jitter: exponential(3 * ms), srStamp: uniform(-40*ms, 40*ms)},
			steps: []step{{"all", 0, 5 * mins, 210 * ms}, {"after 1 min", mins, 5 * mins, 75 * ms}},
		},
		{
			name:  "reports of 1970 on video only",
			a:     flow{end: 3 * mins, latency: 20 * ms},
			v:     flow{end: 3 * mins, latency: 5 * ms, srTime: year1970},
			steps: []step{{"all", 0, 3 * mins, 6 * ms}},
		},
		{
			name:  "reports of 1970 on both",
			a:     flow{end: 3 * mins, latency: 20 * ms, srTime: year1970},
			v:     flow{end: 3 * mins, latency: 5 * ms, srTime: year1970},
			steps: []step{{"all", 0, 3 * mins, 6 * ms}},
		},
		{
			name:  "reports on audio only",
			a:     flow{end: 3 * mins, latency: 20 * ms},
			v:     flow{end: 3 * mins, latency: 5 * ms, quietSR: true},
			steps: []step{{"all", 0, 3 * mins, 6 * ms}},
		},
		{
			name:  "the sender's clock jumps an hour",
			a:     flow{end: 3 * mins, latency: 20 * ms, srTime: hourAt(mins)},
			v:     flow{end: 3 * mins, latency: 5 * ms, srTime: hourAt(mins)},
			steps: []step{{"all", 0, 3 * mins, 6 * ms}},
		},
		{
			name:  "the sender's clock jumps an hour every 20 s",
			a:     flow{end: 5 * mins, latency: 20 * ms, srTime: hourly(20 * sec)},
			v:     flow{end: 5 * mins, latency: 5 * ms, srTime: hourly(20 * sec)},
			steps: []step{{"all", 0, 5 * mins, 6 * ms}},
		},
		{
			name: "only video's reports jump by 300 ms",
			a:    flow{end: 3 * mins, latency: 20 * ms},
			v: flow{end: 3 * mins, latency: 5 * ms, srTime: func(d time.Duration) time.Duration {
				if d > mins {
					d += 300 * ms
				}
				return d
			}},
			steps: []step{{"all", 0, 3 * mins, 10 * ms}},
		},
		{
			name:  "video's reports at a rate 1 % wrong",
			a:     flow{end: 5 * mins, latency: 20 * ms},
			v:     flow{end: 5 * mins, latency: 5 * ms, srTime: func(d time.Duration) time.Duration { return d + d/100 }},
			steps: []step{{"all", 0, 5 * mins, 120 * ms}, {"after 1 min", mins, 5 * mins, 20 * ms}},
		},
		{
			name:  "audio's new source in mid-call",
			a:     flow{end: 2 * mins, latency: 20 * ms, jitter: exponential(2 * ms), newSSRC: []time.Duration{30 * sec, 70 * sec}},
			v:     flow{end: 2 * mins, latency: 5 * ms, jitter: exponential(2 * ms)},
			steps: []step{{"all", 0, 2 * mins, 30 * ms}},
		},
		{
			name:  "video's new source in mid-call",
			a:     flow{end: 2 * mins, latency: 20 * ms, jitter: exponential(2 * ms)},
			v:     flow{end: 2 * mins, latency: 5 * ms, jitter: exponential(2 * ms), newSSRC: []time.Duration{30 * sec, 70 * sec}},
			steps: []step{{"all", 0, 2 * mins, 30 * ms}},
		},
		{
			name:  "timestamp bases change",
			a:     flow{end: 2 * mins, latency: 20 * ms, jitter: exponential(2 * ms), newBase: []time.Duration{30 * sec}},
			v:     flow{end: 2 * mins, latency: 5 * ms, jitter: exponential(2 * ms), newBase: []time.Duration{50 * sec}},
			steps: []step{{"all", 0, 2 * mins, 30 * ms}},
		},
		{
			name:  "audio starts with 1 s in a burst",
			a:     flow{end: mins, latency: 20 * ms, burst: sec},
			v:     flow{end: mins, latency: 5 * ms},
			steps: []step{{"after 5 s", 5 * sec, mins, 30 * ms}},
		},
		{
			name:  "video starts with 400 ms in a burst",
			a:     flow{end: mins, latency: 20 * ms},
			v:     flow{end: mins, latency: 5 * ms, burst: 400 * ms},
			steps: []step{{"all", 0, mins, 30 * ms}},
		},
		{
			name:  "both start with 2 s in a burst",
			a:     flow{end: mins, latency: 20 * ms, burst: 2 * sec},
			v:     flow{end: mins, latency: 5 * ms, burst: 2 * sec},
			steps: []step{{"after 3 s", 3 * sec, mins, 30 * ms}},
		},
		{
			name:  "5 s of silence (DTX)",
			a:     flow{end: mins, latency: 20 * ms, jitter: exponential(2 * ms), silent: [][2]time.Duration{{10 * sec, 15 * sec}, {30 * sec, 35 * sec}}},
			v:     flow{end: mins, latency: 5 * ms, jitter: exponential(2 * ms)},
			steps: []step{{"all", 0, mins, 30 * ms}},
		},
		{
			name:  "5 s of silence with audio's timestamps standing still",
			a:     flow{end: mins, latency: 20 * ms, jitter: exponential(2 * ms), silent: [][2]time.Duration{{10 * sec, 15 * sec}}, frozen: true},
			v:     flow{end: mins, latency: 5 * ms, jitter: exponential(2 * ms)},
			steps: []step{{"before", 0, 10 * sec, 20 * ms}, {"2 s after", 17 * sec, mins, 30 * ms}},
		},
		{
			name:  "30 s of silence with audio's timestamps standing still",
			a:     flow{end: 2 * mins, latency: 20 * ms, jitter: exponential(2 * ms), silent: [][2]time.Duration{{10 * sec, 40 * sec}}, frozen: true},
			v:     flow{end: 2 * mins, latency: 5 * ms, jitter: exponential(2 * ms)},
			steps: []step{{"all", 0, 2 * mins, 30 * ms}},
		},
		{
			name:  "video comes 8 s late",
			a:     flow{end: mins, latency: 20 * ms, jitter: exponential(2 * ms)},
			v:     flow{start: 8 * sec, end: mins, latency: 5 * ms, jitter: exponential(2 * ms)},
			steps: []step{{"all", 0, mins, 30 * ms}},
		},
		{
			name:  "audio comes 8 s late",
			a:     flow{start: 8 * sec, end: mins, latency: 20 * ms, jitter: exponential(2 * ms)},
			v:     flow{end: mins, latency: 5 * ms, jitter: exponential(2 * ms)},
			steps: []step{{"all", 0, mins, 30 * ms}},
		},
		{
			name:  "rtp_in_buffer off",
			cfg:   func(c *Config) { c.InBuffer = false },
			a:     flow{end: mins, latency: 20 * ms, jitter: exponential(3 * ms)},
			v:     flow{end: mins, latency: 5 * ms, jitter: exponential(3 * ms)},
			steps: []step{{"all", 0, mins, 30 * ms}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range int64(3) {
				cfg := DefaultConfig()
				if c.cfg != nil {
					c.cfg(&cfg)
				}
				a, v := c.a, c.v
				s := newSim(t, cfg, seed, &a, &v).run().check()
				for _, st := range c.steps {
					s.bound(c.name+": "+st.name, st.from, st.to, st.limit)
				}
				st := s.in.Stats()
				if st.Audio.Restamped > 0 {
					t.Errorf("%d audio frames were restamped", st.Audio.Restamped)
				}
			}
		})
	}
}

func hourAt(at time.Duration) func(time.Duration) time.Duration {
	return func(d time.Duration) time.Duration {
		if d > at {
			d += time.Hour
		}
		return d
	}
}

func hourly(every time.Duration) func(time.Duration) time.Duration {
	return func(d time.Duration) time.Duration { return d + d/every*time.Hour }
}

// An hour in which both sample clocks run wrong, and a part of it with one of them.
func TestDriftForAnHour(t *testing.T) {
	for _, c := range []struct {
		a, v float64
		end  time.Duration
	}{{200, -200, time.Hour}, {200, 0, 10 * mins}, {-200, 0, 10 * mins}, {0, 200, 10 * mins}} {
		for _, reports := range []bool{true, false} {
			name := fmt.Sprintf("audio %+.0f ppm, video %+.0f ppm, reports %v", c.a, c.v, reports)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				a := flow{end: c.end, latency: 20 * ms, ppm: c.a, jitter: exponential(2 * ms), quietSR: !reports}
				v := flow{end: c.end, latency: 8 * ms, ppm: c.v, jitter: exponential(4 * ms), quietSR: !reports, srStuck: true, srEvery: 5*sec + 3*ms}
				s := newSim(t, DefaultConfig(), 1, &a, &v).run().check()
				s.bound(name, 0, c.end, 20*ms)
				frames := s.of(media.Audio)
				for i := 1; i < len(frames); i++ {
					if d := frames[i].DTS - frames[i-1].DTS; d < 20*ms-2*time.Microsecond || d > 20*ms+2*time.Microsecond {
						if frames[i].captured-frames[i-1].captured == 20*ms && c.a == 0 {
							t.Fatalf("audio steps by %v at %v", d, frames[i].DTS)
						}
					}
				}
			})
		}
	}
}

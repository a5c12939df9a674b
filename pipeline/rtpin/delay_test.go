package rtpin

import (
	"slices"
	"testing"
	"time"

	"lineout/media"
)

// TestAddedDelay is what a frame waits here from its last packet to being handed
// on, 10 s and more into a call. A sound packet comes 10 ms later than the
// picture of the same moment, or 30 ms before it. Without rtp_in_buffer nothing
// waits but behind a hole; with it sound waits only while a picture that belongs
// before it may still come, and both come in one order.
func TestAddedDelay(t *testing.T) {
	for _, c := range []struct {
		name     string
		buffered bool
		picture  time.Duration // latency
		jitter   time.Duration
		fps      int
		p50, p99 time.Duration // of sound
	}{
		{"off", false, 15 * ms, 2 * ms, 25, 0, 0},
		{"on", true, 15 * ms, 2 * ms, 25, ms, 5 * ms},
		{"on, 30 fps", true, 15 * ms, 2 * ms, 30, ms, 5 * ms},
		{"on, 12 fps", true, 15 * ms, 2 * ms, 12, ms, 5 * ms},
		{"on, picture 30 ms late", true, 55 * ms, 2 * ms, 25, 20 * ms, 42 * ms},
		{"on, jitter", true, 15 * ms, 10 * ms, 25, ms, 35 * ms},
	} {
		cfg := DefaultConfig()
		cfg.InBuffer = c.buffered
		a := flow{end: 2 * mins, latency: 25 * ms, jitter: exponential(c.jitter)}
		v := flow{end: 2 * mins, latency: c.picture, jitter: exponential(c.jitter), interval: time.Second / time.Duration(c.fps)}
		s := newSim(t, cfg, 1, &a, &v).run().check()
		waits := map[media.Kind][]time.Duration{}
		disorder := 0
		for i, f := range s.frames {
			if f.captured > 10*sec {
				waits[f.Track.Kind] = append(waits[f.Track.Kind], f.at-f.Arrival.Sub(t0))
				if f.DTS < s.frames[i-1].DTS {
					disorder++
				}
			}
		}
		at := func(k media.Kind, percent int) time.Duration {
			slices.Sort(waits[k])
			return waits[k][len(waits[k])*percent/100]
		}
		t.Logf("%-24s sound p50 %5.1f p99 %5.1f ms, picture p50 %5.1f p99 %5.1f ms, %d of %d out of order", c.name, millis(at(media.Audio, 50)), millis(at(media.Audio, 99)),
			millis(at(media.Video, 50)), millis(at(media.Video, 99)), disorder, len(s.frames))
		if at(media.Audio, 50) > c.p50 || at(media.Audio, 99) > c.p99 {
			t.Errorf("%s: sound waits longer than %v and %v", c.name, c.p50, c.p99)
		}
		if c.buffered && disorder > 0 {
			t.Errorf("%s: %d frames out of order", c.name, disorder)
		}
	}
}

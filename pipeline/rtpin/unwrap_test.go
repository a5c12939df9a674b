package rtpin

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSeqUnwrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Uint16().Draw(t, "start")
		u := seqUnwrapper{wire: start}
		truth, highest := int64(0), int64(0)
		for range 200 {
			// Steps back are relative to the highest, as overtaken packets are.
			truth = highest + rapid.Int64Range(-maxMisorder+1, maxDropout-1).Draw(t, "step")
			wire := uint16(int64(start) + truth)
			if d := u.distance(wire); d != truth-highest {
				t.Fatalf("distance %d, want %d", d, truth-highest)
			}
			if got := u.at(wire); got != truth {
				t.Fatalf("got %d, want %d", got, truth)
			}
			highest = max(highest, truth)
		}
	})
}

func TestTimestampUnwrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Uint32().Draw(t, "start")
		u := tsUnwrapper{wire: start}
		highest := int64(0)
		for range 100 {
			truth := highest + rapid.Int64Range(-1<<30, 1<<31-1).Draw(t, "step")
			wire := uint32(int64(start) + truth)
			if got := u.peek(wire); got != truth {
				t.Fatalf("peek %d, want %d", got, truth)
			}
			if got := u.at(wire); got != truth {
				t.Fatalf("at %d, want %d", got, truth)
			}
			highest = max(highest, truth)
		}
	})
}

func TestRTPTime(t *testing.T) {
	for _, c := range []struct {
		units int64
		rate  int
		want  time.Duration
	}{
		{0, 8000, 0},
		{160, 8000, 20 * ms},
		{-160, 8000, -20 * ms},
		{1, 90000, 11111},
		{90000 * 86400 * 365, 90000, 365 * 24 * time.Hour},
		{960, 48000, 20 * ms},
	} {
		if got := rtpTime(c.units, c.rate); got != c.want {
			t.Errorf("%d at %d Hz: %v, want %v", c.units, c.rate, got, c.want)
		}
	}
}

func TestNTPTime(t *testing.T) {
	for _, c := range []struct {
		ntp  uint64
		want time.Time
	}{
		{2208988800 << 32, time.Unix(0, 0)},
		{(2208988800+1772366400)<<32 | 1<<31, t0.Add(500 * ms)},
		{7 << 32, time.Date(2036, 2, 7, 6, 28, 23, 0, time.UTC)}, // the next era
	} {
		if got := ntpTime(c.ntp); !got.Equal(c.want) {
			t.Errorf("%x: %v, want %v", c.ntp, got, c.want)
		}
	}
}

package rtpin

import (
	"testing"
	"time"

	"lineout/media"
)

// Filler begins after the delay, is flagged, and leaves real frames exactly
// where they are without it (check holds that nothing overlaps).
func TestGeneratorFillsSilence(t *testing.T) {
	run := func(delay time.Duration) *sim {
		cfg := DefaultConfig()
		cfg.GeneratorDelay = delay
		a := flow{end: 20 * sec, jitter: exponential(2 * ms), silent: [][2]time.Duration{{5 * sec, 12 * sec}, {15 * sec, 15500 * ms}}}
		v := flow{end: 20 * sec, jitter: exponential(2 * ms)}
		return newSim(t, cfg, 1, &a, &v).run().check()
	}
	with, without := run(sec), run(0)
	var real []outFrame
	filler, last := 0, time.Duration(0)
	for _, f := range with.of(media.Audio) {
		if f.DTS >= 19900*ms {
			if !f.Filler {
				real = append(real, f)
			}
			continue // after the end of what is sent
		}
		if f.Filler {
			if f.DTS < 4900*ms || f.DTS > 12100*ms {
				t.Fatalf("filler at %v", f.DTS)
			}
			filler++
		} else {
			real = append(real, f)
		}
		if f.DTS-last > 520*ms || f.DTS-last > 45*ms && (f.DTS < 14*sec) {
			t.Fatalf("a hole of %v before %v", f.DTS-last, f.DTS)
		}
		last = f.DTS
	}
	if filler < 330 || filler > 350 {
		t.Fatalf("%d frames of filler in 7 s", filler)
	}
	plain := without.of(media.Audio)
	if len(plain) != len(real) {
		t.Fatalf("%d real frames with filler, %d without", len(real), len(plain))
	}
	for i := range plain {
		if d := plain[i].DTS - real[i].DTS; d != 0 {
			t.Fatalf("filler moved the real frame at %v by %v", plain[i].DTS, d)
		}
	}
	for _, f := range without.frames {
		if f.Filler {
			t.Fatal("filler although it is off")
		}
	}
}

// A phone that never sends sound, and one that starts late.
func TestGeneratorBeforeTheFirstPacket(t *testing.T) {
	for _, start := range []time.Duration{8 * sec, time.Hour} {
		cfg := DefaultConfig()
		cfg.GeneratorDelay = sec
		a := flow{start: start, end: 20 * sec}
		v := flow{end: 20 * sec}
		s := newSim(t, cfg, 1, &a, &v)
		s.track(media.Audio)
		s.run().check()
		audio := s.of(media.Audio)
		if len(audio) < 900 || !audio[0].Filler || audio[0].DTS > 100*ms {
			t.Fatalf("%d frames, first at %v", len(audio), audio[0].DTS)
		}
		if start == 8*sec {
			s.bound("audio starts in filler", 8*sec, 20*sec, 30*ms)
		}
	}
	// Sound alone, never sent: filler makes the timeline.
	cfg := DefaultConfig()
	cfg.GeneratorDelay = sec
	in := NewInput(cfg, t0)
	if err := in.AddTrack(TrackSpec{Track: &media.Track{Kind: media.Audio, Codec: "PCMA", ClockRate: 8000}, Formats: formats(media.Audio), Expected: true}); err != nil {
		t.Fatal(err)
	}
	n, next := 0, t0
	for now := t0; now.Before(t0.Add(10 * sec)); now = next {
		next = in.Poll(now, func(f *media.Frame) {
			if f.DTS != time.Duration(n)*fillerDuration || !f.Filler || len(f.Data[0]) != 160 {
				t.Fatalf("frame %d: %+v", n, f)
			}
			n++
		})
		if !next.After(now) {
			t.Fatalf("at %v: next %v", now, next)
		}
	}
	if n < 430 || n > 450 {
		t.Fatalf("%d frames in 9 s", n)
	}
}

package pipeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"lineout/media"
)

// A decoder's view: every delivered picture must have its whole chain back to
// a key frame delivered, however slow the consumer is.
func TestQueueNeverDeliversAFrameWhoseReferenceWasDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(Policy{MaxDelay: time.Duration(rapid.IntRange(100, 2000).Draw(t, "delay")) * time.Millisecond,
			MaxBytes: rapid.IntRange(2000, 50000).Draw(t, "bytes")})
		q.interleave = time.Duration(rapid.IntRange(0, 1).Draw(t, "interleave")) * 100 * time.Millisecond
		q.setExpected(media.Audio, true)
		q.setExpected(media.Video, true)
		v := &media.Track{ID: "video", Kind: media.Video}
		a := &media.Track{ID: "audio", Kind: media.Audio}
		now := time.Unix(0, 0)
		number := map[time.Duration]int{}
		last := [3]time.Duration{-1, -1, -1}
		lastVideo := -1
		n := 0
		take := func() bool {
			f, _, ok, _, _ := q.pop(now)
			if !ok {
				return false
			}
			if f.DTS <= last[f.Track.Kind] {
				t.Fatalf("%s goes back: %s after %s", f.Track.ID, f.DTS, last[f.Track.Kind])
			}
			last[f.Track.Kind] = f.DTS
			if f.Track == v {
				i := number[f.DTS]
				if !f.Key && i != lastVideo+1 {
					t.Fatalf("picture %d delivered after %d: its reference was dropped", i, lastVideo)
				}
				if i != lastVideo+1 && !f.Gap {
					t.Fatalf("picture %d follows %d without a gap mark", i, lastVideo)
				}
				lastVideo = i
			}
			return true
		}
		for at := 0; at < 8000; at += 20 {
			now = now.Add(20 * time.Millisecond)
			dts := time.Duration(at) * time.Millisecond
			q.push(&media.Frame{Track: a, DTS: dts, Key: true, Data: [][]byte{make([]byte, 160)}})
			if at%40 == 0 {
				number[dts] = n
				key := n == 0 || rapid.IntRange(0, 30).Draw(t, "key") == 0
				q.push(&media.Frame{Track: v, DTS: dts, Key: key, Data: [][]byte{make([]byte, rapid.IntRange(1, 3000).Draw(t, "size"))}})
				n++
			}
			if _, bytes, span, _ := q.stats(); span > q.maxDelay || bytes > q.maxBytes {
				t.Fatalf("queue holds %s and %d bytes, bounds %s and %d", span, bytes, q.maxDelay, q.maxBytes)
			}
			for range rapid.IntRange(0, 3).Draw(t, "takes") {
				if !take() {
					break
				}
			}
		}
		q.finish()
		for take() {
		}
		if frames, bytes, _, _ := q.stats(); frames != 0 || bytes != 0 {
			t.Fatalf("empty queue counts %d frames, %d bytes", frames, bytes)
		}
	})
}

func TestLosslessQueueKeepsWhatItHasAndSaysItOverflowed(t *testing.T) {
	q := newQueue(Policy{MaxDelay: time.Second, Lossless: true})
	a := &media.Track{ID: "audio", Kind: media.Audio}
	for ms := 0; ms < 3000; ms += 20 {
		q.push(&media.Frame{Track: a, DTS: time.Duration(ms) * time.Millisecond, Key: true})
	}
	for ms := 0; ms <= 1000; ms += 20 {
		f, _, ok, _, err := q.pop(time.Time{})
		if !ok || err != nil || f.DTS != time.Duration(ms)*time.Millisecond {
			t.Fatalf("at %d ms: ok %v err %v", ms, ok, err)
		}
	}
	if _, _, ok, _, err := q.pop(time.Time{}); ok || err != ErrSlow {
		t.Fatalf("after the last kept frame: ok %v err %v, want ErrSlow", ok, err)
	}
	q.push(&media.Frame{Track: a, DTS: time.Hour, Key: true})
	if _, _, ok, _, err := q.pop(time.Time{}); !ok || err != nil {
		t.Fatalf("queue does not go on after ErrSlow: %v %v", ok, err)
	}
}

func TestInterleavingOrdersKindsAndGivesUpInTime(t *testing.T) {
	q := newQueue(Policy{})
	q.interleave = 100 * time.Millisecond
	q.setExpected(media.Audio, true)
	q.setExpected(media.Video, true)
	v := &media.Track{ID: "video", Kind: media.Video}
	a := &media.Track{ID: "audio", Kind: media.Audio}
	q.push(&media.Frame{Track: v, DTS: 40 * time.Millisecond, Key: true})
	if _, wait, ok, _, _ := q.pop(time.Now()); ok || wait <= 0 || wait > q.interleave {
		t.Fatalf("video was not held for audio: ok %v wait %s", ok, wait)
	}
	q.push(&media.Frame{Track: a, DTS: 20 * time.Millisecond, Key: true})
	q.push(&media.Frame{Track: a, DTS: 60 * time.Millisecond, Key: true})
	for _, want := range []time.Duration{20, 40} {
		if f, _, ok, _, _ := q.pop(time.Now()); !ok || f.DTS != want*time.Millisecond {
			t.Fatalf("got %v, want the frame at %d ms", f, want)
		}
	}
	if _, _, ok, _, _ := q.pop(time.Now()); ok {
		t.Fatal("audio at 60 ms was not held for video")
	}
	if f, _, ok, _, _ := q.pop(time.Now().Add(time.Second)); !ok || f.DTS != 60*time.Millisecond {
		t.Fatal("held beyond the limit")
	}
}

func BenchmarkStreamToSink(b *testing.B) {
	q := newQueue(Policy{})
	a := &media.Track{ID: "audio", Kind: media.Audio}
	f := &media.Frame{Track: a, Key: true, Data: [][]byte{make([]byte, 160)}}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		q.push(f)
		q.pop(now)
	}
}

// What a sender says of its silence is for those who can make it heard.
func TestDescribedSilenceGoesToConversionsOnly(t *testing.T) {
	a := &media.Track{ID: "audio", Kind: media.Audio}
	for _, noise := range []bool{false, true} {
		q := newQueue(Policy{})
		q.noise = noise
		q.push(&media.Frame{Track: a, DTS: time.Second, Key: true, Noise: -50})
		if f, _, ok, _, _ := q.pop(time.Now()); ok != noise || ok && f.Noise != -50 {
			t.Errorf("noise %v: got %+v", noise, f)
		}
	}
}

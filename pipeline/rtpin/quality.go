package rtpin

import (
	"slices"
	"time"

	"lineout/media"
)

// Buckets of a histogram: of a millisecond up to fineEnd, coarser beyond.
const (
	fineBuckets   = 64
	fineEnd       = fineBuckets * time.Millisecond
	coarseBucket  = 16 * time.Millisecond
	coarseBuckets = 64
)

// histogram counts durations in fixed memory.
type histogram struct {
	counts [fineBuckets + coarseBuckets + 1]uint32
	n      uint64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	i := int(d / time.Millisecond)
	if d >= fineEnd {
		i = min(fineBuckets+int((d-fineEnd)/coarseBucket), len(h.counts)-1)
	}
	h.counts[i]++
	h.n++
	h.max = max(h.max, d)
}

// quantile is the upper edge of the bucket that holds the q-th part of all, at
// most 1 ms (from 64 ms on 16 ms) too large; what is beyond a second is the maximum.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	left := int64(q * float64(h.n-1))
	for i, c := range h.counts {
		if left -= int64(c); left < 0 {
			edge := time.Duration(i+1) * time.Millisecond
			if i >= fineBuckets {
				edge = fineEnd + time.Duration(i+1-fineBuckets)*coarseBucket
			}
			if i == len(h.counts)-1 {
				edge = h.max
			}
			return min(edge, h.max)
		}
	}
	return h.max
}

// Freezes are counted as WebRTC's statistics do (webrtc-stats, freezeCount): a
// picture that comes later than freezeFactor times the average of the last
// freezePictures intervals, and by freezeLeast more than one.
const (
	freezePictures = 30
	freezeFactor   = 3
	freezeLeast    = 150 * time.Millisecond
)

// freezes looks at the intervals between the pictures handed on.
type freezes struct {
	steps [freezePictures]time.Duration // ring of the newest intervals
	n     int
	sum   time.Duration // of the ring
	// shortest is the least of the newest intervals, 0 while there are few.
	shortest time.Duration
}

// step takes an interval and says whether it was a freeze.
func (f *freezes) step(d time.Duration) bool {
	frozen := false
	if f.n >= freezePictures {
		usual := f.sum / freezePictures
		frozen = d > max(freezeFactor*usual, usual+freezeLeast)
	}
	slot := &f.steps[f.n%freezePictures]
	f.sum += d - *slot
	*slot = d
	f.n++
	if f.n >= freezePictures {
		f.shortest = slices.Min(f.steps[:])
	}
	return frozen
}

// measure counts what viewers and listeners notice of a frame that is handed on
// at dts. Called before the track's last frame is replaced by this one.
func (in *Input) measure(t *trackInput, f *media.Frame, dts time.Duration) {
	if t.kind == media.Video {
		if in.sync.mode != SyncNone {
			in.offsets.add(max(in.sync.err, -in.sync.err))
		}
		if t.hasDTS {
			if d := dts - t.lastDTS; t.freezes.step(d) {
				t.stats.Freezes++
				t.stats.FreezeTime += d
			}
		}
		return
	}
	if hole := dts - t.lastEnd; t.hasDTS && hole > leastStep {
		t.stats.Concealed += hole
	}
	if f.Filler {
		t.stats.FillerTime += f.Duration
	}
}

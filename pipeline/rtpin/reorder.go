package rtpin

import (
	"slices"
	"time"

	"lineout/media"
)

// maxReorder is what H.264 allows at most (section A.3.1).
const maxReorder = 16

// usualStep is the distance of pictures that do not tell their rate.
const usualStep = 40 * time.Millisecond

// reorder finds decoding times. A packet's timestamp says when a picture is
// shown (RFC 6184 section 5.1); with B-frames that is not the order in which
// pictures come. The decoding time is the least of the newest depth+1 times of
// showing: it grows, and is never after the picture's own. Without B-frames
// depth is 0 and both are the same. It costs no delay.
type reorder struct {
	depth int             // pictures that come before one shown earlier
	held  []time.Duration // the greatest times so far, depth of them, sorted
	out   time.Duration   // the newest decoding time
	begun bool
}

// reset begins anew, with what the codec's header says.
func (r *reorder) reset(p *media.Params) {
	depth := 0
	if p != nil {
		depth = min(p.Reorder, maxReorder)
	}
	*r = reorder{depth: max(depth, r.depth), held: r.held[:0]}
}

// place returns the decoding time of the next picture, shown at pts.
func (r *reorder) place(pts time.Duration, p *media.Params) time.Duration {
	if !r.begun {
		r.begun = true
		step := usualStep
		if p != nil && p.FrameRate > 0 {
			step = time.Duration(float64(time.Second) / p.FrameRate)
		}
		for i := range r.depth {
			r.held = append(r.held, pts-time.Duration(r.depth-i)*step)
		}
		r.out = pts - time.Duration(r.depth+1)*step
	}
	least := pts
	if r.depth > 0 && r.held[0] < pts {
		least = r.held[0]
		copy(r.held, r.held[1:])
		r.held = r.held[:len(r.held)-1]
		r.insert(pts)
	}
	if least < r.out && r.out-least < backLimit && r.depth < maxReorder {
		// The header did not say so: one given out already should have waited.
		r.depth++
		r.insert(r.out)
	}
	r.out = least
	return least
}

func (r *reorder) insert(pts time.Duration) {
	i, _ := slices.BinarySearch(r.held, pts)
	r.held = slices.Insert(r.held, i, pts)
}

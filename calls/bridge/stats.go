package bridge

import (
	"math/bits"
	"sync/atomic"
	"time"

	"lineout/media"
)

// Stats are the counters of a bridge.
type Stats struct {
	AToB, BToA []FlowStats // of sound, and of pictures
}

// FlowStats are the counters of one kind in one direction. They never shrink.
type FlowStats struct {
	Kind media.Kind
	// Passed were sent as they came, Converted went into a conversion, Dropped
	// could not be sent: not agreed on by the other leg, too late, or too many.
	Passed, Converted, Dropped uint64
	// Lost were missing when their turn came to be converted, and were concealed.
	Lost uint64
	// KeyframeRequests were sent to the source.
	KeyframeRequests uint64
	// DelayP50 and DelayP99 are what the bridge added, from the arrival of a packet
	// until it, or what was made of it, was sent; within a quarter of the value.
	DelayP50, DelayP99 time.Duration
	// Reason says in words what is done to the packets, and why.
	Reason string
	// Error is the newest thing that went wrong, "" if nothing did.
	Error string
}

// Stats returns the counters as they are now.
func (b *Bridge) Stats() Stats {
	return Stats{
		AToB: []FlowStats{b.aToB.audio.stats(), b.aToB.video.stats()},
		BToA: []FlowStats{b.bToA.audio.stats(), b.bToA.video.stats()},
	}
}

// counters are those of a flow, safe for concurrent use.
type counters struct {
	passed, converted, dropped, lost, keyframes atomic.Uint64
	delay                                       histogram
	err                                         atomic.Pointer[string]
}

func (c *counters) failed(err error) {
	text := err.Error()
	if old := c.err.Load(); old == nil || *old != text {
		c.err.Store(&text)
	}
}

func (f *flow) stats() FlowStats {
	c := &f.counters
	s := FlowStats{Kind: f.kind, Passed: c.passed.Load(), Converted: c.converted.Load(), Dropped: c.dropped.Load(), Lost: c.lost.Load(),
		KeyframeRequests: c.keyframes.Load(), Reason: f.plan.Load().reason}
	s.DelayP50, s.DelayP99 = c.delay.quantile(0.50), c.delay.quantile(0.99)
	if e := c.err.Load(); e != nil {
		s.Error = *e
	}
	return s
}

// histogram counts times in steps of a quarter of an octave and less, from 1 us
// to more than an hour.
type histogram struct{ counts [128]atomic.Uint64 }

// add counts a time.
func (h *histogram) add(d time.Duration) { h.counts[bucket(d)].Add(1) }

// bucket is the number of the step: an octave has four.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 4 {
		return int(us)
	}
	octave := bits.Len64(us) - 3 // us >> octave is 4 to 7
	return min(4*octave+int(us>>octave), 127)
}

// top is the upper end of a step.
func top(i int) time.Duration {
	if i < 4 {
		return time.Duration(i+1) * time.Microsecond
	}
	octave := (i - 4) / 4
	return time.Duration((i-4*octave+1)<<octave) * time.Microsecond
}

// quantile is the time that a part q of all is not above, 0 without any.
func (h *histogram) quantile(q float64) time.Duration {
	var total, sum uint64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	if total == 0 {
		return 0
	}
	need := uint64(q*float64(total-1)) + 1
	for i := range h.counts {
		if sum += h.counts[i].Load(); sum >= need {
			return top(i)
		}
	}
	return top(len(h.counts) - 1)
}

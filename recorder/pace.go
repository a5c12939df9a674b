package recorder

import "time"

// Bounds of what is done about sound that is not where it belongs, in a file
// that has no times but only samples in a row.
const (
	// paceSlack is wobble of a sender's timestamps, which is let be.
	paceSlack = 10 * time.Millisecond
	// longHole is what is not filled any more: a new part begins after it.
	longHole = 10 * time.Minute
)

// pace counts the samples of a file against the stream's timeline.
type pace struct {
	rate  int64 // samples per second
	base  time.Duration
	n     int64 // samples so far
	begun bool
}

// late is how many samples are missing before a packet at this time, negative
// when it begins before the end of what is there; 0 within paceSlack.
func (p *pace) late(at time.Duration) int64 {
	if !p.begun {
		p.base, p.begun = at, true
	}
	d := timeToTicks(at-p.base, p.rate) - p.n
	if slack := timeToTicks(paceSlack, p.rate); d < slack && d > -slack {
		return 0
	}
	return d
}

// hole is how many samples to fill in before a packet at this time, at most
// about a second at once.
func (p *pace) hole(at time.Duration) (n int64, more bool) {
	n = max(p.late(at), 0)
	if n > 2*p.rate {
		return p.rate, true
	}
	return n, false
}

// next is the time of the sample after the last.
func (p *pace) next() time.Duration { return p.base + ticksToTime(p.n, p.rate) }

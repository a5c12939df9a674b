package convert

import "time"

const (
	// holeMin is the smallest hole that is filled: the shortest packet in use.
	// Less is wobble of the sender's timestamps.
	holeMin = 10 * time.Millisecond
	// holeMinLoss is the same when a loss is known: Opus has packets of 2.5 ms.
	holeMinLoss = 2 * time.Millisecond
	// fillMax bounds how much is filled; after a longer hole the output jumps.
	fillMax = 10 * time.Second
	// fillSlack is by how much a hole may be longer than the time that passed
	// between the arrivals at its ends, or timestamps that leap with every
	// packet would make us encode hours of silence.
	fillSlack = 500 * time.Millisecond
	// driftStart and driftEnd bound the error that is corrected a little with
	// every packet: corrections start above one and end below the other.
	driftStart = 2 * time.Millisecond
	driftEnd   = 500 * time.Microsecond
	// driftSteps is over how many packets the error is averaged.
	driftSteps = 16
	// stretchShare is the largest correction, as a part of the packet: 0.6 %
	// is not heard as a change of pitch.
	stretchShare = 160
	// pastMax is how much sound from before the output's position is thrown
	// away in a row before the input's clock is taken to have been set back.
	pastMax = time.Second
)

// timeline says what each packet needs so that the sample count stays on the
// input's timeline. It knows no codec.
type timeline struct {
	rate    int
	started bool
	base    time.Duration // of sample 0
	n       int64         // samples taken since base
	shift   time.Duration // added to the input's times, see pastMax
	past    time.Duration
	drift   time.Duration // the averaged error
	correct bool
}

// step is what to do with a packet: fill samples before it, then throw away
// trim samples of its front, then make what is left longer or shorter by
// stretch. drop: nothing of it is used. jump: the timeline starts anew at the
// packet. gap: the packet does not continue what was before it.
type step struct {
	fill, trim, stretch int
	drop, jump, gap     bool
}

// next is where the next sample belongs on the timeline.
func (t *timeline) next() time.Duration { return t.base + span(t.n, t.rate) }

// plan places a packet of this many samples that says it starts at pts, and
// counts what the returned step will make of it. A hole longer than limit is
// jumped over instead of filled.
func (t *timeline) plan(pts time.Duration, samples int, loss bool, limit time.Duration) step {
	if !t.started {
		t.started, t.base, t.n = true, pts, int64(samples)
		return step{}
	}
	pts += t.shift
	off := pts - t.next()
	hole := holeMin
	if loss {
		hole = holeMinLoss
	}
	var s step
	switch {
	case off > max(limit, hole):
		t.base, t.n, t.past, t.drift, t.correct = pts-t.shift, 0, 0, 0, false
		t.shift = 0
		s.jump, s.gap = true, true
	case off >= hole:
		s.fill = count(off, t.rate)
		t.drift, t.correct = 0, false
	case off <= -holeMin:
		if s.trim = count(-off, t.rate); s.trim >= samples {
			return t.dropPast(samples, off)
		}
		t.drift, t.correct = 0, false
	default:
		s.stretch = t.slew(off, samples)
	}
	t.past = 0
	t.n += int64(s.fill + samples - s.trim + s.stretch)
	return s
}

// dropPast throws a packet away that lies before the output's position.
func (t *timeline) dropPast(samples int, off time.Duration) step {
	if t.past += span(int64(samples), t.rate); t.past <= pastMax {
		return step{drop: true}
	}
	t.shift -= off
	t.past = 0
	t.n += int64(samples)
	return step{gap: true}
}

// slew averages the error and returns this packet's share in mending it.
func (t *timeline) slew(off time.Duration, samples int) int {
	t.drift += (off - t.drift) / driftSteps
	size := max(t.drift, -t.drift)
	if size > driftStart {
		t.correct = true
	} else if size < driftEnd {
		t.correct = false
	}
	if !t.correct {
		return 0
	}
	k := min(max(samples/stretchShare, 1), count(size, t.rate), samples/2)
	if t.drift < 0 {
		k = -k
	}
	t.drift -= span(int64(k), t.rate)
	return k
}

// span is how long n samples last, exact to the nanosecond for any n.
func span(n int64, rate int) time.Duration {
	r := int64(rate)
	return time.Duration(n/r)*time.Second + time.Duration(n%r)*time.Second/time.Duration(r)
}

// count is the samples nearest to d, which is at most a few hours.
func count(d time.Duration, rate int) int {
	return int((int64(d)*int64(rate) + int64(time.Second)/2) / int64(time.Second))
}

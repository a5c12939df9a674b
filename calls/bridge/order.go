package bridge

import "time"

// Bounds of what is waited behind a hole for packets that were overtaken.
const (
	waitFirst = 25 * time.Millisecond
	waitLeast = 5 * time.Millisecond
	waitMost  = 40 * time.Millisecond
)

// order puts packets of one source in order. A packet in order goes straight
// through; behind a hole it waits, as long as late packets were seen to take.
// Passive: time is an argument.
type order struct {
	slots []item // ring by extended number
	begun bool
	wire  uint16 // highest number so far
	top   int64  // the same, extended
	next  int64  // to be handed out
	count int
	wait  time.Duration
	since time.Time // when the hole at next was seen, zero: there is none

	gaveFrom, gaveTo int64 // the newest numbers given up
	gaveSince        time.Time

	bad uint16 // a number from elsewhere; the one after it shows a restart
	odd bool
}

func newOrder(size int) order { return order{slots: make([]item, size), wait: waitFirst} }

// accepted is what became of a packet that was pushed.
type accepted uint8

const (
	refused accepted = iota // late, or seen before
	taken
	leapt // the row ends before it: pop all by force, reset, and push it again
)

func (o *order) push(it item, now time.Time) accepted {
	seq := it.p.SequenceNumber
	if !o.begun {
		o.begun, o.wire, o.next, o.top = true, seq, 0, 0
	}
	d := int64(int16(seq - o.wire))
	if d >= int64(len(o.slots)) || d <= -int64(len(o.slots)) {
		if o.odd && seq == o.bad+1 {
			return leapt
		}
		o.bad, o.odd = seq, true
		return refused
	}
	o.odd = false
	at := o.top + d
	if at < o.next {
		if at >= o.gaveFrom && at < o.gaveTo {
			o.wait = min(max(o.wait, now.Sub(o.gaveSince)*5/4), waitMost)
		}
		return refused
	}
	if at-o.next >= int64(len(o.slots)) {
		return leapt
	}
	slot := &o.slots[at%int64(len(o.slots))]
	if slot.p != nil {
		return refused
	}
	*slot = it
	o.count++
	if d > 0 {
		o.top, o.wire = at, seq
	}
	return taken
}

// reset begins a new row; what late packets take is remembered.
func (o *order) reset() {
	clear(o.slots)
	*o = order{slots: o.slots, wait: o.wait}
}

// pop hands out the next packet if it is its turn, and says how many before it
// never came. force gives up holes at once.
func (o *order) pop(now time.Time, force bool) (it item, lost int, ok bool) {
	if o.count == 0 {
		return it, 0, false
	}
	size := int64(len(o.slots))
	if o.slots[o.next%size].p == nil {
		if o.since.IsZero() {
			o.since = now
		}
		if !force && now.Sub(o.since) < o.wait {
			return it, 0, false
		}
		o.gaveFrom, o.gaveSince = o.next, o.since
		for o.slots[o.next%size].p == nil {
			o.next++
			lost++
		}
		o.gaveTo = o.next
		o.wait = max(o.wait-o.wait/8, waitLeast)
	}
	slot := &o.slots[o.next%size]
	it, *slot = *slot, item{}
	o.next++
	o.count--
	o.since = time.Time{}
	return it, lost, true
}

// due is when a hole is given up, zero if nothing waits.
func (o *order) due() time.Time {
	if o.count == 0 || o.since.IsZero() {
		return time.Time{}
	}
	return o.since.Add(o.wait)
}

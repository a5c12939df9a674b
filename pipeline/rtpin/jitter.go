package rtpin

import (
	"math/bits"
	"time"
)

// Bounds of what waits behind a hole.
const (
	jitterPackets = 1024 // a power of two
	jitterBytes   = 2 << 20
	jitterInitial = 64
	// latePeakHalf is the time in which the memory of late packets halves.
	latePeakHalf = 10 * time.Second
)

// jitterBuffer puts packets in order. A packet in order goes straight through:
// only behind a hole is anything held, for a time between lo and hi that
// follows how late overtaken packets were seen to come. Bounded in packets and
// bytes; when full, the hole is given up.
type jitterBuffer struct {
	lo, hi time.Duration
	jitter time.Duration // of the track, RFC 3550 section 6.4.1; kept up to date by the owner

	slots   []jitterSlot // ring by sequence number
	next    int64        // the packet to be handed out next
	highest int64
	count   int
	bytes   int
	started bool
	history uint64 // bit i: packet next-1-i was received

	// prime makes the very first packet wait, for lo, for those it may have
	// overtaken: they would be the head of the first key frame.
	prime   bool
	priming bool

	epoch    uint64 // of the packet handed out last
	hole     bool
	since    time.Duration // when the hole was first seen
	latePeak time.Duration // how late overtaken packets come
	peakAt   time.Duration

	stats jitterStats
}

type jitterStats struct{ lost, late, duplicates, reordered uint64 }

type jitterSlot struct {
	arrived
	full bool
}

// push takes a packet. It reports false when the packet is further ahead than
// the buffer reaches: pop with force until empty, then skip, then push again.
func (b *jitterBuffer) push(a arrived) bool {
	if !b.started {
		b.started, b.next, b.highest = true, a.seq, a.seq-1
		b.slots = make([]jitterSlot, jitterInitial)
		b.priming, b.since, b.epoch = b.prime, a.at, a.epoch
	}
	if b.priming && a.seq < b.next && b.highest-a.seq < jitterPackets {
		b.next = a.seq
		for b.highest-b.next >= int64(len(b.slots)) {
			b.grow()
		}
	}
	if a.seq < b.next {
		b.behind(a)
		return true
	}
	if a.seq-b.next >= jitterPackets || b.count > 0 && b.bytes+len(a.p.Payload) > jitterBytes {
		return false
	}
	for a.seq-b.next >= int64(len(b.slots)) {
		b.grow()
	}
	s := b.slot(a.seq)
	if s.full {
		b.stats.duplicates++
		return true
	}
	if a.seq < b.highest {
		b.stats.reordered++
		if b.hole {
			b.sawLate(a.at-b.since, a.at)
		}
	}
	b.highest = max(b.highest, a.seq)
	*s = jitterSlot{a, true}
	b.count++
	b.bytes += len(a.p.Payload)
	if a.seq > b.next && !b.hole && !b.slot(b.next).full {
		b.hole, b.since = true, a.at
	}
	return true
}

// behind counts a packet whose turn is over.
func (b *jitterBuffer) behind(a arrived) {
	if d := b.next - 1 - a.seq; d < 64 {
		if b.history&(1<<d) != 0 {
			b.stats.duplicates++
			return
		}
		b.history |= 1 << d
		b.sawLate(b.delay(a.at)+b.lo/2, a.at)
	}
	b.stats.late++
}

// pop hands out the next packet. lost is the number of packets directly before
// it that never came. When nothing is due, next says when the hole is given up
// (0: not before another push). force gives holes up at once.
func (b *jitterBuffer) pop(now time.Duration, force bool) (a arrived, lost int64, next time.Duration, ok bool) {
	if b.count == 0 {
		return arrived{}, 0, 0, false
	}
	if due := b.since + b.lo; b.priming && !force && now < due {
		return arrived{}, 0, due, false
	} else if b.priming {
		b.priming = false
		if b.hole {
			b.since = b.firstBehind()
		}
	}
	s := b.slot(b.next)
	if !s.full {
		if due := b.since + b.delay(now); !force && now < due {
			return arrived{}, 0, due, false
		}
		for !s.full {
			lost++
			s = b.slot(b.next + lost)
		}
		b.shift(lost)
		if s.epoch == b.epoch { // between two numberings nothing can be counted
			b.stats.lost += uint64(lost)
		}
	}
	a = s.arrived
	b.epoch = a.epoch
	*s = jitterSlot{}
	b.count--
	b.bytes -= len(a.p.Payload)
	b.shift(1)
	b.history |= 1
	b.hole = b.count > 0 && !b.slot(b.next).full
	if b.hole {
		b.since = b.firstBehind()
	}
	return a, lost, 0, true
}

// skip gives up everything before seq; the buffer must be empty.
func (b *jitterBuffer) skip(seq int64) (lost int64) {
	lost = max(seq-b.next, 0)
	b.shift(lost)
	b.stats.lost += uint64(lost)
	b.highest = max(b.highest, b.next-1)
	return lost
}

// delay is how long a hole is waited for: well beyond the usual jitter, and
// beyond what overtaken packets needed lately.
func (b *jitterBuffer) delay(now time.Duration) time.Duration {
	return min(max(b.peak(now)*5/4, 4*b.jitter, b.lo), b.hi)
}

func (b *jitterBuffer) sawLate(by, now time.Duration) {
	if by > b.peak(now) {
		b.latePeak, b.peakAt = by, now
	}
}

func (b *jitterBuffer) peak(now time.Duration) time.Duration {
	n := (now - b.peakAt) / latePeakHalf
	return b.latePeak >> min(max(n, 0), 63)
}

// firstBehind is when the first of the held packets arrived.
func (b *jitterBuffer) firstBehind() time.Duration {
	first := noOffset
	for seq := b.next + 1; seq <= b.highest; seq++ {
		if s := b.slot(seq); s.full {
			first = min(first, s.at)
		}
	}
	return first
}

func (b *jitterBuffer) shift(n int64) {
	b.next += n
	if n >= 64 {
		b.history = 0
	} else {
		b.history <<= uint(n)
	}
}

func (b *jitterBuffer) slot(seq int64) *jitterSlot { return &b.slots[seq&int64(len(b.slots)-1)] }

func (b *jitterBuffer) grow() {
	old := b.slots
	b.slots = make([]jitterSlot, 1<<bits.Len(uint(len(old))))
	for _, s := range old {
		if s.full {
			*b.slot(s.seq) = s
		}
	}
}

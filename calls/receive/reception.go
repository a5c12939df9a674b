// Package receive is what every receiver of RTP needs whatever brings the
// packets: memory for them, and the counts that reports are made of.
package receive

import (
	"time"

	"github.com/pion/rtcp"
)

// Bounds of RFC 3550 appendix A.1.
const (
	maxDropout  = 3000
	maxMisorder = 100
)

// Reception counts what one remote source sends: RFC 3550 appendices A.1, A.3
// and A.8. Passive; the owner holds its lock.
type Reception struct {
	// SSRC is that of the newest packet, once Started.
	SSRC    uint32
	Started bool
	clock   int

	baseSeq, maxSeq uint16
	cycles          uint32
	badSeq          uint32
	received        uint32
	expectedPrior   uint32
	receivedPrior   uint32

	transit int64 // in clock units
	first   time.Time
	jitter  float64

	lastSR   uint32    // middle 32 bits of the last sender report's NTP time
	lastSRAt time.Time // its arrival

	lostBefore int64 // of sources that came before this one
}

// Push counts a packet. A new SSRC starts a new count.
func (r *Reception) Push(ssrc uint32, seq uint16, ts uint32, clock int, now time.Time) {
	if !r.Started || ssrc != r.SSRC {
		r.restart(ssrc, seq, clock, now)
	}
	r.sequence(seq)
	r.received++
	arrival := int64(float64(now.Sub(r.first)) / float64(time.Second) * float64(clock))
	transit := int64(int32(uint32(arrival) - ts))
	if r.received > 1 {
		d := int64(int32(uint32(transit - r.transit)))
		if d < 0 {
			d = -d
		}
		r.jitter += (float64(d) - r.jitter) / 16
	}
	r.transit = transit
}

func (r *Reception) restart(ssrc uint32, seq uint16, clock int, now time.Time) {
	lost := r.lostBefore
	if r.Started {
		lost = r.Lost()
	}
	*r = Reception{SSRC: ssrc, Started: true, clock: clock, baseSeq: seq, maxSeq: seq, badSeq: 1 << 16, first: now, lostBefore: lost}
}

// sequence is update_seq of appendix A.1 without the probation, which the
// receiver does in its own way, if at all.
func (r *Reception) sequence(seq uint16) {
	switch delta := seq - r.maxSeq; {
	case delta < maxDropout:
		if seq < r.maxSeq {
			r.cycles += 1 << 16
		}
		r.maxSeq = seq
	case uint32(delta) <= 1<<16-maxMisorder:
		if uint32(seq) == r.badSeq { // two in a row: the sender restarted
			r.lostBefore = r.Lost()
			r.baseSeq, r.maxSeq, r.cycles, r.badSeq = seq, seq, 0, 1<<16
			r.received, r.receivedPrior, r.expectedPrior = 0, 0, 0
		} else {
			r.badSeq = uint32(seq + 1)
		}
	}
}

func (r *Reception) extended() uint32 { return r.cycles + uint32(r.maxSeq) }
func (r *Reception) expected() uint32 { return r.extended() - uint32(r.baseSeq) + 1 }

// Lost is the cumulative loss; duplicates can make it negative (RFC 3550 section 6.4.1).
func (r *Reception) Lost() int64 {
	if !r.Started {
		return r.lostBefore
	}
	return r.lostBefore + int64(r.expected()) - int64(r.received)
}

// JitterMS is the interarrival jitter in milliseconds.
func (r *Reception) JitterMS() float64 {
	if r.clock == 0 {
		return 0
	}
	return r.jitter * 1000 / float64(r.clock)
}

// SenderReport takes note of a sender report that came at a time.
func (r *Reception) SenderReport(ntp uint64, now time.Time) {
	r.lastSR, r.lastSRAt = uint32(ntp>>16), now
}

// Report is the block for the next RR or SR; ok is false before any packet.
func (r *Reception) Report(now time.Time) (rr rtcp.ReceptionReport, ok bool) {
	if !r.Started {
		return rr, false
	}
	expected := r.expected()
	expectedInterval := expected - r.expectedPrior
	lostInterval := int64(expectedInterval) - int64(r.received-r.receivedPrior)
	r.expectedPrior, r.receivedPrior = expected, r.received
	rr = rtcp.ReceptionReport{
		SSRC: r.SSRC,
		// pion writes 24 bits; clamp as appendix A.3 does.
		TotalLost:          uint32(min(max(int64(expected)-int64(r.received), 0), 0x7fffff)),
		LastSequenceNumber: r.extended(),
		Jitter:             uint32(r.jitter),
	}
	if expectedInterval > 0 && lostInterval > 0 {
		rr.FractionLost = uint8(min(lostInterval*256/int64(expectedInterval), 255))
	}
	if r.lastSR != 0 {
		rr.LastSenderReport = r.lastSR
		rr.Delay = uint32(now.Sub(r.lastSRAt) * 65536 / time.Second)
	}
	return rr, true
}

// NTP is a moment in the 64-bit format of reports (RFC 3550 section 4).
func NTP(t time.Time) uint64 {
	const epoch = 2208988800 // seconds from 1900 to 1970
	return uint64(t.Unix()+epoch)<<32 | uint64(t.Nanosecond())<<32/1e9
}

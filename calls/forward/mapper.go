// Package forward gives the packets of one RTP stream their place in another:
// the arithmetic behind leg.Forwarder. It is passive, and knows no socket.
package forward

import (
	"time"

	"github.com/pion/rtp"
)

const (
	// aheadMax is how far ahead a sequence number may be and still belong to the
	// row (MAX_DROPOUT of RFC 3550 appendix A.1), lateMax how far behind: a second
	// and more of video, for what is sent again.
	aheadMax = 3000
	lateMax  = 1000
	// echoTime is how long packets of the SSRC before may still come.
	echoTime = 500 * time.Millisecond
)

// Verdict is what becomes of a packet.
type Verdict uint8

// The verdicts.
const (
	Drop     Verdict = iota // it cannot be sent under any number
	Continue                // Place gives it its numbers
	Begin                   // a new row: Begin, then Place
)

// Mapper maps rows of packets of other streams on one outgoing stream. Within a
// row, sequence numbers and timestamps keep their distances, so that order,
// losses and late packets look as they did at the source. A row ends with a
// change of the SSRC, with a restart of the source's numbers, or with End, when
// something else is sent. The owner holds a lock or is one goroutine.
type Mapper struct {
	live    bool
	fresh   bool // nothing was sent before the row
	ssrc    uint32
	prev    uint32 // the SSRC before
	changed time.Time

	seq uint16 // added to the source's numbers
	ts  uint32 // added to its timestamps
	top uint16 // highest number of the source
	run uint64 // by how much it is above the first one
	bad uint16 // a number from elsewhere; the one after it shows a restart
	odd bool   // bad is set

	topTS uint32 // our timestamp of the packet with the highest number
	topAt time.Time
	step  uint32 // between the newest packets with different timestamps

	rel relation
}

// Live says that a row is under way.
func (m *Mapper) Live() bool { return m.live }

// End ends the row: the next packet begins another one.
func (m *Mapper) End() { m.live = false }

// Look says what a packet is.
func (m *Mapper) Look(h *rtp.Header, now time.Time) Verdict {
	if !m.live {
		return Begin
	}
	if h.SSRC != m.ssrc {
		if h.SSRC == m.prev && now.Sub(m.changed) < echoTime {
			return Drop
		}
		return Begin
	}
	d := int(int16(h.SequenceNumber - m.top))
	if d >= aheadMax || d < -lateMax { // RFC 3550 appendix A.1: believed when two in a row say so
		if m.odd && h.SequenceNumber == m.bad+1 {
			return Begin
		}
		m.bad, m.odd = h.SequenceNumber, true
		return Drop
	}
	m.odd = false
	if d < 0 && uint64(-d) > m.run && !m.fresh {
		return Drop // its number has been given to something else
	}
	return Continue
}

// Begin starts a row whose first packet has these numbers in our stream. fresh
// says that our stream is empty so far, so that packets which h has overtaken
// can be sent.
func (m *Mapper) Begin(h *rtp.Header, seq uint16, ts uint32, fresh bool, now time.Time) {
	if h.SSRC != m.ssrc {
		m.prev, m.changed = m.ssrc, now
	}
	m.live, m.fresh, m.ssrc, m.odd = true, fresh, h.SSRC, false
	m.seq, m.ts = seq-h.SequenceNumber, ts-h.Timestamp
	m.top, m.run, m.topTS, m.topAt, m.step = h.SequenceNumber, 0, ts, now, 0
}

// Place gives the numbers of a packet that arrived at a time, and says whether
// it is the newest one.
func (m *Mapper) Place(h *rtp.Header, at time.Time) (seq uint16, ts uint32, newest bool) {
	seq, ts = h.SequenceNumber+m.seq, h.Timestamp+m.ts
	d := int(int16(h.SequenceNumber - m.top))
	if d < 0 {
		return seq, ts, false
	}
	if step := ts - m.topTS; d == 1 && step > 0 && step < 1<<31 {
		m.step = step
	}
	m.top, m.topTS, m.topAt = h.SequenceNumber, ts, at
	m.run += uint64(d)
	return seq, ts, true
}

// Newest is our timestamp of the newest packet of the row and when it arrived.
// step is how far the one after it is probably away, 0 if unknown.
func (m *Mapper) Newest() (ts uint32, at time.Time, step uint32) { return m.topTS, m.topAt, m.step }

package transmit

import (
	"time"

	"github.com/pion/rtp"

	"lineout/calls/forward"
)

// Forward makes the header of a packet of another leg. clock is that of its
// codec, 0 if it has none of its own. ok is false while a digit sounds, when
// nothing may be sent, and for packets whose number is taken.
func (t *Transmitter) Forward(pt uint8, clock int, sound bool, p *rtp.Packet, at, now time.Time) (h rtp.Header, ok bool) {
	if t.barred(now) {
		return h, false
	}
	v := t.row.Look(&p.Header, now)
	if v == forward.Drop {
		return h, false
	}
	begins := v == forward.Begin || clock != 0 && clock != t.clock
	if begins {
		t.leave()
		t.reclock(clock)
		t.row.Begin(&p.Header, t.Seq, t.stamp(at, 0), t.Packets == 0, now)
		t.bridge.live = false
	}
	seq, ts, newest := t.row.Place(&p.Header, at)
	h = rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, Timestamp: ts, SSRC: t.SSRC,
		Marker: p.Marker || begins && sound} // a talkspurt begins (RFC 3551 section 4.1)
	if newest {
		t.Seq = seq + 1
		if int32(ts-t.at(at)) > 0 { // those before were late, as in a burst at the beginning
			t.epoch, t.Base = at, ts
		}
	}
	t.rowAt = now
	t.count(len(p.Payload), now)
	return h, true
}

// leave ends a row of forwarded packets: what follows goes on where it was, by
// the clock.
func (t *Transmitter) leave() {
	if !t.row.Live() {
		return
	}
	ts, at, step := t.row.Newest()
	if most := uint32(t.clock / 8); step == 0 || step > most { // no packet is longer than 120 ms
		step = uint32(t.clock / 50)
	}
	t.epoch, t.Base = at, ts
	t.until, t.nextTS = at.Add(time.Duration(step)*time.Second/time.Duration(t.clock)), ts+step
	t.row.End()
	t.reclock(t.own)
}

// reclock goes on with timestamps of another clock rate (RFC 7160 section 4.1).
func (t *Transmitter) reclock(clock int) {
	if clock == 0 || clock == t.clock {
		return
	}
	t.Base, t.epoch, t.clock = t.nextTS, t.until, clock
}

// Relation is what a sender report says: a timestamp, and the moment it stands for.
func (t *Transmitter) Relation(now time.Time) (ts uint32, at time.Time) {
	if ts, at, ok := t.row.Relation(now, t.clock); ok {
		return ts, at
	}
	return t.at(now), now
}

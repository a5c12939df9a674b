package sip

import (
	"errors"
	"fmt"
	"time"

	"github.com/pion/rtp"

	"lineout/calls/forward"
	"lineout/calls/leg"
	"lineout/media"
)

var (
	errNotAgreed = errors.New("the other side has not agreed to this payload type")
	errTooLong   = errors.New("a packet of another leg does not fit into a datagram of 1500 bytes")
)

var _ leg.Forwarder = (*session)(nil)

// ForwardRTP implements leg.Forwarder. Comfort silence pauses for it.
func (m *session) ForwardRTP(k media.Kind, payloadType uint8, p *rtp.Packet, at time.Time) error {
	if m.ended.Load() {
		return leg.ErrEnded
	}
	s := m.section(k)
	if s == nil {
		return errNoSection[k&3]
	}
	buf, _ := m.buffers.Get().(*[1500]byte) // pooled: no allocation per packet
	if buf == nil {
		buf = new([1500]byte)
	}
	defer m.buffers.Put(buf)
	if len(p.Payload) > len(buf)-rtpHeader-srtpTail {
		return errTooLong
	}
	s.mu.Lock()
	to := s.latch.remote()
	if !s.active || !to.IsValid() {
		s.mu.Unlock()
		return nil
	}
	pl := s.agreed.byPT[payloadType&0x7f]
	if pl.codec == "" {
		s.mu.Unlock()
		return errNotAgreed
	}
	clock := pl.clock
	if pl.event || pl.codec == comfortNoise { // they travel on the timestamps of the sound
		clock = 0
	}
	h, ok := s.tx.forwarded(payloadType, clock, k == media.Audio, p, at, time.Now())
	s.mu.Unlock()
	if !ok {
		return nil
	}
	n, err := h.MarshalTo(buf[:])
	if err != nil {
		return fmt.Errorf("making an RTP header: %w", err)
	}
	n += copy(buf[n:], p.Payload)
	return m.ignoreUnreachable(m.sendRTP(s, buf[:n], to))
}

// srtpTail is the room for what encryption appends, at most.
const srtpTail = 16

var errNoSection = [4]error{media.Audio: errors.New("the call has no audio section"), media.Video: errors.New("the call has no video section")}

// ForwardReport implements leg.Forwarder.
func (m *session) ForwardReport(k media.Kind, ssrc uint32, ntp uint64, timestamp uint32) {
	s := m.section(k)
	if s == nil {
		return
	}
	at := m.source.Ours(ntp, time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx.row.Report(ssrc, timestamp, at)
}

// forwarded makes the header of a packet of another leg. clock is that of its
// codec, 0 if it has none of its own. ok is false while a digit sounds, when
// nothing may be sent, and for packets whose number is taken.
func (t *transmitter) forwarded(pt uint8, clock int, sound bool, p *rtp.Packet, at, now time.Time) (h rtp.Header, ok bool) {
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
		t.row.Begin(&p.Header, t.seq, t.stamp(at, 0), t.packets == 0, now)
		t.bridge.live = false
	}
	seq, ts, newest := t.row.Place(&p.Header, at)
	h = rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, Timestamp: ts, SSRC: t.ssrc,
		Marker: p.Marker || begins && sound} // a talkspurt begins (RFC 3551 section 4.1)
	if newest {
		t.seq = seq + 1
	}
	t.rowAt = now
	t.count(len(p.Payload), now)
	return h, true
}

// leave ends a row of forwarded packets: what follows goes on where it was, by
// the clock.
func (t *transmitter) leave() {
	if !t.row.Live() {
		return
	}
	ts, at, step := t.row.Newest()
	if most := uint32(t.clock / 8); step == 0 || step > most { // no packet is longer than 120 ms
		step = uint32(t.clock / 50)
	}
	t.epoch, t.base = at, ts
	t.until, t.nextTS = at.Add(time.Duration(step)*time.Second/time.Duration(t.clock)), ts+step
	t.row.End()
	t.reclock(t.own)
}

// reclock goes on with timestamps of another clock rate (RFC 7160 section 4.1).
func (t *transmitter) reclock(clock int) {
	if clock == 0 || clock == t.clock {
		return
	}
	t.base, t.epoch, t.clock = t.nextTS, t.until, clock
}

// relation is what a sender report says: a timestamp, and the moment it stands for.
func (t *transmitter) relation(now time.Time) (ts uint32, at time.Time) {
	if ts, at, ok := t.row.Relation(now, t.clock); ok {
		return ts, at
	}
	return t.at(now), now
}

package sip

import (
	"errors"
	"fmt"
	"time"

	"github.com/pion/rtp"

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
	h, ok := s.tx.Forward(payloadType, clock, k == media.Audio, p, at, time.Now())
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
	s.tx.Report(ssrc, timestamp, at)
}

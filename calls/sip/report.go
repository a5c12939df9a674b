package sip

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/pion/rtcp"

	"lineout/calls/receive"
)

// RFC 3550 section 6.2: at least 5 s apart on average, each interval drawn
// between half and one and a half of that and divided by e-3/2; the first one
// after half the time. A call has two members, so the minimum always rules.
const (
	rtcpMinimum      = 5 * time.Second
	rtcpFirstMinimum = time.Second // early, so that the peer has SR and RR soon
	rtcpCompensation = 2.71828 - 1.5
)

func rtcpInterval(first bool) time.Duration {
	d := rtcpMinimum
	if first {
		d = rtcpFirstMinimum
	}
	return time.Duration(float64(d) * (0.5 + rand.Float64()) / rtcpCompensation)
}

// compound is what every control packet of ours begins with: a sender report if
// we sent lately, else a receiver report, and the canonical name (RFC 3550
// section 6.1). The caller holds the section's lock.
func (s *section) compound(now time.Time) []rtcp.Packet {
	var blocks []rtcp.ReceptionReport
	if b, ok := s.rx.Report(now); ok {
		blocks = append(blocks, b)
	}
	var head rtcp.Packet = &rtcp.ReceiverReport{SSRC: s.tx.SSRC, Reports: blocks}
	if !s.tx.LastSent.IsZero() && now.Sub(s.tx.LastSent) < 2*rtcpMinimum {
		ts, at := s.tx.Relation(now)
		head = &rtcp.SenderReport{
			SSRC: s.tx.SSRC, NTPTime: receive.NTP(at),
			RTPTime:     ts,
			PacketCount: uint32(s.tx.Packets), OctetCount: uint32(s.tx.Octets),
			Reports: blocks,
		}
	}
	return []rtcp.Packet{head, &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
		Source: s.tx.SSRC,
		Items:  []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: s.cname}},
	}}}}
}

// report returns the periodic compound packet if it is due.
func (s *section) report(now time.Time) ([]byte, netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.rtcpTo()
	if !s.active || s.rtcpAt.IsZero() || now.Before(s.rtcpAt) {
		return nil, to
	}
	s.rtcpFirst = false
	s.rtcpAt = now.Add(rtcpInterval(false))
	if !to.IsValid() {
		return nil, to
	}
	return encode(s.compound(now)), to
}

// farewell is the compound packet with BYE (RFC 3550 section 6.6).
func (s *section) farewell(now time.Time) ([]byte, netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.rtcpTo()
	if !s.active || !to.IsValid() || s.rtcpFirst && s.tx.Packets == 0 {
		return nil, to // never took part: RFC 3550 section 6.3.7 forbids BYE
	}
	return encode(append(s.compound(now), &rtcp.Goodbye{Sources: []uint32{s.tx.SSRC}})), to
}

// keyframeRequest asks by PLI (RFC 4585 section 6.3.1) or FIR (RFC 5104
// section 4.3.1, media SSRC 0). Without a known SSRC it is remembered and sent
// with the first packet received.
func (s *section) keyframeRequest(w way, now time.Time) ([]byte, netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.rtcpTo()
	if !s.active || !to.IsValid() {
		return nil, to
	}
	ssrc := s.sdpSSRC
	if s.rx.Started {
		ssrc = s.rx.SSRC
	}
	if ssrc == 0 {
		s.wantKey = w
		return nil, to
	}
	s.wantKey = 0
	if !s.rx.Started { // the SDP may lie: ask again when media comes
		s.wantKey = w
	}
	var ask rtcp.Packet = &rtcp.PictureLossIndication{SenderSSRC: s.tx.SSRC, MediaSSRC: ssrc}
	if w == byFIR {
		s.fir++
		ask = &rtcp.FullIntraRequest{SenderSSRC: s.tx.SSRC, FIR: []rtcp.FIREntry{{SSRC: ssrc, SequenceNumber: s.fir}}}
	}
	return encode(append(s.compound(now), ask)), to
}

func (s *section) countKeyframe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keyframes++
}

func encode(p []rtcp.Packet) []byte {
	b, err := rtcp.Marshal(p)
	if err != nil {
		return nil // only a cname longer than 255 bytes could do it, and Call-ID is bounded
	}
	return b
}

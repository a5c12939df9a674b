package rtc

import (
	"encoding/binary"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/calls/leg"
	"lineout/calls/receive"
	"lineout/media"
)

// maxSources bounds the SSRCs of one browser, which has one per section and
// takes another when a page replaces its track.
const maxSources = 64

// reader is the state of the goroutine that reads for a peer.
type reader struct {
	m     *session
	slab  receive.Slab
	head  rtp.Header      // scratch
	known map[uint32]bool // SSRCs that have sent something authentic
}

// read takes what comes over a connection until that is closed, and gives DTLS
// to the pipe (RFC 7983 section 7 tells them apart; ICE has taken STUN).
func (m *session) read(conn *ice.Conn, dtls *pipe) {
	defer dtls.Close()
	r := &reader{m: m, known: map[uint32]bool{}}
	for {
		room := r.slab.Room()
		n, err := conn.Read(room)
		if err != nil {
			return
		}
		now := time.Now()
		switch b := room[:n]; {
		case n == 0 || n == len(room):
		case b[0] >= 20 && b[0] <= 63:
			_, _ = dtls.Write(b) // one too many is dropped, and sent again
		case b[0] >= 128 && b[0] <= 191 && n >= rtpHeader:
			if c := m.secured.Load(); c == nil { // media only after DTLS
			} else if b[1] >= 192 && b[1] <= 223 { // RFC 5761 section 4
				r.rtcp(c, b, now)
			} else {
				r.rtp(c, n, now)
			}
		}
	}
}

// rtp takes the packet in the first n bytes of the slab's room.
func (r *reader) rtp(c *secured, n int, now time.Time) {
	b := r.slab.Room()[:n]
	ssrc := binary.BigEndian.Uint32(b[8:])
	fresh := !r.known[ssrc]
	if fresh && len(r.known) >= maxSources {
		return
	}
	f := r.m.byPT[b[1]&0x7f]
	if f == nil { // what was not agreed on needs not be decrypted
		return
	}
	plain, err := c.open.DecryptRTP(b, b, &r.head)
	if err != nil {
		f.section.reject()
		return
	}
	if fresh {
		r.known[ssrc] = true
	}
	p := r.slab.Packet()
	if !r.describe(p, plain) {
		f.section.reject()
		return
	}
	r.count(p, now)
	pass, digit, wake := f.section.admit(p, f, n, now)
	if wake {
		r.m.wake()
	}
	if !pass {
		return
	}
	r.slab.Take(n)
	r.slab.TakePacket()
	if digit != 0 {
		r.m.peer.digit(digit)
	}
	r.m.give(leg.Packet{Kind: f.section.agreed.kind, RTP: p, At: now})
}

// describe reads a decrypted packet without its header extensions, which mean
// nothing to anybody but the two ends of this connection.
func (r *reader) describe(p *rtp.Packet, plain []byte) bool {
	n, err := r.head.Unmarshal(plain)
	if err != nil || n > len(plain) {
		return false
	}
	body := plain[n:len(plain):len(plain)]
	if r.head.Padding {
		if len(body) == 0 || int(body[len(body)-1]) > len(body) || body[len(body)-1] == 0 {
			return false
		}
		body = body[:len(body)-int(body[len(body)-1])]
	}
	*p = rtp.Packet{Header: rtp.Header{Version: 2, Marker: r.head.Marker, PayloadType: r.head.PayloadType,
		SequenceNumber: r.head.SequenceNumber, Timestamp: r.head.Timestamp, SSRC: r.head.SSRC}, Payload: body}
	return true
}

// count notes the packet's number for the browser's congestion control.
func (r *reader) count(p *rtp.Packet, now time.Time) {
	m := r.m
	if m.feedback == nil {
		return
	}
	id := m.byPT[p.PayloadType].section.agreed.twcc
	ext := r.head.GetExtension(id)
	if id == 0 || len(ext) < 2 {
		return
	}
	c := m.secured.Load()
	m.control.Lock()
	m.feedback.Record(p.SSRC, binary.BigEndian.Uint16(ext), now.Sub(c.since).Microseconds())
	m.control.Unlock()
}

func (s *section) reject() {
	s.mu.Lock()
	s.rejected++
	s.mu.Unlock()
}

// rtcp takes one compound packet and delivers its parts by kind.
func (r *reader) rtcp(c *secured, b []byte, now time.Time) {
	plain, err := c.open.DecryptRTCP(nil, b, nil)
	if err != nil {
		return
	}
	ps, err := rtcp.Unmarshal(plain)
	if err != nil {
		return
	}
	var by [3][]rtcp.Packet
	for _, p := range ps {
		for _, k := range kinds {
			if s := r.m.sections[k]; s != nil && r.m.concerns(s, p, now) {
				by[k] = append(by[k], p)
			}
		}
	}
	for _, k := range kinds {
		if len(by[k]) > 0 && !r.m.onHold(k) {
			r.m.give(leg.Packet{Kind: k, RTCP: by[k], At: now})
		}
	}
}

func (m *session) onHold(k media.Kind) bool {
	s := m.sections[k]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// concerns says whether a control packet is about a section, and does what the
// section itself has to do about it.
func (m *session) concerns(s *section, p rtcp.Packet, now time.Time) bool {
	s.mu.Lock()
	source, started := s.rx.SSRC, s.rx.Started
	s.mu.Unlock()
	reported := func(blocks []rtcp.ReceptionReport) bool {
		for i := range blocks {
			if blocks[i].SSRC == s.id.ssrc {
				return true
			}
		}
		return false
	}
	switch p := p.(type) {
	case *rtcp.SenderReport:
		if started && p.SSRC == source {
			s.mu.Lock()
			s.rx.SenderReport(p.NTPTime, now)
			s.mu.Unlock()
			return true
		}
		return reported(p.Reports)
	case *rtcp.ReceiverReport:
		return reported(p.Reports)
	case *rtcp.TransportLayerNack:
		if p.MediaSSRC == s.id.ssrc {
			m.resend(s, p, now)
		}
		return false // it is answered here
	case *rtcp.PictureLossIndication:
		return p.MediaSSRC == s.id.ssrc
	case *rtcp.FullIntraRequest:
		for _, e := range p.FIR {
			if e.SSRC == s.id.ssrc {
				return true
			}
		}
	case *rtcp.Goodbye:
		for _, g := range p.Sources {
			if started && g == source {
				return true
			}
		}
	}
	return false
}

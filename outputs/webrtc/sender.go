package webrtc

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// sender is one viewer's end of a lane: it gives the lane's packets the
// viewer's own SSRC, payload type, sequence numbers and timestamps and hands
// them straight to SRTP. It implements webrtc.TrackLocal.
type sender struct {
	kind     webrtc.RTPCodecType
	streamID string
	codec    webrtc.RTPCodecParameters
	lane     *lane

	// Set by Bind, which happens before the viewer is connected.
	write webrtc.TrackLocalWriter
	rtcp  interceptor.RTCPReader
	ssrc  uint32

	hold holdback // told with key frames

	// from is nil until the first packet is sent.
	from    atomic.Pointer[origin]
	header  rtp.Header // scratch of the attachment's goroutine
	keyed   rtp.Header // the same, for packets of key frames
	packets atomic.Uint64
	octets  atomic.Uint64
	nacks   atomic.Uint64
}

// origin maps lane numbers to the viewer's.
type origin struct {
	start uint16 // lane sequence number of the first packet sent
	seq   uint16
	ts    uint32
}

// Bind implements webrtc.TrackLocal.
func (s *sender) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	s.write, s.rtcp, s.ssrc = c.WriteStream(), c.RTCPReader(), uint32(c.SSRC())
	s.header, s.keyed = s.newHeader(false), s.newHeader(true)
	return s.codec, nil
}

// newHeader is what all packets have in common, or all those of key frames. A
// packet sent again must not differ by a bit: under AES-GCM that would give the
// key of its authentication away.
func (s *sender) newHeader(key bool) rtp.Header {
	h := rtp.Header{Version: 2, PayloadType: uint8(s.codec.PayloadType), SSRC: s.ssrc}
	if key {
		s.hold.put(&h)
	}
	return h
}

// Unbind implements webrtc.TrackLocal.
func (s *sender) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements webrtc.TrackLocal.
func (s *sender) ID() string { return s.kind.String() }

// RID implements webrtc.TrackLocal.
func (s *sender) RID() string { return "" }

// StreamID is the same for both kinds, so that a player puts them into one
// MediaStream (websdk-protocol 9).
func (s *sender) StreamID() string { return s.streamID }

// Kind implements webrtc.TrackLocal.
func (s *sender) Kind() webrtc.RTPCodecType { return s.kind }

// begin fixes the offsets at the first packet. The first sequence number is in
// the lower half, so that SRTP's rollover counter cannot be guessed wrong
// (RFC 3711 section 3.3.1).
func (s *sender) begin(first packet) *origin {
	o := &origin{start: first.seq, ts: rand.Uint32()}
	o.seq = uint16(rand.UintN(1<<15)) - first.seq
	s.from.Store(o)
	return o
}

// send writes a lane's packets. Only the attachment's goroutine calls it.
func (s *sender) send(o *origin, ps []packet) (sent int, err error) {
	octets := uint64(0)
	for i := range ps {
		p := &ps[i]
		h := &s.header
		if p.key {
			h = &s.keyed
		}
		h.Marker, h.SequenceNumber, h.Timestamp = p.marker, p.seq+o.seq, p.ts+o.ts
		if _, e := s.write.WriteRTP(h, p.payload); e != nil {
			err = e
			continue
		}
		sent++
		octets += uint64(len(p.payload))
	}
	s.packets.Add(uint64(sent))
	s.octets.Add(octets)
	return sent, err
}

// resend answers a NACK from the lane's ring with the very same packet (RFC
// 4585 section 6.2.1). budget is how many packets may go out; the rest of it
// is returned.
func (s *sender) resend(n *rtcp.TransportLayerNack, budget int) int {
	o := s.from.Load()
	if o == nil {
		return budget
	}
	plain, keyed := s.newHeader(false), s.newHeader(true)
	for _, pair := range n.Nacks {
		pair.Range(func(seq uint16) bool {
			s.nacks.Add(1)
			if budget <= 0 {
				return false
			}
			at := seq - o.seq
			if at-o.start >= 1<<15 && s.packets.Load() < 1<<15 {
				return true // from before this viewer's first packet
			}
			if p, ok := s.lane.ring.get(at); ok {
				h := &plain
				if p.key {
					h = &keyed
				}
				h.Marker, h.SequenceNumber, h.Timestamp = p.marker, seq, p.ts+o.ts
				budget--
				_, _ = s.write.WriteRTP(h, p.payload)
			}
			return true
		})
	}
	return budget
}

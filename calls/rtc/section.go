package rtc

import (
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"lineout/calls/leg"
	"lineout/calls/receive"
	"lineout/calls/transmit"
	"lineout/media"
)

// section is one media section of a connected or connecting peer, both ways.
// Its lock is held for arithmetic and encryption only.
type section struct {
	agreed *agreement
	id     identity

	mu    sync.Mutex
	tx    transmit.Transmitter
	clock int
	seal  *srtp.Context // nil until connected
	head  rtp.Header    // scratch of seal
	sent  ring          // for the browser's NACKs
	held  bool
	nacks budget

	rx                        receive.Reception
	packets, octets, rejected uint64
	keyframes                 uint64
	last                      time.Time
	lost                      losses
	wantKey                   bool // a key frame is to be asked for
	fir                       uint8
	eventTS                   uint32 // last telephone-event reported
	eventSeen                 bool
}

// start lets the section send.
func (s *section) start(seal *srtp.Context, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seal = seal
	for i, e := range s.agreed.events {
		if i == 0 || e.clock == s.agreed.formats[0].clock {
			s.tx.Events(e.pt, e.clock, true)
		}
	}
	s.configure(s.agreed.formats[0].clock, now)
}

// configure says what the clock of media of our own is, and whether it may be
// sent. The caller holds mu.
func (s *section) configure(clock int, now time.Time) {
	if s.seal == nil {
		return
	}
	s.clock = clock
	s.tx.Configure(s.agreed.formats[0].pt, clock, nil, s.agreed.send && !s.held, now)
}

// pack makes the packet as it is sent. The caller holds mu.
func (s *section) pack(buf *outBuffer, h *rtp.Header, payload []byte) ([]byte, error) {
	n, err := h.MarshalTo(buf[:])
	if err != nil {
		return nil, err
	}
	n += copy(buf[n:maxOut], payload)
	out, err := s.seal.EncryptRTP(buf[:n], buf[:n], &s.head)
	if err != nil {
		return nil, err
	}
	if s.agreed.kind == media.Video {
		s.sent.put(h.SequenceNumber, out)
	}
	return out, nil
}

// admit counts a packet of the browser. pass says whether it is to be delivered,
// digit is set when a telephone-event began.
func (s *section) admit(p *rtp.Packet, f *payload, size int, now time.Time) (pass bool, digit byte, wake bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.agreed.receive {
		s.rejected++
		return false, 0, false
	}
	first := !s.rx.Started
	s.rx.Push(p.SSRC, p.SequenceNumber, p.Timestamp, f.clock, now)
	s.packets++
	s.octets += uint64(size)
	s.last = now
	if s.agreed.kind == media.Video && s.agreed.has("nack") {
		wake = s.lost.push(p.SSRC, p.SequenceNumber, now)
	}
	wake = wake || first
	if s.held {
		return false, 0, wake
	}
	if f.event && len(p.Payload) >= 4 && (!s.eventSeen || p.Timestamp != s.eventTS) {
		s.eventSeen, s.eventTS = true, p.Timestamp
		digit = transmit.Digit(p.Payload[0])
	}
	return true, digit, wake
}

func (s *section) stats() leg.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return leg.Stats{
		Kind: s.agreed.kind, PacketsReceived: s.packets, BytesReceived: s.octets,
		PacketsLost: s.rx.Lost(), PacketsRejected: s.rejected, JitterMS: s.rx.JitterMS(),
		PacketsSent: s.tx.Packets, BytesSent: s.tx.Octets,
		LastPacket: s.last, KeyframeRequests: s.keyframes,
	}
}

package sip

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/calls/leg"
	"lineout/calls/receive"
	"lineout/calls/transmit"
	"lineout/media"
)

// section is one media section of a leg: a port pair, what was agreed for it,
// and its RTP state both ways. Its lock is held for arithmetic only, never
// while a socket is read or written.
type section struct {
	kind  media.Kind
	pair  *portPair
	cname string
	ours  []wireFormat
	guard guard
	want  bool           // we want to send (S2-24, S2-25)
	like  *leg.TrackInfo // of the leg this one is joined to, nil if none

	// events are the payload types of digits, a bit for each.
	events [2]atomic.Uint64

	// deliver keeps the callbacks of the two sockets apart: recv is promised
	// one goroutine at a time.
	deliver sync.Mutex

	mu         sync.Mutex
	active     bool // agreed and not refused
	mux        bool // RTCP goes over the port of RTP
	receive    bool
	send       bool
	held       bool // the peer put us on hold
	muted      bool // we put the peer on hold: what comes is dropped
	agreed     *agreement
	remoteRTCP netip.AddrPort // from the SDP
	rtcpSource netip.AddrPort // last accepted RTCP source
	latch      latch
	rx         receive.Reception
	tx         transmit.Transmitter
	rtcpAt     time.Time
	rtcpFirst  bool
	fir        uint8
	sdpSSRC    uint32 // of the peer, before its first packet
	wantKey    way    // a key frame was asked for before the peer's SSRC was known
	eventTS    uint32 // last telephone-event reported
	eventSeen  bool

	packets, octets, rejected, keyframes uint64
	lastPacket                           time.Time
}

// verdict is what happens to a received packet. Telephone-events and comfort
// noise pass too, though no track is made of them: a number that is left out
// would be a loss to whoever counts them.
type verdict bool

const (
	reject verdict = false
	pass   verdict = true
)

// configure takes over the outcome of an offer and answer.
func (s *section) configure(a *agreement, remoteRTP, remoteRTCP netip.AddrPort, dir direction, silence []byte, ssrc uint32, window time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active, s.agreed = true, a
	s.send, s.receive = dir.sends() && remoteRTP.IsValid(), dir.receives()
	var events [2]uint64
	for pt, pl := range a.byPT {
		if pl.event {
			events[pt>>6&1] |= 1 << (pt & 63)
		}
	}
	s.events[0].Store(events[0])
	s.events[1].Store(events[1])
	s.sdpSSRC = ssrc
	if remoteRTP.IsValid() && (remoteRTP != s.latch.expected || remoteRTCP != s.remoteRTCP) {
		s.latch.arm(remoteRTP, now, window)
		s.remoteRTCP, s.rtcpSource = remoteRTCP, netip.AddrPort{}
	}
	s.tx.Events(a.eventPT, a.event.clock, a.event.codec != "")
	s.tx.Configure(a.sendPT, a.send.clock, silence, s.send && s.want, now)
	if s.rtcpAt.IsZero() {
		s.rtcpFirst = true
		s.rtcpAt = now.Add(rtcpInterval(true))
	}
}

// controlSocket is where RTCP is sent from, and its port.
func (s *section) controlSocket() (*net.UDPConn, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mux {
		return s.pair.rtp, s.pair.port
	}
	return s.pair.rtcp, s.pair.port + 1
}

func (s *section) reject() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejected++
}

// refuse switches the section off.
func (s *section) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active, s.send, s.receive = false, false, false
	s.tx.Stop()
}

// admit judges an RTP packet and counts it. digit is set when a telephone-event began.
func (s *section) admit(p *rtp.Packet, size int, src netip.AddrPort, now time.Time) (v verdict, digit byte, askKey way) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active || s.agreed == nil {
		s.rejected++
		return reject, 0, 0
	}
	pl := s.agreed.byPT[p.PayloadType&0x7f]
	if pl.codec == "" || !s.latch.admit(src, p.SSRC, p.SequenceNumber, now) {
		s.rejected++
		return reject, 0, 0
	}
	s.rx.Push(p.SSRC, p.SequenceNumber, p.Timestamp, pl.clock, now)
	s.packets++
	s.octets += uint64(size)
	s.lastPacket = now
	if s.muted {
		return reject, 0, 0
	}
	askKey, s.wantKey = s.wantKey, 0
	if !pl.event {
		return pass, 0, askKey
	}
	if len(p.Payload) >= 4 && (!s.eventSeen || p.Timestamp != s.eventTS) {
		s.eventSeen, s.eventTS = true, p.Timestamp
		digit = transmit.Digit(p.Payload[0])
	}
	return pass, digit, askKey
}

// admitRTCP says whether control packets from src are taken: from where the
// SDP says, or from the host the media comes from.
func (s *section) admitRTCP(src netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := s.active && (src == s.remoteRTCP || src.Addr() == s.latch.remote().Addr())
	if !ok {
		s.rejected++
		return false
	}
	s.rtcpSource = src
	return true
}

// control takes what the section itself needs from control packets.
func (s *section) control(pkts []rtcp.Packet, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pkts {
		if sr, ok := p.(*rtcp.SenderReport); ok && (!s.rx.Started || sr.SSRC == s.rx.SSRC) {
			s.rx.SenderReport(sr.NTPTime, now)
		}
	}
}

// rtcpTo is where control packets go: where the SDP says, or, when the peer's
// media comes from elsewhere, symmetrically to where its own come from.
func (s *section) rtcpTo() netip.AddrPort {
	if !s.latch.moved() {
		return s.remoteRTCP
	}
	if s.rtcpSource.IsValid() {
		return s.rtcpSource
	}
	r := s.latch.source
	return netip.AddrPortFrom(r.Addr(), r.Port()+1)
}

func (s *section) isActive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

func (s *section) info() (leg.TrackInfo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active || s.agreed == nil {
		return leg.TrackInfo{}, false
	}
	return s.agreed.track(s.kind, s.receive, s.send && s.want), true
}

func (s *section) stats(local string) leg.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := leg.Stats{
		Kind: s.kind, Local: local,
		PacketsReceived: s.packets, BytesReceived: s.octets,
		PacketsLost: s.rx.Lost(), PacketsRejected: s.rejected, JitterMS: s.rx.JitterMS(),
		PacketsSent: s.tx.Packets, BytesSent: s.tx.Octets,
		LastPacket: s.lastPacket, KeyframeRequests: s.keyframes,
	}
	if r := s.latch.remote(); r.IsValid() {
		st.Remote = r.String()
	}
	return st
}

// poll appends nothing and sends nothing: it returns the next packet of our
// own that is due, encoded into buf, and where it goes.
func (s *section) poll(now time.Time, buf []byte) (n int, to netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to = s.latch.remote()
	if !s.active || !to.IsValid() || len(buf) < 512 {
		return 0, to
	}
	h, payload, ok := s.tx.Next(now, buf[len(buf)-4:])
	if !ok {
		return 0, to
	}
	n, err := h.MarshalTo(buf)
	if err != nil || n+len(payload) > len(buf) {
		return 0, to
	}
	return n + copy(buf[n:], payload), to
}

// due is when poll or report has something; zero for never.
func (s *section) due() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return time.Time{}
	}
	at := s.tx.Due()
	if at.IsZero() || !s.rtcpAt.IsZero() && s.rtcpAt.Before(at) {
		at = s.rtcpAt
	}
	return at
}

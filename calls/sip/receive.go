package sip

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/calls/leg"
)

const (
	slabSize  = 64 << 10
	maxPacket = 4 << 10 // larger datagrams are refused: no RTP sender makes them
	batch     = 64      // rtp.Packet structs allocated at once
)

// slab hands out memory for packets: pieces of a large buffer, never reused, so
// that whoever holds a packet holds it for good and the collector frees a slab
// when its last packet goes. One goroutine uses it.
type slab struct {
	buf     []byte
	packets []rtp.Packet
}

// room is where the next datagram is read to; it stays the same until taken.
func (b *slab) room() []byte {
	if len(b.buf) < maxPacket {
		b.buf = make([]byte, slabSize)
	}
	return b.buf[:maxPacket]
}

// take marks the first n bytes of room as used.
func (b *slab) take(n int) []byte {
	p := b.buf[:n:n]
	b.buf = b.buf[n:]
	return p
}

func (b *slab) packet() *rtp.Packet {
	if len(b.packets) == 0 {
		b.packets = make([]rtp.Packet, batch)
	}
	return &b.packets[0]
}

func (b *slab) takePacket() { b.packets = b.packets[1:] }

// isRTCP tells control packets from media on one socket (RFC 5761 section 4).
func isRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }

func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// readDone says that a reader should end, and with which error.
func readDone(err error) (done bool, out error) {
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	case isRefused(err): // an ICMP error about something we sent
		return false, nil
	}
	return true, err
}

// readRTP delivers a section's media until the socket closes or its deadline passes.
func (m *session) readRTP(s *section, recv func(leg.Packet)) error {
	var b slab
	for {
		room := b.room()
		n, src, err := s.pair.rtp.ReadFromUDPAddrPort(room)
		now := time.Now()
		if err != nil {
			if done, err := readDone(err); done {
				return err
			}
			continue
		}
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		if isRTCP(room[:n]) { // rtcp-mux without having agreed on it
			m.control(s, room[:n], src, now, recv)
			continue
		}
		m.media(s, &b, n, src, now, recv)
	}
}

// media takes one datagram of n bytes that lies in b's room.
func (m *session) media(s *section, b *slab, n int, src netip.AddrPort, now time.Time, recv func(leg.Packet)) {
	p := b.packet()
	*p = rtp.Packet{}
	if n >= maxPacket || n < 12 || b.buf[0]>>6 != 2 {
		s.reject()
		return
	}
	plain, err := s.guard.open(b.buf[:n], false) // before anything is believed
	if n = len(plain); err != nil || p.Unmarshal(b.buf[:n:n]) != nil {
		s.reject()
		return
	}
	v, digit, askKey := s.admit(p, n, src, now)
	m.trace.Received(s.kind, false, s.pair.port, src, b.buf[:n], now, v == reject)
	if v == reject {
		return
	}
	if askKey != 0 {
		if out, to := s.keyframeRequest(askKey, now); out != nil {
			m.sendRTCP(s, out, to)
		}
	}
	if digit != 0 {
		m.digit(string(digit))
	}
	b.take(n)
	b.takePacket()
	s.deliver.Lock()
	recv(leg.Packet{Kind: s.kind, RTP: p, At: now})
	s.deliver.Unlock()
}

// readRTCP delivers a section's control packets.
func (m *session) readRTCP(s *section, recv func(leg.Packet)) error {
	buf := make([]byte, maxPacket)
	for {
		n, src, err := s.pair.rtcp.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if err != nil {
			if done, err := readDone(err); done {
				return err
			}
			continue
		}
		if !isRTCP(buf[:n]) {
			continue
		}
		m.control(s, buf[:n], netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), now, recv)
	}
}

// control takes one compound packet. It is copied only after its source was
// accepted.
func (m *session) control(s *section, b []byte, src netip.AddrPort, now time.Time, recv func(leg.Packet)) {
	if len(b) >= maxPacket {
		return
	}
	b, err := s.guard.open(b, true)
	if err != nil {
		s.reject()
		return
	}
	if !s.admitRTCP(src) {
		return
	}
	_, port := s.controlSocket()
	m.trace.Received(s.kind, true, port, src, b, now, false)
	pkts, err := rtcp.Unmarshal(append([]byte(nil), b...))
	if err != nil {
		s.reject()
		return
	}
	s.control(pkts, now)
	s.deliver.Lock()
	recv(leg.Packet{Kind: s.kind, RTCP: pkts, At: now})
	s.deliver.Unlock()
}

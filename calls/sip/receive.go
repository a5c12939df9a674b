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
	"lineout/calls/receive"
	"lineout/calls/trace"
)

// maxPacket bounds datagrams: no RTP sender makes larger ones.
const maxPacket = receive.MaxPacket

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
	var b receive.Slab
	for {
		room := b.Room()
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
func (m *session) media(s *section, b *receive.Slab, n int, src netip.AddrPort, now time.Time, recv func(leg.Packet)) {
	room := b.Room()
	p := b.Packet()
	*p = rtp.Packet{}
	if n >= maxPacket || n < 12 || room[0]>>6 != 2 {
		s.reject()
		return
	}
	plain, err := s.guard.open(room[:n], false) // before anything is believed
	if n = len(plain); err != nil || p.Unmarshal(room[:n:n]) != nil {
		s.reject()
		return
	}
	v, digit, askKey := s.admit(p, n, src, now)
	m.trace.Received(s.kind, false, s.pair.port, src, room[:n], now, v == reject, m.content(s, p.PayloadType))
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
	b.Take(n)
	b.TakePacket()
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
	m.trace.Received(s.kind, true, port, src, b, now, false, trace.Plain)
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

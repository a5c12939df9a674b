package sip

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// messageTime is how long the rest of a message may take after its first byte.
	messageTime = 10 * time.Second
	// idleTime is how long a connection without traffic stays open that no call
	// and no registration needs.
	idleTime = 2 * time.Minute
	// writeTime bounds a write to a peer that does not read.
	writeTime = 5 * time.Second
	// pongTime is how long a peer that has answered pings before may take for
	// it (RFC 5626 section 4.4.1).
	pongTime = 10 * time.Second
)

// stream is a TCP or TLS connection as sipgo sees it: a net.Conn that gives
// whole messages only, answers pings by itself, and ends with an error when the
// peer breaks a bound.
type stream struct {
	net.Conn
	of     *streams
	to     hop
	local  netip.AddrPort
	dialed bool
	ready  chan struct{} // closed when sipgo knows it and reads
	once   sync.Once
	closed chan struct{}
	ending sync.Once

	// Of the reading goroutine.
	framer framer
	rest   []byte // of a message that did not fit into sipgo's buffer
	began  time.Time

	mu    sync.Mutex
	heard time.Time // last bytes from the peer
	pulse pulse
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	s.once.Do(func() { close(s.ready) })
	for len(s.rest) == 0 {
		message, ping, pong, err := s.framer.next()
		if err != nil {
			s.of.log.Info("SIP connection is closed: what comes over it is not SIP for this server", "peer", s.to.String(), "error", err)
			s.Close()
			return 0, net.ErrClosed
		}
		if pong || ping {
			s.mu.Lock()
			s.pulse.pong()
			s.mu.Unlock()
		}
		if ping && s.of.admit(s.to.addr.Addr(), time.Now()) {
			if _, err := s.Write([]byte("\r\n")); err != nil {
				return 0, err
			}
		}
		if message != nil {
			s.began = time.Time{}
			if s.of.admit(s.to.addr.Addr(), time.Now()) {
				s.of.told(false, s.local, s.to.addr, message)
				s.rest = message
			}
			continue
		}
		if err := s.fill(); err != nil {
			s.Close()
			return 0, net.ErrClosed
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// fill reads more. A message that has begun must end in time, so that nobody
// holds a connection by sending a byte now and then.
func (s *stream) fill() error {
	now := time.Now()
	var deadline time.Time
	if s.framer.partial() {
		if s.began.IsZero() {
			s.began = now
		}
		deadline = s.began.Add(messageTime)
	}
	if err := s.Conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	n, err := s.Conn.Read(s.framer.room())
	s.framer.took(n)
	s.mu.Lock()
	s.heard = time.Now()
	s.mu.Unlock()
	if n > 0 {
		return nil
	}
	return err
}

// Write implements net.Conn. A message that is cut off would leave the stream
// without a way to go on, so any error ends the connection.
func (s *stream) Write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	if len(b) > 4 {
		s.of.told(true, s.local, s.to.addr, b)
	}
	n, err := s.Conn.Write(b)
	if err != nil {
		s.Close()
		return n, fmt.Errorf("writing to %v: %w", s.to, err)
	}
	return n, nil
}

// Close implements net.Conn; it may be called more than once.
func (s *stream) Close() error {
	var err error
	s.ending.Do(func() {
		close(s.closed)
		s.of.drop(s)
		if t, ok := s.Conn.(*tls.Conn); ok {
			err = t.NetConn().Close() // without a goodbye, which could block
			return
		}
		err = s.Conn.Close()
	})
	return err
}

// LocalAddr implements net.Conn.
func (s *stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.local) }

// RemoteAddr implements net.Conn.
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.to.addr) }

// tend is called now and then: it pings, and ends what is dead or not needed.
func (s *stream) tend(now time.Time, needed bool, every time.Duration) {
	s.mu.Lock()
	ping, dead := s.pulse.beat(now, every)
	idle := now.Sub(s.heard)
	s.mu.Unlock()
	switch {
	case dead:
		s.of.log.Info("SIP connection is lost: the peer does not answer pings any more", "peer", s.to.String())
		s.Close()
	case !needed && idle > idleTime:
		s.Close()
	case ping && needed && s.dialed:
		s.of.work.Go(func() { _, _ = s.Write([]byte("\r\n\r\n")) }) // an error closes it
	}
}

// pulse decides when to ping and when a peer is dead. Not every server answers
// pings: only one that did before is taken for dead without. Passive: time is
// an argument.
type pulse struct {
	pinged, next time.Time
	answers      bool // the peer has answered a ping
	waiting      bool
}

func (p *pulse) pong() {
	if p.waiting {
		p.answers, p.waiting = true, false
	}
}

func (p *pulse) beat(now time.Time, every time.Duration) (ping, dead bool) {
	if every <= 0 {
		return false, false
	}
	if p.waiting && p.answers && now.Sub(p.pinged) > pongTime {
		return false, true
	}
	if p.next.IsZero() {
		p.next = now.Add(every)
		return false, false
	}
	if now.Before(p.next) || p.waiting && p.answers {
		return false, false
	}
	p.pinged, p.waiting, p.next = now, true, now.Add(every)
	return true, false
}

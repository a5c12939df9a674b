package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	maxStreams          = 1024
	maxStreamsPerSource = 16 // of hosts no call or registration knows
	connectTime         = 5 * time.Second
	handshakeTime       = 5 * time.Second
	tendEvery           = 5 * time.Second
)

// streams are the TCP and TLS connections of an agent, one to each peer for all
// its calls and registrations, accepted or made. sipgo gets them through feeds
// and never dials by itself.
type streams struct {
	log    *slog.Logger
	local  netip.Addr
	known  func(netip.Addr) bool
	told   func(sent bool, local, peer netip.AddrPort, b []byte)
	admit  func(src netip.Addr, now time.Time) bool
	client *tls.Config // of connections we make
	every  time.Duration

	feeds map[string]*feed // by transport
	work  sync.WaitGroup

	mu      sync.Mutex
	over    bool
	conns   map[peerKey]*stream
	dialing map[peerKey]chan struct{}
	count   int // with those in their handshake
	sources map[netip.Addr]int
}

type peerKey struct {
	transport string
	addr      netip.AddrPort
}

var errStreamsOver = errors.New("the SIP side is stopping")

func newStreams(log *slog.Logger, local netip.Addr, known func(netip.Addr) bool, client *tls.Config, every time.Duration) *streams {
	return &streams{log: log, local: local, known: known, client: client, every: every,
		told:  func(bool, netip.AddrPort, netip.AddrPort, []byte) {},
		admit: func(netip.Addr, time.Time) bool { return true },
		feeds: map[string]*feed{}, conns: map[peerKey]*stream{}, dialing: map[peerKey]chan struct{}{}, sources: map[netip.Addr]int{}}
}

// feed is the listener sipgo takes connections of one transport from.
type feed struct {
	addr  net.Addr
	conns chan net.Conn
	over  chan struct{}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.over:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error   { return nil }
func (f *feed) Addr() net.Addr { return f.addr }

func (m *streams) addFeed(transport string, at netip.AddrPort) *feed {
	f := &feed{addr: net.TCPAddrFromAddrPort(at), conns: make(chan net.Conn), over: make(chan struct{})}
	m.feeds[transport] = f
	return f
}

// enter takes a place among the connections. Peers of calls and registrations
// are only bound by the total.
func (m *streams) enter(src netip.Addr) error {
	friend := m.known(src)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.over:
		return errStreamsOver
	case m.count >= maxStreams:
		return fmt.Errorf("%d SIP connections are open, no more are allowed", m.count)
	case !friend && m.sources[src] >= maxStreamsPerSource:
		return fmt.Errorf("%v has %d SIP connections open, no more are allowed", src, m.sources[src])
	}
	m.count++
	m.sources[src]++
	return nil
}

func (m *streams) leave(src netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count--
	if m.sources[src]--; m.sources[src] == 0 {
		delete(m.sources, src)
	}
}

// accept serves a listener until it is closed. server is nil for TCP.
func (m *streams) accept(l net.Listener, transport string, server *tls.Config) {
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			m.log.Warn("SIP connection could not be accepted", "error", err) // no file descriptors left, for one
			select {
			case <-time.After(100 * time.Millisecond):
			case <-m.feeds[transport].over:
			}
			continue
		}
		at := addrOf(c.RemoteAddr())
		if err := m.enter(at.Addr()); err != nil {
			m.log.Debug("SIP connection is refused", "peer", at, "error", err)
			c.Close()
			continue
		}
		if server == nil {
			m.hand(c, hop{transport: transport, addr: at}, false)
			continue
		}
		m.work.Go(func() {
			t := tls.Server(c, server)
			ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
			defer cancel()
			if err := t.HandshakeContext(ctx); err != nil {
				m.log.Debug("SIP connection without TLS is refused", "peer", at, "error", err)
				c.Close()
				m.leave(at.Addr())
				return
			}
			m.hand(t, hop{transport: transport, addr: at}, false)
		})
	}
}

// hand gives a connection, whose place is taken, to sipgo; nil when we stop.
func (m *streams) hand(c net.Conn, to hop, dialed bool) *stream {
	s := &stream{Conn: c, of: m, to: to, local: addrOf(c.LocalAddr()), dialed: dialed,
		ready: make(chan struct{}), closed: make(chan struct{}), heard: time.Now()}
	m.mu.Lock()
	if m.over {
		m.mu.Unlock()
		c.Close()
		m.leave(to.addr.Addr())
		return nil
	}
	m.conns[peerKey{to.transport, to.addr}] = s
	m.mu.Unlock()
	f := m.feeds[to.transport]
	select {
	case f.conns <- s:
	case <-f.over:
		s.Close()
		return nil
	}
	select {
	case <-s.ready:
	case <-s.closed:
	}
	return s
}

func (m *streams) drop(s *stream) {
	m.mu.Lock()
	if k := (peerKey{s.to.transport, s.to.addr}); m.conns[k] == s {
		delete(m.conns, k)
	}
	m.mu.Unlock()
	m.leave(s.to.addr.Addr())
}

// open says whether there is a connection to a peer.
func (m *streams) open(to hop) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conns[peerKey{to.transport, to.addr}] != nil
}

// connect returns the connection to a peer, a new one if there is none.
func (m *streams) connect(ctx context.Context, to hop) (*stream, error) {
	key := peerKey{to.transport, to.addr}
	for {
		m.mu.Lock()
		if m.over {
			m.mu.Unlock()
			return nil, errStreamsOver
		}
		if s := m.conns[key]; s != nil {
			m.mu.Unlock()
			return s, s.serves(to)
		}
		wait := m.dialing[key]
		if wait == nil {
			done := make(chan struct{})
			m.dialing[key] = done
			m.mu.Unlock()
			s, err := m.dial(ctx, to)
			m.mu.Lock()
			delete(m.dialing, key)
			close(done)
			m.mu.Unlock()
			return s, err
		}
		m.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// serves checks that a TLS connection is good for a name: it may have been made
// for another name at the same address.
func (s *stream) serves(to hop) error {
	t, ok := s.Conn.(*tls.Conn)
	if !ok || to.name == "" || to.name == s.to.name {
		return nil
	}
	certs := t.ConnectionState().PeerCertificates
	if !s.dialed || len(certs) == 0 {
		return fmt.Errorf("the open TLS connection to %v was not made for %s", to.addr, to.name)
	}
	return certs[0].VerifyHostname(to.name)
}

func (m *streams) dial(ctx context.Context, to hop) (*stream, error) {
	if err := m.enter(to.addr.Addr()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	d := net.Dialer{}
	if !m.local.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(m.local, 0))
	}
	c, err := d.DialContext(ctx, "tcp", to.addr.String())
	if err == nil && to.transport == overTLS {
		c, err = m.secure(ctx, c, to)
	}
	if err != nil {
		m.leave(to.addr.Addr())
		return nil, fmt.Errorf("cannot connect to the SIP server %v: %w", to, err)
	}
	s := m.hand(c, to, true)
	if s == nil {
		return nil, errStreamsOver
	}
	m.log.Debug("SIP connection is open", "peer", to.String(), "local", s.local)
	return s, nil
}

func (m *streams) secure(ctx context.Context, c net.Conn, to hop) (net.Conn, error) {
	cfg := m.client.Clone()
	if cfg.ServerName = to.name; cfg.ServerName == "" {
		cfg.ServerName = to.addr.Addr().String()
	}
	t := tls.Client(c, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("TLS with %s: %w", cfg.ServerName, err)
	}
	return t, nil
}

// tend keeps the connections until stop.
func (m *streams) tend(stop <-chan struct{}) {
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			for _, s := range m.all() {
				s.tend(now, m.known(s.to.addr.Addr()), m.every)
			}
		}
	}
}

func (m *streams) all() []*stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*stream, 0, len(m.conns))
	for _, s := range m.conns {
		out = append(out, s)
	}
	return out
}

// close ends all connections and waits for what works on them.
func (m *streams) close() {
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	for _, f := range m.feeds {
		close(f.over)
	}
	for _, s := range m.all() {
		s.Close()
	}
	m.work.Wait()
}

func addrOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		at := t.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	}
	return netip.AddrPort{}
}

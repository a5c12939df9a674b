package sip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	sipmsg "github.com/emiago/sipgo/sip"
)

// serveStreams lets sipgo take connections, and takes those that come in, until
// they are closed.
func (a *Agent) serveStreams(stop <-chan struct{}) *sync.WaitGroup {
	var all sync.WaitGroup
	all.Go(func() { _ = a.tpl.ServeTCP(a.streams.feeds[overTCP]) })
	all.Go(func() { _ = a.tpl.ServeTLS(a.streams.feeds[overTLS]) })
	all.Go(func() { a.streams.tend(stop) })
	if a.tcp != nil {
		all.Go(func() { a.streams.accept(a.tcp, overTCP, nil) })
	}
	if a.tls != nil {
		all.Go(func() { a.streams.accept(a.tls, overTLS, a.tlsServer) })
	}
	return &all
}

// portOf is a listener's port, 0 without one.
func portOf(l net.Listener) int {
	if l == nil {
		return 0
	}
	return l.Addr().(*net.TCPAddr).Port
}

// endpoint is where peers reach us, as Via and Contact say it.
type endpoint struct {
	host string
	port int
}

// reach makes sure that a next hop can be sent to and says how it reaches us:
// at our listener, or, where we have none for its transport, over the
// connection we made, which has a port of its own.
func (a *Agent) reach(ctx context.Context, to hop) (endpoint, error) {
	host, err := a.announced(to.addr)
	if err != nil {
		return endpoint{}, err
	}
	if to.transport == overUDP {
		return endpoint{host, a.Port()}, nil
	}
	s, err := a.streams.connect(ctx, to)
	if err != nil {
		return endpoint{}, err
	}
	l := a.tcp
	if to.transport == overTLS {
		l = a.tls
	}
	if port := portOf(l); port != 0 {
		return endpoint{host, port}, nil
	}
	return endpoint{host, int(s.local.Port())}, nil
}

// announced is the address peers reach us at, as seen from dest.
func (a *Agent) announced(dest netip.AddrPort) (string, error) {
	switch {
	case a.cfg.IP != "":
		return bracket(a.cfg.IP), nil
	case !a.local.IsUnspecified():
		return bracket(a.local.String()), nil
	}
	return sourceFor(dest)
}

// contact is our address for a peer that a hop leads to.
func (e endpoint) contact(scheme, user, transport string) sipmsg.Uri {
	u := sipmsg.Uri{Scheme: scheme, User: user, Host: e.host, Port: e.port}
	if transport != overUDP {
		u.UriParams.Add("transport", strings.ToLower(transport))
	}
	return u
}

// transact sends a request in a transaction of its own.
func (a *Agent) transact(req *sipmsg.Request, to hop) (*sipmsg.ClientTx, error) {
	if err := a.address(req, to); err != nil {
		return nil, err
	}
	a.wire.table.RLock()
	defer a.wire.table.RUnlock()
	tx, err := a.txl.Request(context.Background(), req)
	if err != nil {
		return nil, fmt.Errorf("cannot send %s to %v: %w", req.Method, to, err)
	}
	return tx, nil
}

// write sends a request outside of any transaction (ACK).
func (a *Agent) write(req *sipmsg.Request, to hop) error {
	if err := a.address(req, to); err != nil {
		return err
	}
	a.wire.table.RLock()
	defer a.wire.table.RUnlock()
	return a.tpl.WriteMsg(req)
}

// address ties a request to our socket or connection and its next hop, as
// literal addresses, so that sipgo neither resolves names nor opens anything. A
// connection that was lost is made again.
func (a *Agent) address(req *sipmsg.Request, to hop) error {
	req.SetTransport(to.transport)
	req.SetDestination(to.addr.String())
	if to.transport == overUDP {
		la := a.wire.LocalAddr().(*net.UDPAddr)
		req.Laddr = sipmsg.Addr{IP: la.IP, Port: la.Port}
		return nil
	}
	at, err := a.reach(context.Background(), to) // bounded by connectTime
	if err != nil {
		return err
	}
	via := req.Via()
	via.Transport, via.Port = to.transport, at.port
	return nil
}

// parseTransport reads the name of a transport; "" is none.
func parseTransport(s string) (string, error) {
	switch t := strings.ToUpper(s); t {
	case overUDP, overTCP, overTLS, "":
		return t, nil
	}
	return "", fmt.Errorf("want udp, tcp or tls, got %q", s)
}

// sipServer is what a request or the settings name as a SIP server.
type sipServer struct {
	host      string
	port      int    // 0 = SRV, then the standard one
	transport string // "" = does not say
	loose     bool   // ;lr: it wants to be in a Route
}

// parseServer reads host, host:port, or a URI with a scheme sip or sips and the
// parameters transport and lr.
func parseServer(s string) (sipServer, error) {
	var at sipServer
	rest, params, _ := strings.Cut(strings.Trim(s, "<>"), ";")
	secure := false
	if scheme, after, ok := strings.Cut(rest, ":"); ok && (strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")) {
		rest, secure = after, strings.EqualFold(scheme, "sips")
	}
	var err error
	for one := range strings.SplitSeq(params, ";") {
		switch k, v, _ := strings.Cut(one, "="); strings.ToLower(k) {
		case "transport":
			if at.transport, err = parseTransport(v); err != nil {
				return at, err
			}
		case "lr":
			at.loose = true
		}
	}
	if secure {
		if at.transport == overUDP {
			return at, fmt.Errorf("%q: sips is not spoken over UDP", s)
		}
		at.transport = overTLS
	}
	at.host, at.port, err = splitHost(rest)
	return at, err
}

// route is the Route that leads through an outbound proxy.
func (s sipServer) route() string {
	host := s.host
	if s.port != 0 {
		host += ":" + strconv.Itoa(s.port)
	}
	if s.transport != "" && s.transport != overUDP {
		host += ";transport=" + strings.ToLower(s.transport)
	}
	return "<sip:" + host + ";lr>"
}

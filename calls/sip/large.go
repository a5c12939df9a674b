package sip

import (
	"context"
	"slices"
	"time"
)

const (
	// A request of more bytes than largeRequest is to go by TCP (RFC 3261
	// section 18.1.1); largeTime is how long a server may take to accept that.
	largeRequest = 1300
	largeTime    = time.Second
)

// Values of sip_large_over_tcp.
const (
	largeKnown = "known"
	largeTry   = "try"
)

// overTCPInstead says that a large request to a server goes by TCP: then it is
// connected to by it. Where no connection is to be had it goes by UDP, for
// fragments are better than no call.
func (a *Agent) overTCPInstead(ctx context.Context, p *party, to hop) (hop, endpoint, bool) {
	tcp := hop{overTCP, to.addr, to.name}
	if !p.flexible || a.cfg.LargeOverTCP != largeTry && (a.cfg.LargeOverTCP != largeKnown || !a.takesTCP(ctx, p, tcp)) {
		return hop{}, endpoint{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, largeTime)
	defer cancel()
	at, err := a.reach(ctx, tcp)
	if err != nil {
		a.log.Debug("SIP server takes no TCP, a large request goes by UDP", "server", to.String(), "error", err)
	}
	return tcp, at, err == nil
}

// takesTCP says that a server is known to take TCP: by a connection that we have
// to it, or by the SRV records of its domain.
func (a *Agent) takesTCP(ctx context.Context, p *party, tcp hop) bool {
	if a.streams.reaches(tcp) {
		return true
	}
	if p.server.port != 0 {
		return false // it was named without its domain's records
	}
	ctx, cancel := context.WithTimeout(ctx, largeTime)
	defer cancel()
	if _, srv, err := a.dns.LookupSRV(ctx, "sip", "tcp", p.server.host); err != nil || len(srv) == 0 {
		return false
	}
	found, err := a.targets(ctx, p.server.host, 0, overTCP)
	return err == nil && slices.ContainsFunc(found, func(h hop) bool { return h.addr == tcp.addr })
}

// reaches says whether we have made a connection to a peer that is open.
func (m *streams) reaches(to hop) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.conns[peerKey{to.transport, to.addr}]
	return s != nil && s.dialed
}

package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Transports of SIP, as Via names them.
const (
	overUDP = "UDP"
	overTCP = "TCP"
	overTLS = "TLS"
)

const (
	defaultPort    = 5060
	defaultTLSPort = 5061
	resolveTimeout = 5 * time.Second
	maxTargets     = 8 // servers of a domain that are tried
)

// hop is where a message goes: an address, how, and, for TLS, under what name
// its certificate must be. It is comparable.
type hop struct {
	transport string
	addr      netip.AddrPort
	name      string
}

func (h hop) IsValid() bool { return h.addr.IsValid() }

// String is the address, with the transport when it is not UDP.
func (h hop) String() string {
	if h.transport == overUDP {
		return h.addr.String()
	}
	return h.addr.String() + ";transport=" + strings.ToLower(h.transport)
}

// names looks up names; net.Resolver does.
type names interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// targets finds where a server is reached, the preferred address first (RFC
// 3263 section 4.2): the literal address, or SRV records by priority and weight
// when no port is known, else A and AAAA records.
func (a *Agent) targets(ctx context.Context, host string, port int, transport string) ([]hop, error) {
	name := strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	standard := defaultPort
	if transport == overTLS {
		standard = defaultTLSPort
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		if port == 0 {
			port = standard
		}
		return []hop{{transport, netip.AddrPortFrom(ip.Unmap(), uint16(port)), name}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	servers := []*net.SRV{{Target: name, Port: uint16(port)}}
	if port == 0 {
		servers[0].Port = uint16(standard)
		service, proto := "sip", strings.ToLower(transport)
		if transport == overTLS {
			service, proto = "sips", "tcp"
		}
		if _, srv, err := a.dns.LookupSRV(ctx, service, proto, name); err == nil && len(srv) > 0 {
			servers = srv // sorted and shuffled as RFC 2782 says
		}
	}
	var found []hop
	var failed error
	for _, s := range servers[:min(len(servers), maxTargets)] {
		ips, err := a.lookup(ctx, strings.TrimSuffix(s.Target, "."))
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		for _, ip := range ips {
			// The certificate is for the domain that was asked for, not for the SRV's target (RFC 5922 section 4).
			if h := (hop{transport, netip.AddrPortFrom(ip, s.Port), name}); !slices.Contains(found, h) && len(found) < maxTargets {
				found = append(found, h)
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("cannot find the address of %s: %w", name, failed)
	}
	return found, nil
}

// lookup finds the addresses of a host that our sockets can reach, IPv4 first:
// that is what SIP peers speak.
func (a *Agent) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	ips, err := a.dns.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("cannot find the address of %s: %w", host, err)
	}
	var v4, v6 []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, ip)
		} else if a.local.Is6() {
			v6 = append(v6, ip)
		}
	}
	if a.local.Is6() && !a.local.IsUnspecified() {
		v4 = nil
	}
	if len(v4)+len(v6) == 0 {
		return nil, fmt.Errorf("%s has no address that can be reached from ip_local %v", host, a.local)
	}
	return append(v4, v6...), nil
}

// mediaAddr is where a session description says media goes.
func (a *Agent) mediaAddr(ctx context.Context, host string, port int) (netip.AddrPort, error) {
	ips, err := a.lookup(ctx, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0], uint16(port)), nil
}

// family is the network of sockets bound to an address: IPv4, IPv6, or, for
// "::", both.
func family(proto string, local netip.Addr) string {
	switch {
	case local.Is4():
		return proto + "4"
	case local.IsUnspecified():
		return proto
	}
	return proto + "6"
}

package sip

import (
	"context"
	"fmt"
	"slices"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// establish makes the dialog out of the 2xx (RFC 3261 section 12.1.2).
func (d *dialog) establish(ctx context.Context, res *sipmsg.Response) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remoteTag = tagOf(res.To().Params)
	d.head.to = *res.To()
	d.source = sourceOf(res)
	if b := d.branches[d.remoteTag]; b != nil {
		d.remoteSeq = b.remoteSeq
	}
	var err error
	d.head.routes, d.target, err = routeSet(res, d.target)
	if err != nil {
		return err
	}
	d.next, err = d.nextHop(ctx)
	d.answered = err == nil
	return err
}

// routeSet is the reversed Record-Route and the remote target. A strict
// router's URI takes the place of the target (RFC 3261 section 12.2.1.1).
func routeSet(res *sipmsg.Response, fallback sipmsg.Uri) ([]string, sipmsg.Uri, error) {
	target := fallback
	if c := res.GetHeader("Contact"); c != nil {
		if h, ok := c.(*sipmsg.ContactHeader); ok && isSIP(h.Address.Scheme) && checkHost(h.Address.Host) == nil {
			target = uriOf(h.Address)
		}
	}
	recorded := slices.Clone(res.GetHeaders("Record-Route"))
	slices.Reverse(recorded)
	return routesBy(recorded, target)
}

// routesBy makes routes of Record-Route headers, the next hop's first: as they
// stand in a request to us (RFC 3261 section 12.1.1), reversed in an answer.
func routesBy(recorded []sipmsg.Header, target sipmsg.Uri) ([]string, sipmsg.Uri, error) {
	var routes []string
	for _, r := range recorded {
		h, ok := r.(*sipmsg.RecordRouteHeader)
		if !ok || !isSIP(h.Address.Scheme) {
			return nil, target, fmt.Errorf("cannot use the Record-Route %q", plain(r.Value()))
		}
		routes = append(routes, "<"+h.Address.String()+">")
	}
	if len(routes) == 0 {
		return nil, target, nil
	}
	first := recorded[0].(*sipmsg.RecordRouteHeader).Address
	if !first.UriParams.Has("lr") {
		routes = append(routes[1:], "<"+target.String()+">")
		target = uriOf(first)
	}
	return routes, target, nil
}

// nextHop is where requests of the dialog go: the first route, else the
// target; or back to where the answer came from when the target is a private
// address that answer did not come from (a phone behind NAT without a proxy).
// The caller holds mu.
func (d *dialog) nextHop(ctx context.Context) (hop, error) {
	to := d.target
	if d.flow.IsValid() && len(d.head.routes) == 0 {
		return d.a.wayTo(d.flow, to), nil
	}
	if len(d.head.routes) > 0 {
		var u sipmsg.Uri
		var p sipmsg.HeaderParams
		if _, err := sipmsg.ParseAddressValue(d.head.routes[0], &u, &p); err != nil {
			return hop{}, fmt.Errorf("cannot use the route %s: %w", plain(d.head.routes[0]), err)
		}
		if u.UriParams.Has("lr") {
			to = u
		}
	}
	if err := checkHost(to.Host); err != nil {
		return hop{}, err
	}
	found, err := d.a.targets(ctx, to.Host, to.Port, d.transportTo(to))
	if err != nil {
		return hop{}, err
	}
	at := found[0]
	ip := at.addr.Addr()
	if at.transport != overUDP && len(d.head.routes) == 0 && d.source.transport == at.transport && d.source.addr.Addr() == ip && d.a.streams.open(d.source) {
		return d.source, nil // one connection for all (RFC 5923), whatever port the peer listens at
	}
	private := ip.IsPrivate() || ip.IsUnspecified() || ip.IsLoopback()
	if len(d.head.routes) == 0 && private && d.source.IsValid() && d.source.addr.Addr() != ip {
		return d.source, nil
	}
	return at, nil
}

// transportTo is how a URI of the dialog is reached: as it says, else as the
// call began. A call over TLS never leaves it: whoever could change a Contact
// or a Record-Route could else have our keys and words in the clear.
func (d *dialog) transportTo(u sipmsg.Uri) string {
	began := d.party.server.transport
	if began == overTLS || strings.EqualFold(u.Scheme, "sips") {
		return overTLS
	}
	if v, ok := u.UriParams.Get("transport"); ok {
		if t, err := parseTransport(v); err == nil && t != "" {
			return t
		}
	}
	return began
}

func isSIP(scheme string) bool {
	return strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")
}

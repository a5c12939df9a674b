package sip

import (
	"context"
	"fmt"
	"net/netip"
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
	d.source = sourceAddr(res.Source())
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
		if h, ok := c.(*sipmsg.ContactHeader); ok && strings.EqualFold(h.Address.Scheme, "sip") && checkHost(h.Address.Host) == nil {
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
		if !ok || !strings.EqualFold(h.Address.Scheme, "sip") {
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
func (d *dialog) nextHop(ctx context.Context) (netip.AddrPort, error) {
	hop := d.target
	if len(d.head.routes) > 0 {
		var u sipmsg.Uri
		var p sipmsg.HeaderParams
		if _, err := sipmsg.ParseAddressValue(d.head.routes[0], &u, &p); err != nil {
			return netip.AddrPort{}, fmt.Errorf("cannot use the route %s: %w", plain(d.head.routes[0]), err)
		}
		if u.UriParams.Has("lr") {
			hop = u
		}
	}
	if err := checkHost(hop.Host); err != nil {
		return netip.AddrPort{}, err
	}
	at, err := resolve(ctx, hop.Host, hop.Port)
	if err != nil {
		return at, err
	}
	private := at.Addr().IsPrivate() || at.Addr().IsUnspecified() || at.Addr().IsLoopback()
	if len(d.head.routes) == 0 && private && d.source.IsValid() && d.source.Addr() != at.Addr() {
		return d.source, nil
	}
	return at, nil
}

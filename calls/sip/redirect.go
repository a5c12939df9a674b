package sip

import (
	"slices"
	"strconv"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// maxContacts bounds how many addresses of one redirection are looked at.
const maxContacts = 8

// redirection is where a call may go on after a 3xx (RFC 3261 section 8.1.3.4).
type redirection struct {
	tried []string // Request-URIs, ours first
	ahead []sipmsg.Uri
}

// take adds the Contacts of a 3xx, the preferred one first; they come before
// what was known. Only sip: addresses that were not tried yet are taken.
func (r *redirection) take(res *sipmsg.Response) {
	type choice struct {
		uri sipmsg.Uri
		q   float64
	}
	var found []choice
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sipmsg.ContactHeader)
		if !ok || len(found) == maxContacts || !strings.EqualFold(c.Address.Scheme, "sip") || checkHost(c.Address.Host) != nil {
			continue
		}
		u, q := uriOf(c.Address), 1.0
		if v, ok := c.Params.Get("q"); ok {
			if f, err := strconv.ParseFloat(v, 64); err == nil && f >= 0 && f <= 1 {
				q = f
			}
		}
		if !slices.Contains(r.tried, u.String()) {
			found = append(found, choice{u, q})
		}
	}
	slices.SortStableFunc(found, func(a, b choice) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	var uris []sipmsg.Uri
	for _, c := range found {
		uris = append(uris, c.uri)
	}
	r.ahead = append(uris, r.ahead...)
	if len(r.ahead) > maxContacts {
		r.ahead = r.ahead[:maxContacts]
	}
}

// next is the address to try now; none beyond a number of tries.
func (r *redirection) next(most int) (sipmsg.Uri, bool) {
	for len(r.ahead) > 0 && len(r.tried) <= most {
		u := r.ahead[0]
		r.ahead = r.ahead[1:]
		if !slices.Contains(r.tried, u.String()) {
			r.tried = append(r.tried, u.String())
			return u, true
		}
	}
	return sipmsg.Uri{}, false
}

// follow goes on to another address after a refusal, if there is one. A call
// with an outbound proxy stays with it; without one the request goes to the
// new address itself, which then gets no credentials of the account.
func (d *dialog) follow(res *sipmsg.Response) (bool, leg.Cause) {
	if d.flow.IsValid() { // a phone of a user does not say whom this server calls
		return false, leg.Cause{}
	}
	if len(d.moved.tried) == 0 {
		d.moved.tried = []string{d.target.String()}
	}
	if res.StatusCode/100 == 3 {
		d.moved.take(res)
	}
	u, ok := d.moved.next(d.a.cfg.Redirects)
	if !ok || res.StatusCode >= 600 || d.hungUp() {
		return false, leg.Cause{}
	}
	next := d.next
	if !d.party.proxied {
		found, err := d.a.targets(d.life, u.Host, u.Port, d.transportTo(u))
		if err != nil {
			return false, d.failed(leg.Setup, 0, "the callee is to be called at %s: %v", u.Host, err)
		}
		next = found[0]
	}
	d.friends = append(d.friends, d.a.befriend(next.addr.Addr()))
	at, err := d.a.reach(d.life, next)
	if err != nil {
		return false, d.failed(leg.Setup, 0, "the callee is to be called at %s: %v", u.Host, err)
	}
	d.mu.Lock()
	if next != d.next {
		d.foreign = true
	}
	d.target, d.next = u, next
	if !d.party.proxied {
		d.head.routes = nil
	}
	d.place(at)
	d.local.address = at.host
	d.mu.Unlock()
	d.log.Info("SIP call is redirected", "code", res.StatusCode, "to", u.Host)
	return true, leg.Cause{}
}

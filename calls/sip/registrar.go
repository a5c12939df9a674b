package sip

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// sweepEvery is how often lapsed registrations of phones are looked for.
const sweepEvery = 5 * time.Second

// registers answers a REGISTER of a phone (RFC 3261 section 10.3).
func (a *Agent) registers(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	source := sourceOf(req)
	if a.users == nil {
		a.notAllowed(req, tx)
		return
	}
	to := req.To().Address
	if !a.users.Configured() && !a.users.Open(source.addr.Addr()) {
		if a.declined.Allow() {
			a.log.Info("SIP phone cannot register: no accounts are configured (users, users_file), so only those on this machine may", "from", source.addr)
		}
		a.refuseStranger(req, tx, source.addr, 403, "No Accounts")
		return
	}
	if !a.ours(to.Host, source.addr) || !a.ours(req.Recipient.Host, source.addr) {
		a.refuseStranger(req, tx, source.addr, 404, "Not Our Domain")
		return
	}
	if id := a.prove(req, to.User, source.addr); id != proven {
		a.refuseLogin(req, tx, source.addr, id)
		return
	}
	o, r, extra := a.order(req, source)
	if r != nil {
		a.respond(req, tx, r.Code, r.Text, extra...)
		return
	}
	now := time.Now()
	list, code, reason := a.located.apply(o, now)
	if code != 0 {
		a.log.Warn("SIP phone is not registered", "login", o.login, "from", source.String(), "code", code, "cause", reason)
		a.respond(req, tx, code, reason)
		return
	}
	a.log.Debug("SIP phone registered", "login", o.login, "from", source.String(), "phones", len(list))
	var headers []sipmsg.Header
	for _, l := range list {
		headers = append(headers, l.contact(now))
	}
	a.respond(req, tx, 200, "OK", append(headers, sipmsg.NewHeader("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")))...)
}

// refuseStranger is an answer that needs no proof, within the limit on strangers.
func (a *Agent) refuseStranger(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort, code int, reason string) {
	if !a.welcome(source.Addr()) {
		tx.Terminate()
		return
	}
	a.respond(req, tx, code, reason)
}

// order reads what a REGISTER wants.
func (a *Agent) order(req *sipmsg.Request, source hop) (*order, *leg.Refusal, []sipmsg.Header) {
	bad := func(text string) (*order, *leg.Refusal, []sipmsg.Header) {
		return nil, &leg.Refusal{Code: 400, Text: text}, nil
	}
	to := req.To().Address
	if checkCallID(req.CallID().Value()) != nil || !userOnly(to.User) || to.User == "" {
		return bad("Bad Request")
	}
	o := &order{login: to.User, domain: to.Host, account: a.users.Account(to.User), callID: req.CallID().Value(), cseq: req.CSeq().SeqNo,
		flow: func(u sipmsg.Uri) hop { return flowOf(req, source, u) },
		line: func(l *location) leg.Line { return &phone{a, l} }}
	if h := req.GetHeader("User-Agent"); h != nil {
		o.agent = plain(h.Value())
	}
	general, given := a.cfg.RegistrarMax, false
	if h := req.GetHeader("Expires"); h != nil {
		general, given = lifetimeOf(h.Value(), general), true
	}
	contacts := req.GetHeaders("Contact")
	if len(contacts) > maxPhones {
		return bad("Too Many Contacts")
	}
	for _, h := range contacts {
		c, ok := h.(*sipmsg.ContactHeader)
		if !ok {
			return bad("Bad Contact")
		}
		if c.Address.Wildcard {
			if len(contacts) > 1 || !given || general != 0 {
				return bad("Contact * Needs Expires: 0 and No Other")
			}
			o.all = true
			continue
		}
		w := wish{uri: uriOf(c.Address), expires: general}
		if !strings.EqualFold(w.uri.Scheme, "sip") || checkHost(w.uri.Host) != nil || !userOnly(w.uri.User) || len(w.uri.String()) > maxContact || hasControl(w.uri.String()) {
			return bad("Bad Contact")
		}
		if v, ok := c.Params.Get("expires"); ok {
			w.expires = lifetimeOf(v, a.cfg.RegistrarMax)
		}
		if w.expires > 0 && w.expires < a.cfg.RegistrarMin {
			return nil, &leg.Refusal{Code: 423, Text: "Interval Too Brief"}, []sipmsg.Header{sipmsg.NewHeader("Min-Expires", strconv.Itoa(int(a.cfg.RegistrarMin/time.Second)))}
		}
		w.expires = min(w.expires, a.cfg.RegistrarMax)
		if v, ok := c.Params.Get("q"); ok {
			if f, err := strconv.ParseFloat(v, 64); err == nil && f >= 0 && f <= 1 && len(v) <= 5 {
				w.q = v
			}
		}
		w.line = lineOf(c)
		o.wishes = append(o.wishes, w)
	}
	return o, nil, nil
}

// lifetimeOf reads expires; what cannot be read is as if it were missing (RFC
// 3261 section 20.10).
func lifetimeOf(s string, missing time.Duration) time.Duration {
	if d, ok := seconds(strings.TrimSpace(s)); ok {
		return d
	}
	return missing
}

// lineOf is what makes two Contacts the same binding: the phone's own mark (RFC
// 5626 section 4.1), by which it is known from another address as well, or else
// its address (RFC 3261 section 19.1.4, roughly).
func lineOf(c *sipmsg.ContactHeader) string {
	if v, ok := c.Params.Get("+sip.instance"); ok && v != "" && len(v) <= maxContact {
		n, _ := c.Params.Get("reg-id")
		return v + ";" + n[:min(len(n), 8)]
	}
	t, _ := c.Address.UriParams.Get("transport")
	return fmt.Sprintf("%s@%s:%d;%s", c.Address.User, strings.ToLower(c.Address.Host), c.Address.Port, strings.ToLower(t))
}

// flowOf is where a phone that registers can be called: where its REGISTER came
// from, as there may be a NAT between (RFC 5626 section 5.3). One that sends from
// another port than it takes calls at, and knows nothing of rport (RFC 3581), is
// called at its Contact.
func flowOf(req *sipmsg.Request, source hop, contact sipmsg.Uri) hop {
	if source.transport == overUDP && !req.Via().Params.Has("rport") {
		if at, ok := literal(source, contact); ok {
			return at
		}
	}
	return source
}

// literal is a Contact's address if it is one of the host we hear the phone from.
func literal(source hop, contact sipmsg.Uri) (hop, bool) {
	ip, err := netip.ParseAddr(strings.Trim(contact.Host, "[]"))
	if err != nil || ip.Unmap() != source.addr.Addr() || contact.Port < 0 || contact.Port > 65535 {
		return hop{}, false
	}
	port := contact.Port
	if port == 0 {
		port = defaultPort
		if source.transport == overTLS {
			port = defaultTLSPort
		}
	}
	return hop{transport: source.transport, addr: netip.AddrPortFrom(ip.Unmap(), uint16(port))}, true
}

// wayTo is the way to a phone: where it was heard from, or, if that was a
// connection that has gone, its own address.
func (a *Agent) wayTo(flow hop, contact sipmsg.Uri) hop {
	if flow.transport != overUDP && !a.streams.open(flow) {
		if at, ok := literal(flow, contact); ok {
			return at
		}
	}
	return flow
}

// tendPhones forgets registrations that have lapsed, and at the end all.
func (a *Agent) tendPhones(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			a.located.sweep(now, false)
		case <-ctx.Done():
			a.located.sweep(time.Now(), true)
			return
		}
	}
}

// Phones lists the SIP phones that are registered here, by login.
func (a *Agent) Phones() []leg.Phone {
	if a.located == nil {
		return nil
	}
	var out []leg.Phone
	for _, l := range a.located.list(time.Now()) {
		out = append(out, leg.Phone{Login: l.login, Domain: l.domain, Contact: l.uri.String(), Source: l.flow.String(), Agent: l.agent, Expires: l.until})
	}
	return out
}

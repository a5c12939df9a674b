package sip

import (
	"fmt"
	"strings"
	"testing"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// TestReliableProvisional: PRACK for each, in order and once, to each branch
// of a fork; the 200 then needs no description (RFC 3262 sections 4, 5).
func TestReliableProvisional(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	invite := u.expect(sipmsg.INVITE)
	reliable := func(tag string, rseq int, body string) {
		u.tag = tag
		u.answer(invite, 183, body, "Require: 100rel", fmt.Sprintf("RSeq: %d", rseq), "Record-Route: <sip:127.0.0.1:"+fmt.Sprint(u.port())+";lr>")
	}
	seen := map[uint32]bool{invite.CSeq().SeqNo: true}
	acknowledged := func(tag string, rseq int) {
		t.Helper()
		p := u.expect(sipmsg.PRACK)
		if got, want := p.GetHeader("RAck").Value(), fmt.Sprintf("%d %d INVITE", rseq, invite.CSeq().SeqNo); got != want {
			t.Errorf("RAck %s, want %s", got, want)
		}
		if tagOf(p.To().Params) != tag || p.GetHeader("Route") == nil || seen[p.CSeq().SeqNo] {
			t.Errorf("PRACK\n%s", p)
		}
		seen[p.CSeq().SeqNo] = true
		u.answer(p, 200, "")
	}
	reliable("a", 700, "")
	acknowledged("a", 700)
	reliable("a", 700, "")      // our PRACK was not there in time
	reliable("a", 702, u.sdp()) // 701 is missing
	reliable("b", 1, "")
	acknowledged("b", 1)
	reliable("a", 701, u.sdp())
	acknowledged("a", 701)
	if e := c.wait(leg.EarlyMedia); e.Code != 183 {
		t.Errorf("event %+v", e)
	}
	u.ask("UPDATE", u.sdp("a=sendonly"), "Content-Type: application/sdp") // RFC 3311 before the answer
	if r := u.response(200); !strings.Contains(string(r.Body()), "a=recvonly") {
		t.Errorf("answer to the early UPDATE\n%s", r)
	}
	u.raw("UPDATE", "nobody", "", 1)
	u.response(481)
	u.answer(invite, 200, "")
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	u.ask("BYE", "")
	u.response(200)
	c.wait(leg.Ended)
}

// TestAnswerOfAnotherBranch: the description of one branch is not that of
// another, which answers without one.
func TestAnswerOfAnotherBranch(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	invite := u.expect(sipmsg.INVITE)
	u.tag = "a"
	u.answer(invite, 183, u.sdp())
	c.wait(leg.EarlyMedia)
	u.tag = "b"
	u.answer(invite, 200, "")
	u.expect(sipmsg.ACK)
	u.answer(u.expect(sipmsg.BYE), 200, "")
	if e := c.wait(leg.Ended); e.Cause.Kind != leg.Setup {
		t.Errorf("cause %+v", e.Cause)
	}
}

// TestRedirect: the preferred address first, the next when it fails, each
// once; credentials stay with the account's server.
func TestRedirect(t *testing.T) {
	contact := func(u *uas, user, params string) string {
		return fmt.Sprintf("<sip:%s@127.0.0.1:%d>%s", user, u.port(), params)
	}
	direct := func(u *uas) leg.Request {
		r := u.request()
		r.Domain, r.Port = fmt.Sprintf("127.0.0.1:%d", u.port()), 0
		return r
	}
	u, a, b, s := newUAS(t), newUAS(t), newUAS(t), start(t, nil)
	r := direct(u)
	r.CallID = "moved"
	c := s.dial(t, r)
	first := u.expect(sipmsg.INVITE)
	u.answer(first, 302, "", "Contact: "+contact(a, "second", ";q=0.5")+", "+contact(b, "first", ";q=0.9"), "Contact: <tel:123>")
	u.expect(sipmsg.ACK)
	invite := b.expect(sipmsg.INVITE)
	if got := invite.Recipient.String(); got != fmt.Sprintf("sip:first@127.0.0.1:%d", b.port()) {
		t.Errorf("Request-URI %s", got)
	}
	if invite.To().Value() != first.To().Value() || invite.CallID().Value() != first.CallID().Value() || invite.CSeq().SeqNo <= first.CSeq().SeqNo {
		t.Errorf("the INVITE after the redirection\n%s", invite)
	}
	b.answer(invite, 407, "", `Proxy-Authenticate: Digest realm="x", nonce="n"`)
	b.expect(sipmsg.ACK)
	invite = a.expect(sipmsg.INVITE)
	if invite.GetHeader("Proxy-Authorization") != nil || invite.GetHeader("Authorization") != nil {
		t.Error("another server got credentials of the account")
	}
	a.answer(invite, 200, a.sdp())
	a.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	a.ask("BYE", "")
	a.response(200)
	c.wait(leg.Ended)

	t.Run("in a circle", func(t *testing.T) {
		u, s := newUAS(t), start(t, func(c *Config) { c.Redirects = 2 })
		c := s.dial(t, direct(u))
		n := 0
		for ; ; n++ {
			u.answer(u.expect(sipmsg.INVITE), 302, "", "Contact: "+contact(u, fmt.Sprint("u", n%3), ""))
			u.expect(sipmsg.ACK)
			if n == 2 {
				break
			}
		}
		if e := c.wait(leg.Ended); e.Cause.Code != 302 || e.Cause.Kind != leg.Rejected {
			t.Errorf("cause %+v", e.Cause)
		}
	})
	t.Run("through the proxy, with its login", func(t *testing.T) {
		u, s := newUAS(t), start(t, nil)
		r := u.request()
		r.Proxy = "127.0.0.1"
		s.dial(t, r)
		u.answer(u.expect(sipmsg.INVITE), 301, "", "Contact: <sip:eve@elsewhere.test>")
		u.expect(sipmsg.ACK)
		invite := u.expect(sipmsg.INVITE)
		if got := invite.Recipient.String(); got != "sip:eve@elsewhere.test" {
			t.Errorf("Request-URI %s", got)
		}
		u.answer(invite, 407, "", `Proxy-Authenticate: Digest realm="x", nonce="n"`)
		u.expect(sipmsg.ACK)
		if u.expect(sipmsg.INVITE).GetHeader("Proxy-Authorization") == nil {
			t.Error("the proxy's challenge was not answered")
		}
		u.answer(u.in, 486, "")
		u.expect(sipmsg.ACK)
	})
	t.Run("not at all", func(t *testing.T) {
		u, s := newUAS(t), start(t, func(c *Config) { c.Redirects = 0 })
		c := s.dial(t, direct(u))
		u.answer(u.expect(sipmsg.INVITE), 302, "", "Contact: "+contact(u, "x", ""))
		u.expect(sipmsg.ACK)
		if e := c.wait(leg.Ended); e.Cause.Code != 302 {
			t.Errorf("cause %+v", e.Cause)
		}
	})
}

// TestRedirectionOrder: q values, repeated addresses, and the bound.
func TestRedirectionOrder(t *testing.T) {
	r := redirection{tried: []string{"sip:a@h"}}
	r.take(response(t, "Contact: <sip:low@h>;q=0.1, <sip:a@h>, <sip:none@h>, <sip:half@h>;q=0.5, <sips:x@h>", "Contact: <sip:odd@h>;q=x"))
	var got []string
	for {
		u, ok := r.next(5)
		if !ok {
			break
		}
		got = append(got, u.User)
	}
	if want := "none odd half low"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("Contact: <sip:u%d@h>", i))
	}
	r.take(response(t, many...))
	if len(r.ahead) > maxContacts {
		t.Errorf("%d addresses are kept", len(r.ahead))
	}
}

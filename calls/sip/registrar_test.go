package sip

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"lineout/calls/leg"
	"lineout/calls/users"
	"lineout/test/peers"
)

// board is a switchboard that joins a user who calls to the first line of whom
// it calls, by hand and without media.
type board struct {
	t testing.TB
	s *server

	mu    sync.Mutex
	lines map[string][]leg.Line
	told  []leg.Incoming
	calls []*call // of those who are called
}

func (b *board) Attach(account string, l leg.Line) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines[account] = append(b.lines[account], l)
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines[account] = slices.DeleteFunc(b.lines[account], func(o leg.Line) bool { return o == l })
	})
}

func (b *board) of(account string) []leg.Line {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines[account])
}

func (b *board) incoming() []leg.Incoming {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.told)
}

// Receive implements leg.Receiver.
func (b *board) Receive(in leg.Incoming, l leg.Inbound) *leg.Refusal {
	b.mu.Lock()
	b.told = append(b.told, in)
	b.mu.Unlock()
	lines := b.of(in.Callee + "@pbx.example")
	if len(lines) == 0 {
		return &leg.Refusal{Code: 404, Text: "Not Found"}
	}
	far, err := lines[0].Ring(context.Background(), leg.Invitation{CallID: "to-" + in.Callee + "-" + in.CallID, Caller: in.Caller, Callee: in.Callee, DisplayName: in.DisplayName, Like: in.Tracks})
	if err != nil {
		return &leg.Refusal{Code: 480, Text: err.Error()}
	}
	b.join(l, far)
	return nil
}

// join passes on what becomes of one leg to the other.
func (b *board) join(near leg.Inbound, far leg.Leg) {
	for _, ends := range [][2]leg.Leg{{near, far}, {far, near}} {
		c := &call{Leg: ends[0], t: b.t, changed: make(chan struct{}), rtp: map[uint8]int{}}
		c.wg.Go(c.follow)
		b.mu.Lock()
		b.calls = append(b.calls, c)
		b.mu.Unlock()
		go func() {
			if ends[0] == far {
				for c.t.Context().Err() == nil && !slices.ContainsFunc(c.types(), func(e leg.EventType) bool { return e == leg.Answered || e == leg.Ended }) {
					time.Sleep(5 * time.Millisecond)
				}
				if slices.Contains(c.types(), leg.Answered) {
					near.Answer(leg.Terms{SendAudio: true})
				}
			}
			for c.t.Context().Err() == nil && !slices.Contains(c.types(), leg.Ended) {
				time.Sleep(5 * time.Millisecond)
			}
			_ = ends[1].Hangup(context.Background(), leg.Cause{Code: 486, Text: "the other side has ended", Kind: leg.Busy})
		}()
	}
}

// serveUsers starts an agent with accounts of its own.
func serveUsers(t *testing.T, entries []string, change func(*Config)) (*server, *board) {
	t.Helper()
	b := &board{t: t, lines: map[string][]leg.Line{}}
	d, err := users.New(users.Config{Users: entries, Domains: []string{"pbx.example", "127.0.0.1"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.s = startWith(t, change, func(a *Agent) {
		a.ServeUsers(d, b)
		a.TakeCalls(b)
	})
	t.Cleanup(func() {
		b.s.stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, c := range b.calls {
			c.wg.Wait()
		}
	})
	return b.s, b
}

var three = []string{"login=1001 password=pw1001", "login=1002 password=pw1002", "login=1003 password=pw1003"}

// TestBaresipRegistersHere: over each transport two real phones register here
// and call one another, and the sound arrives.
func TestBaresipRegistersHere(t *testing.T) {
	t.Parallel()
	certs := peers.NewAuthority(t).Issue(t, "localhost", "127.0.0.1")
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s, b := serveUsers(t, three, func(c *Config) {
				c.DigestAlgorithms = []string{"MD5"} // all this phone knows
				c.TLS, c.TLSCert, c.TLSKey, c.TLSCA = true, certs.Cert, certs.Key, certs.CA
			})
			at := fmt.Sprintf("127.0.0.1:%d", s.Port())
			if transport == "tls" {
				at = fmt.Sprintf("127.0.0.1:%d", portOf(s.tls))
			}
			phone := func(user, password string) *peers.Softphone {
				return peers.StartSoftphone(t, peers.SoftphoneConfig{User: user, Password: password, Server: at, Transport: transport, TLS: certs, Video: peers.None, Expires: 120})
			}
			one, two := phone("1001", ""), phone("1002", "")
			peers.Eventually(t, "the registrations", 10*time.Second, func() bool { return len(s.Phones()) == 2 })
			found := s.Phones()
			if found[0].Login != "1001" || found[0].Domain != "127.0.0.1" || !strings.Contains(found[0].Agent, "baresip") || len(b.of("1002@pbx.example")) != 1 {
				t.Fatalf("phones %+v", found)
			}
			one.Dial(t, "sip:1002@127.0.0.1;transport="+transport)
			two.WaitEvent(t, "CALL_ESTABLISHED")
			one.WaitEvent(t, "CALL_ESTABLISHED")
			if in := b.incoming()[0]; in.User != "1001@pbx.example" || in.Caller != "1001" || in.Callee != "1002" || in.Account+in.Trunk != "" {
				t.Errorf("told %+v", in)
			}
			b.mu.Lock()
			near, far := b.calls[0], b.calls[1]
			b.mu.Unlock()
			peers.Eventually(t, "sound of both", 10*time.Second, func() bool { return near.count(8) > 20 && far.count(8) > 20 })
			two.Hangup(t)
			one.WaitEvent(t, "CALL_CLOSED")

			one.Dial(t, "sip:1009@127.0.0.1;transport="+transport)
			if e := one.WaitEvent(t, "CALL_CLOSED"); !strings.Contains(e.Param, "404") {
				t.Errorf("an unknown user: %+v", e)
			}
			bad := phone("1003", "guess")
			peers.Eventually(t, "the refusal", 10*time.Second, func() bool { return strings.Contains(bad.Log(), "503 Too Many Failed Logins") }) // it tries and tries
			if len(b.of("1003@pbx.example")) != 0 {
				t.Error("a wrong password is let in")
			}
			if strings.Contains(s.log.String(), "pw100") {
				t.Error("a password is in the log")
			}
		})
	}
}

// handset is a SIP phone a test plays by hand.
type handset struct {
	*uas
	user, pass string
	cseq, sent int
	challenge  string
	uses       int
}

func newHandset(t testing.TB, s *server, user, pass string) *handset {
	h := &handset{uas: newUAS(t), user: user, pass: pass}
	h.peer = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.Port()}
	return h
}

// send1 sends a REGISTER for an address, with the login if there was a challenge.
func (h *handset) send1(aor string, lines ...string) *sipmsg.Response {
	h.t.Helper()
	h.cseq++
	h.sent++
	m := fmt.Sprintf("REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bKr%d%d\r\nFrom: <%s>;tag=x\r\nTo: <%s>\r\nCall-ID: reg-%s\r\nCSeq: %d REGISTER\r\n",
		h.port(), h.port(), h.sent, aor, aor, h.user, h.cseq)
	if h.challenge != "" {
		c, err := digest.ParseChallenge(h.challenge)
		if err != nil {
			h.t.Fatal(err)
		}
		h.uses++
		cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:127.0.0.1", Username: h.user, Password: h.pass, Count: h.uses})
		if err != nil {
			h.t.Fatal(err)
		}
		m += "Authorization: " + cred.String() + "\r\n"
	}
	for _, l := range lines {
		m += l + "\r\n"
	}
	h.send(m + "Content-Length: 0\r\n\r\n")
	r, ok := h.read().(*sipmsg.Response)
	if !ok {
		h.t.Fatal("no response")
	}
	return r
}

// register sends a REGISTER, again with the login when it is asked for one.
func (h *handset) register(code int, lines ...string) *sipmsg.Response {
	h.t.Helper()
	r := h.send1("sip:"+h.user+"@127.0.0.1", lines...)
	if r.StatusCode == 401 && (h.challenge == "" || strings.Contains(r.GetHeader("WWW-Authenticate").Value(), "stale=true")) {
		h.challenge, h.uses = r.GetHeader("WWW-Authenticate").Value(), 0
		r = h.send1("sip:"+h.user+"@127.0.0.1", lines...)
	}
	if r.StatusCode != code {
		h.t.Fatalf("want %d, got\n%s", code, r)
	}
	return r
}

func contactsOf(r *sipmsg.Response) string {
	var out []string
	for _, h := range r.GetHeaders("Contact") {
		out = append(out, h.Value())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestRegistrarByHand goes through RFC 3261 section 10.3.
func TestRegistrarByHand(t *testing.T) {
	t.Parallel()
	s, b := serveUsers(t, three, nil)
	h := newHandset(t, s, "1001", "pw1001")
	if r := h.send1("sip:1001@127.0.0.1"); r.StatusCode != 401 || len(r.GetHeaders("WWW-Authenticate")) != 2 || !strings.Contains(r.GetHeader("WWW-Authenticate").Value(), "SHA-256") {
		t.Errorf("the challenge\n%s", r)
	}
	h.register(200) // a question: no phones
	if len(s.Phones()) != 0 {
		t.Error("a question registers")
	}
	h.register(200, "Contact: <sip:1001@192.0.2.9:5070>;q=0.5, <sip:1001@192.0.2.10;transport=udp>;expires=70", "Expires: 100")
	r := h.register(200)
	if got := contactsOf(r); !strings.Contains(got, "<sip:1001@192.0.2.10;transport=udp>;expires=") || !strings.Contains(got, "<sip:1001@192.0.2.9:5070>;q=0.5;expires=") || r.GetHeader("Date") == nil {
		t.Errorf("contacts %s", got)
	}
	if found := s.Phones(); len(found) != 2 || found[0].Source != fmt.Sprintf("127.0.0.1:%d", h.port()) || len(b.of("1001@pbx.example")) != 2 {
		t.Errorf("%+v", found)
	}
	if r := h.register(423, "Contact: <sip:1001@192.0.2.9:5070>", "Expires: 59"); r.GetHeader("Min-Expires").Value() != "60" {
		t.Errorf("%s", r)
	}
	if got := contactsOf(h.register(200, "Contact: <sip:1001@192.0.2.9:5070>;expires=0")); strings.Contains(got, "192.0.2.9") || !strings.Contains(got, "192.0.2.10") {
		t.Errorf("after one was taken away: %s", got)
	}
	if got := contactsOf(h.register(200, "Contact: <sip:1001@192.0.2.10;transport=udp>;expires=99999999")); !strings.Contains(got, "expires=3600") {
		t.Errorf("the longest: %s", got)
	}
	h.cseq -= 2
	h.register(500, "Contact: <sip:1001@192.0.2.10;transport=udp>") // overtaken
	h.cseq += 2
	// A phone that is known by its mark moves to another address.
	mark := `;+sip.instance="<urn:uuid:1>";reg-id=1`
	h.register(200, "Contact: <sip:1001@192.0.2.11:1>"+mark)
	if got := contactsOf(h.register(200, "Contact: <sip:1001@192.0.2.11:2>"+mark)); strings.Contains(got, "11:1>") || strings.Count(got, "<") != 2 {
		t.Errorf("moved: %s", got)
	}
	for _, bad := range [][]string{
		{"Contact: *"}, {"Contact: *", "Expires: 10"}, {"Contact: *, <sip:a@b>", "Expires: 0"}, {"Contact: <tel:+1>"}, {"Contact: <sip:a@b c>"},
		{"Contact: <sip:a@" + strings.Repeat("b", 600) + ">"}, {"Contact: " + strings.Repeat("<sip:a@b>, ", maxPhones) + "<sip:a@b>"},
	} {
		h.register(400, bad...)
	}
	var many []string
	for i := range maxPhones {
		many = append(many, fmt.Sprintf("<sip:1001@192.0.2.12:%d>", 5000+i))
	}
	h.register(503, "Contact: "+strings.Join(many, ", "))
	if found := s.Phones(); len(found) != 2 {
		t.Errorf("an order that was refused has changed something: %+v", found)
	}
	if got := contactsOf(h.register(200, "Contact: *", "Expires: 0")); got != "" || len(s.Phones())+len(b.of("1001@pbx.example")) != 0 {
		t.Errorf("after all were taken away: %s", got)
	}
	if r := h.send1("sip:1002@127.0.0.1", "Contact: <sip:1002@192.0.2.9>"); r.StatusCode != 403 {
		t.Errorf("somebody else's address\n%s", r)
	}
	if r := h.send1("sip:1001@elsewhere.example"); r.StatusCode != 404 {
		t.Errorf("another domain\n%s", r)
	}
	h.uses -= 2
	if r := h.send1("sip:1001@127.0.0.1"); r.StatusCode != 401 || !strings.Contains(r.GetHeader("WWW-Authenticate").Value(), "stale=true") {
		t.Errorf("a login seen before\n%s", r)
	}
}

// TestPhoneIsRung: an invitation becomes an INVITE to where the phone was heard
// from, as from the caller, and not to where a redirection points.
func TestPhoneIsRung(t *testing.T) {
	t.Parallel()
	s, b := serveUsers(t, three, nil)
	h := newHandset(t, s, "1002", "pw1002")
	h.register(200, "Contact: <sip:1002@192.0.2.9:5070;ob>")
	line := b.of("1002@pbx.example")[0]
	ring := func(id string) *call {
		l, err := line.Ring(t.Context(), leg.Invitation{CallID: id, Caller: "1001", Callee: "1002", DisplayName: `Ann "A" B`})
		if err != nil {
			t.Fatal(err)
		}
		c := &call{Leg: l, t: t, changed: make(chan struct{}), rtp: map[uint8]int{}}
		c.wg.Go(c.follow)
		t.Cleanup(c.wg.Wait)
		return c
	}
	c := ring("ringing")
	inv := h.expect(sipmsg.INVITE)
	if inv.Recipient.String() != "sip:1002@192.0.2.9:5070;ob" || inv.From().Address.String() != "sip:1001@127.0.0.1" || !strings.Contains(inv.From().String(), `"Ann \"A\" B"`) ||
		inv.To().Address.String() != "sip:1002@127.0.0.1" || inv.CallID().Value() != "ringing" || inv.GetHeader("Authorization") != nil {
		t.Errorf("INVITE\n%s", inv)
	}
	h.answer(inv, 100, "")
	h.answer(inv, 180, "")
	c.wait(leg.Ringing)
	if types := c.types(); types[0] != leg.Ringing {
		t.Errorf("events %v", types)
	}
	_ = c.Hangup(t.Context(), leg.Cause{Code: 200, Text: "answered elsewhere"})
	if r := h.expect(sipmsg.CANCEL); r.GetHeader("Reason") == nil || !strings.Contains(r.GetHeader("Reason").Value(), "cause=200") {
		t.Errorf("CANCEL\n%s", r)
	} else {
		h.answer(r, 200, "")
	}
	h.answer(inv, 487, "")
	h.expect(sipmsg.ACK)
	c.wait(leg.Ended)

	c = ring("moved")
	h.answer(h.expect(sipmsg.INVITE), 302, "", "Contact: <sip:elsewhere@127.0.0.1:9>")
	h.expect(sipmsg.ACK)
	if e := c.wait(leg.Ended); e.Cause.Code != 302 {
		t.Errorf("%+v", e)
	}
	h.register(200, "Contact: <sip:1002@192.0.2.9:5070;ob>;expires=0")
	if _, err := line.Ring(t.Context(), leg.Invitation{CallID: "gone", Caller: "1001"}); err == nil {
		t.Error("a phone that has gone is rung")
	}
}

// TestLocations lapse, and are forgotten with all they hold.
func TestLocations(t *testing.T) {
	friends := 0
	b := &board{t: t, lines: map[string][]leg.Line{}}
	tab := newLocations(b, func(netip.Addr) func() { friends++; return func() { friends-- } })
	now := time.Unix(1e9, 0)
	apply := func(login string, seq uint32, lines ...string) int {
		o := &order{login: login, account: login + "@x", callID: login, cseq: seq, flow: func(sipmsg.Uri) hop { return hop{} }, line: func(l *location) leg.Line { return &phone{nil, l} }}
		for _, l := range lines {
			o.wishes = append(o.wishes, wish{line: l, expires: time.Minute})
		}
		_, code, _ := tab.apply(o, now)
		return code
	}
	if apply("a", 1, "1", "2") != 0 || apply("b", 1, "1") != 0 || apply("a", 2, "1") != 0 || friends != 3 || tab.count != 3 {
		t.Errorf("%d friends, %d locations", friends, tab.count)
	}
	first := tab.of["b"][0]
	now = now.Add(time.Minute - 1)
	if _, ok := tab.find(first, now); !ok {
		t.Error("gone too early")
	}
	now = now.Add(1)
	if _, ok := tab.find(first, now); ok || len(tab.list(now)) != 0 {
		t.Error("found after its end")
	}
	if apply("a", 1, "1") != 0 || len(b.of("a@x")) != 1 { // a binding that has lapsed has no order of CSeq
		t.Error("not registered anew")
	}
	tab.sweep(now, false)
	if friends != 1 || tab.count != 1 || len(b.of("b@x")) != 0 {
		t.Errorf("after the sweep: %d friends, %d locations", friends, tab.count)
	}
	tab.sweep(now, true)
	if friends != 0 || tab.count != 0 || len(tab.of) != 0 || len(b.of("a@x")) != 0 {
		t.Errorf("at the end: %d friends, %d locations", friends, tab.count)
	}
	tab.count = maxLocations
	if code := apply("c", 1, "1"); code != 503 || len(tab.of) != 0 {
		t.Errorf("a full table: %d", code)
	}
}

// TestWhereAPhoneIs: behind a NAT, with and without rport, over a connection.
func TestWhereAPhoneIs(t *testing.T) {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	for _, c := range []struct{ transport, via, contact, want string }{
		{overUDP, ";rport", "sip:a@192.0.2.1:5070", "192.0.2.1:40000"},
		{overUDP, "", "sip:a@192.0.2.1:5070", "192.0.2.1:5070"},
		{overUDP, "", "sip:a@192.0.2.1", "192.0.2.1:5060"},
		{overUDP, "", "sip:a@10.0.0.1:5070", "192.0.2.1:40000"},
		{overUDP, "", "sip:a@phone.example:5070", "192.0.2.1:40000"},
		{overTCP, "", "sip:a@192.0.2.1:5070", "192.0.2.1:40000"},
	} {
		m, err := sipmsg.ParseMessage([]byte("REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/" + c.transport + " 10.0.0.1" + c.via + ";branch=z9hG4bK1\r\nContact: <" + c.contact + ">\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		req := m.(*sipmsg.Request)
		got := flowOf(req, hop{transport: c.transport, addr: at("192.0.2.1:40000")}, req.GetHeader("Contact").(*sipmsg.ContactHeader).Address)
		if got.addr != at(c.want) || got.transport != c.transport {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// FuzzRegister: what a REGISTER that could be read asks for is within bounds.
func FuzzRegister(f *testing.F) {
	head := "REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKr\r\nFrom: <sip:a@x>;tag=x\r\nTo: <sip:a@x>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n"
	f.Add(head + "Contact: <sip:a@192.0.2.1:5070;transport=tcp>;expires=70;q=0.5;+sip.instance=\"<x>\";reg-id=1\r\n\r\n")
	f.Add(head + "Contact: *\r\nExpires: 0\r\n\r\n")
	f.Add(head + "Contact: sip:a@b, <sip:c@[::1]:99999>\r\nExpires: -1\r\n\r\n")
	a := &Agent{cfg: Config{RegistrarMin: time.Minute, RegistrarMax: time.Hour}}
	d, err := users.New(users.Config{Domains: []string{"x"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	a.ServeUsers(d, nil)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := sipmsg.ParseMessage([]byte(text))
		req, ok := m.(*sipmsg.Request)
		if err != nil || !ok {
			return
		}
		if code, _ := faulty(req); code != 0 {
			return
		}
		o, r, _ := a.order(req, hop{transport: overUDP, addr: netip.MustParseAddrPort("192.0.2.1:1")})
		if r != nil {
			return
		}
		if len(o.wishes) > maxPhones || o.all && len(o.wishes) > 0 {
			t.Fatalf("%+v", o)
		}
		for _, w := range o.wishes {
			at := o.flow(w.uri)
			l := location{uri: w.uri, q: w.q, until: time.Unix(60, 0)}
			if w.expires != 0 && w.expires < time.Minute || w.expires > time.Hour || !at.IsValid() || strings.ContainsAny(l.contact(time.Unix(0, 0)).String(), "\r\n") {
				t.Fatalf("%+v", w)
			}
		}
	})
}

// TestLinphoneRegistersHere: phones of another maker, by the stronger digest,
// over each transport, call one another across transports.
func TestLinphoneRegistersHere(t *testing.T) {
	t.Parallel()
	certs := peers.NewAuthority(t).Issue(t, "localhost", "127.0.0.1")
	s, b := serveUsers(t, three, func(c *Config) {
		c.TLS, c.TLSCert, c.TLSKey = true, certs.Cert, certs.Key // with sip_tls_ca this phone asks its user for a certificate
	})
	phone := func(user, transport string, answer bool) *peers.Linphone {
		port := s.Port()
		if transport == "tls" {
			port = portOf(s.tls)
		}
		return peers.StartLinphone(t, peers.LinphoneConfig{User: user, Password: "pw" + user, Server: fmt.Sprintf("127.0.0.1:%d", port), Transport: transport, TLS: certs, Answer: answer})
	}
	one := phone("1001", "udp", false)
	phone("1002", "tcp", true)
	phone("1003", "tls", true)
	peers.Eventually(t, "the registrations", 15*time.Second, func() bool { return len(s.Phones()) == 3 })
	for _, p := range s.Phones() {
		if !strings.Contains(p.Agent, "Linphone") {
			t.Errorf("%+v", p)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "algorithm=SHA-256, username") || strings.Contains(log, "algorithm=MD5, username") {
		t.Error("not the stronger digest")
	}
	for i, callee := range []string{"1002", "1003"} {
		one.Command(t, "call sip:"+callee+"@127.0.0.1")
		peers.Eventually(t, "the call of "+callee, 10*time.Second, func() bool { return len(b.incoming()) == i+1 })
		var near, far *call
		peers.Eventually(t, "both sides of it", 10*time.Second, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.calls) < 2*i+2 {
				return false
			}
			near, far = b.calls[2*i], b.calls[2*i+1]
			return true
		})
		far.wait(leg.Answered)
		near.wait(leg.Answered)
		if in := b.incoming()[i]; in.User != "1001@pbx.example" || in.Callee != callee {
			t.Errorf("told %+v", in)
		}
		one.Command(t, "terminate")
		far.wait(leg.Ended)
	}
}

package sip

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// uas is a SIP peer a test plays by hand, message by message, so that it can
// do what well-behaved stacks do not.
type uas struct {
	t    testing.TB
	conn *net.UDPConn
	peer *net.UDPAddr
	in   *sipmsg.Request // last INVITE
	tag  string
	cseq int
	rtp  *net.UDPConn

	polite sync.Once
	over   sync.WaitGroup
}

func newUAS(t testing.TB) *uas {
	t.Helper()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	u := &uas{t: t, tag: "uas1", cseq: 100}
	t.Cleanup(u.over.Wait)
	u.conn, u.rtp = listen(), listen()
	return u
}

// stayPolite has the peer answer whatever comes once the test is over, so that
// calls end by BYE and nobody waits for the answer in vain.
func (u *uas) stayPolite() {
	u.polite.Do(func() {
		u.t.Cleanup(func() { // before the calls of the test are hung up
			_ = u.conn.SetReadDeadline(time.Time{})
			u.over.Go(u.agree)
		})
	})
}

func (u *uas) agree() {
	buf := make([]byte, 65535)
	for {
		n, peer, err := u.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		m, err := sipmsg.ParseMessage(append([]byte(nil), buf[:n]...))
		r, ok := m.(*sipmsg.Request)
		if err != nil || !ok || r.Method == sipmsg.ACK {
			continue
		}
		_, _ = u.conn.WriteToUDP([]byte(u.reply(r, 200, "")), peer)
		if r.Method == sipmsg.CANCEL {
			_, _ = u.conn.WriteToUDP([]byte(u.reply(inviteOf(r), 487, "")), peer)
		}
	}
}

func (u *uas) port() int    { return u.conn.LocalAddr().(*net.UDPAddr).Port }
func (u *uas) rtpPort() int { return u.rtp.LocalAddr().(*net.UDPAddr).Port }

func (u *uas) request() leg.Request {
	return leg.Request{Callee: "bob", Login: "ann", Password: "secret", Domain: "127.0.0.1", Port: u.port(), SendAudio: true}
}

// read returns the next message.
func (u *uas) read() sipmsg.Message {
	u.t.Helper()
	buf := make([]byte, 65535)
	_ = u.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, peer, err := u.conn.ReadFromUDP(buf)
	if err != nil {
		u.t.Fatalf("the peer waits for a message: %v", err)
	}
	u.peer = peer
	m, err := sipmsg.ParseMessage(append([]byte(nil), buf[:n]...))
	if err != nil {
		u.t.Fatalf("%v\n%s", err, buf[:n])
	}
	return m
}

// expect returns the next request of a method; repeated ones before it are skipped.
func (u *uas) expect(method sipmsg.RequestMethod) *sipmsg.Request {
	u.t.Helper()
	for {
		m := u.read()
		r, ok := m.(*sipmsg.Request)
		if ok && r.Method == method {
			if method == sipmsg.INVITE {
				u.in = r
				u.stayPolite()
			}
			return r
		}
		if !ok || u.in == nil || r.Method != sipmsg.INVITE {
			u.t.Fatalf("want %s, got\n%s", method, m)
		}
	}
}

// next returns the next request of a method, whatever comes before it.
func (u *uas) next(method sipmsg.RequestMethod) *sipmsg.Request {
	u.t.Helper()
	for {
		if r, ok := u.read().(*sipmsg.Request); ok && r.Method == method {
			return r
		}
	}
}

// cancelled answers the INVITE that a CANCEL belongs to.
func (u *uas) cancelled(cancel *sipmsg.Request) {
	u.t.Helper()
	u.answer(inviteOf(cancel), 487, "")
}

func inviteOf(cancel *sipmsg.Request) *sipmsg.Request {
	invite := cancel.Clone()
	invite.Method = sipmsg.INVITE
	invite.CSeq().MethodName = sipmsg.INVITE
	return invite
}

// response returns the next response, which must have this status.
func (u *uas) response(code int) *sipmsg.Response {
	u.t.Helper()
	m := u.read()
	r, ok := m.(*sipmsg.Response)
	if !ok || r.StatusCode != code {
		u.t.Fatalf("want a %d, got\n%s", code, m)
	}
	return r
}

func (u *uas) send(s string) {
	u.t.Helper()
	if _, err := u.conn.WriteToUDP([]byte(s), u.peer); err != nil {
		u.t.Fatal(err)
	}
}

// answer sends a response to a request; extra are whole header lines.
func (u *uas) answer(r *sipmsg.Request, code int, body string, extra ...string) {
	u.t.Helper()
	u.send(u.reply(r, code, body, extra...))
}

func (u *uas) reply(r *sipmsg.Request, code int, body string, extra ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d Reason\r\n", code)
	for _, v := range r.GetHeaders("Via") {
		fmt.Fprintf(&b, "Via: %s\r\n", v.Value())
	}
	to := r.To().Value()
	if code > 100 && tagOf(r.To().Params) == "" {
		to += ";tag=" + u.tag
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n", r.From().Value(), to, r.CallID().Value(), r.CSeq().Value())
	if r.Method == sipmsg.INVITE && code < 300 {
		fmt.Fprintf(&b, "Contact: <sip:bob@127.0.0.1:%d>\r\n", u.port())
	}
	for _, e := range extra {
		b.WriteString(e + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// ask sends a request within the dialog.
func (u *uas) ask(method, body string, extra ...string) {
	u.t.Helper()
	if method != "ACK" {
		u.cseq++
	}
	u.raw(method, u.tag, body, u.cseq, extra...)
}

func (u *uas) raw(method, tag, body string, cseq int, extra ...string) {
	u.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s sip:x@%v SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bK%s%d%d\r\n", method, u.peer, u.port(), method, cseq, time.Now().UnixNano())
	fmt.Fprintf(&b, "From: <sip:bob@127.0.0.1>;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nMax-Forwards: 70\r\n",
		tag, u.in.From().Value(), u.in.CallID().Value(), cseq, method)
	for _, e := range extra {
		b.WriteString(e + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	u.send(b.String())
}

// sdp is an answer or offer with one audio line; more are whole lines behind it.
func (u *uas) sdp(more ...string) string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n", u.rtpPort()) + lines(more...)
}

func lines(l ...string) string {
	if len(l) == 0 {
		return ""
	}
	return strings.Join(l, "\r\n") + "\r\n"
}

// establish answers a call.
func (u *uas) establish(t *testing.T, s *server, change func(*leg.Request), more ...string) *call {
	t.Helper()
	r := u.request()
	if change != nil {
		change(&r)
	}
	c := s.dial(t, r)
	invite := u.expect(sipmsg.INVITE)
	u.answer(invite, 200, u.sdp(more...))
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	return c
}

// offered is the port our side offered for a kind.
func (u *uas) offered(t testing.TB, kind string) netip.AddrPort {
	t.Helper()
	sdp, err := parseSDP(u.in.Body())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range sdp.media {
		if m.word == kind {
			return netip.AddrPortFrom(netip.MustParseAddr(m.host), uint16(m.port))
		}
	}
	t.Fatalf("no %s was offered", kind)
	return netip.AddrPort{}
}

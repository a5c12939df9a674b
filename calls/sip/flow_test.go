package sip

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/test/peers"
)

// TestLongRinging: any number of provisional responses, each told once; early
// media is told with its media.
func TestLongRinging(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	invite := u.expect(sipmsg.INVITE)
	u.answer(invite, 100, "")
	c.wait(leg.Trying)
	for range 15 {
		u.answer(invite, 180, "")
	}
	c.wait(leg.Ringing)
	u.answer(invite, 183, u.sdp())
	if e := c.wait(leg.EarlyMedia); e.Media == nil || len(e.Media.Tracks()) != 1 {
		t.Errorf("early media: %+v", e)
	}
	u.answer(invite, 200, u.sdp())
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	u.ask("BYE", "")
	u.response(200)
	c.wait(leg.Ended)
	want := []leg.EventType{leg.Trying, leg.Ringing, leg.EarlyMedia, leg.Answered, leg.Ended}
	if got := c.types(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// TestInviteWire looks at what our INVITE says.
func TestInviteWire(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	r := u.request()
	r.CallID, r.Caller, r.DisplayName, r.Callee = "Xq2tlLcX89tTjaji", "1001", `Ann "x" \`, "#31*5"
	s.dial(t, r)
	invite := u.expect(sipmsg.INVITE)
	if got := invite.CallID().Value(); got != "Xq2tlLcX89tTjaji" {
		t.Errorf("Call-ID %s", got)
	}
	if got := invite.Recipient.String(); got != "sip:%2331*5@127.0.0.1" {
		t.Errorf("Request-URI %s", got)
	}
	text := invite.String()
	for _, want := range []string{
		`From: "Ann \"x\" \\" <sip:1001@127.0.0.1>;tag=`,
		fmt.Sprintf("Contact: <sip:ann@127.0.0.1:%d>", s.Port()),
		"User-Agent: lineout/",
		"Max-Forwards: 70",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	u.answer(invite, 503, "")
	u.expect(sipmsg.ACK)
}

// TestAckIsRepeated: a repeated 200 means that our ACK was lost.
func TestAckIsRepeated(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	invite := u.expect(sipmsg.INVITE)
	for range 3 {
		u.answer(invite, 200, u.sdp())
		if ack := u.expect(sipmsg.ACK); ack.CSeq().SeqNo != invite.CSeq().SeqNo {
			t.Errorf("ACK with CSeq %v", ack.CSeq())
		}
	}
	c.wait(leg.Answered)
}

// TestFork: a second branch that answers gets ACK and one BYE, the first lives.
func TestFork(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	u.tag = "uas2"
	u.answer(u.in, 200, u.sdp())
	u.expect(sipmsg.ACK)
	bye := u.expect(sipmsg.BYE)
	if tagOf(bye.To().Params) != "uas2" {
		t.Errorf("BYE for %s", bye.To())
	}
	u.answer(bye, 200, "")
	for range maxForks + 2 { // our ACK was lost: it is repeated, the BYE is not
		u.answer(u.in, 200, u.sdp())
		u.expect(sipmsg.ACK)
	}
	u.tag = "uas3" // and does not take another branch's place
	u.answer(u.in, 200, u.sdp())
	u.expect(sipmsg.ACK)
	u.expect(sipmsg.BYE)
	if got := c.types(); slices.Contains(got, leg.Ended) {
		t.Errorf("events %v", got)
	}
}

// TestDigest407 answers a proxy's challenge with a new CSeq and branch, and
// acknowledges the refusal.
func TestDigest407(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	first := u.expect(sipmsg.INVITE)
	u.answer(first, 407, "", `Proxy-Authenticate: Digest realm="x", nonce="1", algorithm=BOGUS`, `Proxy-Authenticate: Digest realm="x", nonce="n", algorithm=md5, qop="auth"`)
	u.expect(sipmsg.ACK)
	second := u.expect(sipmsg.INVITE)
	if second.CSeq().SeqNo != first.CSeq().SeqNo+1 || second.Via().Params.GetOr("branch", "") == first.Via().Params.GetOr("branch", "") {
		t.Error("the INVITE with credentials is not a new transaction")
	}
	h := second.GetHeader("Proxy-Authorization")
	if h == nil || !strings.Contains(h.Value(), `username="ann"`) {
		t.Fatalf("credentials: %v", h)
	}
	_, response, _ := strings.Cut(h.Value(), `response="`)
	response, _, _ = strings.Cut(response, `"`)
	u.answer(second, 486, "")
	u.expect(sipmsg.ACK)
	if e := c.wait(leg.Ended); e.Cause.Kind != leg.Busy || e.Cause.Code != 486 {
		t.Errorf("cause %+v", e.Cause)
	}
	if log := s.log.String(); len(response) != 32 || strings.Contains(log, response) || !strings.Contains(log, `response=\"***`) {
		t.Error("the log shows credentials, or no message at all")
	}
}

// TestFinalResponses: what an operator reads when a call is refused.
func TestFinalResponses(t *testing.T) {
	for _, c := range []struct {
		code int
		kind leg.CauseKind
		text string
	}{
		{302, leg.Rejected, "the callee is to be called elsewhere, and redirection is not followed: 302 "},
		{401, leg.Rejected, "cannot be answered"}, // without a challenge
		{403, leg.Rejected, "the SIP server does not allow this call: 403 "},
		{404, leg.Rejected, "the callee is not known at the SIP server: 404 "},
		{408, leg.RequestTimeout, "the callee could not be reached in time: 408 "},
		{480, leg.Rejected, "the callee cannot be reached now: 480 "},
		{486, leg.Busy, "the callee is busy: 486 "},
		{487, leg.Rejected, "the call was cancelled on its way: 487 "},
		{488, leg.NoCommonCodecs, "the callee takes none of the offered codecs: 488 "},
		{499, leg.Rejected, "the call was refused: 499 "},
		{503, leg.Rejected, "the SIP server failed: 503 "},
		{600, leg.Busy, "the callee is busy: 600 "},
		{603, leg.Rejected, "the callee declined the call: 603 "},
		{604, leg.Rejected, "the callee is not known at the SIP server: 604 "},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			u, s := newUAS(t), start(t, nil)
			call := s.dial(t, u.request())
			u.answer(u.expect(sipmsg.INVITE), c.code, "")
			u.expect(sipmsg.ACK)
			e := call.wait(leg.Ended)
			if e.Cause.Code != c.code || e.Cause.Kind != c.kind || e.Cause.Local || !strings.Contains(e.Cause.Text, c.text) {
				t.Errorf("cause %+v, want %q", e.Cause, c.text)
			}
		})
	}
}

// TestRefusedLogin: a wrong password and a missing one.
func TestRefusedLogin(t *testing.T) {
	const challenge = `Proxy-Authenticate: Digest realm="x", nonce="n", algorithm=MD5`
	t.Run("wrong password", func(t *testing.T) {
		u, s := newUAS(t), start(t, nil)
		c := s.dial(t, u.request())
		for range 3 {
			u.answer(u.expect(sipmsg.INVITE), 407, "", challenge)
			u.expect(sipmsg.ACK)
		}
		if e := c.wait(leg.Ended); e.Cause.Kind != leg.Rejected || e.Cause.Code != 407 ||
			!strings.Contains(e.Cause.Text, "the SIP server refused the login ann, its name or password is wrong: 407 ") {
			t.Errorf("cause %+v", e.Cause)
		}
	})
	t.Run("no password", func(t *testing.T) {
		u, s := newUAS(t), start(t, nil)
		q := u.request()
		q.Password = ""
		c := s.dial(t, q)
		u.answer(u.expect(sipmsg.INVITE), 407, "", challenge)
		u.expect(sipmsg.ACK)
		if e := c.wait(leg.Ended); !strings.Contains(e.Cause.Text, "the SIP server wants a password and the call has none: 407 ") {
			t.Errorf("cause %+v", e.Cause)
		}
	})
}

// TestCancelWaitsForProvisional: CANCEL is not sent before the peer was heard,
// and it matches the INVITE's branch.
func TestCancelWaitsForProvisional(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	invite := u.expect(sipmsg.INVITE)
	_ = c.Hangup(context.Background(), leg.Cause{Text: "no"})
	_ = c.Hangup(context.Background(), leg.Cause{Text: "twice"})
	u.answer(invite, 180, "")
	cancel := u.expect(sipmsg.CANCEL)
	if cancel.Via().Value() != invite.Via().Value() || cancel.CSeq().SeqNo != invite.CSeq().SeqNo {
		t.Errorf("CANCEL does not match:\n%s", cancel)
	}
	u.answer(cancel, 200, "")
	u.answer(invite, 487, "")
	u.expect(sipmsg.ACK)
	if e := c.wait(leg.Ended); e.Cause.Text != "no" || !e.Cause.Local {
		t.Errorf("cause %+v", e.Cause)
	}
}

// TestCancelCrosses200: the answer was on its way; it gets ACK and BYE.
func TestCancelCrosses200(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	invite := u.expect(sipmsg.INVITE)
	u.answer(invite, 180, "")
	c.wait(leg.Ringing)
	_ = c.Hangup(context.Background(), leg.Cause{Text: "no"})
	u.answer(u.expect(sipmsg.CANCEL), 200, "")
	u.answer(invite, 200, u.sdp())
	u.expect(sipmsg.ACK)
	u.answer(u.expect(sipmsg.BYE), 200, "")
	c.wait(leg.Ended)
	if slices.Contains(c.types(), leg.Answered) {
		t.Error("the cancelled call was told as answered")
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	t.Run("no response", func(t *testing.T) {
		u, s := newUAS(t), start(t, func(c *Config) { c.ResponseTimeout = 300 * time.Millisecond })
		c := s.dial(t, u.request())
		if e := c.wait(leg.Ended); e.Cause.Kind != leg.RequestTimeout || e.Cause.Code != 408 || !strings.HasSuffix(e.Cause.Text, "did not answer the INVITE within 300ms (sip_response_timeout)") {
			t.Errorf("cause %+v", e.Cause)
		}
	})
	t.Run("rings for ever", func(t *testing.T) {
		u, s := newUAS(t), start(t, func(c *Config) { c.RingingTimeout = 300 * time.Millisecond })
		c := s.dial(t, u.request())
		invite := u.expect(sipmsg.INVITE)
		u.answer(invite, 180, "")
		u.answer(u.expect(sipmsg.CANCEL), 200, "")
		u.answer(invite, 487, "")
		if e := c.wait(leg.Ended); e.Cause.Kind != leg.RequestTimeout || e.Cause.Text != "nobody answered within 300ms (sip_ringing_timeout)" {
			t.Errorf("cause %+v", e.Cause)
		}
	})
	t.Run("no RTP", func(t *testing.T) {
		u, s := newUAS(t), start(t, func(c *Config) { c.RTPActivity = "true,1" })
		c := u.establish(t, s, nil)
		bye := u.expect(sipmsg.BYE)
		if h := bye.GetHeader("Reason"); h == nil || !strings.Contains(h.Value(), "Failed by RTP activity") {
			t.Errorf("Reason: %v", h)
		}
		u.answer(bye, 200, "")
		if e := c.wait(leg.Ended); e.Cause.Kind != leg.RTPActivity || e.Cause.Text != "no RTP came for 1s (rtp_activity_detecting)" {
			t.Errorf("cause %+v", e.Cause)
		}
	})
}

// TestNoCommonCodec: an answer we cannot use is acknowledged and ended.
func TestNoCommonCodec(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	u.answer(u.expect(sipmsg.INVITE), 200, strings.Replace(u.sdp(), "RTP/AVP 8", "RTP/AVP 15", 1))
	u.expect(sipmsg.ACK)
	u.answer(u.expect(sipmsg.BYE), 200, "")
	if e := c.wait(leg.Ended); e.Cause.Kind != leg.NoCommonCodecs || e.Cause.Text != "the callee's answer has no codec in common with the offer" {
		t.Errorf("cause %+v", e.Cause)
	}
}

// TestLooseRoute: Record-Route becomes Route in reversed order, the request
// goes to the first route, the Contact is the Request-URI.
func TestLooseRoute(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	own := fmt.Sprintf("<sip:127.0.0.1:%d;lr;x=1>", u.port())
	u.answer(u.expect(sipmsg.INVITE), 200, u.sdp(), "Record-Route: <sip:192.0.2.9;lr>, "+own)
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	_ = c.Hangup(context.Background(), leg.Cause{})
	bye := u.expect(sipmsg.BYE)
	var routes []string
	for _, h := range bye.GetHeaders("Route") {
		routes = append(routes, h.Value())
	}
	if want := []string{own, "<sip:192.0.2.9;lr>"}; !slices.Equal(routes, want) {
		t.Errorf("routes %q, want %q", routes, want)
	}
	if got := bye.Recipient.String(); got != fmt.Sprintf("sip:bob@127.0.0.1:%d", u.port()) {
		t.Errorf("Request-URI %s", got)
	}
	u.answer(bye, 200, "")
	c.wait(leg.Ended)
}

// TestRequestsOfThePeer goes through what may come within and outside a call.
func TestRequestsOfThePeer(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	u.ask("OPTIONS", "")
	u.response(200)
	u.ask("MESSAGE", "hello", "Content-Type: text/plain")
	u.response(200)
	u.ask("NOTIFY", "", "Event: x")
	u.response(200)
	u.ask("INFO", "Signal=9\r\nDuration=100\r\n", "Content-Type: application/dtmf-relay")
	u.response(200)
	if e := c.wait(leg.DTMFReceived); e.Digit != "9" || e.How != leg.INFORelay {
		t.Errorf("digit %q by %s", e.Digit, e.How)
	}
	u.ask("INFO", "x", "Content-Type: application/odd")
	u.response(415)
	u.ask("REFER", "", "Refer-To: <sip:x@y>")
	u.response(603)
	u.ask("PUBLISH", "")
	if r := u.response(405); r.GetHeader("Allow") == nil {
		t.Error("405 without Allow")
	}
	u.raw("BYE", "stranger", "", 500)
	u.response(481)
	u.raw("INFO", u.tag, "", 3) // older than what came before
	u.response(500)
	u.ask("BYE", "", `Reason: Q.850;cause=16;text="bye"`)
	u.response(200)
	if e := c.wait(leg.Ended); e.Cause.Local || !strings.Contains(e.Cause.Text, "bye") {
		t.Errorf("cause %+v", e.Cause)
	}
	u.ask("BYE", "")
	u.response(481)
}

// TestDefaultDeny: what no call is about is refused, and malformed messages
// are refused or dropped without harm.
func TestDefaultDeny(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	u.peer = s.wire.LocalAddr().(*net.UDPAddr)
	n := 0
	send := func(start, headers string) {
		n++
		u.send(fmt.Sprintf("%s\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bKdeny%d\r\n%s\r\n", start, u.port(), n, headers))
	}
	head := func(method string) string {
		return fmt.Sprintf("From: <sip:x@y>;tag=1\r\nTo: <sip:me@here>\r\nCall-ID: deny%d\r\nCSeq: 1 %s\r\nContent-Length: 0\r\n", n, method)
	}
	for _, c := range []struct {
		start, headers string
		code           int
	}{
		{"OPTIONS sip:me@here SIP/2.0", head("OPTIONS"), 200},
		{"INVITE sip:me@here SIP/2.0", head("INVITE"), 603},
		{"REGISTER sip:here SIP/2.0", head("REGISTER"), 405},
		{"MESSAGE sip:me@here SIP/2.0", head("MESSAGE"), 403},
		{"BYE sip:me@here SIP/2.0", head("BYE"), 481},
		{"CANCEL sip:me@here SIP/2.0", head("CANCEL"), 481},
		{"OPTIONS sip:me@here SIP/2.0", head("INFO"), 400},
		{"OPTIONS sip:me@here SIP/7.0", head("OPTIONS"), 505},
		{"OPTIONS tel:1234 SIP/2.0", head("OPTIONS"), 416},
		{"OPTIONS sip:me@here SIP/2.0", head("OPTIONS") + "From: <sip:z@z>\r\n", 400},
		{"OPTIONS sip:me@here SIP/2.0", "CSeq: 1 OPTIONS\r\nCall-ID: z\r\nTo: <sip:a@b>\r\n", 400},
	} {
		send(c.start, c.headers)
		u.response(c.code)
		if c.code == 603 {
			if !strings.Contains(s.log.String(), "SIP call to us is declined") {
				t.Error("a declined call is not in the log")
			}
			u.send(fmt.Sprintf("ACK sip:me@here SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bKdeny%d\r\n%s\r\n", u.port(), n, head("ACK")))
		}
	}
	for _, junk := range []string{"", "\r\n\r\n", "\x00\xff", "INVITE", "SIP/2.0 200 OK\r\n\r\n", "SIP/2.0 200 OK\r\nVia: x\r\nCSeq: 1 INVITE\r\n\r\n",
		"ACK sip:x SIP/2.0\r\n\r\n", "OPTIONS sip:x SIP/2.0\r\n" + strings.Repeat("X: y\r\n", 400) + "\r\n", "BYE * SIP/2.0\r\nCSeq: 99999999999 BYE\r\n\r\n"} {
		u.send(junk)
	}
	send("OPTIONS sip:me@here SIP/2.0", head("OPTIONS"))
	for { // some junk may have been worth a 400
		if r, ok := u.read().(*sipmsg.Response); ok && r.StatusCode == 200 {
			break
		}
	}
	// A scanner that calls all day does not fill the log.
	for range strangerCallBurst - 2 { // more are not answered at all
		id := fmt.Sprintf("deny%d", n)
		send("INVITE sip:me@here SIP/2.0", head("INVITE"))
		for { // 603s without ACK are repeated
			if r, ok := u.read().(*sipmsg.Response); ok && r.StatusCode == 603 && r.CallID() != nil && r.CallID().Value() == id {
				break
			}
		}
	}
	if lines := strings.Count(s.log.String(), "SIP call to us is declined"); lines > 10 {
		t.Errorf("%d lines about declined calls", lines)
	}
}

// TestReInvite: hold, resume, a new address, an offer with an unknown section,
// and an offer that cannot be taken.
func TestReInvite(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	offer := func(body string, code int) *sipmsg.Response {
		t.Helper()
		u.ask("INVITE", body, "Content-Type: application/sdp", fmt.Sprintf("Contact: <sip:bob@127.0.0.1:%d>", u.port()))
		r := u.response(code)
		u.ask("ACK", "")
		return r
	}
	r := offer(u.sdp("a=sendonly"), 200)
	if !strings.Contains(string(r.Body()), "a=recvonly") {
		t.Errorf("answer to sendonly:\n%s", r.Body())
	}
	c.wait(leg.Held)
	offer(u.sdp("a=sendrecv", "m=image 5000 udptl t38", "m=video 0 RTP/AVP 96"), 200)
	c.wait(leg.Resumed)
	r = offer(u.sdp("a=inactive", "m=image 5000 udptl t38"), 200)
	if b := string(r.Body()); !strings.Contains(b, "m=image 0 UDPTL t38") || !strings.Contains(b, "a=inactive") {
		t.Errorf("answer with an unknown section:\n%s", b)
	}
	r = offer(strings.Replace(u.sdp(), "IN IP4 127.0.0.1", "IN IP4 0.0.0.0", 2), 200)
	if !strings.Contains(string(r.Body()), "a=inactive") {
		t.Errorf("answer to the old hold:\n%s", r.Body())
	}
	offer(strings.Replace(u.sdp(), "RTP/AVP 8", "RTP/AVP 15", 1), 488)
	offer("v=9", 488)
	other := newUAS(t)
	offer(other.sdp(), 200)
	buf := make([]byte, 1500)
	_ = other.rtp.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, _, err := other.rtp.ReadFrom(buf); err != nil || n != 172 {
		t.Errorf("no comfort silence at the new address: %d %v", n, err)
	}
	u.ask("UPDATE", "")
	u.response(200)
	u.ask("INVITE", "") // late offer: ours is in the 200, the answer in the ACK
	if r := u.response(200); !strings.Contains(string(r.Body()), "m=audio") {
		t.Errorf("no offer in\n%s", r)
	}
	u.ask("ACK", u.sdp("a=sendonly"), "Content-Type: application/sdp")
	peers.Eventually(t, "the second hold", 5*time.Second, func() bool {
		held := 0
		for _, e := range c.types() {
			if e == leg.Held {
				held++
			}
		}
		return held == 3
	})
}

// TestReInviteWithoutACK: the 200 is repeated until the ACK comes.
func TestReInviteWithoutACK(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	u.establish(t, s, nil)
	u.ask("INVITE", u.sdp(), "Content-Type: application/sdp")
	for range 3 {
		if r := u.response(200); r.CSeq().SeqNo != uint32(u.cseq) {
			t.Errorf("CSeq %v", r.CSeq())
		}
	}
	u.ask("ACK", "")
}

// TestLatch: media from another address is taken after a few good packets,
// once; comfort silence then goes there; a third address is refused.
func TestLatch(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	to := net.UDPAddrFromAddrPort(u.offered(t, "audio"))
	nat, thief := newUAS(t), newUAS(t)
	send := func(from *uas, seq int, ssrc uint32, pt uint8) {
		p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: uint16(seq), Timestamp: uint32(seq * 160), SSRC: ssrc}, Payload: make([]byte, 160)}
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := from.rtp.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		send(thief, i, 7, 18) // not an agreed payload type
		send(nat, i, 9, 8)
	}
	m := c.wait(leg.Answered).Media
	peers.Eventually(t, "media through NAT", 5*time.Second, func() bool { return c.count(8) == 16 })
	for i := range 20 {
		send(thief, i, 9, 8)
		send(u, i, 9, 8)
	}
	peers.Eventually(t, "the strangers to be counted", 5*time.Second, func() bool { return m.Stats()[0].PacketsRejected == 64 })
	if got, want := m.Stats()[0].Remote, nat.rtp.LocalAddr().String(); got != want {
		t.Errorf("remote %s, want %s", got, want)
	}
	buf := make([]byte, 1500)
	_ = nat.rtp.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, _, err := nat.rtp.ReadFrom(buf); err != nil {
		t.Errorf("no comfort silence at the latched address: %v", err)
	}
	if c.count(8) != 16 {
		t.Errorf("%d packets passed, want 16", c.count(8))
	}
}

// TestBadInput fails before anything is sent, with a class for REST.
func TestBadInput(t *testing.T) {
	s := start(t, nil)
	good := leg.Request{CallID: "a", Callee: "b", Login: "c", Domain: "127.0.0.1", Port: 9}
	for _, c := range []struct {
		name   string
		change func(*leg.Request)
		code   fault.Code
	}{
		{"no callee", func(r *leg.Request) { r.Callee = "" }, fault.BadRequest},
		{"callee with CRLF", func(r *leg.Request) { r.Callee = "b\r\nX: y" }, fault.BadRequest},
		{"callee of another scheme", func(r *leg.Request) { r.Callee = "http://x" }, fault.BadRequest},
		{"callee with a bad host", func(r *leg.Request) { r.Callee = "sip:b@h\r\nX" }, fault.BadRequest},
		{"callee with bad parameters", func(r *leg.Request) { r.Callee = "sip:b@h;x=<\r\n" }, fault.BadRequest},
		{"domain", func(r *leg.Request) { r.Domain = "a b" }, fault.BadRequest},
		{"no domain", func(r *leg.Request) { r.Domain = "" }, fault.BadRequest},
		{"proxy", func(r *leg.Request) { r.Proxy = "a\nb" }, fault.BadRequest},
		{"port", func(r *leg.Request) { r.Port = 70000 }, fault.BadRequest},
		{"Call-ID", func(r *leg.Request) { r.CallID = "a\r\nX: y" }, fault.BadRequest},
		{"no Call-ID", func(r *leg.Request) { r.CallID = "" }, fault.BadRequest},
		{"display name", func(r *leg.Request) { r.DisplayName = "a\r\nX: y" }, fault.BadRequest},
		{"caller", func(r *leg.Request) { r.Caller = "a>\r\n" }, fault.BadRequest},
		{"password", func(r *leg.Request) { r.Password = "a\n" }, fault.BadRequest},
		{"login", func(r *leg.Request) { r.Login = "Ralf C12441@host.com" }, fault.Internal},
		{"authentication name", func(r *leg.Request) { r.AuthName = "Ralf C" }, fault.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good
			c.change(&r)
			if _, err := s.Dial(context.Background(), r); err == nil || fault.CodeOf(err) != c.code {
				t.Errorf("error %v, want class %d", err, c.code)
			}
		})
	}
	if n := s.ports.inUse(); n != 0 {
		t.Errorf("%d port pairs are in use", n)
	}
}

// TestPortsExhausted: the call that finds no port fails at once with 503 and
// the settings' names; a Call-ID serves once at a time.
func TestPortsExhausted(t *testing.T) {
	u, s := newUAS(t), start(t, func(c *Config) { c.MediaPortTo = c.MediaPortFrom + 4 })
	r := u.request()
	r.CallID = "first"
	s.dial(t, r)
	if _, err := s.Dial(context.Background(), r); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("the same Call-ID: %v", err)
	}
	r.CallID = "second"
	_, err := s.Dial(context.Background(), r)
	if fault.CodeOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "media_port_from") {
		t.Errorf("error %v", err)
	}
	invite := u.expect(sipmsg.INVITE)
	u.answer(invite, 486, "")
	peers.Eventually(t, "the ports to come back", 5*time.Second, func() bool { return s.ports.inUse() == 0 })
}

// TestStopWithDeafPeers: a call nobody answers, and one whose peer went away,
// hold up the end of Run no longer than stopTime.
func TestStopWithDeafPeers(t *testing.T) {
	t.Parallel()
	u, gone, s := newUAS(t), newUAS(t), start(t, nil)
	r := gone.request()
	r.CallID = "deaf"
	silent := s.dial(t, r)
	gone.expect(sipmsg.INVITE)
	up := u.establish(t, s, nil)
	begin := time.Now()
	s.stop()
	if took := time.Since(begin); took >= cancelTime {
		t.Errorf("the end took %v", took)
	}
	silent.wait(leg.Ended)
	up.wait(leg.Ended)
}

// TestDigitsOnTheWire: RFC 4733 sections 2.3 and 2.5 as the other side receives
// them: one timestamp per digit, marker on the first packet, durations in units of
// the clock, three packets with the end bit, and a pause before the next digit.
func TestDigitsOnTheWire(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	c := s.dial(t, u.request())
	u.answer(u.expect(sipmsg.INVITE), 200, strings.Replace(u.sdp("a=rtpmap:101 telephone-event/8000"), "AVP 8", "AVP 8 101", 1))
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	if err := c.SendDTMF(t.Context(), "5#", leg.RFC4733); err != nil {
		t.Fatal(err)
	}
	type event struct {
		code, packets, markers, ends int
		begin, end                   uint32 // in units of the clock
	}
	var events []event
	buf := make([]byte, 1500)
	for silence := 0; len(events) < 2 || events[1].ends < 3 || silence == 0; {
		_ = u.rtp.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := u.rtp.Read(buf)
		var p rtp.Packet
		if err != nil || p.Unmarshal(buf[:n]) != nil {
			t.Fatalf("%v after %+v", err, events)
		}
		if p.PayloadType != 101 {
			silence = len(events) / 2 // sound again
			continue
		}
		if k := len(events); k == 0 || events[k-1].begin != p.Timestamp {
			events = append(events, event{code: int(p.Payload[0]), begin: p.Timestamp})
		}
		e := &events[len(events)-1]
		duration := uint32(p.Payload[2])<<8 | uint32(p.Payload[3])
		e.packets++
		if p.Marker {
			e.markers++
		}
		if p.Payload[1]&0x80 != 0 {
			e.ends++
			e.end = p.Timestamp + duration
		} else if want := uint32(160 * e.packets); duration != want {
			t.Errorf("packet %d has the duration %d, want %d", e.packets, duration, want)
		}
	}
	t.Logf("%+v, pause %d units", events, events[1].begin-events[0].end)
	for i, code := range []int{5, 11} {
		if e := events[i]; e.code != code || e.markers != 1 || e.ends != 3 || e.end-e.begin != 1280 || e.packets != 10 {
			t.Errorf("event %+v", e)
		}
	}
	if pause := events[1].begin - events[0].end; int32(pause) < 40*8 {
		t.Errorf("a pause of %d units, want at least 40 ms", int32(pause))
	}
}

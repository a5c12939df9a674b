package sip

import (
	"context"
	"strings"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// TestSippOverTCP: a call to us over TCP is held, resumed and ended.
func TestSippOverTCP(t *testing.T) {
	t.Parallel()
	k := &desk{}
	srv := take(t, k, nil)
	held := strings.TrimSuffix(sippCallerSDP, "\n") + "\na=sendonly\n"
	s := &callerScript{over: "t1"}
	s.send("INVITE", sippTo, sippCallerSDP, false).gets(200, "").send("ACK", "[last_To:]", "", false).
		send("INVITE", "[last_To:]", held, false).gets(200, "").send("ACK", "[last_To:]", "", false).
		send("INVITE", "[last_To:]", sippCallerSDP, false).gets(200, "").send("ACK", "[last_To:]", "", false).
		send("BYE", "[last_To:]", "", false).gets(200, "")
	s.run(t, srv)
	c, in := k.next(0)
	if end := c.wait(leg.Ended); end.Cause.Local || end.Cause.Code != 200 || in.Trunk != "home" {
		t.Errorf("cause %+v of %+v", end.Cause, in)
	}
	if c.countEvents(leg.Held) != 1 || c.countEvents(leg.Resumed) != 1 {
		t.Errorf("events %v", c.types())
	}
	if !strings.Contains(s.b.String(), "[transport]") || strings.Contains(srv.log.String(), "SIP/2.0/UDP") {
		t.Error("UDP was used")
	}
}

// TestSippIPv6: signalling and media over IPv6, with a peer that sends back what
// it hears and no RTCP at all.
func TestSippIPv6(t *testing.T) {
	t.Parallel()
	k := &desk{}
	srv := take(t, k, func(c *Config) { c.IPLocal, c.Trunks = "::1", []string{"name=six from=::1"} })
	sdp := "v=0\no=- 1 1 IN IP6 ::1\ns=-\nc=IN IP6 ::1\nt=0 0\nm=audio [media_port] RTP/AVP 8\na=rtpmap:8 PCMA/8000\n"
	s := &callerScript{host: "::1"}
	s.send("INVITE", sippTo, sdp, true).gets(200, "").send("ACK", "[last_To:]", "", false)
	s.b.WriteString(`<pause milliseconds="1500"/>` + "\n")
	s.send("BYE", "[last_To:]", "", true).gets(200, "")
	s.run(t, srv, "-mi", "::1", "-rtp_echo")
	c, in := k.next(0)
	m := c.wait(leg.Answered).Media
	c.wait(leg.Ended)
	st := m.Stats()[0]
	if in.Trunk != "six" || !strings.HasPrefix(st.Remote, "[::1]:") || c.count(8) < 30 || c.control != 0 || st.PacketsLost != 0 || st.PacketsRejected != 0 {
		t.Errorf("%d packets, %d of RTCP, %+v", c.count(8), c.control, st)
	}
}

// TestSippIsTransferred: one party is asked to take the place of our call with
// another (RFC 5589 section 7), and says how that went.
func TestSippIsTransferred(t *testing.T) {
	t.Parallel()
	first, second := &scenario{}, &scenario{}
	first.recv("INVITE").first("200 OK", sippSDP(9000))
	first.b.WriteString(`<recv request="REFER" timeout="20000"><action><ereg regexp="sip:bob@127.0.0.1:[0-9]+.Replaces=[^ ]*to-tag[^ ]*from-tag" search_in="hdr" header="Refer-To:" check_it="true" assign_to="Via"/></action></recv>` + "\n")
	first.answer("202 Accepted", "").
		ask("NOTIFY", "SIP/2.0 200 OK\n", "Event: refer", "Subscription-State: terminated;reason=noresource", "Content-Type: message/sipfrag").gets(200).
		recv("BYE").answer("200 OK", "")
	second.recv("INVITE").first("200 OK", sippSDP(9000)).recv("BYE").answer("200 OK", "")
	srv := start(t, nil)
	dial := func(s *scenario, id string) (*call, func()) {
		port, wait := s.sipp(t)
		return srv.dial(t, leg.Request{CallID: id, Callee: "bob", Login: "ann", Domain: "127.0.0.1", Port: port, SendAudio: true}), wait
	}
	a, waitA := dial(first, "first")
	a.wait(leg.Answered)
	b, waitB := dial(second, "second")
	b.wait(leg.Answered)
	if err := a.Leg.(leg.Transferer).Transfer(t.Context(), "", "second"); err != nil {
		t.Error(err)
	}
	if e := a.wait(leg.Transfer); e.Code != 200 {
		t.Errorf("told %+v", e)
	}
	for _, c := range []*call{a, b} {
		_ = c.Hangup(context.Background(), leg.Cause{})
		c.wait(leg.Ended)
	}
	waitA()
	waitB()
}

// TestBaresipMux: a phone that offers to have RTCP on the port of RTP (RFC 5761)
// gets that, both ways.
func TestBaresipMux(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Video: peers.None, RTCPMux: true})
	k := &desk{}
	s := take(t, k, nil)
	phone.Dial(t, s.uri("line1"))
	c, in := k.next(0)
	m := c.wait(leg.Answered).Media
	if !strings.Contains(in.SDP, "a=rtcp-mux") {
		t.Fatalf("the phone does not offer it:\n%s", in.SDP)
	}
	sec := m.(*session).sections[0]
	if _, port := sec.controlSocket(); port != sec.pair.port {
		t.Errorf("RTCP goes over port %d, RTP over %d", port, sec.pair.port)
	}
	peers.Eventually(t, "sound", 10*time.Second, func() bool { return c.count(8) > 20 })
	peers.Eventually(t, "its reports", 15*time.Second, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.control > 0
	})
	if st := m.Stats()[0]; st.PacketsRejected != 0 || st.PacketsReceived == 0 {
		t.Errorf("%+v", st)
	}
}

package sip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/media"
	"lineout/test/peers"
)

func TestCalleeURI(t *testing.T) {
	for in, want := range map[string]string{
		"10005":                         "sip:10005@d.test",
		" +49 ":                         "sip:+49@d.test",
		"a#b":                           "sip:a%23b@d.test",
		"a%20b":                         "sip:a%20b@d.test",
		"100%":                          "sip:100%25@d.test",
		"jürgen":                        "sip:j%C3%BCrgen@d.test",
		"tel:+4930;phone-context=x":     "sip:+4930@d.test",
		"bob@other.test":                "sip:bob@other.test",
		"SIP:bob@other.test:5070;x=1;y": "sip:bob@other.test:5070;x=1;y",
		"sip:bob@[2001:db8::1]:5062":    "sip:bob@[2001:db8::1]:5062",
		"SIPS:bob@other.test":           "sips:bob@other.test",
	} {
		u, err := calleeURI(in, "d.test")
		if err != nil || u.String() != want {
			t.Errorf("%q: %s %v, want %s", in, u.String(), err, want)
		}
	}
	for _, bad := range []string{"", "http:a@b", "a b", "a@", "@b", "a@b:0", "a@b:x", "sip:a@b?X=y", strings.Repeat("x", 300)} {
		if u, err := calleeURI(bad, "d.test"); err == nil {
			t.Errorf("%q became %s", bad, u.String())
		}
	}
}

// TestFallbacks: settings stand in for what a request leaves out.
func TestFallbacks(t *testing.T) {
	for _, c := range []struct {
		cfg    Config
		req    leg.Request
		domain string
		host   string
		port   int
	}{
		{Config{}, leg.Request{Domain: "d.test"}, "d.test", "d.test", 0},
		{Config{}, leg.Request{Domain: "d.test:5070"}, "d.test", "d.test", 5070},
		{Config{}, leg.Request{Domain: "d.test", Proxy: "p.test:5080"}, "d.test", "p.test", 5080},
		{Config{}, leg.Request{Proxy: "p.test", Port: 5090}, "p.test", "p.test", 5090},
		{Config{Domain: "d.test", OutboundProxy: "p.test", OutboundPort: 5061}, leg.Request{}, "d.test", "p.test", 5061},
		{Config{Domain: "x.test", OutboundPort: 5061}, leg.Request{Domain: "d.test", Port: 5062}, "d.test", "d.test", 5062},
	} {
		c.req.CallID, c.req.Callee = "x", "y"
		p, err := newParty(c.req, &c.cfg)
		if err != nil || p.domain != c.domain || p.server.host != c.host || p.server.port != c.port {
			t.Errorf("%+v: %+v %v", c.req, p, err)
		}
	}
}

func TestInfoDigit(t *testing.T) {
	for in, want := range map[string]string{"5": "5", "#\r\n": "#", "Signal=7\r\nDuration=160\r\n": "7", "duration=1\nsignal = *\n": "*",
		"Signal=10": "*", "11": "#", "d": "D", "": "", "Signal=55": "", "x": "", strings.Repeat("=", 5000): ""} {
		if got := infoDigit(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// response parses a 200 with these extra header lines.
func response(t *testing.T, extra ...string) *sipmsg.Response {
	t.Helper()
	m, err := sipmsg.ParseMessage([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n" +
		lines(extra...) + "Content-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return m.(*sipmsg.Response)
}

// TestRoutes: loose and strict routers, no Contact, and a phone behind NAT.
func TestRoutes(t *testing.T) {
	fallback := sipmsg.Uri{Scheme: "sip", User: "c", Host: "192.0.2.50"}
	for _, c := range []struct {
		name   string
		extra  []string
		routes []string
		target string
		next   string
	}{
		{"nothing", nil, nil, "sip:c@192.0.2.50", "192.0.2.50:5060"},
		{"contact", []string{"Contact: <sip:c@192.0.2.7:5070;x=1>"}, nil, "sip:c@192.0.2.7:5070;x=1", "192.0.2.7:5070"},
		{"behind NAT", []string{"Contact: <sip:c@10.0.0.7>"}, nil, "sip:c@10.0.0.7", "198.51.100.9:6000"},
		{"loose", []string{"Contact: <sip:c@10.0.0.7>", "Record-Route: <sip:192.0.2.1;lr>", "Record-Route: <sip:192.0.2.2:5080;lr>"},
			[]string{"<sip:192.0.2.2:5080;lr>", "<sip:192.0.2.1;lr>"}, "sip:c@10.0.0.7", "192.0.2.2:5080"},
		{"strict", []string{"Contact: <sip:c@10.0.0.7>", "Record-Route: <sip:192.0.2.1>, <sip:192.0.2.2>"},
			[]string{"<sip:192.0.2.1>", "<sip:c@10.0.0.7>"}, "sip:192.0.2.2", "192.0.2.2:5060"},
		{"other scheme", []string{"Contact: <tel:123>"}, nil, "sip:c@192.0.2.50", "192.0.2.50:5060"},
	} {
		t.Run(c.name, func(t *testing.T) {
			routes, target, err := routeSet(response(t, c.extra...), fallback)
			if err != nil || !slices.Equal(routes, c.routes) || target.String() != c.target {
				t.Fatalf("%q %s %v", routes, target.String(), err)
			}
			d := &dialog{a: bare(), party: &party{server: sipServer{transport: overUDP}}, target: target, source: hop{overUDP, nat, ""}}
			d.head.routes = routes
			if next, err := d.nextHop(context.Background()); err != nil || next.String() != c.next {
				t.Errorf("next hop %v %v", next, err)
			}
		})
	}
	if _, _, err := routeSet(response(t, "Record-Route: <tel:1>"), fallback); err == nil {
		t.Error("a route with another scheme was taken")
	}
}

// TestEarlyAnswerStays: a 200 without a description after a 183 with one.
func TestEarlyAnswerStays(t *testing.T) {
	u, s := newUAS(t), start(t, func(c *Config) { c.IP = "localhost" })
	c := s.dial(t, u.request())
	invite := u.expect(sipmsg.INVITE)
	if !strings.Contains(string(invite.Body()), "c=IN IP4 localhost") || invite.Contact().Address.Host != "localhost" {
		t.Errorf("announced:\n%s", invite)
	}
	u.answer(invite, 183, strings.Replace(u.sdp(), "c=IN IP4 127.0.0.1", "c=IN IP4 localhost", 1))
	c.wait(leg.EarlyMedia)
	u.answer(invite, 200, "")
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	u.ask("BYE", "")
	u.response(200)
	c.wait(leg.Ended)
}

// TestStrayAnswer: a 2xx that comes after its transaction is gone gets its ACK.
func TestStrayAnswer(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	u.establish(t, s, nil)
	invite := u.in.Clone()
	invite.Via().Params.Add("branch", "z9hG4bKlongago")
	u.answer(invite, 200, u.sdp())
	u.expect(sipmsg.ACK)
}

// TestMediaBothWays: a bridge writes, control packets come on either socket,
// and receiving starts once at a time.
func TestMediaBothWays(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	m := c.wait(leg.Answered).Media
	if err := m.WriteRTP(media.Video, leg.Outgoing{}); err != nil {
		t.Errorf("a refused section: %v", err) // nothing is sent, and that is no fault
	}
	if err := m.WriteRTP(media.Audio, leg.Outgoing{PayloadType: 8, At: time.Now(), Payload: make([]byte, 1600)}); err == nil {
		t.Error("a datagram beyond the MTU was sent")
	}
	if err := m.WriteRTP(media.Audio, leg.Outgoing{PayloadType: 8, At: time.Now(), Length: time.Millisecond, Payload: []byte("bridged")}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	var p rtp.Packet
	for string(p.Payload) != "bridged" {
		_ = u.rtp.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _, err := u.rtp.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Unmarshal(buf[:n]); err != nil {
			t.Fatal(err)
		}
	}
	peers.Eventually(t, "receiving to have started", 5*time.Second, func() bool {
		return m.(*session).running.Load()
	})
	to := u.offered(t, "audio")
	sr, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: 5, NTPTime: 1 << 40}})
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{to.Port(), to.Port() + 1} {
		if _, err := u.rtp.WriteToUDPAddrPort(sr, netip.AddrPortFrom(to.Addr(), port)); err != nil {
			t.Fatal(err)
		}
	}
	peers.Eventually(t, "both reports", 5*time.Second, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.control == 2
	})
	for _, bad := range []struct {
		digits string
		how    leg.DTMF
		code   fault.Code
	}{{"x", leg.RFC4733, fault.BadRequest}, {"", leg.INFO, fault.BadRequest}, {"1", "MORSE", fault.BadRequest}, {"1", "", fault.Conflict}} {
		if err := c.SendDTMF(context.Background(), bad.digits, bad.how); fault.CodeOf(err) != bad.code {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	_ = c.Hangup(context.Background(), leg.Cause{})
	u.answer(u.expect(sipmsg.BYE), 200, "")
	c.wait(leg.Ended)
	if err := m.WriteRTP(media.Audio, leg.Outgoing{}); !errors.Is(err, leg.ErrEnded) {
		t.Error("media of an ended call was taken")
	}
	if err := c.SendDTMF(context.Background(), "1", leg.INFO); err == nil {
		t.Error("a digit of an ended call was taken")
	}
}

// TestInfoIsChallenged: requests within the call answer a challenge as well.
func TestInfoIsChallenged(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	sent := make(chan error, 1)
	go func() { sent <- c.SendDTMF(context.Background(), "3", leg.INFO) }()
	first := u.expect(sipmsg.INFO)
	u.answer(first, 401, "", `WWW-Authenticate: Digest realm="x", nonce="n"`)
	second := u.expect(sipmsg.INFO)
	if second.GetHeader("Authorization") == nil || string(second.Body()) != "3" || second.CSeq().SeqNo <= first.CSeq().SeqNo {
		t.Errorf("second INFO:\n%s", second)
	}
	u.answer(second, 200, "")
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestRegisterHungUp: a registrar that is silent ends the call at once when
// it is hung up.
func TestRegisterHungUp(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	r := u.request()
	r.Register = true
	c := s.dial(t, r)
	u.expect(sipmsg.REGISTER)
	_ = c.Hangup(context.Background(), leg.Cause{Text: "no patience"})
	if e := c.wait(leg.Ended); e.Cause.Text != "no patience" {
		t.Errorf("cause %+v", e.Cause)
	}
}

// BenchmarkWriteRTP is the cost of one bridged packet down to the socket.
func BenchmarkWriteRTP(b *testing.B) {
	s := agreedSection(b, media.Audio, sendrecv)
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	s.latch.expected = sink.LocalAddr().(*net.UDPAddr).AddrPort()
	s.pair = &portPair{rtp: sink}
	m := &session{sections: []*section{s}}
	p := leg.Outgoing{PayloadType: 8, At: time.Now(), Length: 20 * time.Millisecond, Payload: make([]byte, 160)}
	b.ReportAllocs()
	for range b.N {
		p.At = p.At.Add(p.Length)
		if err := m.WriteRTP(media.Audio, p); err != nil {
			b.Fatal(err)
		}
	}
}

package sip

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/test/peers"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestConfig(t *testing.T) {
	c := defaults(t)
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	if got := product(""); !strings.HasPrefix(got, "lineout/") {
		t.Errorf("product %q", got)
	}
	for _, bad := range []struct {
		name   string
		change func(*Config)
	}{
		{"ip", func(c *Config) { c.IP = "a b" }},
		{"ip_local", func(c *Config) { c.IPLocal = "host" }},
		{"port_from", func(c *Config) { c.PortFrom = c.PortTo + 1 }},
		{"media_port_from", func(c *Config) { c.MediaPortTo = c.MediaPortFrom + 1 }},
		{"domain", func(c *Config) { c.Domain = "a\r\nb" }},
		{"outbound_proxy", func(c *Config) { c.OutboundProxy = "h:99999" }},
		{"outbound_port", func(c *Config) { c.OutboundPort = -1 }},
		{"user_agent", func(c *Config) { c.UserAgent = "a\nb" }},
		{"rtp_activity_detecting", func(c *Config) { c.RTPActivity = "maybe" }},
		{"rtp_activity_detecting", func(c *Config) { c.RTPActivity = "true,0" }},
		{"dtmf", func(c *Config) { c.DTMF = "morse" }},
		{"sip_ringing_timeout", func(c *Config) { c.RingingTimeout = 0 }},
		{"sip_register_expires", func(c *Config) { c.RegisterExpires = time.Second }},
		{"rtp_latch_window", func(c *Config) { c.LatchWindow = -1 }},
		{"codecs", func(c *Config) { c.Codecs = []string{"g729"} }},
	} {
		c := defaults(t)
		bad.change(&c)
		if _, err := New(c, table(), quiet()); err == nil || !strings.Contains(err.Error(), bad.name) {
			t.Errorf("%s: %v", bad.name, err)
		}
	}
	for in, want := range map[string]time.Duration{"true,60": time.Minute, "true": time.Minute, "false,60": 0, "TRUE, 5": 5 * time.Second, "1,2": 2 * time.Second} {
		if got, err := parseActivity(in); err != nil || got != want {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
}

// TestListen: a taken port is passed over; a taken range is an error that names
// the settings.
func TestListen(t *testing.T) {
	held, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	c := defaults(t)
	c.IPLocal = "127.0.0.1"
	c.PortFrom = held.LocalAddr().(*net.UDPAddr).Port
	c.PortTo = c.PortFrom
	a, err := New(c, table(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Listen(); err == nil || !strings.Contains(err.Error(), "port_from") {
		t.Errorf("error %v", err)
	}
	if _, err := a.Dial(context.Background(), leg.Request{CallID: "x", Callee: "y", Domain: "z"}); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("a call before Run: %v", err)
	}
	if err := a.Run(context.Background()); err == nil {
		t.Error("Run without Listen")
	}
}

// TestPortPool: even pairs, none twice, others' ports passed over, quarantine.
func TestPortPool(t *testing.T) {
	base := peers.Ports(t, 12)
	p := newPortPool(netip.MustParseAddr("127.0.0.1"), base+1, base+10)
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: base + 5})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var got []*portPair
	for {
		pair, err := p.take(t0)
		if err != nil {
			if fault.CodeOf(err) != fault.Unavailable {
				t.Error(err)
			}
			break
		}
		got = append(got, pair)
	}
	if len(got) != 3 || got[0].port != base+2 || got[1].port != base+6 || got[2].port != base+8 {
		t.Fatalf("%d pairs", len(got))
	}
	for _, pair := range got {
		p.release(pair, t0)
	}
	if _, err := p.take(t0.Add(quarantine - time.Millisecond)); err == nil {
		t.Error("a pair left quarantine too early")
	}
	pair, err := p.take(t0.Add(quarantine))
	if err != nil {
		t.Fatal(err)
	}
	p.release(pair, t0)
	if p.inUse() != 0 {
		t.Errorf("%d in use", p.inUse())
	}
}

// TestAdmission: one host is limited, strangers together are, peers far later,
// and a host of IPv6 counts as one whatever address it makes up.
func TestAdmission(t *testing.T) {
	friend := netip.MustParseAddr("192.0.2.1")
	d := newAdmission(func(a netip.Addr) bool { return a == friend })
	count := func(n int, src func(i int) netip.Addr) (taken int) {
		for i := range n {
			if d.admit(src(i), t0) {
				taken++
			}
		}
		return taken
	}
	one := func(a netip.Addr) func(int) netip.Addr { return func(int) netip.Addr { return a } }
	if n := count(1000, one(thief.Addr())); n != sourceBurst {
		t.Errorf("%d taken of one stranger", n)
	}
	if n := count(1000, func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }); n != strangerBurst-sourceBurst {
		t.Errorf("%d taken of others", n)
	}
	if n := count(2*peerBurst, one(friend)); n != peerBurst {
		t.Errorf("%d taken of a peer", n)
	}
	if !d.admit(thief.Addr(), t0.Add(time.Second)) || !d.admit(friend, t0.Add(time.Second)) {
		t.Error("there is no forgiving")
	}
	d = newAdmission(func(netip.Addr) bool { return false })
	if n := count(1000, func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 7: 1, 14: byte(i >> 8), 15: byte(i)})
	}); n != sourceBurst {
		t.Errorf("%d taken of one network", n)
	}
}

// TestWireBounds: too many headers are dropped before they are parsed.
func TestWireBounds(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := newWire(c, newAdmission(func(netip.Addr) bool { return true }), quiet())
	if w.admit([]byte("OPTIONS x SIP/2.0\r\n"+strings.Repeat("a: b\r\n", maxHeaders+1)), thief, t0) || !w.admit([]byte("OPTIONS"), thief, t0) {
		t.Error("too many headers passed, or none did not")
	}
}

// TestTooManyRequests: a peer that floods is told to come later, and its calls
// go on.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	ask := func(method string, n int) string {
		for s.requests.Take(netip.MustParseAddr("127.0.0.1"), time.Now().Add(time.Hour)) { // none comes back within that
		}
		u.send(fmt.Sprintf("%s sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKf%d\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: f%[3]d\r\nCSeq: 1 %[1]s\r\nContent-Length: 0\r\n\r\n", method, u.port(), n))
		r, ok := u.read().(*sipmsg.Response)
		if !ok {
			return ""
		}
		if r.StatusCode == 503 && (r.GetHeader("Retry-After") == nil || r.GetHeader("Retry-After").Value() != "1") {
			t.Errorf("503 without Retry-After\n%s", r)
		}
		return fmt.Sprint(r.StatusCode)
	}
	if a, b := ask("OPTIONS", 1), ask("MESSAGE", 2); a+b != "503503" {
		t.Errorf("answered %s and %s", a, b)
	}
	u.ask("INFO", "5", "Content-Type: application/dtmf")
	u.response(200)
	c.wait(leg.DTMFReceived)
}

// TestTableIsEmptied: more sources than the table may hold make the reader
// start anew, and calls go on.
func TestTableIsEmptied(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	s.wire.limit.Store(3)
	to := s.wire.LocalAddr().(*net.UDPAddr)
	for i := range 10 {
		other := newUAS(t)
		other.peer = to
		for answered := false; !answered; { // the message that empties the table is lost
			other.send(fmt.Sprintf("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKt%d\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: t%d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", other.port(), i, i))
			_ = other.conn.SetReadDeadline(time.Now().Add(time.Second))
			_, _, err := other.conn.ReadFrom(make([]byte, 2000))
			answered = err == nil
		}
	}
	_ = c.Hangup(context.Background(), leg.Cause{})
	bye := u.expect(sipmsg.BYE)
	u.answer(bye, 200, "")
	if e := c.wait(leg.Ended); e.Cause.Kind != leg.Normal {
		t.Errorf("cause %+v", e.Cause)
	}
}

// TestSharedRegistration: two calls of an account share one binding, which is
// refreshed while they last and removed after the last.
func TestSharedRegistration(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	reg := newUAS(t) // the registrar is the proxy
	request := func(id string) leg.Request {
		r := u.request()
		r.CallID, r.Port, r.Register = id, reg.port(), true
		return r
	}
	one := s.dial(t, request("one"))
	first := reg.expect(sipmsg.REGISTER)
	reg.answer(first, 200, "", fmt.Sprintf("Contact: <%s>;expires=6", first.Contact().Address.String()))
	reg.answer(reg.expect(sipmsg.INVITE), 180, "")
	two := s.dial(t, request("two"))
	if m, ok := reg.read().(*sipmsg.Request); !ok || m.Method != sipmsg.INVITE {
		t.Fatalf("the second call does not call at once:\n%s", m)
	} else {
		reg.answer(m, 486, "")
		reg.in = m
	}
	two.wait(leg.Ended)
	reg.expect(sipmsg.ACK)
	again := reg.expect(sipmsg.REGISTER)
	if again.CallID().Value() != first.CallID().Value() || again.CSeq().SeqNo != first.CSeq().SeqNo+1 {
		t.Errorf("the refresh is not of the same registration:\n%s", again)
	}
	reg.answer(again, 200, "", "Expires: 600")
	_ = one.Hangup(context.Background(), leg.Cause{})
	cancel := reg.expect(sipmsg.CANCEL)
	reg.answer(cancel, 200, "")
	reg.cancelled(cancel)
	one.wait(leg.Ended)
	last := reg.next(sipmsg.REGISTER)
	if h := last.GetHeader("Expires"); h == nil || h.Value() != "0" {
		t.Errorf("the last REGISTER:\n%s", last)
	}
	reg.answer(last, 200, "")
}

// FuzzRequest: nothing in a request of the REST API can add a line to our
// messages, and what is taken can be parsed again.
func FuzzRequest(f *testing.F) {
	f.Add("call-1", "10005", "10006", "Ann", "10006", "10.0.0.1", "proxy.example.org:5080")
	f.Add("a@b", "sip:x@[::1]:5060;transport=udp", "", "\"\\", "a.b-c", "example.org", "")
	f.Add("x", "b\r\nVia: evil", "c\n", "d\r", "e\x00", "f g", "h\r\n")
	c := defaults(f)
	f.Fuzz(func(t *testing.T, id, callee, caller, name, login, domain, proxy string) {
		p, err := newParty(leg.Request{CallID: id, Callee: callee, Caller: caller, DisplayName: name, Login: login, Domain: domain, Proxy: proxy}, &c)
		if err != nil {
			return
		}
		d := (&Agent{cfg: c, name: "x/1", log: quiet(), wire: nil}).newDialog(leg.Request{CallID: id}, p)
		d.head.viaHost, d.head.viaPort, d.head.contact = "192.0.2.1", 5060, sipmsg.Uri{Scheme: "sip", User: p.login, Host: "192.0.2.1", Port: 5060}
		req := d.head.request(sipmsg.INVITE, d.target)
		req.SetBody(nil)
		text := req.String()
		if n := strings.Count(text, "\n"); n != 13 || strings.Count(text, "\r\n") != n || strings.Count(text, "\r") != n {
			t.Fatalf("%d lines in\n%q", n, text)
		}
		m, err := sipmsg.ParseMessage([]byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if got := m.(*sipmsg.Request); got.CallID().Value() != id || got.From().Address.Host != p.domain {
			t.Fatalf("read back\n%s", got)
		}
	})
}

// TestSIPp makes calls to a load tester at once; all get through and all
// resources come back.
func TestSIPp(t *testing.T) {
	const calls = 12
	sipp, err := exec.LookPath("sipp")
	if err != nil {
		t.Fatalf("sipp is needed (apt-get install sip-tester): %v", err)
	}
	port := peers.Ports(t, 4)
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, sipp, "-sn", "uas", "-i", "127.0.0.1", "-p", fmt.Sprint(port), "-mp", fmt.Sprint(port+2), "-nostdin", "-m", fmt.Sprint(calls),
		"-trace_err", "-error_file", filepath.Join(dir, "errors"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *Config) { c.VideoEnabled = false })
	var all []*call
	for i := range calls {
		all = append(all, s.dial(t, leg.Request{CallID: fmt.Sprintf("sipp-%d", i), Callee: "service", Login: "ann", Domain: "127.0.0.1", Port: port, SendAudio: true}))
	}
	for _, c := range all {
		c.wait(leg.Answered)
		_ = c.Hangup(context.Background(), leg.Cause{})
	}
	for _, c := range all {
		c.wait(leg.Ended)
	}
	if err := cmd.Wait(); err != nil {
		errs, _ := os.ReadFile(filepath.Join(dir, "errors"))
		t.Errorf("sipp saw failed calls: %v\n%s", err, errs)
	}
	if n := s.ports.inUse(); n != 0 {
		t.Errorf("%d port pairs are still in use", n)
	}
}

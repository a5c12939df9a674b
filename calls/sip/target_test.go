package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// zone is a name server with a few names.
type zone struct {
	srv   map[string][]*net.SRV
	hosts map[string][]string
}

func (z *zone) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	key := "_" + service + "._" + proto + "." + name
	if s := z.srv[key]; s != nil {
		return key, s, nil
	}
	return "", nil, errors.New("no such name " + key)
}

func (z *zone) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, a := range z.hosts[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(out) == 0 || ctx.Err() != nil {
		return nil, errors.New("no such host " + host)
	}
	return out, nil
}

func bare() *Agent {
	return &Agent{local: netip.IPv4Unspecified(), dns: net.DefaultResolver, streams: newStreams(quiet(), netip.IPv4Unspecified(), nil, nil, 0)}
}

// TestTargets: literal addresses, SRV in order with all addresses of each
// server, a port that leaves SRV out, servers without address, families.
func TestTargets(t *testing.T) {
	z := &zone{
		srv: map[string][]*net.SRV{
			"_sip._udp.d.test":  {{Target: "one.d.test.", Port: 5070}, {Target: "gone.d.test.", Port: 1}, {Target: "two.d.test.", Port: 5080}},
			"_sips._tcp.d.test": {{Target: "two.d.test.", Port: 5443}},
			"_sip._tcp.dead":    {{Target: "gone.d.test.", Port: 1}},
		},
		hosts: map[string][]string{"one.d.test": {"2001:db8::1", "192.0.2.1", "192.0.2.2"}, "two.d.test": {"192.0.2.3"}, "d.test": {"192.0.2.9"}, "six.test": {"2001:db8::6"}},
	}
	for _, c := range []struct {
		local, host string
		port        int
		transport   string
		want        string
	}{
		{"0.0.0.0", "192.0.2.1", 0, overUDP, "192.0.2.1:5060"},
		{"0.0.0.0", "192.0.2.1", 0, overTLS, "192.0.2.1:5061;transport=tls"},
		{"::", "[2001:db8::1]", 0, overTCP, "[2001:db8::1]:5060;transport=tcp"},
		{"0.0.0.0", "d.test", 0, overUDP, "192.0.2.1:5070 192.0.2.2:5070 192.0.2.3:5080"},
		{"::", "D.Test.", 0, overUDP, "192.0.2.1:5070 192.0.2.2:5070 [2001:db8::1]:5070 192.0.2.3:5080"},
		{"2001:db8::7", "d.test", 0, overUDP, "[2001:db8::1]:5070"},
		{"0.0.0.0", "d.test", 5062, overUDP, "192.0.2.9:5062"},
		{"0.0.0.0", "d.test", 0, overTLS, "192.0.2.3:5443;transport=tls"},
		{"0.0.0.0", "d.test", 0, overTCP, "192.0.2.9:5060;transport=tcp"},
		{"0.0.0.0", "dead", 0, overTCP, "cannot find the address of dead: cannot find the address of gone.d.test: no such host gone.d.test"},
		{"0.0.0.0", "six.test", 0, overUDP, "cannot find the address of six.test: six.test has no address that can be reached from ip_local 0.0.0.0"},
	} {
		a := bare()
		a.local, a.dns = netip.MustParseAddr(c.local), z
		found, err := a.targets(context.Background(), c.host, c.port, c.transport)
		got := fmt.Sprint(err)
		if err == nil {
			var words []string
			for _, h := range found {
				words = append(words, h.String())
			}
			got = strings.Join(words, " ")
		}
		if got != c.want {
			t.Errorf("%s port %d over %s: %s, want %s", c.host, c.port, c.transport, got, c.want)
		}
	}
	if s, err := sourceFor(netip.MustParseAddrPort("127.0.0.1:5060")); err != nil || s != "127.0.0.1" {
		t.Errorf("source %s %v", s, err)
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]sipServer{
		"p.test":                             {"p.test", 0, "", false},
		"p.test:5070":                        {"p.test", 5070, "", false},
		"sip:p.test;transport=tcp":           {"p.test", 0, overTCP, false},
		"<sip:p.test:5061;lr;transport=TLS>": {"p.test", 5061, overTLS, true},
		"sips:p.test":                        {"p.test", 0, overTLS, false},
		"sips:p.test;transport=tcp":          {"p.test", 0, overTLS, false},
		"sip:[2001:db8::1]:5070":             {"[2001:db8::1]", 5070, "", false},
		"2001:db8::1":                        {"[2001:db8::1]", 0, "", false},
	} {
		if got, err := parseServer(in); err != nil || got != want {
			t.Errorf("%q: %+v %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "sips:p.test;transport=udp", "sip:p.test;transport=sctp", "sip:a b", "sip:p.test:0"} {
		if got, err := parseServer(bad); err == nil {
			t.Errorf("%q was taken: %+v", bad, got)
		}
	}
}

// TestTransportChoice: the request, the server's address and the settings, in
// this order; contradictions and sips: over something else are refused.
func TestTransportChoice(t *testing.T) {
	for _, c := range []struct {
		r        leg.Request
		setting  string
		want     string
		flexible bool
	}{
		{leg.Request{Domain: "d"}, "udp", overUDP, true},
		{leg.Request{Domain: "d"}, "tls", overTLS, false},
		{leg.Request{Domain: "d", Transport: "udp"}, "tls", overUDP, false},
		{leg.Request{Domain: "d", Proxy: "sip:p;transport=tcp"}, "udp", overTCP, false},
		{leg.Request{Domain: "d", Proxy: "sips:p"}, "udp", overTLS, false},
		{leg.Request{Domain: "d", Proxy: "sips:p", Transport: "tcp"}, "udp", "", false},
		{leg.Request{Domain: "d", Transport: "smoke"}, "udp", "", false},
		{leg.Request{Domain: "d", Callee: "sips:b@d"}, "udp", overTLS, false},
		{leg.Request{Domain: "d", Callee: "sips:b@d", Transport: "tcp"}, "udp", "", false},
	} {
		if c.r.CallID = "x"; c.r.Callee == "" {
			c.r.Callee = "y"
		}
		p, err := newParty(c.r, &Config{Transport: c.setting})
		if (err == nil) != (c.want != "") || err == nil && (p.server.transport != c.want || p.flexible != c.flexible) {
			t.Errorf("%+v with %s: %+v %v", c.r, c.setting, p, err)
		}
	}
}

// TestFailover: a server that answers 503, and one that nobody is at, make the
// call go to the next one of the domain; a refusal does not (RFC 3263 section 4.3).
func TestFailover(t *testing.T) {
	busy, good := newUAS(t), newUAS(t)
	s := start(t, func(c *Config) { c.ResponseTimeout = time.Second })
	nobody, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	s.dns = &zone{srv: map[string][]*net.SRV{"_sip._udp.d.test": {
		{Target: "127.0.0.1", Port: uint16(busy.port())},
		{Target: "127.0.0.1", Port: uint16(nobody.LocalAddr().(*net.UDPAddr).Port)},
		{Target: "127.0.0.1", Port: uint16(good.port())},
	}}}
	r := good.request()
	r.Domain, r.Port = "d.test", 0
	c := s.dial(t, r)
	busy.answer(busy.expect(sipmsg.INVITE), 503, "")
	invite := good.expect(sipmsg.INVITE)
	good.answer(invite, 200, good.sdp())
	good.next(sipmsg.ACK)
	c.wait(leg.Answered)
	_ = c.Hangup(context.Background(), leg.Cause{})
	good.answer(good.next(sipmsg.BYE), 200, "")
	c.wait(leg.Ended)

	r.CallID = "refused"
	c = s.dial(t, r)
	busy.next(sipmsg.ACK)
	busy.answer(busy.next(sipmsg.INVITE), 403, "")
	if e := c.wait(leg.Ended); e.Cause.Code != 403 {
		t.Errorf("%+v", e.Cause)
	}
}

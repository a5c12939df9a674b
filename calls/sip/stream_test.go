package sip

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

func dialTCP(t *testing.T, port int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

const optionsText = "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:9;branch=z9hG4bK%d;rport\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: %[1]d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"

// status reads an answer without body and returns its first line and Via.
func status(t *testing.T, r *bufio.Reader) (line, via string) {
	t.Helper()
	for {
		s, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for an answer: %v", err)
		}
		switch s = strings.TrimSpace(s); {
		case line == "":
			line = s
		case strings.HasPrefix(s, "Via:"):
			via = s
		case s == "":
			return line, via
		}
	}
}

// TestStreamRequests: requests over TCP are answered on their connection,
// wherever the Via points (RFC 3261 section 18.2.2), with received and rport
// (RFC 3581); pings are answered; what is not SIP ends the connection.
func TestStreamRequests(t *testing.T) {
	s := start(t, nil)
	c := dialTCP(t, s.Port())
	r := bufio.NewReader(c)
	fmt.Fprintf(c, "\r\n\r\n"+optionsText+optionsText[:100], 1)
	if line, err := r.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("pong %q %v", line, err)
	}
	line, via := status(t, r)
	if line != "SIP/2.0 200 OK" || !strings.Contains(via, "received=127.0.0.1") || !strings.Contains(via, fmt.Sprintf("rport=%d", c.LocalAddr().(*net.TCPAddr).Port)) {
		t.Errorf("%q %q", line, via)
	}
	bad := dialTCP(t, s.Port())
	fmt.Fprint(bad, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.ReadAll(bad); err != nil {
		t.Errorf("HTTP: %v", err)
	}
}

// TestStreamBounds: one host has so many connections and no more, and gets
// their places back.
func TestStreamBounds(t *testing.T) {
	s := start(t, nil)
	var open []net.Conn
	for i := range maxStreamsPerSource {
		c := dialTCP(t, s.Port())
		fmt.Fprintf(c, optionsText, i)
		status(t, bufio.NewReader(c))
		open = append(open, c)
	}
	over := dialTCP(t, s.Port())
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("a connection too many was taken")
	}
	open[0].Close()
	peers.Eventually(t, "a place", 5*time.Second, func() bool {
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		return s.streams.count < maxStreamsPerSource
	})
	c := dialTCP(t, s.Port())
	fmt.Fprintf(c, optionsText, 99)
	status(t, bufio.NewReader(c))
	src := addrOf(c.LocalAddr()).Addr()
	for range maxStreams {
		if s.streams.enter(src.Next()) == nil && s.streams.known(src.Next()) {
			t.Fatal("a stranger is known")
		}
	}
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	if s.streams.sources[src.Next()] != maxStreamsPerSource {
		t.Errorf("%d places of one host", s.streams.sources[src.Next()])
	}
}

// TestTLSRefuses: a server with a certificate of an unknown authority or for
// another name is not spoken to, and nothing is sent to it in the clear.
func TestTLSRefuses(t *testing.T) {
	ca, other := peers.NewAuthority(t), peers.NewAuthority(t)
	own := ca.Issue(t, "localhost", "127.0.0.1")
	for name, shown := range map[string]*peers.Certificates{"authority": other.Issue(t, "127.0.0.1"), "name": ca.Issue(t, "elsewhere.test")} {
		t.Run(name, func(t *testing.T) {
			pair, err := tls.LoadX509KeyPair(shown.Cert, shown.Key)
			if err != nil {
				t.Fatal(err)
			}
			l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan string, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					got <- err.Error()
					return
				}
				defer c.Close()
				b, _ := io.ReadAll(c)
				got <- string(b)
			}()
			s := start(t, secured(own, false))
			c := s.dial(t, leg.Request{Callee: "bob", Login: "ann", Password: "pw", Domain: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Transport: "tls", Register: true})
			end := c.wait(leg.Ended)
			if end.Cause.Kind != leg.Setup || !strings.Contains(end.Cause.Text, "certificate") {
				t.Errorf("%+v", end.Cause)
			}
			if b := <-got; b != "" {
				t.Errorf("the server got %q", b)
			}
		})
	}
}

// TestReconnect: a connection that is lost in mid-call is made again for the
// next request of the call: a re-INVITE, and, cut once more, the BYE.
func TestReconnect(t *testing.T) {
	t.Parallel()
	own := peers.NewAuthority(t).Issue(t, "localhost", "127.0.0.1")
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None, TLS: own, SRTP: map[string]string{"tls": "srtp-mand"}[transport]})
			s := start(t, secured(own, false))
			r := direct(phone)
			if r.Transport = transport; transport == "tls" {
				r.Port = phone.Port + 1
			}
			call := s.dial(t, r)
			call.wait(leg.Answered)
			phone.WaitEvent(t, "CALL_ESTABLISHED")
			peers.Eventually(t, "sound", 10*time.Second, func() bool { return call.count(8) > 20 })
			cut := func() {
				for _, c := range s.streams.all() {
					c.Close()
				}
			}
			cut()
			if err := call.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := call.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := call.count(8)
			peers.Eventually(t, "sound after the hold", 10*time.Second, func() bool { return call.count(8) > n+20 })
			cut()
			_ = call.Hangup(context.Background(), leg.Cause{Text: "enough"})
			call.wait(leg.Ended)
			phone.WaitEvent(t, "CALL_CLOSED")
			if n := strings.Count(s.log.String(), "SIP connection is open"); n != 3 {
				t.Errorf("%d connections were made", n)
			}
		})
	}
}

// TestSlowStreams: a message whose end does not come within 10 s, however
// steadily its bytes do, ends the connection, and so do two minutes of silence
// without a call that needs it.
func TestSlowStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newStreams(quiet(), netip.IPv4Unspecified(), func(netip.Addr) bool { return false }, nil, 0)
		open := func() (*stream, net.Conn) {
			ours, theirs := net.Pipe()
			if err := m.enter(thief.Addr()); err != nil {
				t.Fatal(err)
			}
			return &stream{Conn: ours, of: m, to: hop{overTCP, thief, ""}, ready: make(chan struct{}), closed: make(chan struct{}), heard: time.Now()}, theirs
		}
		s, theirs := open()
		begin := time.Now()
		go func(theirs net.Conn) {
			for _, c := range []byte("OPTIONS sip:a@b SIP/2.0\r\nX: " + strings.Repeat("x", 100)) {
				if _, err := theirs.Write([]byte{c}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}(theirs)
		if _, err := s.Read(make([]byte, 100)); err == nil {
			t.Error("a message without an end was read")
		}
		if d := time.Since(begin); d != messageTime {
			t.Errorf("closed after %v", d)
		}
		theirs.Close()

		s, theirs = open()
		time.Sleep(idleTime)
		s.tend(time.Now(), false, 0)
		time.Sleep(time.Second)
		s.tend(time.Now(), true, 0)
		select {
		case <-s.closed:
			t.Error("closed too early, or though a call needs it")
		default:
		}
		s.tend(time.Now(), false, 0)
		select {
		case <-s.closed:
		default:
			t.Error("an idle connection stays")
		}
		theirs.Close()
		if m.count != 0 {
			t.Errorf("%d places are taken", m.count)
		}
	})
}

// TestLargeOverKnownTCP: by itself TCP is taken only where it is known to be.
func TestLargeOverKnownTCP(t *testing.T) {
	t.Parallel()
	z := &zone{srv: map[string][]*net.SRV{"_sip._tcp.d.test": {{Target: "one.d.test.", Port: 5070}}}, hosts: map[string][]string{"one.d.test": {"192.0.2.1"}}}
	a := bare()
	a.dns = z
	one := netip.MustParseAddrPort("192.0.2.1:5070")
	for _, c := range []struct {
		server sipServer
		at     netip.AddrPort
		want   bool
	}{
		{sipServer{host: "d.test"}, one, true},
		{sipServer{host: "d.test"}, netip.MustParseAddrPort("192.0.2.2:5070"), false}, // another server of UDP
		{sipServer{host: "d.test", port: 5070}, one, false},
		{sipServer{host: "e.test"}, one, false},
	} {
		if got := a.takesTCP(t.Context(), &party{server: c.server}, hop{overTCP, c.at, ""}); got != c.want {
			t.Errorf("%+v at %v: %v", c.server, c.at, got)
		}
	}
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	s := start(t, nil)
	r := direct(phone)
	for i, want := range []string{overUDP, overTCP} {
		if i == 1 {
			to := hop{overTCP, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(phone.Port)), ""}
			if _, err := s.streams.connect(t.Context(), to); err != nil {
				t.Fatal(err)
			}
		}
		r.CallID = fmt.Sprint("known-", i)
		call := s.dial(t, r)
		call.wait(leg.Answered)
		if d := s.find(r.CallID); d.home.transport != want {
			t.Errorf("call %d: over %s", i, d.home.transport)
		}
		_ = call.Hangup(context.Background(), leg.Cause{})
		call.wait(leg.Ended)
	}
}

// TestLargeOverTCP: an INVITE that is too large for a datagram goes by TCP where
// that is taken, else by UDP (RFC 3261 section 18.1.1), unless a transport was named.
func TestLargeOverTCP(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.LargeOverTCP = largeTry })
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	for named, want := range map[string]string{"": overTCP, "udp": overUDP} {
		r := direct(phone)
		r.CallID, r.Transport = "named-"+named, named
		call := s.dial(t, r)
		call.wait(leg.Answered)
		if d := s.find(r.CallID); d.home.transport != want {
			t.Errorf("named %q: over %s", named, d.home.transport)
		}
		_ = call.Hangup(context.Background(), leg.Cause{})
		call.wait(leg.Ended)
	}
	u := newUAS(t)
	call := s.dial(t, u.request())
	invite := u.read()
	if !strings.Contains(invite.String(), "SIP/2.0/UDP") {
		t.Errorf("%s", invite)
	}
	_ = call.Hangup(context.Background(), leg.Cause{})
}

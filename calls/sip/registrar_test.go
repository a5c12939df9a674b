package sip

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

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

var _ = sipmsg.REGISTER
var _ = netip.Addr{}

package sip

import (
	"context"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// TestCallComesBack: one account of ours calls another one by a proxy, which
// keeps Call-ID and From. That is no loop but a spiral (RFC 3261 section 16.3):
// two calls here, each of which hears of the other's requests by its own tags.
func TestCallComesBack(t *testing.T) {
	t.Parallel()
	kam := peers.StartRegistrar(t, peers.RegistrarConfig{})
	k := &desk{greet: func(l leg.Inbound) { l.Answer(leg.Terms{SendAudio: true}) }}
	s := take(t, k, func(c *Config) { c.Trunks = nil })
	account := func(login string) leg.Request {
		return leg.Request{Login: login, Password: "pw" + login, Domain: "127.0.0.1", Port: kam.Port, SendAudio: true}
	}
	name, leave, err := s.Register(t.Context(), account("10007"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	for n, hangUp := range []string{"the caller", "the callee"} {
		r := account("10006")
		r.Callee = "10007"
		caller := s.dial(t, r)
		caller.wait(leg.Answered)
		called, in := k.next(n)
		if in.Account != name || in.Callee != "10007" || in.Caller != "10006" || in.CallID == caller.Leg.(*dialog).callID {
			t.Errorf("told %+v", in)
		}
		called.wait(leg.Answered)
		peers.Eventually(t, "sound both ways", 10*time.Second, func() bool {
			return caller.count(8)+caller.count(0)+caller.count(111) > 5 && called.count(8)+called.count(0)+called.count(111) > 5
		})
		if err := caller.Hold(context.Background()); err != nil {
			t.Error(err)
		}
		called.wait(leg.Held)
		first, second := caller, called
		if hangUp == "the callee" {
			first, second = called, caller
		}
		_ = first.Hangup(context.Background(), leg.Cause{Text: "enough"})
		if end := second.wait(leg.Ended); end.Cause.Local || end.Cause.Kind != leg.Normal {
			t.Errorf("hung up by %s: the other one has %+v", hangUp, end.Cause)
		}
		first.wait(leg.Ended)
	}
	peers.Eventually(t, "the end of both", 10*time.Second, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.returned) == 0
	})
}

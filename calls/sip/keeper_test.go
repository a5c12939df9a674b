package sip

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// TestSessionsRegisterAtKamailio: two sessions have one binding at a real
// registrar, it is renewed, a call to it is known, and the last one takes it away.
func TestSessionsRegisterAtKamailio(t *testing.T) {
	t.Parallel()
	kam := peers.StartRegistrar(t, peers.RegistrarConfig{})
	k := &desk{greet: func(l leg.Inbound) { l.Answer(leg.Terms{SendAudio: true}) }}
	s := take(t, k, func(c *Config) {
		c.Trunks, c.RegisterExpires = nil, 10*time.Second // kamailio's shortest
	})
	login := leg.Request{Login: "10006", Password: "pw10006", Domain: "127.0.0.1", Proxy: "127.0.0.1", Port: kam.Port}
	wrong := login
	wrong.Password = "guess"
	var refused, told notes
	if _, _, err := s.Register(t.Context(), wrong, refused.take); err == nil || !strings.Contains(err.Error(), "password is wrong") {
		t.Errorf("a wrong password: %v", err)
	}
	if r := refused.all(); len(r) != 1 || r[0].Code != 401 {
		t.Errorf("told %+v of a wrong password", r)
	}
	one, leaveOne, err := s.Register(t.Context(), login, told.take)
	if err != nil {
		t.Fatal(err)
	}
	two, leaveTwo, err := s.Register(t.Context(), login, nil)
	if err != nil || one != two || one != "10006@127.0.0.1" {
		t.Errorf("%q and %q: %v", one, two, err)
	}
	first := kam.Bindings(t, "10006", "pw10006")
	if len(first) != 1 || !strings.Contains(first[0], ";line=") {
		t.Errorf("kamailio has %q", first)
	}
	leaveOne()
	// The binding is renewed half-way, when the second session alone has it.
	peers.Eventually(t, "the renewal", 15*time.Second, func() bool { return strings.Count(kam.Log(), "contact=<sip:10006@") == 2 })
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Registrar: kam, Video: peers.None})
	phone.Dial(t, fmt.Sprintf("sip:10006@127.0.0.1:%d", kam.Port))
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	c, in := k.next(0)
	if in.Account != two || in.Callee != "10006" || in.User+in.Trunk != "" {
		t.Errorf("told %+v", in)
	}
	_ = c.Hangup(t.Context(), leg.Cause{Text: "enough"})
	phone.WaitEvent(t, "CALL_CLOSED")
	if got := kam.Bindings(t, "10006", "pw10006"); len(got) != 1 {
		t.Errorf("before the last release kamailio has %q", got)
	}
	leaveTwo()
	peers.Eventually(t, "the end of the binding", 5*time.Second, func() bool { return len(kam.Bindings(t, "10006", "pw10006")) == 0 })
	if r := told.all(); len(r) != 1 || !r[0].Registered {
		t.Errorf("told %+v", r)
	}
	if strings.Contains(s.log.String(), "pw10006") || strings.Contains(s.log.String(), "guess") {
		t.Error("a password is in the log")
	}
}

// notes are what was told of a registration.
type notes struct {
	mu sync.Mutex
	xs []leg.Registration
}

func (n *notes) take(x leg.Registration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.xs = append(n.xs, x)
}

func (n *notes) all() []leg.Registration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]leg.Registration(nil), n.xs...)
}

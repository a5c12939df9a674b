package sip

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// TestStandingAccountIsCalled: 10006 is registered at a real proxy for as long
// as the agent runs; 10005, a soft phone, calls it through the proxy.
func TestStandingAccountIsCalled(t *testing.T) {
	t.Parallel()
	own := peers.NewAuthority(t).Issue(t, "localhost", "127.0.0.1")
	for _, x := range []struct {
		transport string
		id        bool
	}{{"udp", true}, {"udp", false}, {"tcp", true}, {"tls", true}} {
		id := x.id
		t.Run(fmt.Sprintf("%s, contact id %v", x.transport, id), func(t *testing.T) {
			t.Parallel()
			kam := peers.StartRegistrar(t, peers.RegistrarConfig{TLS: own})
			at := kam.Port
			if x.transport == "tls" {
				at = kam.TLSPort
			}
			k := &desk{greet: func(l leg.Inbound) {
				l.Ring(leg.Terms{}, false)
				l.Answer(leg.Terms{SendAudio: true})
			}}
			s := take(t, k, func(c *Config) {
				secured(own, true)(c)
				c.Trunks = nil
				c.AddContactID = id
				c.Accounts = []string{fmt.Sprintf("login=10006 password=pw10006 domain=127.0.0.1 proxy=sip:127.0.0.1:%d;transport=%s expires=600", at, x.transport)}
			})
			peers.Eventually(t, "the registration", 10*time.Second, func() bool { return kam.Registered("10006") })
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Registrar: kam})
			phone.Dial(t, fmt.Sprintf("sip:10006@127.0.0.1:%d", kam.Port))
			phone.WaitEvent(t, "CALL_ESTABLISHED")
			c, in := k.next(0)
			if in.Account != "10006@127.0.0.1" || in.Callee != "10006" || in.Caller != "10005" || in.Trunk != "" {
				t.Errorf("told %+v", in)
			}
			c.wait(leg.Answered)
			if d := s.find(in.CallID); !strings.EqualFold(d.source.transport, x.transport) {
				t.Errorf("the call came over %s", d.source.transport)
			}
			peers.Eventually(t, "sound", 10*time.Second, func() bool { return c.count(8) > 50 })
			r := s.Registrations()
			if len(r) != 1 || !r[0].Standing || !r[0].Registered || r[0].Calls != 1 || r[0].Failures != 0 || time.Until(r[0].Expires) < 500*time.Second {
				t.Errorf("registrations %+v", r)
			}
			// A call of ours with the account uses the same binding.
			_ = c.Hangup(t.Context(), leg.Cause{Text: "enough"}) // by the proxy's Record-Route
			phone.WaitEvent(t, "CALL_CLOSED")
			c.wait(leg.Ended)
			s.stop()
			// The registrar writes its log after it has answered.
			peers.Eventually(t, "the end of the registration", 5*time.Second, func() bool { return !kam.Registered("10006") })
			if strings.Count(kam.Log(), " REGISTERED 10006 ") != 1 {
				t.Errorf("after the stop:\n%s", kam.Log())
			}
		})
	}
}

// TestAccountThatCannotRegister is told by its state, with the wait until the
// next try.
func TestAccountThatCannotRegister(t *testing.T) {
	kam := peers.StartRegistrar(t, peers.RegistrarConfig{})
	s := start(t, func(c *Config) {
		c.Accounts = []string{fmt.Sprintf("login=10006 password=wrong domain=127.0.0.1 port=%d", kam.Port)}
	})
	var r []leg.Registration
	peers.Eventually(t, "the failure", 10*time.Second, func() bool {
		r = s.Registrations()
		return len(r) == 1 && r[0].Failures == 1
	})
	if r[0].Registered || r[0].Code != 401 || !strings.Contains(r[0].Error, "password is wrong") ||
		time.Until(r[0].Next) < 20*time.Second || r[0].Calls != 0 {
		t.Errorf("%+v", r)
	}
}

func TestBackOffOfRegistrations(t *testing.T) {
	var b bindingState
	now := time.Unix(1e9, 0)
	var waits []string
	for range 7 {
		waits = append(waits, b.failed(errors.New("no"), now).String())
	}
	if got := strings.Join(waits, " "); got != "30s 1m0s 2m0s 4m0s 8m0s 15m0s 15m0s" {
		t.Error(got)
	}
	for range 100 {
		if w := b.failed(errors.New("no"), now); w != registerRetryMax {
			t.Fatal(w)
		}
	}
	b.granted(time.Minute, now)
	if x := b.tell(leg.Registration{}, now); !x.Registered || x.Failures != 0 || x.Error != "" || b.failed(errors.New("no"), now) != registerRetry {
		t.Errorf("%+v", x)
	}
	if x := b.tell(leg.Registration{}, now.Add(2*time.Minute)); x.Registered || x.Failures != 1 || x.Error != "no" {
		t.Errorf("%+v", x)
	}
}

func TestFaultsOfAccountsAndTrunks(t *testing.T) {
	for _, c := range []struct {
		accounts, trunks []string
		want             string
	}{
		{[]string{"password=x"}, nil, "sip_accounts: entry 1: login= is missing"},
		{[]string{"login=a"}, nil, "names no SIP domain"},
		{[]string{"login=a domain=b", "login=a domain=b"}, nil, "entry 2: the account a@b stands twice"},
		{[]string{"login=a domain=b port=0"}, nil, "word 3 (port): want a port"},
		{[]string{"login=a domain=b expires=1"}, nil, "word 3 (expires)"},
		{[]string{"login=<a> domain=b"}, nil, "reserved symbols"},
		{nil, []string{"from=192.0.2.1"}, "sip_trunks: entry 1: name= is missing"},
		{nil, []string{"name=a"}, "from= or user= and password= are missing"},
		{nil, []string{"name=a from=192.0.2.1|b"}, `word 2 (from): "b" is neither`},
		{nil, []string{"name=a user=b"}, "user= and password= belong together"},
		{nil, []string{"name=a from=::/0", "name=a from=::/0"}, `entry 2: the name "a" stands twice`},
		{nil, []string{"name=a user=u password=p", "name=b user=u password=q"}, `the user "u" stands twice`},
	} {
		cfg := defaults(t)
		cfg.Accounts, cfg.Trunks = c.accounts, c.trunks
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v, want %q", c.accounts, c.trunks, err, c.want)
		}
	}
}

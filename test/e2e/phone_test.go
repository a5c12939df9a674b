//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"lineout/test/peers"
)

// The tones of the two callers' microphones.
const toneA, toneB = 440.0, 1000.0

// account is what a person types into a phone page.
type account struct {
	login, password, domain string
	port                    int
}

// caller is a person at a page of the SDK's examples, which are unmodified.
type caller struct {
	*peers.Page
	name string
}

func openPhone(t *testing.T, b *peers.Browser, srv *peers.Lineout, site, page string, a account) *caller {
	t.Helper()
	c := &caller{b.Open(t, site+"/examples/demo/sip/"+page), a.login}
	c.Resize(t, 900, 1150)
	c.WaitFor(t, `document.querySelector("#connectBtn") && document.querySelector("#callBtn")`, 20*time.Second)
	time.Sleep(300 * time.Millisecond) // the page puts its form together twice
	c.Fill(t, "#urlServer", srv.WSURL())
	for field, v := range map[string]string{"sipLogin": a.login, "sipAuthenticationName": a.login, "sipPassword": a.password,
		"sipDomain": a.domain, "sipOutboundProxy": a.domain, "sipPort": fmt.Sprint(a.port)} {
		c.Fill(t, "#"+field, v)
	}
	c.Click(t, "#connectBtn")
	c.status(t, "#regStatus", "REGISTERED")
	return c
}

// status waits until the page shows a status.
func (c *caller) status(t *testing.T, selector, want string) {
	t.Helper()
	c.WaitFor(t, fmt.Sprintf("document.querySelector(%q).textContent == %q", selector, want), 20*time.Second)
}

// hears waits until the other one's tone is heard, or no more.
func (c *caller) hears(t *testing.T, hz float64, yes bool) {
	t.Helper()
	var h peers.Heard
	for deadline := time.Now().Add(10 * time.Second); ; {
		if h = c.Hear(t, "#remoteDisplay *, #remoteVideo, #remoteVideo *"); h.Is(hz) == yes {
			note(t, "%s hears %v", c.name, h)
			return
		}
		if time.Now().After(deadline) {
			c.Screenshot(t, "deaf-"+c.name)
			t.Fatalf("%s hears %v, want %v Hz: %v", c.name, h, hz, yes)
		}
	}
}

// calls makes a call that the other one answers.
func (c *caller) calls(t *testing.T, other *caller) {
	t.Helper()
	c.Fill(t, "#callee", other.name)
	c.Click(t, "#callBtn")
	c.status(t, "#callStatus", "RING")
	other.WaitFor(t, fmt.Sprintf(`document.querySelector("#incomingCallAlert").textContent.includes("You have a new call from %s")`, c.name), 20*time.Second)
	other.Click(t, "#answerBtn")
	c.status(t, "#callStatus", "ESTABLISHED")
	other.status(t, "#callStatus", "ESTABLISHED")
}

// ended waits until both pages say that the call is over.
func ended(t *testing.T, pages ...*caller) {
	t.Helper()
	for _, p := range pages {
		p.status(t, "#callStatus", "FINISH")
	}
}

// TestSDKPhones: two people at the SDK's own pages call each other, as users of
// this server (S1-7, way 3) and as users of a SIP server (ways 1 and 2).
func TestSDKPhones(t *testing.T) {
	t.Parallel()
	web := site(t)
	alice, bob := peers.StartCaller(t, toneA), peers.StartCaller(t, toneB)
	registrar := peers.StartRegistrar(t, peers.RegistrarConfig{})
	srv := peers.StartLineout(t, map[string]string{"users": "login=1001 password=a,login=1002 password=b"})
	for _, way := range []struct {
		name string
		a, b account
	}{
		{"users of this server", account{"1001", "a", "localhost", 5060}, account{"1002", "b", "127.0.0.1", 5060}},
		{"users of a SIP server", account{"10001", "pw10001", "127.0.0.1", registrar.Port}, account{"10002", "pw10002", "127.0.0.1", registrar.Port}},
	} {
		t.Run(way.name, func(t *testing.T) {
			a, b := openPhone(t, alice, srv, web, "phone/phone.html", way.a), openPhone(t, bob, srv, web, "phone/phone.html", way.b)
			a.calls(t, b)
			a.hears(t, toneB, true)
			b.hears(t, toneA, true)
			a.Screenshot(t, "calling")
			b.Screenshot(t, "called")
			a.Click(t, "#holdBtn")
			b.hears(t, toneA, false)
			a.WaitFor(t, `!document.querySelector("#holdBtn").disabled`, 10*time.Second)
			a.Click(t, "#holdBtn")
			b.hears(t, toneA, true)
			a.hears(t, toneB, true)
			a.Click(t, "#callBtn")
			ended(t, a, b)
			// The other way round, and hung up by who was called.
			b.calls(t, a)
			a.hears(t, toneB, true)
			b.hears(t, toneA, true)
			a.Click(t, "#hangupBtn")
			ended(t, a, b)
		})
	}
}

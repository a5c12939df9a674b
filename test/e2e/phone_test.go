//go:build e2e

package e2e

import (
	"fmt"
	"strings"
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
	c.fill(t, srv, a)
	c.Click(t, "#connectBtn")
	c.status(t, "#regStatus", "REGISTERED")
	return c
}

// fill fills in the form of an account.
func (c *caller) fill(t *testing.T, srv *peers.Lineout, a account) {
	t.Helper()
	c.Fill(t, "#urlServer", srv.WSURL())
	for field, v := range map[string]string{"sipLogin": a.login, "sipAuthenticationName": a.login, "sipPassword": a.password,
		"sipDomain": a.domain, "sipOutboundProxy": a.domain, "sipPort": fmt.Sprint(a.port)} {
		c.Fill(t, "#"+field, v)
	}
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
	srv := peers.StartLineout(t, map[string]string{"users": "login=1001 password=a,login=1002 password=b,login=1003 password=c", "log_level": "debug"})
	for _, way := range []struct {
		name    string
		a, b, c account
	}{
		{"users of this server", account{"1001", "a", "localhost", 5060}, account{"1002", "b", "127.0.0.1", 5060}, account{"1003", "c", "localhost", 5060}},
		{"users of a SIP server", account{"10001", "pw10001", "127.0.0.1", registrar.Port}, account{"10002", "pw10002", "127.0.0.1", registrar.Port}, account{}},
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
			digits := strings.Count(srv.Log(), "digit received")
			peers.Eval[bool](t, a.Page, `(currentCall.sendDTMF("5", "RFC2833"), true)`)
			peers.Eventually(t, "the digit at the other side", 10*time.Second, func() bool { return strings.Count(srv.Log(), "digit received") > digits })
			a.Click(t, "#callBtn")
			ended(t, a, b)
			// The other way round, and hung up by who was called.
			b.calls(t, a)
			a.Click(t, "#hangupBtn")
			ended(t, a, b)
			if way.c.login == "" { // who comes from a SIP server may not make us call others
				return
			}
			// Who was called hands the caller on to a third one.
			c := openPhone(t, bob, srv, web, "phone/phone.html", way.c)
			b.calls(t, a)
			peers.Eval[bool](t, a.Page, fmt.Sprintf("(currentCall.transfer(%q), true)", c.name))
			c.WaitFor(t, fmt.Sprintf(`document.querySelector("#incomingCallAlert").textContent.includes("from %s")`, b.name), 20*time.Second)
			c.Click(t, "#answerBtn")
			ended(t, a)
			c.status(t, "#callStatus", "ESTABLISHED")
			b.hears(t, toneB, true) // they share a microphone
			c.hears(t, toneB, true)
			c.Click(t, "#hangupBtn")
			ended(t, b, c)
		})
	}
	t.Run("video, click to call", func(t *testing.T) {
		a := openPhone(t, alice, srv, web, "phone-video/phone-video.html", account{"1001", "a", "localhost", 5060})
		b := openPhone(t, bob, srv, web, "phone-video/phone-video.html", account{"1002", "b", "localhost", 5060})
		a.calls(t, b)
		for _, p := range []*caller{a, b} {
			peers.Eventually(t, "pictures at "+p.name, 15*time.Second, func() bool { return p.View(t).Stream("video").FramesDecoded > 30 })
			note(t, "%s sees %+v", p.name, p.View(t).Stream("video"))
		}
		a.hears(t, toneB, true)
		b.hears(t, toneA, true)
		a.Screenshot(t, "video")
		b.Click(t, "#hangupBtn")
		ended(t, a, b)
		// A page that calls as soon as it is let in.
		click := &caller{alice.Open(t, web+"/examples/demo/sip/click-to-call/click-to-call.html"), "1003"}
		click.WaitFor(t, `document.querySelector("#callBtn")`, 20*time.Second)
		click.Click(t, "#sipCredentialsBtn")
		click.fill(t, srv, account{"1003", "c", "localhost", 5060})
		click.Click(t, "#okBtn")
		click.Fill(t, "#callee", "1002")
		click.Click(t, "#callBtn")
		b.WaitFor(t, `document.querySelector("#incomingCallAlert").textContent.includes("Click To Call")`, 20*time.Second)
		b.Click(t, "#answerBtn")
		click.status(t, "#status", "Call: ESTABLISHED")
		click.hears(t, toneB, true)
		b.hears(t, toneA, true)
		b.Click(t, "#hangupBtn")
		click.status(t, "#status", "Session: DISCONNECTED")
	})
}

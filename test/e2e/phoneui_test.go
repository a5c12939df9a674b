//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lineout/test/peers"
)

// uiPhone is a person at the SDK's phone with a keypad, sip/phone-ui.
type uiPhone struct{ *caller }

func openUI(t *testing.T, b *peers.Browser, srv *peers.Lineout, site string, a account) *uiPhone {
	t.Helper()
	p := &uiPhone{&caller{b.Open(t, site+"/examples/demo/sip/phone-ui/Phone.html"), a.login}}
	p.Resize(t, 900, 900)
	p.WaitFor(t, `window.jQuery && $(".b-login input[type='button']").length`, 20*time.Second)
	// The page takes the port of the original for granted.
	peers.Eval[bool](t, p.Page, fmt.Sprintf("(window.setURL = () => %q, true)", srv.WSURL()))
	p.Click(t, ".b-display__header__login")
	for field, v := range map[string]string{"sipLogin": a.login, "sipAuthenticationName": a.login, "sipPassword": a.password,
		"sipDomain": a.domain, "sipOutboundProxy": a.domain, "sipPort": fmt.Sprint(a.port)} {
		p.Fill(t, "#"+field, v)
	}
	p.Click(t, ".b-login__btn input[type='button']")
	p.WaitFor(t, fmt.Sprintf(`$(".b-display__header__login").text() === "Log out" && $(".b-display__header__sip_login").text() === %q`, a.login), 20*time.Second)
	return p
}

func (p *uiPhone) talking(t *testing.T) {
	t.Helper()
	p.WaitFor(t, `$(".voice_call__call").hasClass("open") && !$(".voice_call__call__play").hasClass("close")`, 20*time.Second)
}

func (p *uiPhone) idle(t *testing.T) {
	t.Helper()
	p.WaitFor(t, `!document.body.className && !$(".voice_call__call").hasClass("open")`, 20*time.Second)
}

// TestSDKPhoneUI: the SDK's phone with a keypad in two browsers: a voice call,
// digits, hold, transfer; and an integrator's program hears of it.
func TestSDKPhoneUI(t *testing.T) {
	t.Parallel()
	web := site(t)
	alice, bob := peers.StartCaller(t, toneA), peers.StartCaller(t, toneB)
	b := startBackEnd(t, "key")
	srv := peers.StartLineout(t, map[string]string{"users": "login=1001 password=a,login=1002 password=b,login=1003 password=c", "log_level": "debug",
		"call_app_urls": "http://" + b.addr + "/CallApp", "call_app_methods": "connect,OnCallEvent,call,answer,sendDtmf,hold,transfer,hangup",
		"rest_hook_send_hash": "true", "rest_hook_secret_key": "key"})
	x, y := openUI(t, alice, srv, web, account{"1001", "a", "localhost", 5060}), openUI(t, bob, srv, web, account{"1002", "b", "localhost", 5060})
	for _, digit := range []string{"49", "58", "58", "50"} { // 1002 on the keypad
		x.Click(t, ".code"+digit)
	}
	x.Click(t, ".b-nav__voice")
	y.WaitFor(t, `$(".call__inc__dial").hasClass("open") && $(".call__inc__dial").text() === "1001"`, 20*time.Second)
	y.Click(t, ".b-nav__answer")
	x.talking(t)
	y.talking(t)
	x.hears(t, toneB, true)
	y.hears(t, toneA, true)
	x.Screenshot(t, "talks")

	digits := strings.Count(srv.Log(), "digit received")
	x.Click(t, ".code53")
	peers.Eventually(t, "the digit at the other side", 10*time.Second, func() bool { return strings.Count(srv.Log(), "digit received") > digits })
	x.Click(t, ".voice_call__stop")
	x.WaitFor(t, `$(".voice_call__call__pause").hasClass("open")`, 10*time.Second)
	y.hears(t, toneA, false)
	x.Screenshot(t, "holds")
	x.Click(t, ".voice_call__play")
	x.talking(t)
	y.hears(t, toneA, true)

	// The one who was called hands the caller on.
	z := openPhone(t, bob, srv, web, "phone/phone.html", account{"1003", "c", "localhost", 5060})
	y.Click(t, ".voice_call__transfer")
	x.hears(t, toneB, false)
	y.Fill(t, "#transfer", "1003")
	y.Click(t, ".b-transfer__ok")
	z.WaitFor(t, `document.querySelector("#incomingCallAlert").textContent.includes("from 1001")`, 20*time.Second)
	z.Click(t, "#answerBtn")
	z.status(t, "#callStatus", "ESTABLISHED")
	y.idle(t)
	x.hears(t, toneB, true) // they share a microphone
	z.hears(t, toneA, true)
	x.Click(t, ".b-nav__cancel_call")
	ended(t, z)
	x.idle(t)

	for _, e := range [][]string{{"connect", `"sipLogin":"1001"`}, {"call", `"callee":"1002"`, `"sipLogin":"1001"`}, {"OnCallEvent", `"caller":"1001"`, `"sipLogin":"1002"`},
		{"answer", `"sipLogin":"1002"`}, {"sendDtmf", `"dtmf":"5"`}, {"hold", `"sipLogin":"1001"`}, {"transfer", `"target":"1003"`}, {"hangup", `"sipLogin":"1001"`}} {
		peers.Eventually(t, fmt.Sprint("the program hears of ", e), 10*time.Second, func() bool { return b.told(e[0], e[1:]...) })
	}
	if b.told("connect", "assword") || len(b.wrong) > 0 {
		t.Errorf("a password is told, or what came is not as it should be: %q", b.wrong)
	}
}

package sip

import (
	"strings"
	"testing"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// TestRefer: the other side asks to be connected to somebody else and is told how
// that goes (RFC 3515); calls that do not say so refuse.
func TestRefer(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, func(r *leg.Request) { r.Referable = true })
	for _, bad := range []string{"Refer-To: <http://x>", "Refer-To: <sip:1@h?Replaces=a%0D%0Ab%3B>", "X-None: 1", "Refer-To: <sip:1@h"} {
		u.ask("REFER", "", bad)
		u.response(400)
	}
	u.ask("REFER", "", "Refer-To: \"Ann\" <sip:1003@127.0.0.1:5070;transport=tcp>")
	u.response(202)
	if e := c.wait(leg.Referred); e.Text != "sip:1003@127.0.0.1:5070;transport=tcp" || e.Replaces != "" {
		t.Errorf("%+v", e)
	}
	u.ask("REFER", "", "Refer-To: <sip:1004@127.0.0.1>")
	u.response(491)
	asker := c.Leg.(leg.Referee)
	for _, f := range []struct {
		code        int
		text, state string
	}{{100, "Trying", "active"}, {180, "Ringing", "active"}, {200, "OK", "terminated"}} {
		asker.Refer(f.code, f.text)
		n := u.next(sipmsg.NOTIFY)
		if got := n.GetHeader("Subscription-State").Value(); !strings.HasPrefix(got, f.state) || n.GetHeader("Event").Value() != "refer" ||
			!strings.HasSuffix(strings.TrimSpace(string(n.Body())), f.text) {
			t.Errorf("NOTIFY\n%s", n)
		}
		u.answer(n, 200, "")
	}
	asker.Refer(200, "OK") // there is nobody to tell
	attended := newUAS(t)
	c = attended.establish(t, s, func(r *leg.Request) { r.CallID, r.Referable = "attended", true })
	attended.ask("REFER", "", "Refer-To: <sip:1004@127.0.0.1?Replaces=abc%40h%3Bto-tag%3D1%3Bfrom-tag%3D2>")
	attended.response(202)
	if e := c.wait(leg.Referred); e.Text != "sip:1004@127.0.0.1" || e.Replaces != "abc@h;to-tag=1;from-tag=2" {
		t.Errorf("%+v", e)
	}

	other := newUAS(t)
	other.establish(t, s, func(r *leg.Request) { r.CallID, r.Replaces = "other", "abc@h;to-tag=1;from-tag=2" })
	if got := other.in.GetHeader("Replaces"); got == nil || got.Value() != "abc@h;to-tag=1;from-tag=2" {
		t.Errorf("INVITE\n%s", other.in)
	}
	other.ask("REFER", "", "Refer-To: <sip:1003@127.0.0.1>")
	other.response(603)
}

func FuzzReferTo(f *testing.F) {
	for _, s := range []string{"<sip:1@h>", "sip:1@h", "<sip:1@h?Replaces=a%3Bto-tag%3D1>", "\"x\" <sips:a@[::1]:5;x=y>;tag=1", "<tel:+49>", "<", "<sip:@?Replaces=%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		target, replaces, err := parseReferTo(value)
		if err != nil {
			if target+replaces != "" {
				t.Errorf("%q: %q %q besides the error %v", value, target, replaces, err)
			}
			return
		}
		if hasControl(replaces) {
			t.Errorf("%q: control characters in %q", value, replaces)
		}
		if _, err := calleeURI(target, "localhost"); err != nil {
			t.Errorf("%q: %q cannot be called: %v", value, target, err)
		}
	})
}

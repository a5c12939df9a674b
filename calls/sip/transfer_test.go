package sip

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// TestTransfer: blind and attended, progress by NOTIFY, and refusals.
func TestTransfer(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	done := make(chan error, 1)
	refer := func(target, replaces string, code int) *sipmsg.Request {
		t.Helper()
		go func() { done <- c.Leg.(leg.Transferer).Transfer(context.Background(), target, replaces) }()
		r := u.next(sipmsg.REFER)
		u.answer(r, code, "")
		if err := <-done; (err == nil) != (code < 300) {
			t.Errorf("%d gave %v", code, err)
		}
		return r
	}
	u.ask("NOTIFY", "SIP/2.0 200 OK", "Event: refer", "Content-Type: message/sipfrag")
	u.response(481)
	r := refer("10007", "", 202)
	if got := r.GetHeader("Refer-To").Value(); got != "<sip:10007@127.0.0.1>" || r.GetHeader("Referred-By") == nil {
		t.Errorf("REFER\n%s", r)
	}
	for _, line := range []string{"SIP/2.0 100 Trying", "SIP/2.0 486 Busy Here\r\n"} {
		u.ask("NOTIFY", line, "Event: refer;id=1", "Subscription-State: active", "Content-Type: message/sipfrag;version=2.0")
		u.response(200)
	}
	if e := c.wait(leg.Transfer); e.Code != 100 {
		t.Errorf("event %+v", e)
	}
	refer("x", "", 603)
	u.ask("NOTIFY", "SIP/2.0 200 OK", "Event: refer", "Content-Type: message/sipfrag")
	u.response(481)
	// The first NOTIFY may come before the 202.
	go func() { done <- c.Leg.(leg.Transferer).Transfer(context.Background(), "10008", "") }()
	early := u.next(sipmsg.REFER)
	u.ask("NOTIFY", "SIP/2.0 180 Ringing", "Event: refer", "Content-Type: message/sipfrag")
	u.response(200)
	u.answer(early, 202, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	other := newUAS(t)
	other.tag = "other/1"
	second := other.request()
	second.CallID = "second"
	if err := c.Leg.(leg.Transferer).Transfer(context.Background(), "", "second"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("to a call that is not there: %v", err)
	}
	o := s.dial(t, second)
	other.answer(other.expect(sipmsg.INVITE), 200, other.sdp())
	other.expect(sipmsg.ACK)
	o.wait(leg.Answered)
	to := strings.Trim(refer("", "second", 202).GetHeader("Refer-To").Value(), "<>")
	address, value, _ := strings.Cut(to, "?Replaces=")
	value, err := url.QueryUnescape(value)
	want := fmt.Sprintf("second;to-tag=other/1;from-tag=%s", tagOf(other.in.From().Params))
	if err != nil || address != fmt.Sprintf("sip:bob@127.0.0.1:%d", other.port()) || value != want {
		t.Errorf("Refer-To %s, want %s", to, want)
	}
}

// TestMessage: texts both ways; other contents and unknown extensions are refused.
func TestMessage(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	u.ask("MESSAGE", "good day", "Content-Type: text/plain")
	u.response(200)
	if e := c.wait(leg.MessageReceived); e.Text != "good day" || e.ContentType != "text/plain" {
		t.Errorf("event %+v", e)
	}
	u.ask("MESSAGE", "<html>", "Content-Type: text/html")
	if r := u.response(415); r.GetHeader("Accept").Value() != textTypes {
		t.Errorf("415\n%s", r)
	}
	u.ask("OPTIONS", "", "Require: timer, odd")
	if r := u.response(420); r.GetHeader("Unsupported").Value() != "odd" {
		t.Errorf("420\n%s", r)
	}
	done := make(chan error, 1)
	m := c.Leg.(leg.Messenger)
	for _, code := range []int{202, 405} {
		go func() { done <- m.SendMessage(context.Background(), "and to you") }()
		r := u.next(sipmsg.MESSAGE)
		if string(r.Body()) != "and to you" || !strings.HasPrefix(r.ContentType().Value(), "text/plain") {
			t.Errorf("MESSAGE\n%s", r)
		}
		u.answer(r, code, "")
		if err := <-done; (err == nil) != (code == 202) {
			t.Errorf("%d gave %v", code, err)
		}
	}
	if err := m.SendMessage(context.Background(), strings.Repeat("x", maxMessage+1)); fault.CodeOf(err) != fault.BadRequest {
		t.Errorf("a long message: %v", err)
	}
}

func FuzzStatusLine(f *testing.F) {
	for _, s := range []string{"SIP/2.0 200 OK\r\n", "SIP/2.0 486", "SIP/2.0 99 x", "", "\n", "SIP/2.0 \x00 \xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code, text, ok := statusLine(s)
		if ok && (code < 100 || code > 699 || len(text) > maxPeerText || hasControl(text)) {
			t.Errorf("%q: %d %q", s, code, text)
		}
	})
}

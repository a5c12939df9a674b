package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// TestSessionTimer: a refresh at half the interval, again when it failed, and
// the end a third or 32 s before the interval's (RFC 4028 section 10).
func TestSessionTimer(t *testing.T) {
	var s sessionTimer
	if s.due(t0.Add(time.Hour)) != timerIdle {
		t.Error("a timer that is off wants something")
	}
	s.begin(1800*time.Second, true, t0)
	for _, c := range []struct {
		at   time.Duration
		want timerAct
	}{{899 * time.Second, timerIdle}, {900 * time.Second, timerRefresh}, {901 * time.Second, timerIdle},
		{1767 * time.Second, timerIdle}, {1768 * time.Second, timerExpired}} {
		if got := s.due(t0.Add(c.at)); got != c.want {
			t.Errorf("after %v: %d, want %d", c.at, got, c.want)
		}
	}
	s.begin(1800*time.Second, true, t0)
	s.due(t0.Add(900 * time.Second))
	s.retry(t0.Add(910 * time.Second))
	if s.due(t0.Add(999*time.Second)) != timerIdle || s.due(t0.Add(1000*time.Second)) != timerRefresh {
		t.Error("a failed refresh is not repeated in time")
	}
	s.begin(90*time.Second, false, t0)
	if s.due(t0.Add(59*time.Second)) != timerIdle || s.due(t0.Add(60*time.Second)) != timerExpired {
		t.Error("the refreshed side does not end at two thirds of 90 s")
	}
}

func FuzzSessionExpires(f *testing.F) {
	for _, s := range []string{"1800", "90;refresher=uas", " 4 ; Refresher = UAC", "99999999999999", "-1", "", ";;=", "0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, _, ok := sessionExpires(sipmsg.NewHeader("Session-Expires", s))
		if ok && (d < time.Second || d > maxExpires) {
			t.Errorf("%q is %v", s, d)
		}
	})
}

// short are settings under which session timers run in a test's time.
func short(c *Config) { c.SessionExpires, c.MinSession = 4*time.Second, time.Second }

// TestRefreshedByUs: 422 makes us ask for longer; we refresh by UPDATE or
// re-INVITE, whichever the peer knows, five times each.
func TestRefreshedByUs(t *testing.T) {
	for _, method := range []sipmsg.RequestMethod{sipmsg.UPDATE, sipmsg.INVITE} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			u, s := newUAS(t), start(t, short)
			c := s.dial(t, u.request())
			first := u.expect(sipmsg.INVITE)
			if h := first.GetHeader("Session-Expires"); h == nil || h.Value() != "4" || !supports(first, "timer") {
				t.Fatalf("INVITE\n%s", first)
			}
			u.answer(first, 422, "", "Min-SE: 5")
			u.expect(sipmsg.ACK)
			invite := u.expect(sipmsg.INVITE)
			if h := invite.GetHeader("Session-Expires"); h.Value() != "5" || invite.GetHeader("Min-SE").Value() != "5" {
				t.Errorf("after 422\n%s", invite)
			}
			grant := "Session-Expires: 4;refresher=uac"
			allow := "Allow: INVITE, ACK, BYE"
			if method == sipmsg.UPDATE {
				allow += ", UPDATE"
			}
			u.answer(invite, 200, u.sdp(), grant, "Require: timer", allow)
			u.expect(sipmsg.ACK)
			c.wait(leg.Answered)
			body := ""
			for range 5 {
				r := u.next(method)
				if h := r.GetHeader("Session-Expires"); h == nil || !strings.HasSuffix(h.Value(), ";refresher=uac") {
					t.Errorf("refresh\n%s", r)
				}
				if method == sipmsg.INVITE {
					if body != "" && string(r.Body()) != body { // RFC 4028 section 7.4
						t.Errorf("the refresh has another offer\n%s\nthan\n%s", r.Body(), body)
					}
					body = string(r.Body())
					u.answer(r, 200, u.sdp(), grant)
					u.next(sipmsg.ACK)
				} else {
					u.answer(r, 200, "", grant)
				}
			}
			_ = c.Hangup(context.Background(), leg.Cause{})
			u.answer(u.next(sipmsg.BYE), 200, "")
			c.wait(leg.Ended)
		})
	}
}

// TestRefreshedByPeer: its refreshes keep the call, too short ones get 422,
// and without any the call ends by BYE.
func TestRefreshedByPeer(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, func(c *Config) { c.SessionExpires, c.MinSession = 10*time.Second, 3*time.Second })
	c := s.dial(t, u.request())
	u.answer(u.expect(sipmsg.INVITE), 200, u.sdp(), "Session-Expires: 600;refresher=uas", "Require: timer")
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	u.ask("UPDATE", "", "Supported: timer", "Session-Expires: 2")
	if r := u.response(422); r.GetHeader("Min-SE").Value() != "3" {
		t.Errorf("422\n%s", r)
	}
	u.ask("UPDATE", "", "Supported: timer", "Session-Expires: 600;refresher=uac")
	if r := u.response(200); r.GetHeader("Session-Expires").Value() != "600;refresher=uac" || r.GetHeader("Require").Value() != "timer" {
		t.Errorf("200\n%s", r)
	}
	u.ask("INVITE", u.sdp(), "Content-Type: application/sdp") // a peer that forgot its timer: we look after it
	if r := u.response(200); r.GetHeader("Session-Expires").Value() != "600;refresher=uas" {
		t.Errorf("200\n%s", r)
	}
	u.ask("ACK", "")
	u.ask("UPDATE", "", "Supported: timer", "Session-Expires: 3;refresher=uac")
	u.response(200)
	bye := u.next(sipmsg.BYE)
	if h := bye.GetHeader("Reason"); h == nil || !strings.Contains(h.Value(), "cause=408") {
		t.Errorf("BYE\n%s", bye)
	}
	u.answer(bye, 200, "")
	if e := c.wait(leg.Ended); e.Cause.Kind != leg.RequestTimeout || !strings.Contains(e.Cause.Text, "session timer of 3s") {
		t.Errorf("cause %+v", e.Cause)
	}
}

// TestRefreshesCross: what the peer asks for while our refresh is under way is
// newer than the answer to ours, which it may overtake.
func TestRefreshesCross(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, short)
	c := s.dial(t, u.request())
	u.answer(u.expect(sipmsg.INVITE), 200, u.sdp(), "Session-Expires: 4;refresher=uac", "Allow: UPDATE")
	u.expect(sipmsg.ACK)
	ours := u.next(sipmsg.UPDATE)
	u.ask("UPDATE", "", "Supported: timer", "Session-Expires: 3;refresher=uac")
	u.response(200)
	u.answer(ours, 200, "", "Session-Expires: 4;refresher=uac")
	u.answer(u.next(sipmsg.BYE), 200, "") // nobody refreshes any more
	if e := c.wait(leg.Ended); !strings.Contains(e.Cause.Text, "session timer of 3s") {
		t.Errorf("cause %+v", e.Cause)
	}
}

// TestRefreshUnknown: a peer that has forgotten the call ends it.
func TestRefreshUnknown(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, short)
	c := s.dial(t, u.request())
	u.answer(u.expect(sipmsg.INVITE), 200, u.sdp(), "Session-Expires: 4;refresher=uac", "Allow: UPDATE")
	u.expect(sipmsg.ACK)
	u.answer(u.next(sipmsg.UPDATE), 481, "")
	u.answer(u.next(sipmsg.BYE), 481, "")
	if e := c.wait(leg.Ended); !strings.Contains(fmt.Sprint(e.Cause), "does not know the call any more: 481") {
		t.Errorf("cause %+v", e.Cause)
	}
}

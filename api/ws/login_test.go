package ws

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"lineout/calls"
	"lineout/calls/leg"
)

func TestLocalAccount(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	if r.phone.count("1000@localhost") != 1 {
		t.Error("the account cannot be called")
	}
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	waitFor(t, func() bool { return r.phone.count("1000@localhost") == 0 })
	// Without registration the session calls but is not called.
	c = r.dial(t, "/")
	c.send(`{"message":"connection","data":[{` + userA + `,"sipRegisterRequired":"false"}]}`)
	c.expect("getUserData", `[{"sipLogin":"1000","sipRegisterRequired":false}]`)
	r.call(t, c)
	if r.phone.count("1000@localhost") != 0 {
		t.Error("a session that did not register can be called")
	}
}

// Pages that do not say whether to register are registered (S0-1); a session
// without an account never is, since it could not make streams then (websdk-protocol P5).
func TestRegistersUnlessToldNotTo(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{` + userA + `}]}`)
	c.expect("getUserData", `[{"sipLogin":"1000","sipRegisterRequired":true}]`)
	c.expect("registered", `[{"sipLogin":"1000"}]`)
	c = r.dial(t, "/")
	c.send(`{"message":"connection","data":[{"sipRegisterRequired":true}]}`)
	c.expect("getUserData", `[{"sipRegisterRequired":false}]`)
}

func TestWrongPassword(t *testing.T) {
	r := newRig(t, nil)
	for _, required := range []string{"true", "false"} {
		c := r.dial(t, "/")
		c.send(`{"message":"connection","data":[{` + strings.Replace(userA, "right", "wr0ng", 1) + `,"sipRegisterRequired":` + required + `}]}`)
		c.expect("fail", `[{"apiMethod":"RegistrationStatusEvent","status":"FAILED","info":"the login or the password is wrong","sipStatus":403}]`)
		if code := c.closed(); code != websocket.StatusNormalClosure {
			t.Errorf("closed with %v", code)
		}
	}
	if s := r.phone.told(); strings.Contains(s, "wr0ng") || strings.Contains(s, "sipPassword") {
		t.Errorf("hooks are told the password: %s", s)
	}
}

const userB = `"sipLogin":"2000","sipPassword":"s3cret","sipDomain":"pbx.example","sipPort":"5062","sipRegisterRequired":true`

func TestExternalAccount(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{` + userB + `}]}`)
	data := c.expect("getUserData", `[{"sipLogin":"2000","sipDomain":"pbx.example","sipRegisterRequired":true}]`)
	for k, v := range data[0].(map[string]any) {
		if s, _ := v.(string); strings.Contains(s, "s3cret") {
			t.Errorf("getUserData.%s echoes the password", k)
		}
	}
	// Pages may call at once; the INVITE waits for the registration.
	c.send(callC1)
	c.expect("notifyTryingResponse", `[{"callId":"c-1"}]`)
	r.phone.outcome <- leg.Registration{Registered: true, Code: 200}
	c.expect("registered", `[{"sipLogin":"2000"}]`)
	p := <-r.phone.placed
	if p.via.Local || p.via.Domain != "pbx.example" || p.via.Port != 5062 || p.via.AuthName != "2000" || p.via.Proxy != "" || p.in.User != "" {
		t.Errorf("placed via %+v, in %+v", p.via, p.in)
	}
	q := r.phone.requests[0]
	if q.Login != "2000" || q.AuthName != "2000" || q.Password != "s3cret" || q.Domain != "pbx.example" || q.Port != 5062 || !q.Register {
		t.Errorf("registered with %+v", q)
	}
	// A registration that is lost later is told; the session goes on.
	r.phone.changed(leg.Registration{Error: "503 Service Unavailable", Code: 503})
	c.expect("fail", `[{"apiMethod":"RegistrationStatusEvent","sipStatus":503}]`)
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	waitFor(t, func() bool {
		r.phone.mu.Lock()
		defer r.phone.mu.Unlock()
		return r.phone.bound["2000@pbx.example"] == 0 && len(r.phone.lines["2000@pbx.example"]) == 0
	})
	<-p.leg.(*peer).ended // else the test hangs: the call is not ended with its session
	if cause := p.leg.(*peer).cause; cause.Text == "" {
		t.Error("the call was ended without a cause")
	}
}

func TestRegistrationFails(t *testing.T) {
	r := newRig(t, func(c *Config) { c.LoginFailures = 1 })
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{` + userB + `}]}`)
	c.expect("getUserData", `[{"sipLogin":"2000"}]`)
	r.phone.outcome <- leg.Registration{Error: "the server answered 403 Forbidden", Code: 403}
	c.expect("fail", `[{"apiMethod":"RegistrationStatusEvent","status":"FAILED","info":"the server answered 403 Forbidden","sipStatus":403}]`)
	c.closed()
	// The address has guessed enough.
	c = r.dial(t, "/")
	c.send(`{"message":"connection","data":[{` + userB + `}]}`)
	c.expect("fail", `[{"apiMethod":"RegistrationStatusEvent","status":"FAILED"}]`)
	c.closed()
	if len(r.phone.requests) != 1 {
		t.Errorf("the SIP server was asked %d times", len(r.phone.requests))
	}
}

func TestApplicationRefuses(t *testing.T) {
	r := newRig(t, nil)
	r.phone.hookErr["connect"] = errors.New("who are you?")
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{"appKey":"shop","custom":{"a":1}}]}`)
	c.expect("fail", `[{"apiMethod":"ConnectionStatusEvent","status":"FAILED"}]`)
	c.closed()
	if got := r.phone.told(); !strings.Contains(got, `shop connect {"appKey":"shop","custom":{"a":1}`) {
		t.Errorf("hooks were told %s", got)
	}
}

// resume goes on with a session by its token.
func (r *rig) resume(t *testing.T, token string) *client {
	t.Helper()
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{"keepAlive":true,"authToken":"` + token + `"}]}`)
	c.expect("getUserData", `[{"authToken":"`+token+`","sipLogin":"1000"}]`)
	c.expect("registered", `[{"sipLogin":"1000"}]`)
	return c
}

func TestResume(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, `,"keepAlive":true`)
	p := r.call(t, c)
	r.ring(t, "in-1")
	c.expectIncoming("in-1")
	_ = c.conn.CloseNow() // the network is gone
	waitFor(t, func() bool { return r.server.Sessions() == 0 })
	r.ring(t, "in-2") // it can be called still
	back := r.resume(t, c.token)
	got := map[string]int{}
	for range 7 {
		name, data := back.next()
		id, _ := data[0].(string)
		if m, ok := data[0].(map[string]any); ok {
			id, _ = m["callId"].(string)
		}
		got[name+" "+id]++
	}
	for _, want := range []string{"talk c-1", "setRemoteSDP in-1", "notifyIncomingCall in-1", "ring in-1", "setRemoteSDP in-2", "notifyIncomingCall in-2", "ring in-2"} {
		if got[want] != 1 {
			t.Errorf("%s was not told: %v", want, got)
		}
	}
	// A second socket takes the session from the first, which the browser has lost.
	again := r.resume(t, c.token)
	if code := back.closed(); code != websocket.StatusNormalClosure {
		t.Errorf("the replaced socket closed with %v", code)
	}
	select {
	case <-p.leg.(*peer).ended:
		t.Error("the call ended with a lost socket")
	default:
	}
	// A page that leaves takes its calls along (S1-15), but can be called.
	_ = again.conn.Close(websocket.StatusNoStatusRcvd, "") // as the SDK does
	<-p.leg.(*peer).ended
	select {
	case <-r.phone.peer("in-1").ended:
		t.Error("a call that rings ended with its page")
	default:
	}
	if r.phone.count("1000@localhost") != 1 {
		t.Error("a kept session cannot be called")
	}
}

// A browser that comes back while a call to it is being made is told of the call
// once, and not before its SDP is there (websdk-protocol P2, P7).
func TestResumeWhileACallIsMade(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, `,"keepAlive":true`)
	r.phone.offering = make(chan chan struct{})
	rung := make(chan struct{})
	go func() { r.ring(t, "in-1"); close(rung) }()
	wait := <-r.phone.offering
	_ = c.conn.CloseNow()
	waitFor(t, func() bool { return r.server.Sessions() == 0 })
	back := r.resume(t, c.token)
	back.send(`{"message":"ping","data":[null]}`)
	back.expect("pong", `[]`) // nothing was told before it
	close(wait)
	<-rung
	back.expectIncoming("in-1")
	r.server.mu.Lock()
	for _, s := range r.server.sessions {
		s.remind() // as one that was about to be told as well
	}
	r.server.mu.Unlock()
	back.send(`{"message":"ping","data":[null]}`)
	back.expect("pong", `[]`)
}

// A page that signs out (status 1000) frees its account at once, keepAlive or not.
func TestSignOut(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Keep = time.Hour })
	c := r.user(t, `,"keepAlive":true`)
	r.ring(t, "in-1")
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	waitFor(t, func() bool { return r.phone.count("1000@localhost") == 0 && len(r.server.list()) == 0 })
	<-r.phone.peer("in-1").ended // else the test hangs: what rings is not declined
	again := r.dial(t, "/")
	again.send(`{"message":"connection","data":[{"keepAlive":true,"authToken":"` + c.token + `"}]}`)
	again.closed()
}

func TestResumeNeedsKeepAlive(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	other := r.dial(t, "/")
	other.send(`{"message":"connection","data":[{"keepAlive":true,"authToken":"` + c.token + `"}]}`)
	other.closed()
	// A token that is unknown does not matter to a page that has an account.
	other = r.dial(t, "/")
	other.send(`{"message":"connection","data":[{` + userA + `,"authToken":"gone"}]}`)
	other.expect("getUserData", `[{"sipLogin":"1000"}]`)
}

func TestKeptSessionsMakeRoom(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSessions = 1 })
	c := r.user(t, `,"keepAlive":true`)
	_ = c.conn.CloseNow()
	waitFor(t, func() bool { return r.server.Sessions() == 0 })
	r.session(t)
	waitFor(t, func() bool { return r.phone.count("1000@localhost") == 0 })
}

// A session waits for its browser for ws.keep and no longer.
func TestKeepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPhone()
		s := New(DefaultConfig(), Deps{Phone: p.deps()})
		k := newSocket(s, "127.0.0.1:1")
		a, b := socketPair(t)
		go k.run(t.Context(), a)
		if err := b.Write(context.Background(), websocket.MessageText, []byte(`{"message":"connection","data":[{`+userA+`,"sipRegisterRequired":true,"keepAlive":true}]}`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := p.lines["1000@localhost"][0].Ring(t.Context(), leg.Invitation{CallID: "in-1", Caller: "1001"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = b.CloseNow()
		begun := time.Now()
		<-p.peer("in-1").ended
		if d := time.Since(begun); d != time.Minute {
			t.Errorf("ended after %v", d)
		}
		s.wg.Wait()
		if p.count("1000@localhost") != 0 || len(s.sessions) != 0 {
			t.Error("something of the session is left")
		}
	})
}

func TestPolicyOfStatuses(t *testing.T) {
	for s, want := range map[calls.Status]string{calls.Finish: "FINISH", calls.Failed: "FAILED", calls.Busy: "FAILED"} {
		if got := final(s); got != want {
			t.Errorf("%s is told as %s, want %s", s, got, want)
		}
	}
}

// A goodbye counts also when messages for the page meet the socket that it has
// closed: the page's calls end then, not after ws.keep (S1-15).
func TestGoodbyeAmongMessages(t *testing.T) {
	for range 20 {
		t.Run("", func(t *testing.T) {
			r := newRig(t, nil)
			c := r.user(t, `,"keepAlive":true`)
			p := r.call(t, c)
			r.server.mu.Lock()
			k := r.server.sessions[c.token].current()
			r.server.mu.Unlock()
			spoken := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for n := 0; k.ctx.Err() == nil; n++ {
					k.sendNow("ping")
					if n == 10 {
						close(spoken)
					}
				}
			})
			<-spoken
			_ = c.conn.Close(websocket.StatusGoingAway, "")
			select {
			case <-p.leg.(*peer).ended:
			case <-time.After(20 * time.Second): // a third of ws.keep
				t.Error("the call of a page that has said goodbye goes on")
			}
			wg.Wait()
		})
	}
}

package ws

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"lineout/calls"
	"lineout/calls/leg"
)

const userA = `"sipLogin":"1000","sipAuthenticationName":"1000","sipPassword":"right","sipDomain":"localhost","sipPort":"5060"`

// user opens a session with an account of this server.
func (r *rig) user(t *testing.T, more string) *client {
	t.Helper()
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{` + userA + `,"sipRegisterRequired":true` + more + `}]}`)
	data := c.expect("getUserData", `[{"sipLogin":"1000","sipDomain":"localhost","sipRegisterRequired":true}]`)
	c.token, _ = data[0].(map[string]any)["authToken"].(string)
	c.expect("registered", `[{"sipLogin":"1000"}]`)
	return c
}

const callC1 = `{"message":"call","data":[{"callId":"c-1","incoming":false,"hasVideo":false,"hasAudio":true,"status":"PENDING","mediaProvider":"WebRTC","sdp":"offer","caller":"spoofed","callee":"1001","visibleName":"Al"}]}`

// call places c-1 and brings it to ESTABLISHED.
func (r *rig) call(t *testing.T, c *client) *placed {
	t.Helper()
	c.send(callC1)
	c.expect("notifyTryingResponse", `[{"callId":"c-1","status":"TRYING"}]`)
	p := <-r.phone.placed
	p.watch(calls.Info{CallID: "c-1", Status: calls.Trying})
	p.watch(calls.Info{CallID: "c-1", Status: calls.Ring, SIPStatus: 180})
	c.expect("ring", `[{"callId":"c-1","status":"RING"}]`)
	p.leg.Answer(leg.Terms{})
	c.expect("setRemoteSDP", `["c-1","answer for c-1"]`)
	p.watch(calls.Info{CallID: "c-1", Status: calls.Established, SIPStatus: 200})
	c.expect("talk", `[{"callId":"c-1","status":"ESTABLISHED"}]`)
	return p
}

func TestCall(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	p := r.call(t, c)
	if p.in.Caller != "1000" || p.in.Callee != "1001" || p.in.DisplayName != "Al" || p.in.User != "1000@localhost" || !p.in.HasAudio || p.in.SDP != "offer" {
		t.Errorf("placed %+v", p.in)
	}
	if p.via.Login != "1000" || p.via.Password != "right" || !p.via.Local || p.via.SessionID == "" {
		t.Errorf("via %+v", p.via)
	}
	// A second SDP is not sent (P7), and an id in use is not taken twice.
	p.leg.Answer(leg.Terms{})
	c.send(callC1)
	// Hold and unhold may come back to back (pages 2.1).
	c.send(`{"message":"hold","data":[{"callId":"c-1"}]}`)
	c.send(`{"message":"unhold","data":[{"callId":"c-1"}]}`)
	c.expect("hold", `[{"callId":"c-1","status":"HOLD"}]`)
	c.expect("talk", `[{"callId":"c-1","status":"ESTABLISHED"}]`)
	// What changes nothing is answered by the status, which pages wait for.
	c.send(`{"message":"unhold","data":[{"callId":"c-1"}]}`)
	c.expect("talk", `[{"callId":"c-1","status":"ESTABLISHED"}]`)
	for _, m := range []string{`"type":"RFC2833","dtmf":"5"`, `"type":"INFO","dtmf":5`, `"type":"INFO_RELAY","dtmf":"12*#"`, `"dtmf":"1"`} {
		c.send(`{"message":"sendDtmf","data":[{"callId":"c-1",` + m + `}]}`)
	}
	c.send(`{"message":"hold","data":[{"callId":"c-1","holdForTransfer":true}]}`)
	c.expect("hold", `[{"callId":"c-1","status":"HOLD"}]`)
	c.send(`{"message":"transfer","data":[{"callId":"c-1","target":"1002"}]}`)
	waitFor(t, func() bool { return strings.HasSuffix(r.phone.asked(), "transfer c-1 1002") })
	want := "hold c-1 true; hold c-1 false; hold c-1 false; dtmf c-1 5 RFC2833; dtmf c-1 5 INFO; dtmf c-1 12*# INFO_RELAY; dtmf c-1 1 ; hold c-1 true; transfer c-1 1002"
	if got := r.phone.asked(); got != want {
		t.Errorf("asked\n%s, want\n%s", got, want)
	}
	p.watch(calls.Info{CallID: "c-1", Status: calls.Finish, Target: "1002"})
	c.expect("notifyTransferEvent", `[{"callId":"c-1","status":"COMPLETED"}]`)
	c.expect("finish", `[{"callId":"c-1","status":"FINISH","info":"Normal call clearing"}]`)
	waitFor(t, func() bool { return r.server.calls() == 0 })
}

func TestCallHungUp(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	r.call(t, c)
	c.send(`{"message":"hangup","data":[{"callId":"c-1"}]}`)
	c.expect("finish", `[{"callId":"c-1","status":"FINISH"}]`)
	if p := r.phone.peer("c-1"); p.cause.Code != 0 || p.cause.Kind != leg.Normal {
		t.Errorf("the call ended with %+v", p.cause)
	}
}

func TestCallFails(t *testing.T) {
	for name, x := range map[string]struct {
		info calls.Info
		want string
	}{
		"busy":     {calls.Info{Status: calls.Busy, Cause: leg.Cause{Code: 486, Kind: leg.Busy, Text: "Busy Here"}}, `[{"callId":"c-1","status":"FAILED","sipStatus":486,"reason":"Busy Here"}]`},
		"rejected": {calls.Info{Status: calls.Failed, Cause: leg.Cause{Code: 404, Kind: leg.Rejected, Text: "Not Found"}}, `[{"status":"FAILED","sipStatus":404}]`},
		"codecs":   {calls.Info{Status: calls.Failed, Cause: leg.Cause{Kind: leg.NoCommonCodecs}}, `[{"status":"FAILED","info":"No common codecs"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			c := r.user(t, "")
			c.send(callC1)
			c.expect("notifyTryingResponse", `[{"status":"TRYING"}]`)
			p := <-r.phone.placed
			p.watch(calls.Info{Status: calls.SessionProgress})
			c.expect("ring", `[{"status":"RING"}]`) // pages show nothing else
			c.expect("ring", `[{"status":"SESSION_PROGRESS"}]`)
			x.info.CallID = "c-1"
			p.watch(x.info)
			c.expect("finish", x.want)
			close(p.leg.(*peer).events)
		})
	}
}

func TestCallRefused(t *testing.T) {
	for name, x := range map[string]struct {
		edit func(*phone)
		send string
		want string
	}{
		"no account":    {nil, `{"message":"call","data":[{"callId":"c-1","callee":"1"}]}`, `[{"callId":"c-1","status":"FAILED","info":"Failed by session creation"}]`},
		"no callee":     {nil, `{"message":"call","data":[{"callId":"c-1"}]}`, `[{"callId":"c-1","status":"FAILED"}]`},
		"bad id":        {nil, `{"message":"call","data":[{"callId":"a b","callee":"1"}]}`, `[{"callId":"a b","status":"FAILED"}]`},
		"bad offer":     {func(p *phone) { p.refuse = callError("No common codecs") }, callC1, `[{"callId":"c-1","status":"FAILED","info":"No common codecs"}]`},
		"by the server": {func(p *phone) { p.refusal = &leg.Refusal{Code: 404, Text: "Not Found"} }, callC1, `[{"callId":"c-1","status":"FAILED","sipStatus":404}]`},
		"by a hook":     {func(p *phone) { p.hookErr["call"] = errors.New("no") }, callC1, `[{"callId":"c-1","status":"FAILED","sipStatus":403}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			var c *client
			if name == "no account" {
				c = r.session(t)
			} else {
				c = r.user(t, "")
			}
			if x.edit != nil {
				x.edit(r.phone)
			}
			c.send(x.send)
			if x.edit != nil {
				c.expect("notifyTryingResponse", `[{"callId":"c-1"}]`)
			}
			c.expect("finish", x.want)
			waitFor(t, func() bool { return r.server.calls() == 0 })
		})
	}
}

// ring calls the account's lines.
// The status of a hold may come after the request has succeeded; the one before is not told
// again meanwhile, which makes pages offer to hold instead of to go on.
func TestHoldIsToldLate(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	p := r.call(t, c)
	r.phone.mu.Lock()
	r.phone.late = true
	r.phone.mu.Unlock()
	for _, want := range []struct {
		request, message string
		status           calls.Status
	}{{"hold", "hold", calls.Hold}, {"unhold", "talk", calls.Established}} {
		asked := r.phone.asked()
		c.send(`{"message":"` + want.request + `","data":[{"callId":"c-1"}]}`)
		waitFor(t, func() bool { return r.phone.asked() != asked })
		time.Sleep(20 * time.Millisecond) // so that what would be told too early is
		p.watch(calls.Info{CallID: "c-1", Status: want.status})
		c.expect(want.message, `[{"callId":"c-1","status":"`+string(want.status)+`"}]`)
	}
	// Where none follows, the one that is comes after a while.
	c.send(`{"message":"hold","data":[{"callId":"c-1"}]}`)
	c.expect("talk", `[{"callId":"c-1","status":"ESTABLISHED"}]`)
}

func (r *rig) ring(t *testing.T, id string) []leg.Leg {
	t.Helper()
	r.phone.mu.Lock()
	lines := append([]leg.Line(nil), r.phone.lines["1000@localhost"]...)
	r.phone.mu.Unlock()
	var out []leg.Leg
	for _, l := range lines {
		x, err := l.Ring(context.Background(), leg.Invitation{CallID: id, Caller: "1001", Callee: "1000"})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

func (c *client) expectIncoming(id string) {
	c.t.Helper()
	c.expect("setRemoteSDP", `["`+id+`","offer for `+id+`"]`)
	data := c.expect("notifyIncomingCall", `[{"callId":"`+id+`","incoming":true,"caller":"1001","callee":"1000","visibleName":"1001"}]`)
	if n := len(data[0].(map[string]any)); n != 5 {
		c.t.Errorf("notifyIncomingCall has %d fields, which the SDK may take for options: %v", n, data)
	}
	c.expect("ring", `[{"callId":"`+id+`","status":"RING"}]`)
}

func TestIncoming(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	r.ring(t, "in-1")
	c.expectIncoming("in-1")
	r.phone.tell(calls.Info{CallID: "in-1", Status: calls.Ring}) // says nothing new
	c.send(`{"message":"answer","data":[{"callId":"in-1","incoming":true,"hasVideo":true,"hasAudio":true,"sdp":"mine"}]}`)
	c.send(`{"message":"answer","data":[{"callId":"in-1","sdp":"again"}]}`)
	waitFor(t, func() bool { return r.phone.asked() == "answered in-1 mine" })
	r.phone.tell(calls.Info{CallID: "in-1", Status: calls.Established})
	c.expect("talk", `[{"callId":"in-1","status":"ESTABLISHED"}]`)
	r.phone.tell(calls.Info{CallID: "in-1", Status: calls.Hold}) // by the other party
	c.expect("hold", `[{"callId":"in-1","status":"HOLD"}]`)
	c.send(`{"message":"hangup","data":[{"callId":"in-1"}]}`)
	c.expect("finish", `[{"callId":"in-1","status":"FINISH"}]`)
	if got := r.phone.peer("in-1").cause; got.Code != 0 {
		t.Errorf("an answered call ended with %+v", got)
	}
}

func TestIncomingEnds(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	// Rejected by the user.
	r.ring(t, "in-1")
	c.expectIncoming("in-1")
	c.send(`{"message":"hangup","data":[{"callId":"in-1"}]}`)
	c.expect("finish", `[{"callId":"in-1","status":"FINISH"}]`)
	if got := r.phone.peer("in-1").cause; got.Code != 603 || got.Kind != leg.Rejected {
		t.Errorf("a rejected call ended with %+v", got)
	}
	// Taken back by the caller.
	l := r.ring(t, "in-2")[0]
	c.expectIncoming("in-2")
	if err := l.Hangup(t.Context(), leg.Cause{Kind: leg.Rejected, Code: 487}); err != nil {
		t.Fatal(err)
	}
	c.expect("finish", `[{"callId":"in-2","status":"FINISH"}]`)
	// Answered with something that does not fit.
	r.ring(t, "in-3")
	c.expectIncoming("in-3")
	c.send(`{"message":"answer","data":[{"callId":"in-3","sdp":"bad"}]}`)
	c.expect("finish", `[{"callId":"in-3","status":"FAILED","info":"No common codecs"}]`)
	<-r.phone.peer("in-3").ended
}

// Several sessions of an account ring; who is not the one that answered is
// told the end, and nothing of the call it does not have.
func TestFork(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.user(t, ""), r.user(t, "")
	legs := r.ring(t, "in-1")
	a.expectIncoming("in-1")
	b.expectIncoming("in-1")
	a.send(`{"message":"answer","data":[{"callId":"in-1","sdp":"mine"}]}`)
	waitFor(t, func() bool { return r.phone.asked() == "answered in-1 mine" })
	if err := legs[1].Hangup(t.Context(), leg.Cause{}); err != nil {
		t.Fatal(err)
	}
	b.expect("finish", `[{"callId":"in-1","status":"FINISH"}]`)
}

func TestCallsPerSession(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxCalls = 1 })
	c := r.user(t, "")
	r.call(t, c)
	c.send(`{"message":"call","data":[{"callId":"c-2","callee":"1"}]}`)
	c.expect("finish", `[{"callId":"c-2","status":"FAILED"}]`)
	if _, err := r.phone.lines["1000@localhost"][0].Ring(t.Context(), leg.Invitation{CallID: "in-1"}); err == nil {
		t.Error("a session with all its calls rings")
	}
}

// A page that cannot get a microphone says nothing (8.2): the call must not
// ring for ever.
func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPhone()
		s := New(DefaultConfig(), Deps{Phone: p.deps()})
		k := newSocket(s, "127.0.0.1:1")
		a, b := socketPair(t)
		ended := make(chan struct{})
		go func() { k.run(t.Context(), a); s.wg.Wait(); close(ended) }()
		go func() { // a browser that answers pings only
			for {
				_, frame, err := b.Read(context.Background())
				if err != nil {
					return
				}
				if strings.Contains(string(frame), `"ping"`) {
					_ = b.Write(context.Background(), websocket.MessageText, []byte(`{"message":"pong"}`))
				}
			}
		}()
		_ = b.Write(t.Context(), websocket.MessageText, []byte(`{"message":"connection","data":[{`+userA+`,"sipRegisterRequired":true}]}`))
		synctest.Wait()
		if _, err := p.lines["1000@localhost"][0].Ring(t.Context(), leg.Invitation{CallID: "in-1", Caller: "1001"}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-p.peer("in-1").ended
		if d := time.Since(begun); d != time.Minute || p.peer("in-1").cause.Code != 480 {
			t.Errorf("ended after %v with %+v", d, p.peer("in-1").cause)
		}
		_ = b.CloseNow()
		<-ended
	})
}

// calls is the number of calls of all sessions.
func (s *Server) calls() int {
	n := 0
	for _, se := range s.list() {
		se.mu.Lock()
		n += len(se.calls)
		se.mu.Unlock()
	}
	return n
}

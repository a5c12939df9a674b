package calls

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/pipeline"
)

// caller is a puppet that calls us.
type caller struct {
	puppet
	said []string
}

func newCaller() *caller { return &caller{puppet: puppet{events: make(chan leg.Event, 16)}} }

func (c *caller) Ring(t leg.Terms, media bool) {
	c.note(fmt.Sprintf("ring media=%v", media))
	e := leg.Event{Type: leg.Ringing, Code: 180}
	if media {
		e = leg.Event{Type: leg.EarlyMedia, Code: 183}
	}
	c.say(e)
}

func (c *caller) Answer(t leg.Terms) {
	c.note(fmt.Sprintf("answer audio=%v video=%v rtmp=%v", t.SendAudio, t.SendVideo, t.ToRTMP))
	c.mu.Lock()
	c.media = audioOnly()
	c.mu.Unlock()
	c.say(leg.Event{Type: leg.Answered, Code: 200, Media: c.media})
}

func (c *caller) note(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, s)
}

func (c *caller) heard() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.said, "; ")
}

func (c *caller) hungWith() (out leg.Cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.hung) > 0 {
		out = c.hung[0]
	}
	return out
}

func comes(id string) leg.Incoming {
	return leg.Incoming{CallID: id, Caller: "7495", Callee: "100", Trunk: "office", Source: "192.0.2.1:5060", SDP: "v=0", Message: "INVITE", HasAudio: true}
}

func routed(entries ...string) func(*Deps) {
	return func(d *Deps) { d.Config = Config{Routes: entries, AnswerLimit: 30 * time.Second} }
}

func TestRouteAnswersACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorded, pushed []string
		r := newRig(t, func(d *Deps) {
			routed("trunk=office called=1* stream=in/{callee}/{caller}-{callId} answer=2 record=true hasVideo=true rtmpUrl=rtmp://h/live rtmpStream=x")(d)
			d.StartRecord = func(s *pipeline.Stream) error { recorded = append(recorded, s.Name()); return nil }
			d.StartPush = func(s *pipeline.Stream, url, name string, _ func(string)) error {
				pushed = append(pushed, url+"/"+name)
				return nil
			}
		})
		defer r.stop()
		c := newCaller()
		if no := r.m.Receive(comes("in@1"), c); no != nil {
			t.Fatal(no)
		}
		synctest.Wait()
		got := r.m.Find(Filter{CallID: "in@1"})
		if len(got) != 1 || !got[0].Incoming || got[0].Status != Ring || got[0].Caller != "7495" || got[0].Callee != "100" || got[0].SDP != "v=0" ||
			got[0].StreamName != "in/100/7495-in@1" || got[0].SIPMessage != "INVITE" || !got[0].HasAudio || got[0].HasVideo {
			t.Fatalf("while it rings: %+v", got)
		}
		if c.heard() != "ring media=false" {
			t.Errorf("said %q", c.heard())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := r.m.Find(Filter{CallID: "in@1"}); len(got) != 1 || got[0].Status != Established || got[0].SIPStatus != 200 {
			t.Errorf("after two seconds: %+v", got)
		}
		if c.heard() != "ring media=false; answer audio=true video=true rtmp=true" {
			t.Errorf("said %q", c.heard())
		}
		if strings.Join(recorded, ",") != "in/100/7495-in@1" || strings.Join(pushed, ",") != "rtmp://h/live/x" || r.hub.Get("in/100/7495-in@1") == nil {
			t.Errorf("recorded %v, pushed %v", recorded, pushed)
		}
		c.finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Code: 200}})
		synctest.Wait()
		if r.hub.Get("in/100/7495-in@1") != nil || len(r.m.Find(Filter{})) != 0 {
			t.Error("the call outlives its end")
		}
	})
}

func TestRefusalsOfCallsToUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, routed("caller=666* reject=486", "called=100 stream=one", "called=2?? stream={callId}"))
		defer r.stop()
		bad := comes("a")
		bad.Caller = "6661"
		if no := r.m.Receive(bad, newCaller()); no == nil || no.Code != 486 {
			t.Errorf("a rejected caller: %v", no)
		}
		none := comes("b")
		none.Callee = "300"
		if no := r.m.Receive(none, newCaller()); no == nil || no.Code != 603 {
			t.Errorf("without a route: %v", no)
		}
		first := newCaller()
		if no := r.m.Receive(comes("c"), first); no != nil {
			t.Fatal(no)
		}
		if no := r.m.Receive(comes("d"), newCaller()); no == nil || no.Code != 486 || !strings.Contains(no.Why, `"one"`) {
			t.Errorf("a stream name in use: %v", no)
		}
		if no := r.m.Receive(comes("c"), newCaller()); no == nil || no.Code != 486 {
			t.Errorf("a callId in use: %v", no)
		}
		dots := comes("..")
		dots.Callee = "200"
		if no := r.m.Receive(dots, newCaller()); no == nil || no.Code != 480 {
			t.Errorf("a stream called ..: %v", no)
		}
		synctest.Wait()
	})
}

// A failing recording or push must give back the names.
func TestCallToUsThatCannotBeEquipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(d *Deps) {
			routed("stream=one record=true")(d)
			d.StartRecord = func(*pipeline.Stream) error { return errors.New("disk") }
		})
		defer r.stop()
		for range 2 {
			if no := r.m.Receive(comes("c"), newCaller()); no == nil || no.Code != 480 || !strings.Contains(no.Why, "disk") {
				t.Errorf("%v", no)
			}
		}
		if len(r.m.Find(Filter{})) != 0 || r.hub.Get("one") != nil {
			t.Error("names were not given back")
		}
	})
}

func TestRESTDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorded []string
		r := newRig(t, func(d *Deps) {
			routed("answer=ask stream={callId}")(d)
			d.StartRecord = func(s *pipeline.Stream) error { recorded = append(recorded, s.Name()); return nil }
		})
		defer r.stop()
		yes := true
		a, b, c := newCaller(), newCaller(), newCaller()
		for id, l := range map[string]*caller{"a": a, "b": b, "c": c} {
			if no := r.m.Receive(comes(id), l); no != nil {
				t.Fatal(no)
			}
		}
		synctest.Wait()
		if err := r.m.Answer(t.Context(), Answer{CallID: "a", ToStream: "b"}); code(err) != fault.Conflict {
			t.Errorf("a name in use: %v", err)
		}
		if err := r.m.Answer(t.Context(), Answer{CallID: "a", ToStream: "mine", HasVideo: &yes, Record: &yes}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.m.Find(Filter{StreamName: "mine"}); len(got) != 1 || got[0].Status != Established {
			t.Errorf("answered: %+v", got)
		}
		if r.hub.Get("a") != nil || r.hub.Get("mine") == nil || strings.Join(recorded, "") != "mine" {
			t.Errorf("streams after the answer; recorded %v", recorded)
		}
		if c := a.heard(); !strings.HasSuffix(c, "answer audio=true video=true rtmp=false") {
			t.Errorf("said %q", c)
		}
		if err := r.m.Answer(t.Context(), Answer{CallID: "a"}); code(err) != fault.Conflict {
			t.Errorf("a second answer: %v", err)
		}
		if err := r.m.Reject(t.Context(), "a", 0); code(err) != fault.Conflict {
			t.Errorf("rejecting what was answered: %v", err)
		}
		if err := r.m.Reject(t.Context(), "b", 200); code(err) != fault.BadRequest {
			t.Errorf("a status that rejects nothing: %v", err)
		}
		if err := r.m.Reject(t.Context(), "b", 486); err != nil || code(r.m.Answer(t.Context(), Answer{CallID: "none"})) != fault.NotFound {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		if b.hungWith().Code != 486 || len(r.m.Find(Filter{CallID: "b"})) != 0 {
			t.Errorf("rejected: %+v", b.hungWith())
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := c.hungWith(); got.Code != 480 || got.Kind != leg.RequestTimeout {
			t.Errorf("nobody decided: %+v", got)
		}
	})
}

func TestCallsOfOursAreNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		if err := r.m.Startup(t.Context(), request("c1")); err != nil {
			t.Fatal(err)
		}
		if code(r.m.Answer(t.Context(), Answer{CallID: "c1"})) != fault.Conflict || code(r.m.Reject(t.Context(), "c1", 0)) != fault.Conflict {
			t.Error("a call of ours was answered")
		}
	})
}

// What rings at a stop is told to try elsewhere; what was answered hears BYE.
func TestStopWithCallsToUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, routed("called=1* answer=ask", "answer=0"))
		ringing, talking := newCaller(), newCaller()
		other := comes("b")
		other.Callee = "200"
		if r.m.Receive(comes("a"), ringing) != nil || r.m.Receive(other, talking) != nil {
			t.Fatal("refused")
		}
		synctest.Wait()
		r.stop()
		if ringing.hungWith().Code != 503 || talking.hungWith().Code != 0 || talking.hangups() != 1 {
			t.Errorf("%+v, %+v", ringing.hungWith(), talking.hungWith())
		}
		if no := r.m.Receive(comes("c"), newCaller()); no == nil || no.Code != 503 || no.Retry == 0 {
			t.Errorf("after the stop: %v", no)
		}
	})
}

func TestFaultsOfRoutes(t *testing.T) {
	for entry, want := range map[string]string{
		"called=[":                  "entry 1: word 1 (called): it is not a pattern",
		"called=1 anwser=ask":       `entry 1: word 2: the key "anwser" is not known`,
		"stream={who}":              "word 1 (stream): it holds braces",
		"answer=soon":               "word 1 (answer): want ask, or 0 to 120 seconds",
		"answer=NaN":                "want ask, or",
		"answer=121":                "want ask, or",
		"ring=181":                  "word 1 (ring): want 180, 183",
		"record=perhaps":            "word 1 (record): want true or false",
		"reject=302":                "want a SIP status from 400 to 699",
		"reject=486 record=true":    "reject= stands beside",
		"rtmpUrl=rtmp://h/l":        "rtmpUrl= and rtmpStream= belong together",
		"rtmpUrl=http rtmpStream=x": "word 1 (rtmpUrl): it is not an RTMP address",
	} {
		c := Config{Routes: []string{entry}}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "sip_routes: ") {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
	}
	if err := (&Config{Routes: []string{"called=1", "x"}}).Validate(); err == nil || !strings.Contains(err.Error(), "entry 2: word 1") {
		t.Errorf("%v", err)
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("called=1* answer=ask stream=in-{callee}", "100", "a")
	f.Add("trunk=x reject=486", "", "")
	f.Add(`caller="a b" ring=183`, "é\x00/..", "{caller}")
	f.Fuzz(func(t *testing.T, entry, callee, callID string) {
		r, err := parseRoute(entry)
		if err != nil {
			return
		}
		in := leg.Incoming{Callee: callee, Caller: callee, CallID: callID}
		r.match(&in)
		if r.stream == defaultStream && strings.ContainsAny(r.name(&in), "/\x00 {}") {
			t.Fatalf("name %q", r.name(&in))
		}
	})
}

package calls

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lineout/calls/leg"
)

// device is a line whose legs the test plays.
type device struct {
	name string
	err  error

	mu   sync.Mutex
	legs []*puppet
	told []leg.Invitation
}

func (d *device) Ring(_ context.Context, i leg.Invitation) (leg.Leg, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, i)
	if d.err != nil {
		return nil, d.err
	}
	p := &puppet{events: make(chan leg.Event, 16)}
	d.legs = append(d.legs, p)
	return p, nil
}

func (d *device) Session() (id, appKey string) { return d.name, "app-" + d.name }

func (d *device) leg() *puppet {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.legs) == 0 {
		return nil
	}
	return d.legs[len(d.legs)-1]
}

func (p *puppet) hungAs() (out leg.Cause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hung) > 0 {
		out = p.hung[0]
	}
	return out
}

// history collects what Watch tells.
type history struct {
	mu   sync.Mutex
	said []string
	last Info
}

func (h *history) add(i Info) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said, h.last = append(h.said, string(i.Status)), i
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.said, " ")
}

func browserCalls(id, callee string) leg.Incoming {
	in := leg.Incoming{CallID: id, Caller: "1001", Callee: callee, SDP: "v=0", HasAudio: true}
	in.Tracks = audioOnly().tracks
	return in
}

var outside = Account{Login: "1001", Domain: "pbx.example", SessionID: "s1", AppKey: "phone"}

func TestUserCallsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		var h history
		near := newCaller()
		near.events <- leg.Event{Type: leg.Trying}
		if no := r.m.Place(t.Context(), browserCalls("u1", "1002"), near, outside, h.add); no != nil {
			t.Fatal(no)
		}
		far := r.phones.leg("u1")
		if far.req.Callee != "1002" || far.req.Login != "1001" || far.req.Like == nil || !far.req.SendAudio || far.req.SendVideo {
			t.Errorf("dialled %+v", far.req)
		}
		for _, e := range []leg.Event{{Type: leg.Trying, Code: 100}, {Type: leg.Ringing, Code: 180}, {Type: leg.EarlyMedia, Code: 183, Media: audioOnly()}, {Type: leg.Answered, Code: 200, Media: audioOnly()}} {
			far.events <- e
			synctest.Wait()
		}
		if got, want := near.heard(), "ring media=false; ring media=true; answer audio=true video=false rtmp=false"; got != want {
			t.Errorf("the user was told %q, want %q", got, want)
		}
		if got, want := h.String(), "TRYING RING SESSION_PROGRESS ESTABLISHED"; got != want {
			t.Errorf("watched %q, want %q", got, want)
		}
		if all := r.m.AllStats(); len(all) != 1 || all[0].CallID != "u1" || all[0].Status != Established {
			t.Errorf("stats %+v", all)
		}
		i := h.last
		if i.SessionID != "s1" || i.AppKey != "phone" || i.MediaProvider != "WebRTC" || i.Incoming || i.SIPStatus != 200 || i.Caller != "1001" || i.Callee != "1002" || i.StreamName != "" {
			t.Errorf("info %+v", i)
		}
		near.finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Text: "the user hung up"}})
		synctest.Wait()
		if far.hangups() != 1 || h.String() != "TRYING RING SESSION_PROGRESS ESTABLISHED FINISH" || len(r.m.Find(Filter{})) != 0 {
			t.Errorf("after the end: %d hangups, %s, %+v", far.hangups(), &h, r.m.Find(Filter{}))
		}
	})
}

// What a call of a user is listed with is what was offered, then what both agreed on.
func TestMediaOfAUsersCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		in := browserCalls("u1", "1002")
		in.HasVideo = true
		if no := r.m.Place(t.Context(), in, newCaller(), outside, nil); no != nil {
			t.Fatal(no)
		}
		synctest.Wait()
		if l := r.m.Find(Filter{}); len(l) != 1 || !l[0].HasAudio || !l[0].HasVideo {
			t.Errorf("offered: %+v", l)
		}
		r.phones.leg("u1").say(leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()})
		synctest.Wait()
		if l := r.m.Find(Filter{}); len(l) != 1 || !l[0].HasAudio || l[0].HasVideo {
			t.Errorf("answered: %+v", l)
		}
	})
}

// TestUserCallRefused: the caller is told the code, but never one that asks for
// our password.
func TestUserCallRefused(t *testing.T) {
	for _, c := range []struct {
		cause leg.Cause
		want  Status
		told  int
	}{
		{leg.Cause{Kind: leg.Busy, Code: 486}, Busy, 486},
		{leg.Cause{Kind: leg.Rejected, Code: 404}, Failed, 404},
		{leg.Cause{Kind: leg.Rejected, Code: 407}, Failed, 403},
		{leg.Cause{Kind: leg.RequestTimeout, Code: 408}, Failed, 408},
		{leg.Cause{Kind: leg.Setup}, Failed, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer r.stop()
			near := newCaller()
			if no := r.m.Place(t.Context(), browserCalls("u", "1002"), near, outside, nil); no != nil {
				t.Fatal(no)
			}
			r.phones.leg("u").finish(leg.Event{Type: leg.Ended, Cause: c.cause})
			synctest.Wait()
			got := r.m.Find(Filter{CallID: "u"})
			if len(got) != 1 || got[0].Status != c.want || near.hungWith().Code != c.told || near.hungWith().Kind != c.cause.Kind {
				t.Errorf("%+v: found %+v, hung with %+v", c.cause, got, near.hungWith())
			}
		})
	}
}

func called(id string) leg.Incoming {
	return leg.Incoming{CallID: id, Caller: "7495", Callee: "1002", DisplayName: "Ann", Account: "1002@pbx.example", HasAudio: true, Tracks: audioOnly().tracks}
}

func TestSeveralDevicesRingAndTheFirstHasTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		a, b, broken := &device{name: "a"}, &device{name: "b"}, &device{err: errors.New("no SDP")}
		for _, d := range []*device{a, b, broken} {
			defer r.m.Attach("1002@PBX.example", d)()
		}
		far := newCaller()
		far.events <- leg.Event{Type: leg.Trying, Code: 100}
		if no := r.m.Receive(called("in1"), far); no != nil {
			t.Fatal(no)
		}
		var h history
		r.m.Watch("in1", h.add)
		synctest.Wait()
		if i := a.told[0]; i.CallID != "in1" || i.Caller != "7495" || i.DisplayName != "Ann" || i.Like == nil {
			t.Errorf("invited by %+v", i)
		}
		a.leg().events <- leg.Event{Type: leg.Ringing}
		b.leg().events <- leg.Event{Type: leg.Ringing}
		synctest.Wait()
		b.leg().events <- leg.Event{Type: leg.Answered, Media: audioOnly()}
		synctest.Wait()
		if got, want := far.heard(), "ring media=false; answer audio=true video=false rtmp=false"; got != want {
			t.Errorf("the caller was told %q, want %q", got, want)
		}
		if got := a.leg().hungAs(); got.Text != "answered elsewhere" || got.Code != 200 || b.leg().hangups() != 0 {
			t.Errorf("the other device was told %+v", got)
		}
		if i := h.last; i.Status != Established || i.SessionID != "b" || i.AppKey != "app-b" || !i.Incoming {
			t.Errorf("%s, info %+v", &h, i)
		}
		far.finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Code: 200, Text: "BYE"}})
		synctest.Wait()
		if got, want := h.String(), "TRYING RING ESTABLISHED FINISH"; got != want || b.leg().hangups() != 1 {
			t.Errorf("watched %q, want %q; %d hangups", got, want, b.leg().hangups())
		}
	})
}

// TestNobodyTakesTheCall: what the caller is told when no device does.
func TestNobodyTakesTheCall(t *testing.T) {
	end := func(kind leg.CauseKind, code int) func(*device) {
		return func(d *device) {
			d.leg().finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Kind: kind, Code: code}})
		}
	}
	silent := func(*device) {}
	for name, c := range map[string]struct {
		first, second func(*device)
		told          int
		want          Status
	}{
		"all busy":             {end(leg.Busy, 486), end(leg.Busy, 486), 486, Busy},
		"busy and unreachable": {end(leg.RequestTimeout, 408), end(leg.Busy, 486), 486, Busy},
		"a person declines":    {silent, end(leg.Rejected, 603), 603, Finish},
		"nobody answers":       {silent, silent, 480, Failed},
		"one refuses":          {end(leg.Rejected, 480), silent, 480, Failed},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer r.stop()
			a, b := &device{name: "a"}, &device{name: "b"}
			r.m.Attach("1002@pbx.example", a)
			r.m.Attach("1002@pbx.example", b)
			far := newCaller()
			if no := r.m.Receive(called("in"), far); no != nil {
				t.Fatal(no)
			}
			var h history
			r.m.Watch("in", h.add)
			synctest.Wait()
			c.first(a)
			c.second(b)
			time.Sleep(61 * time.Second)
			synctest.Wait()
			if got := far.hungWith(); got.Code != c.told || h.last.Status != c.want {
				t.Errorf("%s: the caller was told %+v, status %s", name, got, &h)
			}
			for _, d := range []*device{a, b} {
				if !d.leg().closed() {
					t.Errorf("%s: a device still rings", name)
				}
			}
		})
	}
}

func (p *puppet) closed() bool {
	for {
		select {
		case _, ok := <-p.events:
			if !ok {
				return true
			}
		default:
			return false
		}
	}
}

func TestWhereCallsWithoutADeviceGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(d *Deps) {
			routed("called=900 answer=0")(d)
			d.Local = func(domain string) bool { return domain == "here" }
			d.Known = func(a string) bool { return a != "nobody@here" }
		})
		defer r.stop()
		for account, want := range map[string]int{"1002@here": 480, "nobody@here": 603, "1002@pbx.example": 603, "": 603} {
			in := called("x")
			in.Account = account
			if no := r.m.Receive(in, newCaller()); no == nil || no.Code != want {
				t.Errorf("%q: %v, want %d", account, no, want)
			}
		}
		in := called("x")
		in.Account, in.Callee = "900@here", "900"
		if no := r.m.Receive(in, newCaller()); no != nil {
			t.Errorf("a route is for it, but %v", no)
		}
	})
}

// TestHoldPasses: a hold of either side reaches the other, once, and what the
// server asked for does not come back.
func TestHoldPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, near, far, h := talking(t, nil)
		defer r.stop()
		step := func(what string, do func(), want string, nearAsked, farAsked string) {
			t.Helper()
			near.asks, far.asks = nil, nil
			do()
			synctest.Wait()
			if string(h.last.Status) != want || strings.Join(near.asks, " ") != nearAsked || strings.Join(far.asks, " ") != farAsked {
				t.Errorf("%s: %s, near %v, far %v", what, h.last.Status, near.asks, far.asks)
			}
		}
		step("far holds", func() { far.events <- leg.Event{Type: leg.Held} }, "HOLD", "hold", "")
		step("far resumes", func() { far.events <- leg.Event{Type: leg.Resumed} }, "ESTABLISHED", "resume", "")
		step("near holds", func() { near.events <- leg.Event{Type: leg.Held} }, "HOLD", "", "hold")
		step("near resumes", func() { near.events <- leg.Event{Type: leg.Resumed} }, "ESTABLISHED", "", "resume")
		step("REST holds", func() { _ = r.m.Hold(t.Context(), "u", true) }, "HOLD", "", "hold")
		step("REST resumes", func() { _ = r.m.Hold(t.Context(), "u", false) }, "ESTABLISHED", "", "resume")
		step("near holds again", func() { near.events <- leg.Event{Type: leg.Held} }, "HOLD", "", "hold")
	})
}

// talking gives a call of a user that is established.
func talking(t *testing.T, change func(*Deps)) (*rig, *caller, *puppet, *history) {
	t.Helper()
	r := newRig(t, change)
	h, near := &history{}, newCaller()
	if no := r.m.Place(t.Context(), browserCalls("u", "1002"), near, outside, h.add); no != nil {
		t.Fatal(no)
	}
	far := r.phones.leg("u")
	far.media = audioOnly()
	far.events <- leg.Event{Type: leg.Answered, Code: 200, Media: far.media}
	synctest.Wait()
	if h.last.Status != Established {
		t.Fatalf("status %s", h)
	}
	return r, near, far, h
}

func TestDigitsAndMessagesPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var digits []string
		r, near, far, _ := talking(t, func(d *Deps) {
			d.Digit = func(_ Info, digit string, by leg.DTMF) { digits = append(digits, digit+string(by)) }
		})
		defer r.stop()
		near.events <- leg.Event{Type: leg.DTMFReceived, Digit: "1", How: leg.RFC4733}
		near.events <- leg.Event{Type: leg.DTMFReceived, Digit: "2", How: leg.INFO}
		near.events <- leg.Event{Type: leg.MessageReceived, Text: "hi"}
		far.events <- leg.Event{Type: leg.DTMFReceived, Digit: "3", How: leg.RFC4733}
		far.events <- leg.Event{Type: leg.MessageReceived, Text: "ho"}
		synctest.Wait()
		if got := strings.Join(far.dtmf, " "); got != "1/RFC2833 2/INFO message hi" {
			t.Errorf("far got %q", got)
		}
		if got := strings.Join(near.dtmf, " "); got != "3/RFC2833 message ho" {
			t.Errorf("near got %q", got)
		}
		if strings.Join(digits, " ") != "3RFC2833" {
			t.Errorf("digits %v", digits)
		}
	})
}

// talker is a puppet that carries messages.
type talker struct{ *puppet }

func (p talker) SendMessage(ctx context.Context, text string) error { return p.texted(text) }

func (c *caller) SendMessage(ctx context.Context, text string) error { return c.puppet.texted(text) }

func (p *puppet) texted(text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dtmf = append(p.dtmf, "message "+text)
	return nil
}

func (p *puppet) Refer(code int, _ string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks = append(p.asks, "refer", itoa(code))
}

func itoa(n int) string {
	return string([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

// TestOtherPartyIsReplaced: the user goes on with somebody else, or with the same
// party if nobody else wants.
func TestOtherPartyIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, near, far, h := talking(t, nil)
		defer r.stop()
		for _, fails := range []bool{true, false} {
			far.asks = nil
			far.events <- leg.Event{Type: leg.Referred, Text: "1003"}
			synctest.Wait()
			third := r.phones.newest("1003")
			if third == nil || third.req.CallID == "u" || third.req.Like == nil {
				t.Fatalf("dialled %+v", third)
			}
			third.events <- leg.Event{Type: leg.Ringing, Code: 180}
			if fails {
				third.finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Kind: leg.Busy, Code: 486}})
				synctest.Wait()
				if got := strings.Join(far.asks, " "); got != "refer 100 refer 180 refer 486" || far.hangups() != 0 || h.last.Status != Established {
					t.Errorf("after a failure: told %q, %d hangups, %s", got, far.hangups(), h)
				}
				continue
			}
			far.events <- leg.Event{Type: leg.Held} // who hands a caller on holds him meanwhile
			synctest.Wait()
			if h.last.Status != Hold {
				t.Errorf("held: %s", h)
			}
			third.events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
			synctest.Wait()
			if got := strings.Join(near.asks, " "); got != "hold resume" {
				t.Errorf("the user was asked to %q", got)
			}
			if got := strings.Join(far.asks, " "); got != "refer 100 refer 180 refer 200" || far.hangups() != 1 || near.hangups() != 0 || h.last.Status != Established {
				t.Errorf("told %q, hangups %d %d, %s", got, far.hangups(), near.hangups(), h)
			}
			third.events <- leg.Event{Type: leg.DTMFReceived, Digit: "7", How: leg.INFO}
			synctest.Wait()
			if got := strings.Join(near.dtmf, " "); got != "7/INFO" {
				t.Errorf("the new party's digit came as %q", got)
			}
			third.finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Code: 200}})
			synctest.Wait()
			if near.hangups() != 1 || h.last.Status != Finish {
				t.Errorf("after its end: %s", h)
			}
		}
	})
}

func (d *phones) newest(callee string) (out *puppet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.all {
		if p.req.Callee == callee {
			out = p
		}
	}
	return out
}

func TestCallsPerAccountAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(d *Deps) { d.UserCalls = 2 })
		defer r.stop()
		for i, id := range []string{"a", "b", "c"} {
			no := r.m.Place(t.Context(), browserCalls(id, "1002"), newCaller(), outside, nil)
			if (no == nil) != (i < 2) || no != nil && no.Code != 503 {
				t.Errorf("call %d: %v", i+1, no)
			}
		}
		r.m.Attach("1001@pbx.example", &device{})
		in := called("d")
		in.Account = "1001@pbx.example"
		if no := r.m.Receive(in, newCaller()); no == nil || no.Code != 486 {
			t.Errorf("called: %v", no)
		}
	})
}

// TestLoopedCall: a call of ours that comes back by a proxy has the same Call-ID
// and is another call (S1-11).
func TestLoopedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		d := &device{}
		r.m.Attach("1002@pbx.example", d)
		if no := r.m.Place(t.Context(), browserCalls("same", "1002"), newCaller(), outside, nil); no != nil {
			t.Fatal(no)
		}
		if no := r.m.Receive(called("same"), newCaller()); no != nil {
			t.Fatal(no)
		}
		synctest.Wait()
		id := d.told[0].CallID
		if id == "same" || len(r.m.Find(Filter{CallID: id})) != 1 || r.m.Find(Filter{CallID: id})[0].ParentCallID != "same" {
			t.Errorf("the second call is %q: %+v", id, r.m.Find(Filter{}))
		}
	})
}

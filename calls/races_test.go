package calls

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/pipeline"
)

// TestAnythingFromBothSides: whatever two legs say, in whatever order, and
// whoever vanishes at whatever moment, the call ends, says so exactly once and
// last, no status goes back to before the answer, every leg is told, and nothing
// of it is left.
func TestAnythingFromBothSides(t *testing.T) {
	kinds := []leg.EventType{leg.Trying, leg.Ringing, leg.EarlyMedia, leg.Answered, leg.Held, leg.Resumed, leg.MediaChanged,
		leg.Transfer, leg.MessageReceived, leg.DTMFReceived, leg.KeyframeWanted, leg.Referred}
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			r := newRig(t, func(d *Deps) { d.RecordUsers, d.RecordAudio = seed%3 == 0, TapDual })
			defer r.stop()
			var h history
			far, near := &puppet{}, &puppet{}
			if seed%2 == 0 {
				c := newCaller()
				near = &c.puppet
				if no := r.m.Place(t.Context(), browserCalls("u", "1002"), c, outside, h.add); no != nil {
					t.Fatal(no)
				}
				far = r.phones.leg("u")
			} else {
				d := &device{name: "a"}
				r.m.Attach("1002@pbx.example", d)
				c := newCaller()
				far = &c.puppet
				if no := r.m.Receive(called("u"), c); no != nil {
					t.Fatal(no)
				}
				r.m.Watch("u", h.add)
				synctest.Wait()
				near = d.leg()
			}
			for range 1 + rnd.IntN(14) {
				e := leg.Event{Type: kinds[rnd.IntN(len(kinds))], Code: 100 + rnd.IntN(300), Text: "x", Digit: "1"}
				if e.Type == leg.EarlyMedia && rnd.IntN(2) == 0 || e.Type == leg.Answered {
					e.Media = audioOnly()
				}
				[]*puppet{far, near}[rnd.IntN(2)].say(e)
				if rnd.IntN(3) > 0 {
					synctest.Wait()
				}
			}
			cause := leg.Cause{Kind: leg.CauseKind(rnd.IntN(8)), Code: []int{0, 200, 404, 486, 603}[rnd.IntN(5)]}
			switch rnd.IntN(4) {
			case 0:
				far.finish(leg.Event{Type: leg.Ended, Cause: cause})
			case 1:
				near.finish(leg.Event{Type: leg.Ended, Cause: cause})
			case 2:
				_ = r.m.Terminate(t.Context(), "u")
			case 3: // both at once
				far.finish(leg.Event{Type: leg.Ended, Cause: cause})
				near.finish(leg.Event{Type: leg.Ended, Cause: cause})
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			finals, talked := 0, false
			for i, s := range h.said {
				st := Status(s)
				if st.Final() {
					finals++
				}
				if talked && !st.Final() && st != Established && st != Hold {
					t.Errorf("seed %d: back to %s: %v", seed, st, h.said)
				}
				talked = talked || st == Established
				if st == Hold && !slices.Contains(h.said[:i], string(Established)) {
					t.Errorf("seed %d: held before the answer: %v", seed, h.said)
				}
			}
			if finals != 1 || !Status(h.said[len(h.said)-1]).Final() {
				t.Errorf("seed %d: %v", seed, h.said)
			}
			for _, p := range []*puppet{far, near} {
				if !p.closed() {
					t.Errorf("seed %d: a leg was left alone after %v", seed, h.said)
				}
			}
			if n := r.m.Counts().ByStatus; len(n) != 0 || r.hub.Get("u") != nil {
				t.Errorf("seed %d: left over: %v, stream %v, after %v", seed, n, r.hub.Get("u") != nil, h.said)
			}
		})
	}
}

// TestConversation: the status of every pair of phases.
func TestConversation(t *testing.T) {
	for caller := idle; caller <= gone; caller++ {
		for called := idle; called <= gone; called++ {
			got := conversation(Ring, caller, called)
			want := Ring
			switch {
			case (caller == answered || caller == held) && (called == answered || called == held):
				want = Established
				if caller == held || called == held {
					want = Hold
				}
			case called == idle:
				want = Trying
			case called == early:
				want = SessionProgress
			}
			if got != want {
				t.Errorf("caller %d, called %d: %s, want %s", caller, called, got, want)
			}
		}
	}
	for _, s := range []Status{Finish, Failed, Busy} {
		if got := conversation(s, answered, answered); got != s {
			t.Errorf("%s became %s", s, got)
		}
	}
}

// Who sees that a call is gone may use its names at once: they are waited for,
// but not longer than a call may take to end.
func TestNamesOfACallThatEnds(t *testing.T) {
	for name, r2 := range map[string]Request{
		"call id": {CallID: "c1", ToStream: "other"}, "stream": {CallID: "c2", ToStream: "s-c1"}, "RTMP target": {CallID: "c2", RTMPURL: "rtmp://h/a", RTMPStream: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				goOn := make(chan struct{})
				r := newRig(t, func(d *Deps) {
					d.StartPush = func(*pipeline.Stream, string, string, func(string)) error { return nil }
					d.Observe = func(i Info) {
						if i.Status == Finish {
							<-goOn // between the call's last status and the release of its names
						}
					}
				})
				defer r.stop()
				r1 := request("c1")
				r1.RTMPURL, r1.RTMPStream = "rtmp://h/a", "x"
				r2.Callee, r2.SIPLogin, r2.SIPDomain = r1.Callee, r1.SIPLogin, r1.SIPDomain
				if err := r.m.Startup(t.Context(), r1); err != nil {
					t.Fatal(err)
				}
				r.phones.leg("c1").say(leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()})
				r.phones.leg("c1").finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Code: 200, Text: "BYE"}})
				synctest.Wait()
				if l := r.m.Find(Filter{}); len(l) != 0 {
					t.Fatalf("listed: %+v", l)
				}
				begun := time.Now()
				if err := r.m.Startup(t.Context(), r2); code(err) != fault.Conflict || time.Since(begun) != 3*time.Second {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
				again := make(chan error, 1)
				go func() { again <- r.m.Startup(t.Context(), r2) }()
				synctest.Wait()
				close(goOn)
				if err := <-again; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

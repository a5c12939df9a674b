package publish

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/media"
)

// A publication begins with its first media, not with the answer, and what it
// ends with is in order: stream, recording, then who asks.
func TestPublicationFromOfferToFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		complete := make(chan struct{})
		r.files = func(ctx context.Context) (string, error) { <-complete; return "cam.mp4", nil }
		var sdp string
		p, err := r.Publish(t.Context(), Request{Name: "cam", ID: "p-1", SessionID: "s", AppKey: "app", Offer: "offer", Record: true,
			RTMPURL: "rtmp://a/live", SendSDP: func(s string) { sdp = s }})
		if err != nil {
			t.Fatal(err)
		}
		st, b := r.hub.Get("cam"), r.browsers[0]
		if m := st.Meta(); st.ID() != "p-1" || m.SessionID != "s" || m.AppKey != "app" || m.Provider != "WebRTC" {
			t.Errorf("stream %q, %+v", st.ID(), m)
		}
		if sdp != "answer to offer" || len(r.pushed) != 1 || r.pushed[0] != "rtmp://a/live cam" {
			t.Errorf("answer %q, pushed to %q", sdp, r.pushed)
		}
		close(b.connected)
		synctest.Wait()
		if closed(p.Started()) || st.Track(media.Audio) == nil {
			t.Errorf("connected: started %v, tracks %v", closed(p.Started()), st.Tracks())
		}
		b.talk(time.Second)
		if !closed(p.Started()) {
			t.Error("media has come")
		}
		p.Stop(ByUser)
		synctest.Wait()
		if r.hub.Get("cam") != nil || st.Reason() != "Stopped by publisher stop" || b.hungUp() != ByUser {
			t.Errorf("after the stop: reason %q, hung up %q", st.Reason(), b.hungUp())
		}
		if n := st.Graph().Tracks[0].Frames; n != 50 {
			t.Errorf("%d frames of 50", n)
		}
		if closed(p.Ended()) {
			t.Error("ended before the file was complete")
		}
		close(complete)
		<-p.Ended()
		if p.Reason() != ByUser || p.RecordName() != "cam.mp4" {
			t.Errorf("reason %q, file %q", p.Reason(), p.RecordName())
		}
		synctest.Wait()
		if r.Count() != 0 || r.failed.Load() != 0 {
			t.Errorf("%d left, %d failed", r.Count(), r.failed.Load())
		}
	})
}

// However it ends, the reason is the one that pages know.
func TestReasons(t *testing.T) {
	for want, end := range map[string]func(*rig, *Publication, *browser){
		ByUser: func(_ *rig, _ *Publication, b *browser) { b.leave(leg.Cause{}) },
		"Failed by ICE error": func(_ *rig, _ *Publication, b *browser) {
			b.err = infoError("Failed by ICE error")
			b.leave(leg.Cause{Kind: leg.Setup})
		},
		ByTerminate: func(r *rig, _ *Publication, _ *browser) { r.hub.Get("cam").Close(ByTerminate) },
		ByDisconnect: func(_ *rig, p *Publication, _ *browser) {
			p.Stop(ByDisconnect)
			p.Stop(ByUser)
		},
		byServer: func(r *rig, _ *Publication, _ *browser) { r.stop() },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			p, b := r.publish(t, Request{Name: "cam"})
			end(r, p, b)
			<-p.Ended()
			if p.Reason() != want {
				t.Errorf("reason %q, want %q", p.Reason(), want)
			}
			if b.hungUp() == "" || r.hub.Get("cam") != nil {
				t.Errorf("%s: hung up %q", want, b.hungUp())
			}
			if want != byServer {
				r.stop()
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		p, err := r.Publish(t.Context(), Request{Name: "cam", SendSDP: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		r.browsers[0].tracks = nil
		close(r.browsers[0].connected)
		<-p.Ended()
		if p.Reason() != NoCodecs || closed(p.Started()) {
			t.Errorf("nothing to receive: %q", p.Reason())
		}
	})
}

// A name belongs to one publisher; it is free as soon as that has stopped.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		first, _ := r.publish(t, Request{Name: "cam", ID: "a"})
		refused := func(q Request, info string, code fault.Code) {
			t.Helper()
			q.SendSDP = func(string) {}
			_, err := r.Publish(t.Context(), q)
			var e *Error
			if !errors.As(err, &e) || e.Info != info || fault.CodeOf(err) != code {
				t.Errorf("%+v: %v", q, err)
			}
		}
		refused(Request{Name: "cam", ID: "b"}, NameInUse, fault.Conflict)
		refused(Request{Name: "other", ID: "a"}, IDInUse, fault.Conflict)
		refused(Request{Name: ""}, ByError, fault.BadRequest)
		refused(Request{Name: ".."}, ByError, fault.BadRequest)
		refused(Request{Name: "x", ID: "../x"}, ByError, fault.BadRequest)
		refused(Request{Name: "x", Offer: "bad"}, NoCodecs, fault.BadRequest)
		refused(Request{Name: "x", RTMPURL: "bad"}, ByRTMP, fault.Internal)
		if r.hub.Get("x") != nil || r.hub.Get("other") != nil {
			t.Error("a stream that was refused is left")
		}
		first.Stop(ByUser)
		second, _ := r.publish(t, Request{Name: "cam", ID: "a2"}) // at once
		if r.hub.Get("cam") != second.Stream() {
			t.Error("the name is not the second one's")
		}
		r.publish(t, Request{Name: "two"})
		r.publish(t, Request{Name: "three"})
		refused(Request{Name: "four"}, ByError, fault.Unavailable)
		if r.Count() != 3 {
			t.Errorf("%d publications", r.Count())
		}
	})
}

// What the operator does not want is not done.
func TestRefusedBySettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.RTMP = false })
		defer r.stop()
		if _, err := r.Publish(t.Context(), Request{Name: "a", RTMPURL: "rtmp://a/b"}); fault.CodeOf(err) != fault.Forbidden || len(r.pushed) > 0 {
			t.Errorf("push: %v", err)
		}
		r.cfg.Enabled = false
		if _, err := r.Publish(t.Context(), Request{Name: "a"}); fault.CodeOf(err) != fault.Forbidden {
			t.Errorf("publish: %v", err)
		}
	})
}

func TestBitrateLimitIsInTheAnswer(t *testing.T) {
	const sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n"
	const want = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n" +
		"b=AS:500\r\nb=TIAS:500000\r\na=mid:1\r\n"
	if got := limit(sdp, 500); got != want {
		t.Errorf("%q", got)
	}
	if limit(sdp, 0) != sdp {
		t.Error("changed without a limit")
	}
}

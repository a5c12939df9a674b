package local

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"lineout/calls/leg"
	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func format(pt uint8, c media.Codec, hz int, fmtp string) leg.Format {
	return leg.Format{PayloadType: pt, Codec: c, ClockRate: hz, Channels: 1, Fmtp: fmtp}
}

var (
	pcma = format(8, "PCMA", 8000, "")
	pcmu = format(0, "PCMU", 8000, "")
	op   = format(96, "opus", 48000, "")
	vp   = format(97, "VP8", 90000, "")
	avc1 = format(98, "H264", 90000, "packetization-mode=1;profile-level-id=42e01f")
	avc0 = format(99, "H264", 90000, "packetization-mode=0;profile-level-id=42e01f")
)

func track(k media.Kind, receive, send bool, fs ...leg.Format) leg.TrackInfo {
	return leg.TrackInfo{Kind: k, Receive: receive, Send: send, Formats: fs}
}

func sound(fs ...leg.Format) leg.TrackInfo    { return track(media.Audio, true, true, fs...) }
func pictures(fs ...leg.Format) leg.TrackInfo { return track(media.Video, true, true, fs...) }

// taken reads the events that are there.
func taken(l leg.Leg) []leg.Event {
	var out []leg.Event
	for {
		select {
		case e, ok := <-l.Events():
			if !ok {
				return out
			}
			out = append(out, e)
		default:
			return out
		}
	}
}

func types(es []leg.Event) (out []leg.EventType) {
	for _, e := range es {
		out = append(out, e.Type)
	}
	return out
}

// talking is a pair that was answered; its events so far are read.
func talking(t *testing.T, like, user []leg.TrackInfo) (leg.Leg, leg.Inbound, leg.Forwarder, leg.Forwarder) {
	caller, called := NewPair(leg.Request{CallID: "x", Like: like})
	called.Answer(leg.Terms{Like: user})
	a, b := taken(caller), taken(called)
	if !slices.Equal(types(a), []leg.EventType{leg.Trying, leg.Answered}) || !slices.Equal(types(b), types(a)) {
		t.Fatalf("%v %v", types(a), types(b))
	}
	return caller, called, a[1].Media.(leg.Forwarder), b[1].Media.(leg.Forwarder)
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(caller leg.Leg, called leg.Inbound)
		caller leg.Cause
		called leg.Cause
	}{
		"busy": {func(_ leg.Leg, u leg.Inbound) {
			_ = u.Hangup(context.Background(), leg.Cause{Code: 486, Kind: leg.Busy})
		},
			leg.Cause{Code: 486, Kind: leg.Busy}, leg.Cause{Code: 486, Kind: leg.Busy, Local: true}},
		"declined": {func(_ leg.Leg, u leg.Inbound) { _ = u.Hangup(context.Background(), leg.Cause{}) },
			leg.Cause{Code: 603, Kind: leg.Rejected}, leg.Cause{Code: 603, Local: true}},
		"not answered": {func(_ leg.Leg, u leg.Inbound) {
			u.Ring(leg.Terms{}, false)
			_ = u.Hangup(context.Background(), leg.Cause{Code: 480, Kind: leg.RequestTimeout})
		}, leg.Cause{Code: 480, Kind: leg.Rejected}, leg.Cause{Code: 480, Kind: leg.RequestTimeout, Local: true}},
		"given up": {func(c leg.Leg, u leg.Inbound) { _ = c.Hangup(context.Background(), leg.Cause{}) },
			leg.Cause{Local: true}, leg.Cause{Code: 487}},
		"hung up by the caller": {func(c leg.Leg, u leg.Inbound) {
			u.Answer(leg.Terms{})
			_ = c.Hangup(context.Background(), leg.Cause{})
		}, leg.Cause{Local: true}, leg.Cause{Code: 200}},
		"hung up by the user": {func(c leg.Leg, u leg.Inbound) {
			u.Answer(leg.Terms{})
			_ = u.Hangup(context.Background(), leg.Cause{Kind: leg.RTPActivity})
		}, leg.Cause{Code: 200}, leg.Cause{Kind: leg.RTPActivity, Local: true}},
		"nothing in common": {func(_ leg.Leg, u leg.Inbound) { u.Answer(leg.Terms{Like: []leg.TrackInfo{pictures(vp)}}) },
			leg.Cause{Code: 488, Kind: leg.NoCommonCodecs}, leg.Cause{Code: 488, Kind: leg.NoCommonCodecs}},
	} {
		t.Run(name, func(t *testing.T) {
			caller, called := NewPair(leg.Request{Like: []leg.TrackInfo{sound(pcma)}})
			c.end(caller, called)
			for _, x := range []struct {
				l    leg.Leg
				want leg.Cause
			}{{caller, c.caller}, {called, c.called}} {
				_ = x.l.Hangup(context.Background(), leg.Cause{Code: 999}) // idempotent
				es := taken(x.l)
				last := es[len(es)-1]
				got := last.Cause
				if got.Text == "" && !got.Local {
					t.Error("no word of why")
				}
				got.Text = ""
				if last.Type != leg.Ended || got != x.want {
					t.Errorf("%+v, want %+v", got, x.want)
				}
			}
		})
	}
}

func TestRinging(t *testing.T) {
	caller, called := NewPair(leg.Request{Like: []leg.TrackInfo{sound(pcma)}})
	called.Ring(leg.Terms{}, false)
	called.Ring(leg.Terms{Like: []leg.TrackInfo{sound(pcma)}}, true)
	called.Ring(leg.Terms{}, true)
	called.Answer(leg.Terms{Like: []leg.TrackInfo{pictures(vp)}}) // the terms given first hold
	called.Ring(leg.Terms{}, false)
	for _, l := range []leg.Leg{caller, called} {
		es := taken(l)
		if !slices.Equal(types(es), []leg.EventType{leg.Trying, leg.Ringing, leg.EarlyMedia, leg.EarlyMedia, leg.Answered}) {
			t.Fatal(types(es))
		}
		if es[2].Media == nil || es[3].Media != nil || es[4].Media == nil || es[1].Code != 180 || es[2].Code != 183 || es[4].Code != 200 {
			t.Errorf("%+v", es)
		}
	}
}

func TestNegotiation(t *testing.T) {
	type tracks = []leg.TrackInfo
	names := func(md leg.Media) string {
		var out []string
		for _, tr := range md.Tracks() {
			s := tr.Kind.String()
			for _, f := range tr.Formats {
				s += " " + string(f.Codec) + "/" + strings.TrimPrefix(f.Fmtp, "packetization-")[:min(6, len(strings.TrimPrefix(f.Fmtp, "packetization-")))]
			}
			s += map[bool]string{true: " receive"}[tr.Receive] + map[bool]string{true: " send"}[tr.Send]
			out = append(out, s)
		}
		return strings.Join(out, "; ")
	}
	for name, c := range map[string]struct {
		like, user     tracks
		caller, called string
	}{
		"the user's order": {tracks{sound(op, pcma, pcmu)}, tracks{sound(pcmu, pcma)},
			"audio PCMU/ PCMA/ opus/ receive send", "audio PCMU/ PCMA/ opus/ receive send"},
		"no common codec":              {tracks{sound(op)}, tracks{sound(pcma)}, "audio opus/ receive send", "audio opus/ receive send"},
		"pictures only as both have":   {tracks{sound(op), pictures(vp, avc1, avc0)}, tracks{sound(op), pictures(avc0)}, "audio opus/ receive send; video H264/mode=0 receive send", "audio opus/ receive send; video H264/mode=0 receive send"},
		"another profile than nothing": {tracks{pictures(avc1)}, tracks{pictures(avc0)}, "video H264/mode=1 receive send", "video H264/mode=1 receive send"},
		"no common picture":            {tracks{sound(op), pictures(vp)}, tracks{sound(op), pictures(avc0)}, "audio opus/ receive send", "audio opus/ receive send"},
		"a user who sees but is not seen": {tracks{pictures(vp)}, tracks{track(media.Video, false, true, vp)},
			"video VP8/ send", "video VP8/ receive"},
		"a user is listened to": {nil, tracks{sound(op)}, "audio opus/useinb PCMA/ PCMU/ G722/ receive", "audio opus/useinb PCMA/ PCMU/ G722/ send"},
	} {
		t.Run(name, func(t *testing.T) {
			caller, called := NewPair(leg.Request{Like: c.like})
			called.Answer(leg.Terms{Like: c.user})
			a, b := taken(caller), taken(called)
			if got := names(a[1].Media); got != c.caller {
				t.Errorf("caller: %s", got)
			}
			if got := names(b[1].Media); got != c.called {
				t.Errorf("called: %s", got)
			}
		})
	}
}

// ear receives what an end is sent, until the test ends.
type ear struct {
	mu   sync.Mutex
	rtp  []leg.Packet
	rtcp []leg.Packet
}

func listen(t *testing.T, md leg.Media) *ear {
	e := &ear{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- md.Run(ctx, func(p leg.Packet) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if p.RTP != nil {
				e.rtp = append(e.rtp, p)
			} else {
				e.rtcp = append(e.rtcp, p)
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return e
}

func packet(ssrc uint32, seq uint16, ts uint32, payload ...byte) *rtp.Packet {
	return &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: ssrc, SequenceNumber: seq, Timestamp: ts, CSRC: []uint32{1}}, Payload: payload}
}

func TestMediaGoesAcross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := talking(t, []leg.TrackInfo{sound(pcma), pictures(vp)}, []leg.TrackInfo{sound(pcma), pictures(vp)})
		_ = a.ForwardRTP(media.Audio, 8, packet(1, 1, 0, 9), time.Now()) // nobody listens
		e := listen(t, b)
		payload := []byte{1, 2, 3}
		for _, seq := range []uint16{65534, 0, 65535} {
			p := packet(1, seq, uint32(seq+2)*160, payload...)
			if err := a.ForwardRTP(media.Audio, 8, p, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		payload[0] = 99 // what is sent is not kept
		a.ForwardReport(media.Audio, 1, 5<<32, 160)
		if err := a.ForwardRTP(media.Video, 8, packet(1, 1, 0), time.Now()); err == nil {
			t.Error("a payload type that was not agreed on is sent")
		}
		if err := a.WriteRTP(media.Video, leg.Outgoing{PayloadType: 97, At: time.Now(), Payload: []byte{7}}); err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.rtp) != 4 || len(e.rtcp) != 2 {
			t.Fatalf("%d packets, %d reports", len(e.rtp), len(e.rtcp))
		}
		first := e.rtp[0].RTP
		for i, d := range []int{0, 2, 1} {
			p := e.rtp[i].RTP
			if p.SequenceNumber-first.SequenceNumber != uint16(d) || p.Timestamp-first.Timestamp != uint32(d)*160 || p.PayloadType != 8 || p.SSRC != first.SSRC || len(p.CSRC) != 0 || p.Payload[0] != 1 {
				t.Errorf("%d: %+v", i, p)
			}
		}
		sr := e.rtcp[0].RTCP[0].(*rtcp.SenderReport)
		if sr.SSRC != first.SSRC || sr.PacketCount != 4 { // one was sent before anybody listened
			t.Errorf("%+v", sr)
		}
		if st := b.Stats(); st[0].PacketsReceived != 4 || st[1].PacketsReceived != 1 || a.Stats()[0].PacketsSent != 4 {
			t.Errorf("%+v", st)
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, called, a, b := talking(t, []leg.TrackInfo{sound(pcma)}, []leg.TrackInfo{sound(pcma)})
		ea, eb := listen(t, a), listen(t, b)
		both := func() {
			_ = a.ForwardRTP(media.Audio, 8, packet(1, 1, 0, 9), time.Now())
			_ = b.ForwardRTP(media.Audio, 8, packet(2, 1, 0, 9), time.Now())
		}
		if err := caller.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		both()
		if len(ea.rtp) != 0 || len(eb.rtp) != 1 {
			t.Errorf("the one who holds heard %d, the other one %d packets", len(ea.rtp), len(eb.rtp))
		}
		if x, y := a.Tracks()[0], b.Tracks()[0]; x.Receive || !x.Send || !y.Receive || y.Send {
			t.Errorf("%+v %+v", x, y)
		}
		_ = caller.Hold(t.Context())
		_ = called.Hold(t.Context())
		_ = caller.Resume(t.Context())
		_ = called.Resume(t.Context())
		both()
		if len(ea.rtp) != 1 || len(eb.rtp) != 2 {
			t.Errorf("after both resumed: %d and %d packets", len(ea.rtp), len(eb.rtp))
		}
		want := []leg.EventType{leg.MediaChanged, leg.Held, leg.MediaChanged, leg.MediaChanged, leg.MediaChanged, leg.Resumed}
		if x, y := types(taken(caller)), types(taken(called)); !slices.Equal(x, want) || !slices.Equal(y, want) {
			t.Errorf("%v %v", x, y)
		}
	})
}

func TestDigitsMessagesKeyframes(t *testing.T) {
	caller, called, a, _ := talking(t, []leg.TrackInfo{sound(pcma), pictures(vp)}, []leg.TrackInfo{sound(pcma), pictures(vp)})
	if err := caller.SendDTMF(t.Context(), "1a", ""); err != nil {
		t.Fatal(err)
	}
	if err := caller.SendDTMF(t.Context(), "#", leg.INFO); err != nil {
		t.Fatal(err)
	}
	if err := caller.(leg.Messenger).SendMessage(t.Context(), "hello"); err != nil {
		t.Fatal(err)
	}
	a.RequestKeyframe()
	got := ""
	for _, e := range taken(called) {
		switch e.Type {
		case leg.DTMFReceived:
			got += e.Digit + " " + e.Text + ";"
		case leg.MessageReceived:
			got += e.Text + ";"
		case leg.KeyframeWanted:
			got += "key"
		}
	}
	if got != "1 RTP;A RTP;# INFO;hello;key" {
		t.Error(got)
	}
	for _, err := range []error{caller.SendDTMF(t.Context(), "x", ""), caller.SendDTMF(t.Context(), "1", "smoke"),
		caller.(leg.Messenger).SendMessage(t.Context(), ""), caller.(leg.Messenger).SendMessage(t.Context(), strings.Repeat("x", 1301))} {
		if err == nil {
			t.Error("taken")
		}
	}
}

func TestTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, called, _, _ := talking(t, nil, nil)
		transfer := func(l leg.Leg) chan error {
			done := make(chan error, 1)
			go func() { done <- l.(leg.Transferer).Transfer(context.Background(), "1003", "") }()
			synctest.Wait()
			return done
		}
		done := transfer(caller)
		if es := taken(called); len(es) != 1 || es[0].Type != leg.Referred || es[0].Text != "1003" {
			t.Fatalf("%+v", es)
		}
		if err := <-transfer(caller); err == nil {
			t.Error("two transfers at once")
		}
		asked := called.(leg.Referee)
		asked.Refer(100, "Trying")
		if err := <-done; err != nil {
			t.Error(err)
		}
		asked.Refer(180, "Ringing")
		asked.Refer(200, "OK")
		asked.Refer(486, "too late")
		var codes []int
		for _, e := range taken(caller) {
			codes = append(codes, e.Code)
		}
		if !slices.Equal(codes, []int{100, 180, 200}) {
			t.Error(codes)
		}

		done = transfer(called) // the other way
		caller.(leg.Referee).Refer(603, "Decline")
		if err := <-done; err == nil || !strings.Contains(err.Error(), "603") {
			t.Error(err)
		}
		begin := time.Now()
		if err := <-transfer(called); err == nil || time.Since(begin) != referTime { // nobody says anything
			t.Error(err, time.Since(begin))
		}
		done = transfer(called)
		_ = caller.Hangup(t.Context(), leg.Cause{})
		if err := <-done; err == nil {
			t.Error("transferred by a call that has ended")
		}
	})
}

func TestBeforeAndAfter(t *testing.T) {
	caller, called := NewPair(leg.Request{CallID: "x"})
	refused := func(when string, l leg.Leg) {
		for what, err := range map[string]error{
			"hold": l.Hold(t.Context()), "resume": l.Resume(t.Context()), "digit": l.SendDTMF(t.Context(), "1", ""),
			"message": l.(leg.Messenger).SendMessage(t.Context(), "x"), "transfer": l.(leg.Transferer).Transfer(t.Context(), "x", ""),
		} {
			if err == nil {
				t.Errorf("%s: %s is done", when, what)
			}
		}
	}
	refused("before the answer", caller)
	refused("before the answer", called)
	called.Answer(leg.Terms{})
	md := taken(caller)[1].Media.(leg.Forwarder)
	_ = called.Hangup(t.Context(), leg.Cause{})
	refused("after the end", caller)
	if err := md.ForwardRTP(media.Audio, 8, packet(1, 1, 1), time.Now()); !errors.Is(err, leg.ErrEnded) {
		t.Error(err)
	}
	if err := md.WriteRTP(media.Audio, leg.Outgoing{}); !errors.Is(err, leg.ErrEnded) {
		t.Error(err)
	}
	if err := md.Run(t.Context(), func(leg.Packet) {}); err != nil { // returns at once
		t.Error(err)
	}
}

func BenchmarkForward(b *testing.B) {
	caller, called := NewPair(leg.Request{})
	called.Answer(leg.Terms{SendAudio: true})
	x, y := taken(caller)[1].Media.(leg.Forwarder), taken(called)[1].Media.(leg.Forwarder)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = x.Run(ctx, func(leg.Packet) {}) }()
	p := packet(1, 1, 0, make([]byte, 160)...)
	b.ReportAllocs()
	for b.Loop() {
		p.SequenceNumber++
		if err := y.ForwardRTP(media.Audio, 8, p, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

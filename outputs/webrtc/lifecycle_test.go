package webrtc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"lineout/api/fault"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
)

const (
	aud = webrtc.RTPCodecTypeAudio
	vid = webrtc.RTPCodecTypeVideo
)

// Whatever the player asks for, it gets what the stream has (S2-46).
func TestKindsTheStreamLacksAreRejected(t *testing.T) {
	for name, x := range map[string]struct {
		audio, video codecs.Codec
		kinds        []webrtc.RTPCodecType
		rejected     string
		bundle       string
	}{
		"audio only":              {g711.CodecPCMU, nil, []webrtc.RTPCodecType{aud, vid}, "m=video 0 ", "a=group:BUNDLE 0\r\n"},
		"video only":              {nil, vp8.Codec, []webrtc.RTPCodecType{aud, vid}, "m=audio 0 ", "a=group:BUNDLE 1\r\n"},
		"opus, vp8":               {opus.Codec, vp8.Codec, []webrtc.RTPCodecType{aud, vid}, "", "a=group:BUNDLE 0 1\r\n"},
		"player wants audio only": {opus.Codec, vp8.Codec, []webrtc.RTPCodecType{aud}, "", "a=group:BUNDLE 0\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			s := newSource(t, r, "s", x.audio, x.video)
			s.st.SetReady()
			s.play(t)
			p := newPlayer(t, x.kinds...)
			if code := p.whep(t, r, "s"); code != http.StatusCreated {
				t.Fatalf("POST gave %d", code)
			}
			p.next(t)
			if !strings.Contains(p.answer, x.rejected) || !strings.Contains(p.answer, x.bundle) || !strings.Contains(p.answer, "a=candidate") {
				t.Errorf("want %q, %q and candidates in\n%s", x.rejected, x.bundle, p.answer)
			}
		})
	}
}

func TestSameStreamIDForBothTracks(t *testing.T) {
	r := newRig(t, nil)
	s := newSource(t, r, "s", opus.Codec, vp8.Codec)
	s.st.SetReady()
	s.play(t)
	p := newPlayer(t, aud, vid)
	p.whep(t, r, "s")
	a, b := <-p.tracks, <-p.tracks
	if a.StreamID() != b.StreamID() || a.StreamID() == "" {
		t.Errorf("msid stream ids %q and %q", a.StreamID(), b.StreamID())
	}
}

// Both tracks' sender reports must put the same wall clock on the same moment.
func TestSenderReportsShareOneClock(t *testing.T) {
	r := newRig(t, nil)
	s := newSource(t, r, "s", g711.CodecPCMA, h264.Codec)
	s.st.SetReady()
	s.play(t)
	p := newPlayer(t, aud, vid)
	p.whep(t, r, "s")
	reports := make(chan *rtcp.SenderReport, 16)
	for range 2 {
		<-p.tracks
	}
	var wg sync.WaitGroup
	for _, tr := range p.pc.GetTransceivers() {
		wg.Go(func() {
			for {
				ps, _, err := tr.Receiver().ReadRTCP()
				if err != nil {
					return
				}
				for _, k := range ps {
					if sr, ok := k.(*rtcp.SenderReport); ok {
						select {
						case reports <- sr:
						default:
						}
					}
				}
			}
		})
	}
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = p.pc.GracefulClose() })
	got := map[uint32]*rtcp.SenderReport{}
	for len(got) < 2 || !sameNTP(got) {
		select {
		case sr := <-reports:
			got[sr.SSRC] = sr
		case <-time.After(15 * time.Second):
			t.Fatalf("no pair of sender reports with the same NTP time: %v", got)
		}
	}
	// The viewer's own packets say which RTP time belongs to PTS 0.
	v := r.svc.viewer(r.svc.Viewers()[0].ID)
	var at [2]float64
	for i, snd := range []*sender{v.audio, v.video} {
		o := snd.from.Load()
		sr := got[snd.ssrc]
		if sr == nil {
			t.Fatal("a report has an unknown SSRC")
		}
		at[i] = float64(sr.RTPTime-o.ts) / float64(snd.lane.codec.ClockRate())
	}
	if d := at[0] - at[1]; d > 0.001 || d < -0.001 {
		t.Errorf("the same NTP time is at %.4f s for audio and %.4f s for video", at[0], at[1])
	}
}

func sameNTP(m map[uint32]*rtcp.SenderReport) bool {
	ntp := uint64(0)
	for _, sr := range m {
		if ntp != 0 && sr.NTPTime != ntp {
			return false
		}
		ntp = sr.NTPTime
	}
	return true
}

func TestNACKIsAnsweredWithTheSamePacket(t *testing.T) {
	r := newRig(t, nil)
	s := newSource(t, r, "s", nil, h264.Codec)
	s.st.SetReady()
	s.play(t)
	p := newPlayer(t, vid)
	p.whep(t, r, "s")
	first := p.next(t)
	for range 5 {
		p.next(t)
	}
	err := p.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: first.SSRC, Nacks: []rtcp.NackPair{{PacketID: first.SequenceNumber}}}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		k := p.next(t)
		if k.SequenceNumber != first.SequenceNumber {
			continue
		}
		if k.Timestamp != first.Timestamp || string(k.Payload) != string(first.Payload) || k.Marker != first.Marker {
			t.Error("the repeated packet differs from the first")
		}
		break
	}
	waitFor(t, "the counter", func() bool { return r.svc.Viewers()[0].NACKs == 1 })
	drain(s.keyAsked)
	if err := p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: first.SSRC}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the key frame request", func() bool { return r.svc.counters.plis.Load() == 1 })
}

func drain(c chan struct{}) {
	for len(c) > 0 {
		<-c
	}
}

func TestViewersShareOneAttachment(t *testing.T) {
	r := newRig(t, nil)
	s := newSource(t, r, "s", g711.CodecPCMA, h264.Codec)
	s.st.SetReady()
	s.play(t)
	var ps []*player
	for range 3 {
		p := newPlayer(t, aud, vid)
		p.whep(t, r, "s")
		p.next(t)
		ps = append(ps, p)
	}
	if n := len(s.st.Attachments()); n != 1 {
		t.Errorf("%d attachments for 3 viewers", n)
	}
	// Each sees its own numbering and starts with a key frame.
	for _, p := range ps {
		_ = p.pc.GracefulClose()
	}
	waitFor(t, "the viewers to go with their players", func() bool { return len(r.svc.Viewers()) == 0 })
	waitFor(t, "the attachment to go", func() bool { return len(s.st.Attachments()) == 0 })
	for _, m := range r.svc.Metrics() {
		if m.Name == "lineout_webrtc_failures_total" && m.Value != 0 {
			t.Errorf("players that said goodbye count as %v failures", m.Value)
		}
	}
}

func TestEnds(t *testing.T) {
	for name, x := range map[string]struct {
		end    func(r *rig, s *source, p *player, v *Viewer)
		reason string
	}{
		"stream ends":         {func(_ *rig, s *source, _ *player, _ *Viewer) { s.st.Close("hangup") }, ByPublisher},
		"terminate":           {func(r *rig, _ *source, _ *player, v *Viewer) { r.svc.Terminate(v.ID()) }, ByTerminate},
		"player says goodbye": {func(_ *rig, _ *source, p *player, _ *Viewer) { _ = p.pc.GracefulClose() }, ByUser},
		"DELETE": {func(r *rig, _ *source, p *player, _ *Viewer) {
			req, _ := http.NewRequest(http.MethodDelete, r.web.URL+p.location, nil)
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
			}
		}, ByUser},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			s := newSource(t, r, "s", g711.CodecPCMA, h264.Codec)
			s.st.SetReady()
			s.play(t)
			p := newPlayer(t, aud, vid)
			p.whep(t, r, "s")
			p.next(t)
			v := r.svc.viewer(r.svc.Viewers()[0].ID)
			x.end(r, s, p, v)
			<-v.Done()
			if v.Reason() != x.reason {
				t.Errorf("ended with %q, want %q", v.Reason(), x.reason)
			}
			if len(r.svc.Viewers()) != 0 {
				t.Error("it is still listed")
			}
		})
	}
}

// A player that never connects costs the source nothing, and no other viewer
// waits for a key frame because of one that was asked for too early.
func TestNeverConnected(t *testing.T) {
	r := newRig(t, func(c *Config) { c.ConnectTimeout = 50 * time.Millisecond })
	s := newSource(t, r, "s", g711.CodecPCMA, h264.Codec)
	s.st.SetReady()
	p := newPlayer(t, aud, vid)
	v, _, err := r.svc.Play(context.Background(), s.st, p.offer(t), PlayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	<-v.Done()
	if v.Reason() != ByICETimeout {
		t.Errorf("ended with %q", v.Reason())
	}
	if len(s.st.Attachments()) != 0 || len(s.keyAsked) != 0 {
		t.Errorf("%d attachments, %d key frames asked for", len(s.st.Attachments()), len(s.keyAsked))
	}
}

// gag is a player's socket whose packets get lost from some moment on.
type gag struct {
	net.PacketConn
	on atomic.Bool
}

func (g *gag) WriteTo(b []byte, a net.Addr) (int, error) {
	if g.on.Load() {
		return len(b), nil
	}
	return g.PacketConn.WriteTo(b, a)
}

// A viewer that falls silent without a goodbye is dropped after the timeout.
func TestSilentViewerIsDropped(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DisconnectTimeout = 3 * time.Second })
	s := newSource(t, r, "s", g711.CodecPCMA, nil)
	s.st.SetReady()
	s.play(t)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	line := &gag{PacketConn: udp}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: line})
	t.Cleanup(func() { _ = mux.Close() })
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	var se webrtc.SettingEngine
	se.SetICEUDPMux(mux)
	se.SetIncludeLoopbackCandidate(true)
	p := newPlayerWith(t, &me, se, aud)
	p.whep(t, r, "s")
	p.next(t)
	v := r.svc.viewer(r.svc.Viewers()[0].ID)
	line.on.Store(true)
	<-v.Done()
	if v.Reason() != ByKeepAlive {
		t.Errorf("ended with %q", v.Reason())
	}
}

func TestWaitsForTheAnswer(t *testing.T) {
	r := newRig(t, nil)
	s := newSource(t, r, "s", nil, nil)
	p := newPlayer(t, aud, vid)
	status := make(chan int, 1)
	go func() { status <- p.whep(t, r, "s") }()
	waitFor(t, "the POST to wait", func() bool {
		r.svc.mu.Lock()
		defer r.svc.mu.Unlock()
		return r.svc.total == 1
	})
	audio := newAudio(s)
	s.st.SetReady()
	if code := <-status; code != http.StatusCreated {
		t.Fatalf("POST gave %d", code)
	}
	s.audio = audio
	s.play(t)
	if k := p.next(t); k.PayloadType != 8 {
		t.Errorf("payload type %d", k.PayloadType)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.PlayWait = 50 * time.Millisecond
		c.MaxViewersPerStream = 1
	})
	ready := newSource(t, r, "ready", g711.CodecPCMA, nil)
	ready.st.SetReady()
	reserved := newSource(t, r, "reserved", nil, nil)
	ended := newSource(t, r, "ended", g711.CodecPCMA, nil)
	ended.st.SetReady()
	ended.st.Close("over")
	for name, x := range map[string]struct {
		s     *source
		offer string
		info  string
		code  fault.Code
	}{
		"nobody answered":  {reserved, newPlayer(t, aud).offer(t), "Publish stream is not ready", fault.Conflict},
		"stream has ended": {ended, newPlayer(t, aud).offer(t), ByPublisher, fault.NotFound},
		"no audio wanted":  {ready, newPlayer(t, vid).offer(t), "No common codecs", fault.BadRequest},
		"no such codec":    {ready, strings.ReplaceAll(newPlayer(t, aud).offer(t), "PCMA/8000", "NONE/8000"), "No common codecs", fault.BadRequest},
		"no SDP":           {ready, "hello", ByError, fault.BadRequest},
		"no fingerprint":   {ready, strings.ReplaceAll(newPlayer(t, aud).offer(t), "a=fingerprint", "a=x-print"), ByError, fault.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			v, _, err := r.svc.Play(context.Background(), x.s.st, x.offer, PlayOptions{})
			var pe *PlayError
			if !errors.As(err, &pe) || pe.Info != x.info || fault.CodeOf(err) != x.code {
				t.Fatalf("got %v, %v (%+v)", v, err, pe)
			}
		})
	}
	t.Run("places taken", func(t *testing.T) {
		v, _, err := r.svc.Play(context.Background(), ready.st, newPlayer(t, aud).offer(t), PlayOptions{ID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = r.svc.Play(context.Background(), ready.st, newPlayer(t, aud).offer(t), PlayOptions{})
		if fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("the second viewer: %v", err)
		}
		v.Stop(ByUser)
		<-v.Done()
	})
	waitFor(t, "all places to be free", func() bool {
		r.svc.mu.Lock()
		defer r.svc.mu.Unlock()
		return r.svc.total == 0 && len(r.svc.groups) == 0 && len(r.svc.viewers) == 0
	})
}

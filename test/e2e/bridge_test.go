//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lineout/calls/bridge"
	"lineout/calls/leg"
	"lineout/calls/sip"
	"lineout/codecs"
	"lineout/codecs/convert"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/configs"
	"lineout/test/media"
	"lineout/test/peers"
)

// switchboard calls phones and joins them.
type switchboard struct {
	t     *testing.T
	agent *sip.Agent
	table *codecs.Table
	log   *slog.Logger
}

func newSwitchboard(t *testing.T) *switchboard {
	t.Helper()
	var c sip.Config
	set, err := configs.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Load(configs.Sources{}); err != nil {
		t.Fatal(err)
	}
	base := peers.Ports(t, 40)
	c.IPLocal, c.PortFrom, c.PortTo, c.MediaPortFrom, c.MediaPortTo = "127.0.0.1", base, base+5, base+6, base+39
	s := &switchboard{t: t, log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
		table: codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMA, g711.CodecPCMU, g722.Codec}, convert.All())}
	if s.agent, err = sip.New(c, s.table, s.log); err != nil {
		t.Fatal(err)
	}
	if err := s.agent.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.agent.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// call waits until a phone has answered; its later events are read and told to on.
func (s *switchboard) call(user string, port int, like []leg.TrackInfo, on func(leg.Event)) (leg.Leg, leg.Forwarder) {
	s.t.Helper()
	var l leg.Leg
	peers.Eventually(s.t, "a call to begin", 5*time.Second, func() (ok bool) {
		var err error
		l, err = s.agent.Dial(s.t.Context(), leg.Request{CallID: fmt.Sprintf("bridge-%s-%d", user, port), Callee: user, Login: "switchboard", Domain: "127.0.0.1", Port: port,
			SendAudio: true, SendVideo: true, Like: like})
		return err == nil
	})
	answered := make(chan leg.Forwarder, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e := range l.Events() {
			switch {
			case e.Type == leg.Answered:
				answered <- e.Media.(leg.Forwarder)
			case e.Type == leg.Ended && !e.Cause.Local:
				s.log.Error("a call ended by itself", "cause", e.Cause.Text)
			}
			on(e)
		}
	}()
	s.t.Cleanup(func() {
		_ = l.Hangup(context.Background(), leg.Cause{})
		<-ended
	})
	select {
	case md := <-answered:
		return l, md
	case <-time.After(10 * time.Second):
		s.t.Fatal("the phone does not answer")
		return nil, nil
	}
}

// join joins two legs until the test ends.
func (s *switchboard) join(a, b leg.Forwarder) *bridge.Bridge {
	br := bridge.New(a, b, s.table, bridge.Options{Log: s.log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { done <- br.Run(ctx) }()
	go func() { done <- a.Run(ctx, br.FromA) }()
	go func() { done <- b.Run(ctx, br.FromB) }()
	s.t.Cleanup(func() {
		cancel()
		for range 3 {
			if err := <-done; err != nil {
				s.t.Error(err)
			}
		}
	})
	return br
}

// tell logs the counters and the delay that the bridge adds.
func tell(t *testing.T, way string, fs []bridge.FlowStats, target time.Duration) {
	t.Helper()
	for _, f := range fs {
		if f.Passed+f.Converted == 0 {
			continue
		}
		note(t, "%s %v: %s; passed %d, converted %d, dropped %d, lost %d, key frame requests %d, added delay p50 %v, p99 %v (target %v) %s",
			way, f.Kind, f.Reason, f.Passed, f.Converted, f.Dropped, f.Lost, f.KeyframeRequests, f.DelayP50, f.DelayP99, target, f.Error)
		if f.Error != "" {
			t.Errorf("%s %v: %s", way, f.Kind, f.Error)
		}
	}
}

// TestBridgedPhones joins two soft phones. Each has to hear the other's tones:
// 6 s, in the codecs that each of them has alone.
func TestBridgedPhones(t *testing.T) {
	for _, c := range []struct {
		a, b      string
		converted bool
		snr       float64
	}{
		{peers.PCMA, peers.PCMA, false, 25}, {peers.PCMA, peers.Opus, true, 15}, {peers.G722, peers.PCMU, true, 20},
	} {
		t.Run(c.a+" and "+c.b, func(t *testing.T) {
			t.Parallel()
			s := newSwitchboard(t)
			x := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10006", Audio: c.a, Video: peers.None, KeepWAV: true})
			y := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10007", Audio: c.b, Video: peers.None, KeepWAV: true})
			ignore := func(leg.Event) {}
			la, a := s.call(x.User, x.Port, nil, ignore)
			lb, b := s.call(y.User, y.Port, a.Tracks(), ignore)
			br := s.join(a, b)
			time.Sleep(6 * time.Second)
			st := br.Stats()
			tell(t, "a to b", st.AToB, 30*time.Millisecond)
			tell(t, "b to a", st.BToA, 30*time.Millisecond)
			if f := st.AToB[0]; f.Converted > 0 != c.converted || f.Passed > 0 == c.converted {
				t.Errorf("%+v", f)
			}
			for _, l := range []leg.Leg{la, lb} {
				_ = l.Hangup(t.Context(), leg.Cause{})
			}
			for _, p := range []*peers.Softphone{x, y} {
				p.WaitEvent(t, "CALL_CLOSED")
				r := measure(t, one(t, "recordings of the soft phone", p.Received(t)), media.Options{})
				if r.Audio == nil || r.Audio.Beeps < 4 || r.Audio.SNRDB < c.snr || r.Audio.PilotHz < 412 || r.Audio.PilotHz > 413 {
					t.Errorf("phone %s (%v, other %v) heard %+v", p.User, c.a, c.b, r.Audio)
				}
			}
		})
	}
}

// TestBridgedPictures passes the picture and sound of a soft phone to ffmpeg as
// they are: every picture is decoded, in order, and still belongs to its sound,
// which ffmpeg knows from our sender reports alone.
func TestBridgedPictures(t *testing.T) {
	t.Parallel()
	s := newSwitchboard(t)
	port := peers.Ports(t, 4)
	formats := fmt.Sprintf("m=audio %d RTP/AVP 8\na=rtpmap:8 PCMA/8000\nm=video %d RTP/AVP 112\na=rtpmap:112 H264/90000\na=fmtp:112 packetization-mode=1;profile-level-id=42e01f\n", port, port+2)
	sdp := "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n" + formats
	file := filepath.Join(t.TempDir(), "bridge.sdp")
	if err := os.WriteFile(file, []byte(sdp), 0o600); err != nil {
		t.Fatal(err)
	}
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Audio: peers.PCMA, Video: peers.H264M})
	far := peers.StartAnswerer(t, sdp)
	kept := filepath.Join(peers.Artefacts(t), "bridge.mkv")
	watch := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-protocol_whitelist", "file,udp,rtp",
		"-analyzeduration", "2000000", "-i", file, "-t", "10", "-map", "0", "-c", "copy", kept)
	seen := make(chan error, 1)
	go func() {
		out, err := watch.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		seen <- err
	}()
	time.Sleep(time.Second) // ffmpeg opens its ports
	_, a := s.call(phone.User, phone.Port, nil, func(leg.Event) {})
	_, b := s.call(far.User, far.Port, a.Tracks(), func(leg.Event) {})
	br := s.join(a, b)
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	tell(t, "a to b", br.Stats().AToB, 5*time.Millisecond)
	r := measure(t, kept, media.Options{})
	// Numbers that never came are the phone's: it leaves pictures out on a busy machine. One lost on the way would be a decoding error.
	if r.Video == nil || r.Video.Frames < 100 || r.Video.Backward > 0 || r.DecodeErrors > 0 {
		t.Errorf("picture: %+v, %q", r.Video, r.FirstErrors)
	}
	if r.Audio == nil || r.Audio.Beeps < 5 || r.Audio.SNRDB < 25 {
		t.Errorf("sound: %+v", r.Audio)
	}
	checkSync(t, r)
}

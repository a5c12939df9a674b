package peers

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/test/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSoftphoneCallsSoftphone(t *testing.T) {
	t.Parallel()
	for _, c := range []SoftphoneConfig{{}, {Audio: Opus, Video: VP8}, {Audio: PCMU, Video: None}} {
		c.User, c.KeepWAV = "10005", true
		t.Run(c.Audio+"+"+c.Video, func(t *testing.T) {
			t.Parallel()
			caller := c
			caller.User = "10006"
			a, b := StartSoftphone(t, caller), StartSoftphone(t, c)
			a.Dial(t, b.URI())
			a.WaitEvent(t, "CALL_ESTABLISHED")
			b.WaitEvent(t, "CALL_ESTABLISHED")
			Eventually(t, "sound at the called phone", 20*time.Second, func() bool { return size(t, b.Received(t)) > 100_000 })
			a.Hangup(t)
			b.WaitEvent(t, "CALL_CLOSED")
			wav := b.Received(t)
			if len(wav) != 1 {
				t.Fatalf("received files %q, want one", wav)
			}
			r, err := media.Measure(t.Context(), wav[0], media.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Audio.Beeps < 2 {
				t.Errorf("the phone heard %d beeps, want 2 and more\n%v", r.Audio.Beeps, r)
			}
		})
	}
}

func TestSoftphoneManual(t *testing.T) {
	t.Parallel()
	a, b := StartSoftphone(t, SoftphoneConfig{User: "10005"}), StartSoftphone(t, SoftphoneConfig{Manual: true})
	a.Dial(t, b.URI())
	b.WaitEvent(t, "CALL_INCOMING")
	a.WaitEvent(t, "CALL_RINGING")
	b.Accept(t)
	a.WaitEvent(t, "CALL_ESTABLISHED")
	b.Hangup(t)
	a.WaitEvent(t, "CALL_CLOSED")
	a.Dial(t, b.URI())
	b.WaitEvent(t, "CALL_INCOMING")
	b.Hangup(t)
	e := a.WaitEvent(t, "CALL_CLOSED")
	if !strings.Contains(e.Param, "486") {
		t.Errorf("refused call closed with %q, want 486", e.Param)
	}
}

func TestRegistrar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		RegistrarConfig
	}{{"MD5", RegistrarConfig{}}, {"no qop", RegistrarConfig{NoQOP: true}}, {"one time nonces", RegistrarConfig{OneTime: true}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reg := StartRegistrar(t, c.RegistrarConfig)
			if reg.Registered("10005") {
				t.Fatal("10005 is registered before it has started")
			}
			a := StartSoftphone(t, SoftphoneConfig{User: "10005", Registrar: reg})
			b := StartSoftphone(t, SoftphoneConfig{User: "10006", Registrar: reg})
			a.Dial(t, "sip:10006@"+reg.Addr())
			b.WaitEvent(t, "CALL_ESTABLISHED")
			a.WaitEvent(t, "CALL_ESTABLISHED")
			b.Hangup(t)
			a.WaitEvent(t, "CALL_CLOSED")
		})
	}
}

func TestRTMPServer(t *testing.T) {
	t.Parallel()
	s := StartRTMPServer(t)
	clip := filepath.Join(Clips(t), media.MP4)
	push := func(url string, seconds string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-i", clip, "-c", "copy", "-t", seconds, "-f", "flv", url)
	}
	refused := make(chan error, 1)
	go func() { refused <- push(s.URL("secret")+"/x?key=wrong", "3").Run() }()
	p := start(t, "ffmpeg", push(s.URL("live")+"/clip", "12"))
	Eventually(t, "the publisher", startTimeout, func() bool { return s.Publishing(t, "clip") })
	live, err := media.Measure(t.Context(), s.URL("live")+"/clip", media.Options{Live: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if live.Video.Lost != 0 || live.Sync == nil {
		t.Errorf("played stream: %v", live)
	}
	<-p.Done()
	if s.Publishing(t, "clip") || s.Publishing(t, "never") {
		t.Error("a stream is published by nobody")
	}
	files := s.Recordings(t, "clip")
	if len(files) != 1 {
		t.Fatalf("recordings %q, want one", files)
	}
	r, err := media.Measure(t.Context(), files[0], media.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Video.Lost != 0 || r.Video.Frames < 290 || r.Sync == nil || r.Sync.MedianMillis > 5 || r.Sync.MedianMillis < -5 {
		t.Errorf("recording: %v", r)
	}
	if err := <-refused; err == nil {
		t.Error("a push with the wrong key was taken")
	}
	s.Stop()
	if listens(s.Port) {
		t.Error("the stopped server listens")
	}
	s.Start(t)
	if got := s.Recordings(t, "clip"); len(got) != 1 {
		t.Errorf("recordings after the restart: %q, want one", got)
	}
}

func size(t *testing.T, files []string) (n int64) {
	t.Helper()
	for _, f := range files {
		out, err := exec.Command("stat", "-c", "%s", f).Output()
		if err != nil {
			t.Fatal(err)
		}
		var k int64
		for _, c := range strings.TrimSpace(string(out)) {
			k = k*10 + int64(c-'0')
		}
		n += k
	}
	return n
}

package rtmp

import (
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// eventually is how long a test waits for what must happen; it fails then.
const eventually = 30 * time.Second

func awaitStatus(t *testing.T, p *Push, want string) {
	t.Helper()
	peers.Eventually(t, want, eventually, func() bool { return p.Status() == want })
}

func TestNginxRecordsPictureAndSoundTogether(t *testing.T) {
	server := peers.StartRTMPServer(t)
	cfg := testConfig()
	cfg.QueueDelay = time.Minute // fed faster than real time
	r := newRig(t, cfg)
	stream := r.stream(t, "call1")
	src := newSource(t, stream)
	src.answer()
	p, err := r.Start(stream, Target{URL: server.URL("live"), Name: "call1"})
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, p, StatusActive)
	const length = 12 * time.Second
	src.feed(length)
	stream.Close("test")
	<-stream.Done()
	report := recording(t, server, "rtmp_call1", 0)
	if v := report.Video; v == nil || v.Codec != "h264" || v.Size != "640x360" || v.Lost != 0 || v.Backward != 0 || v.NotForward != 0 || v.Frames != 300 {
		t.Errorf("picture is not what was sent: %v", report)
	}
	if a := report.Audio; a == nil || a.Codec != "aac" || a.Rate != 48000 || a.Channels != 1 || a.Jumps != 0 || a.Gaps != 0 {
		t.Errorf("sound is not what was sent: %v", report)
	}
	if s := report.Sync; s == nil || s.MedianMillis < -5 || s.MedianMillis > 5 || s.Pairs < 10 {
		t.Errorf("sound and picture are apart: %v", report)
	}
	if report.DecodeErrors != 0 {
		t.Errorf("decoding errors: %v", report)
	}
	t.Logf("%v", report)
}

// recording measures the n-th recording of a stream once it is complete.
func recording(t *testing.T, server *peers.RTMPServer, name string, n int) *media.Report {
	t.Helper()
	peers.Eventually(t, name+" is no longer published", eventually, func() bool { return !server.Publishing(t, name) })
	files := server.Recordings(t, name)
	if len(files) <= n {
		t.Fatalf("there are %d recordings of %s, want more than %d", len(files), name, n)
	}
	report, err := media.Measure(t.Context(), files[n], media.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}


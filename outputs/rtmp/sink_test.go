package rtmp

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"

	"lineout/codecs/aac"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/sinktest"
)

// newTestSink returns a sink for a URL, outside of any stream.
func newTestSink(t testing.TB, url string, connect, write time.Duration) *sink {
	t.Helper()
	a, err := parseAddress(url, "rtmp_s", false)
	if err != nil {
		t.Fatal(err)
	}
	return &sink{dialer: &dialer{connectTimeout: connect, writeTimeout: write}, addr: a, flashVer: "test", audioCodecs: []media.Codec{aac.Name}}
}

func TestSinkConforms(t *testing.T) {
	server := startGoServer(t)
	stuck := stuckListener(t)
	sinktest.Run(t, sinktest.Spec{
		New: func(t *testing.T) pipeline.Sink { return newTestSink(t, server.url, 5*time.Second, 5*time.Second) },
		NewStuck: func(t *testing.T) pipeline.Sink {
			return newTestSink(t, "rtmp://"+stuck+"/live", time.Minute, time.Minute)
		},
	})
}

// stuckListener takes connections and does nothing with them.
func stuckListener(t testing.TB) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, c)
		}
		for _, c := range held {
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestSizeChangeAndLateVideo(t *testing.T) {
	server := startGoServer(t)
	k := newTestSink(t, server.url, 5*time.Second, 5*time.Second)
	src := sinktest.NewSource(t, k.Accepts())
	frames := src.Resized()
	var audio, rest []*media.Frame
	for _, f := range frames {
		switch {
		case f.DTS >= 500*time.Millisecond && (len(rest) > 0 || f.Key && f.Track == src.Video):
			rest = append(rest, f)
		case f.Track == src.Audio:
			audio = append(audio, f)
		}
	}
	src.Audio.SetParams(audio[0].Params)
	if err := k.Open(t.Context(), []*media.Track{src.Audio}); err != nil {
		t.Fatal(err)
	}
	send := func(fs []*media.Frame) {
		for _, f := range fs {
			f.Track.SetParams(f.Params)
			if err := k.Write(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(audio)
	src.Video.SetParams(rest[0].Params)
	if err := k.AddTrack(t.Context(), src.Video); err != nil {
		t.Fatal(err)
	}
	send(rest)
	if err := k.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var story []string
	for _, g := range server.session(t, 0, len(audio)+len(rest)).got() {
		switch {
		case g.meta != nil:
			w, _ := amf0.Object(g.meta).GetFloat64("width")
			story = append(story, map[float64]string{0: "meta sound", 320: "meta 320", 176: "meta 176"}[w])
		case g.body[1] == packetHeader:
			story = append(story, map[byte]string{typeAudio: "aac", typeVideo: "avc"}[g.typ])
		}
	}
	if got, want := strings.Join(story, ", "), "meta sound, aac, meta 320, avc, meta 176, avc"; got != want {
		t.Errorf("headers: %s\nwant:    %s", got, want)
	}
}

func TestTimestampsBeyond24Bits(t *testing.T) {
	server := startGoServer(t)
	k := newTestSink(t, server.url, 5*time.Second, 5*time.Second)
	const start = 16776 * time.Second
	k.clock = clock{started: true, base: -start}
	src := sinktest.NewSource(t, k.Accepts())
	frames := src.Frames(true, true)
	src.Video.SetParams(frames[0].Params)
	if err := k.Open(t.Context(), []*media.Track{src.Audio, src.Video}); err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		f.Track.SetParams(f.Params)
		if err := k.Write(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, g := range server.session(t, 0, len(frames)+4).got() {
		if g.meta != nil || g.body[1] != packetMedia {
			continue
		}
		if want := uint32((start + frames[i].DTS).Milliseconds()); g.stamp != want {
			t.Fatalf("frame %d at %d ms, want %d", i, g.stamp, want)
		}
		i++
	}
	if i != len(frames) {
		t.Errorf("%d frames of %d", i, len(frames))
	}
}

func TestSilentServerIsLeft(t *testing.T) {
	k := newTestSink(t, "rtmp://"+stuckListener(t)+"/live", 100*time.Millisecond, time.Second)
	err := k.Open(context.Background(), nil)
	if err == nil || !strings.Contains(err.Error(), "did not answer within 100ms") {
		t.Errorf("got %v", err)
	}
}

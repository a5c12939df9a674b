package rtmp

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"go.uber.org/goleak"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/convert"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
	"lineout/test/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unit is one coded picture or audio frame of a clip.
type unit struct {
	at   time.Duration
	data [][]byte
	key  bool
}

// clip is the test clip, coded as H.264 and AAC.
type clip struct {
	video, audio             []unit
	videoParams, audioParams *media.Params
}

const (
	frameTime = time.Second / 25
	clipTime  = 30 * time.Second
)

var loadClip = sync.OnceValues(func() (*clip, error) {
	dir := clipDir
	picture, err := os.ReadFile(filepath.Join(dir, "sync.h264"))
	if err != nil {
		return nil, err
	}
	sound, err := exec.Command("ffmpeg", "-v", "error", "-i", filepath.Join(dir, "sync-h264-aac.mp4"),
		"-vn", "-c", "copy", "-f", "adts", "-").Output()
	if err != nil {
		return nil, err
	}
	var packets mpeg4audio.ADTSPackets
	if err := packets.Unmarshal(sound); err != nil {
		return nil, err
	}
	c := &clip{}
	config, err := mpeg4audio.AudioSpecificConfig{Type: mpeg4audio.ObjectTypeAACLC, SampleRate: 48000, ChannelCount: 1, ChannelConfig: 1}.Marshal()
	if err != nil {
		return nil, err
	}
	c.audioParams = &media.Params{SampleRate: 48000, Channels: 1, Sets: [][]byte{config}}
	// The first access unit is the encoder's priming and lies before zero.
	for i, p := range packets[1:] {
		c.audio = append(c.audio, unit{at: time.Duration(i) * aac.FrameSize * time.Second / 48000, data: [][]byte{p.AU}, key: true})
	}
	var au [][]byte
	for _, nalu := range splitNALUs(picture) {
		au = append(au, nalu)
		if t := nalu[0] & 0x1f; t != 1 && t != 5 {
			continue
		}
		c.videoParams = h264.Codec.Params(c.videoParams, au)
		c.video = append(c.video, unit{at: time.Duration(len(c.video)) * frameTime, data: au, key: h264.Codec.Keyframe(au)})
		au = nil
	}
	return c, nil
})

// clipDir is set by theClip, because OnceValues takes no argument.
var clipDir string

func theClip(t testing.TB) *clip {
	t.Helper()
	clipDir = peers.Clips(t)
	c, err := loadClip()
	if err != nil {
		t.Fatalf("load the test clip: %v", err)
	}
	return c
}

// splitNALUs splits an Annex B byte stream (H.264 annex B).
func splitNALUs(b []byte) (out [][]byte) {
	for _, part := range bytes.Split(b, []byte{0, 0, 1})[1:] {
		out = append(out, bytes.TrimRight(part, "\x00"))
	}
	return out
}

// source feeds the clip into a stream.
type source struct {
	stream       *pipeline.Stream
	video, audio *media.Track
	clip         *clip
	nextV, nextA int
}

func newSource(t testing.TB, s *pipeline.Stream) *source {
	src := &source{stream: s, clip: theClip(t),
		video: &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000},
		audio: &media.Track{ID: "audio", Kind: media.Audio, Codec: aac.Name, ClockRate: 48000, Channels: 1}}
	return src
}

// newCall is a source as a phone sends: H.264 and PCMA.
func newCall(t testing.TB, s *pipeline.Stream) *source {
	t.Helper()
	src := newSource(t, s)
	sound, err := os.ReadFile(filepath.Join(clipDir, "sync.alaw"))
	if err != nil {
		t.Fatal(err)
	}
	call := &clip{video: src.clip.video, videoParams: src.clip.videoParams, audioParams: g711.CodecPCMA.Params(nil, nil)}
	const packet, packetTime = 160, 20 * time.Millisecond
	for i := 0; (i+1)*packet <= len(sound); i++ {
		call.audio = append(call.audio, unit{at: time.Duration(i) * packetTime, data: [][]byte{sound[i*packet : (i+1)*packet]}})
	}
	src.clip = call
	src.audio = &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}
	return src
}

// answer declares the tracks, as a call does when it is answered.
func (s *source) answer() {
	s.video.SetParams(s.clip.videoParams)
	if p := s.clip.audioParams; p != nil {
		s.audio.SetParams(p)
	}
	s.stream.AddTrack(s.audio)
	s.stream.AddTrack(s.video)
	s.stream.SetReady()
}

// feed writes all frames up to a point of the timeline; the clip repeats.
func (s *source) feed(until time.Duration) {
	at := func(us []unit, i int) (unit, time.Duration) {
		u := us[i%len(us)]
		return u, u.at + time.Duration(i/len(us))*clipTime
	}
	for {
		v, vt := at(s.clip.video, s.nextV)
		a, ta := at(s.clip.audio, s.nextA)
		if min(vt, ta) >= until {
			return
		}
		if ta <= vt {
			s.nextA++
			s.stream.Write(&media.Frame{Track: s.audio, Params: s.clip.audioParams, PTS: ta, DTS: ta, Key: true, Data: a.data})
		} else {
			s.nextV++
			s.stream.Write(&media.Frame{Track: s.video, Params: s.clip.videoParams, PTS: vt, DTS: vt, Key: v.key, Data: v.data})
		}
	}
}

// play feeds in real time until the test ends or stop is called.
func (s *source) play(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		start := time.Now()
		for {
			select {
			case <-tick.C:
				s.feed(time.Since(start))
			case <-ctx.Done():
				return
			}
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// testConfig has the default settings, with short pauses.
func testConfig() *Config {
	return &Config{
		Prefix: "rtmp_", FlashVersion: "FMLE/3.0 (compatible; lineout)",
		ConnectTimeout: 5 * time.Second, WriteTimeout: 3 * time.Second, QueueDelay: 2 * time.Second,
		RetryMin: 200 * time.Millisecond, RetryMax: time.Second, KeyframeInterval: 2 * time.Second,
		AudioCodecs: []string{"aac"},
	}
}

// rig is an output on a running hub.
type rig struct {
	*Output
	hub *pipeline.Hub
	log *logBuffer
}

func newRig(t testing.TB, cfg *Config) *rig {
	t.Helper()
	logs := &logBuffer{}
	log := slog.New(slog.NewTextHandler(logs, nil))
	table := codecs.NewTable([]codecs.Codec{h264.Codec, aac.Codec, g711.CodecPCMA, g711.CodecPCMU}, convert.All())
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: table, Log: log, FlushTimeout: 3 * time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	o, err := New(outputs.Env{Streams: hub, Codecs: table, Log: log}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("hub: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", logs.String())
		}
	})
	return &rig{Output: o, hub: hub, log: logs}
}

// stream makes a stream; Create works as soon as the hub runs.
func (r *rig) stream(t testing.TB, name string) *pipeline.Stream {
	t.Helper()
	var s *pipeline.Stream
	peers.Eventually(t, "the hub runs", 5*time.Second, func() bool {
		var err error
		s, err = r.hub.Create(name, pipeline.Meta{})
		return err == nil
	})
	return s
}

// call invokes a REST method with a JSON body.
func (r *rig) call(method, body string) (any, error) {
	return r.Methods()[method](context.Background(), func(into any) error {
		return json.NewDecoder(io.LimitReader(bytes.NewBufferString(body), 1<<16)).Decode(into)
	})
}

// logBuffer collects log lines of several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// states records what OnState was told.
type states struct {
	mu   sync.Mutex
	list []string
}

func (s *states) add(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, v)
}

func (s *states) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.list...)
}

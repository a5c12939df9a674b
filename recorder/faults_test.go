package recorder

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/api/fault"
	"lineout/codecs/h264"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
	"lineout/recorder/clip"
)

func TestUnwritableFolder(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"record_dir":                    func(c *Config) { c.Dir = "/dev/null/records" },
		"stream_record_policy":          func(c *Config) { c.Policy = "x" },
		"stream_record_policy_template": func(c *Config) { c.Template = "{nonsense}" },
		"record_rotation":               func(c *Config) { c.Rotation = "10 apples" },
		"record_audio_format":           func(c *Config) { c.AudioFormat = "mp3" },
		"record_mp4_audio":              func(c *Config) { c.MP4Audio = "mp3" },
		"record_formats":                func(c *Config) { c.Formats = []string{"h264-avi"} },
		"name h264-mkv":                 func(c *Config) { c.Formats = []string{"h264-webm"} },
		"on_record_hook_script":         func(c *Config) { c.HookScript = "/nonexistent/hook.sh" },
	} {
		cfg := defaults(t.TempDir())
		change(&cfg)
		_, err := New(outputs.Env{Log: slog.New(slog.DiscardHandler)}, cfg)
		require.ErrorContains(t, err, name)
	}
	cfg := defaults(filepath.Join(t.TempDir(), "a", "b"))
	_, err := New(outputs.Env{Log: slog.New(slog.DiscardHandler)}, cfg)
	require.NoError(t, err)
	require.DirExists(t, cfg.Dir)
	require.Empty(t, files(t, cfg.Dir))
}

func TestHookIsKilledAndDoesNotHoldUpOthers(t *testing.T) {
	script := filepath.Join(t.TempDir(), "hook.sh")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho working on $1\nsleep 600 & sleep 600\n"), 0o755))
	log := &strings.Builder{}
	w := newFinisher(t.TempDir(), 1, &hook{path: script, timeout: 50 * time.Millisecond}, slog.New(slog.DiscardHandler))
	err := w.hook.run(context.Background(), hookCall{"x y; rm -rf", "/a b"}, slog.New(slog.NewTextHandler(log, nil)))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Contains(t, log.String(), "working on x y; rm -rf")
}

// live is a stream fed at once; tests poll what the recorder makes of it.
func (b *bench) live(name, provider string, tracks ...*media.Track) *pipeline.Stream {
	s, err := b.hub.Create(name, pipeline.Meta{Login: "10005", Provider: provider})
	require.NoError(b.t, err)
	for _, t := range tracks {
		s.AddTrack(t)
	}
	return s
}

// feed writes once the stream's recording is open.
func (b *bench) feed(t *testing.T, s *pipeline.Stream, c *clip.Clip, from, to time.Duration) {
	require.Eventually(t, func() bool {
		list := b.Recordings()
		return len(list) > 0 && list[0].State == "active"
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, c.Frames(from, to, func(f *media.Frame) error { s.Write(f); return nil }))
}

func (b *bench) call(method, body string) (any, error) {
	return b.Methods()[method](context.Background(), func(v any) error { return json.Unmarshal([]byte(body), v) })
}

func TestMethods(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	s := b.live("call_stream1", "SIP", c.Tracks()...)
	for _, m := range []string{"stream/startRecording", "recorder/startup", "stream/stopRecording", "recorder/terminate"} {
		for body, code := range map[string]fault.Code{`{}`: fault.BadRequest, `{"mediaSessionId":"none"}`: fault.NotFound, `{"streamName":"none"}`: fault.NotFound} {
			_, err := b.call(m, body)
			require.Equal(t, code, fault.CodeOf(err), "%s %s", m, body)
		}
	}
	_, err := b.call("recorder/find_all", `{}`)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	id := `{"mediaSessionId":"` + s.ID() + `"`
	_, err = b.call("stream/stopRecording", id+`}`)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	_, err = b.call("recorder/startup", id+`,"config":{"rotation":"x"}}`)
	require.Equal(t, fault.BadRequest, fault.CodeOf(err))
	_, err = b.call("recorder/startup", id+`,"config":{"fileTemplate":"{x}"}}`)
	require.Equal(t, fault.BadRequest, fault.CodeOf(err))

	// Waiting for the call to be answered, the name is known already.
	got, err := b.call("recorder/startup", id+`,"force":"true","config":{"fileTemplate":"{streamName}-{endTime}","rotation":"20M"}}`)
	require.NoError(t, err)
	require.Nil(t, got)
	got, err = b.call("recorder/find_all", `{}`)
	require.NoError(t, err)
	require.Equal(t, "call_stream1-{endTime}.mp4", got.([]Recording)[0].FileName)
	require.Equal(t, s.ID(), got.([]Recording)[0].MediaSessionID)
	require.Equal(t, "waiting", got.([]Recording)[0].State)
	require.Equal(t, "call_stream1-{endTime}.mp4", b.RecordName(s.ID()))
	s.SetReady()
	b.feed(t, s, c, 0, 4*time.Second)
	// A second start ends the first recording.
	_, err = b.call("stream/startRecording", `{"streamName":"call_stream1","fileName":"fixed.mp4"}`)
	require.NoError(t, err)
	b.feed(t, s, c, 4*time.Second, 8*time.Second)
	_, err = b.call("stream/stopRecording", id+`}`)
	require.NoError(t, err)
	require.Empty(t, b.Recordings())
	require.Empty(t, b.RecordName(s.ID()))
	b.stop()
	names := files(t, b.dir)
	require.ElementsMatch(t, []string{"call_stream1-1700000004010.mp4", "fixed.mp4"}, names)
	for _, n := range names {
		require.Len(t, ffprobe(t, filepath.Join(b.dir, n))["video"].Packets, 100)
	}
}

func TestSIPCallsAreRecordedByThemselves(t *testing.T) {
	b := newBench(t, func(c *Config) { c.SIPRecordStream = true; c.Policy = policyStreamName })
	c := clip.New(t)
	s := b.live("call_stream1", "SIP", c.Tracks()...)
	b.live("page", "WebRTC")
	require.Len(t, b.Recordings(), 1)
	s.SetReady()
	b.feed(t, s, c, 0, 3*time.Second)
	s.Close("call ended")
	<-s.Done()
	require.Empty(t, b.Recordings())
	b.stop()
	require.Equal(t, []string{"call_stream1.mp4"}, files(t, b.dir))
	require.Len(t, ffprobe(t, filepath.Join(b.dir, "call_stream1.mp4"))["video"].Packets, 75)
}

func TestVP8IsLeftOutLoudly(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Policy, c.Formats = policyStreamName, []string{"h264-mp4"} })
	c := clip.New(t)
	s := b.live("x", "SIP", &media.Track{ID: "video", Kind: media.Video, Codec: vp8.Name, ClockRate: 90000}, c.Audio)
	c.Video = nil
	s.SetReady()
	_, err := b.call("stream/startRecording", `{"streamName":"x"}`)
	require.NoError(t, err)
	b.feed(t, s, c, 0, 2*time.Second)
	require.Eventually(t, func() bool { return b.Recordings()[0].Note != nil }, 5*time.Second, time.Millisecond)
	require.Contains(t, *b.Recordings()[0].Note, "VP8")
	s.Close("")
	<-s.Done()
	b.stop()
	require.Len(t, ffprobe(t, filepath.Join(b.dir, "x.mp4")), 1)
}

func TestVideoOnlyVP8FailsWithTheReason(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Formats = []string{"h264-mp4"} })
	s := b.live("x", "SIP", &media.Track{ID: "video", Kind: media.Video, Codec: vp8.Name, ClockRate: 90000})
	s.SetReady()
	_, err := b.call("stream/startRecording", `{"streamName":"x"}`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.Recordings()[0].Error != nil }, 5*time.Second, time.Millisecond)
	require.Contains(t, *b.Recordings()[0].Error, "VP8")
	require.Equal(t, "failed", b.Recordings()[0].State)
	s.Close("")
	<-s.Done()
	require.Empty(t, b.Recordings(), "a failed recording is listed as long as its stream lives")
}

func TestRecordingSwitchedOff(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RecordStreams = false; c.SIPRecordStream = true })
	b.live("x", "SIP")
	require.Empty(t, b.Recordings())
	_, err := b.call("stream/startRecording", `{"streamName":"x"}`)
	require.Equal(t, fault.Forbidden, fault.CodeOf(err))
	require.ErrorContains(t, err, "record_streams")
}

func TestFrameWithoutParametersIsSkippedAndCounted(t *testing.T) {
	b := newBench(t, nil)
	s := b.sink("x", nil)
	ctx := context.Background()
	v := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	require.NoError(t, s.Open(ctx, []*media.Track{v}))
	require.NoError(t, s.Write(ctx, &media.Frame{Track: v, Key: true, Data: [][]byte{{0x65, 1}}}))
	require.NoError(t, s.Write(ctx, &media.Frame{Track: v, Key: true, Params: &media.Params{Sets: [][]byte{{0x67}}}, Data: [][]byte{{0x65, 1}}}))
	require.NoError(t, s.Close(ctx))
	require.EqualValues(t, 2, b.skipped.Load())
	require.Empty(t, files(t, b.dir))
}

package recorder

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// inProcess runs the calling test, of which it must be the first line, in a
// process of its own, and says whether this is that process.
func inProcess(t *testing.T) bool {
	const mark = "LINEOUT_TEST_ALONE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name()+" ")
	return false
}

// fullDisk makes every write beyond a file size fail, as a full disk does. The
// limit is that of the process, which may have other files to write: see
// inProcess.
func fullDisk(t *testing.T, size uint64) (undo func()) {
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: old.Max}))
	undone := false
	undo = func() {
		if !undone {
			undone = true
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
		}
	}
	t.Cleanup(undo)
	return undo
}

func TestFullDiskKeepsWhatWasWritten(t *testing.T) {
	if !inProcess(t) {
		return
	}
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) { fullDiskKeeps(t, r) })
	}
}

func fullDiskKeeps(t *testing.T, r recipe) {
	b := r.bench(t, func(c *Config) { c.Template = "{streamName}" })
	c := r.load(t)
	s := r.sink(b, c)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	room := uint64(40 << 10)
	if r.video != "" {
		room = 150 << 10
	}
	undo := fullDisk(t, room)
	var failed time.Duration
	err := c.Frames(0, 64*time.Second, func(f *media.Frame) error {
		failed = f.DTS
		return s.Write(ctx, f)
	})
	require.ErrorIs(t, err, syscall.EFBIG)
	require.ErrorContains(t, err, s.cur.path)
	require.Greater(t, failed, time.Second)
	s.r.stopping.Store(false) // it will be opened again
	require.NoError(t, s.Close(ctx))
	undo()
	// There is room again: the next part.
	s.r.stopping.Store(true)
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(64*time.Second, 66*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.NoError(t, s.Close(ctx))
	b.stop()
	one, two := filepath.Join(b.dir, "x_1"+r.ext), filepath.Join(b.dir, "x"+r.ext)
	require.ElementsMatch(t, []string{filepath.Base(one), filepath.Base(two)}, files(t, b.dir))
	decode(t, one)
	p := Verify(ctx, one, true)
	require.True(t, p.OK, p.Reason)
	kind := "audio"
	if r.video != "" {
		kind = "video"
	}
	require.Greater(t, ffprobe(t, one)[kind].end(), failed.Seconds()-1)
	r.check(t, two, 2)
}

// failing is a disk on which the next write at one place is cut short.
type failing struct {
	disk
	at     int64
	failed bool
}

func (d *failing) WriteAt(p []byte, at int64) (int, error) {
	if !d.failed && at == d.at {
		d.failed = true
		n, _ := d.disk.WriteAt(p[:len(p)/2], at)
		return n, syscall.ENOSPC
	}
	return d.disk.WriteAt(p, at)
}

// Sound whose length cannot be written into the header of a WAVE file is taken
// back: file and header agree, and the sidecar has the gap.
func TestWAVEHeaderThatCannotBeWritten(t *testing.T) {
	r := recipeOf("wav PCMA")
	b := r.bench(t, withSidecar)
	c := r.load(t)
	s := r.sink(b, c)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(0, 3*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	s.cur.disk = &failing{disk: s.cur.f}
	size := s.cur.size
	err := c.Frames(3*time.Second, 6*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) })
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "header")
	st, err := s.cur.f.Stat()
	require.NoError(t, err)
	require.Equal(t, size, st.Size())
	raw, err := os.ReadFile(s.cur.path)
	require.NoError(t, err)
	_, err = checkFile(t, s.cur.path, raw)
	require.NoError(t, err)
	s.r.stopping.Store(false)
	require.NoError(t, s.Close(ctx))
	s.r.stopping.Store(true)
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(6*time.Second, 8*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.NoError(t, s.Close(ctx))
	b.stop()
	held := time.Duration(0)
	for _, n := range []string{"x_1.wav", "x.wav"} {
		p := Verify(ctx, filepath.Join(b.dir, n), false)
		require.True(t, p.OK, p.Reason)
		held += time.Duration(p.DurationMS) * time.Millisecond
	}
	gaps := sidecarOf(t, filepath.Join(b.dir, "x.wav")).Gaps
	require.Len(t, gaps, 1)
	require.EqualValues(t, 8000, held.Milliseconds()+gaps[0].LengthMS)
}

func TestFileStaysAsItGrewWhenItCannotBeRewritten(t *testing.T) {
	if !inProcess(t) {
		return
	}
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			dir := t.TempDir()
			live := r.live(t, dir, 4*time.Second)
			raw, err := os.ReadFile(live)
			require.NoError(t, err)
			undo := fullDisk(t, uint64(len(raw))/2)
			w := newFinisher(dir, 1, nil, slog.New(slog.DiscardHandler))
			w.sidecar = &SidecarApp{Name: "lineout", Version: "test"}
			w.recoverAll(context.Background())
			undo()
			path := filepath.Join(dir, "x"+r.ext)
			require.Equal(t, []string{"x" + r.ext, "x" + r.ext + sidecarExt}, files(t, dir))
			require.EqualValues(t, 1, w.failed.Load())
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, raw, got)
			decode(t, path)
			tracks := ffprobe(t, path)
			if r.video != "" {
				require.Len(t, tracks["video"].Packets, 100)
			}
			require.InDelta(t, 4, tracks["audio"].end(), 0.045)
			require.True(t, sidecarOf(t, path).File.Fragmented)
			p := Verify(context.Background(), path, false)
			require.True(t, p.OK, p.Reason)
			require.Contains(t, p.Note, "as it grew")
		})
	}
}

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

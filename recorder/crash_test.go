package recorder

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
	"lineout/recorder/clip"
)

// writeForEver is the process that gets killed: it records a hundred times as
// fast as a call, so that files stay short enough to be decoded, and prints the
// time of each frame once it was taken.
func writeForEver(dir string) {
	die := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	how := recipeOf(os.Getenv("LINEOUT_TEST_RECIPE"))
	c, err := how.clip()
	die(err)
	hub := pipeline.NewHub(pipeline.HubConfig{})
	stream, err := hub.Create("call_stream1", pipeline.Meta{})
	die(err)
	cfg := defaults(dir)
	how.change(&cfg)
	o, err := New(outputs.Env{Streams: hub, Log: slog.New(slog.DiscardHandler)}, cfg)
	die(err)
	r := &recording{o: o, stream: stream, dir: dir, template: "{streamName}"}
	r.frames.total, r.bytes.total = &o.frames, &o.bytes
	s := &sink{r: r, w: o.finish}
	for _, t := range c.Tracks() {
		stream.AddTrack(t)
	}
	s.Accepts()
	die(s.Open(context.Background(), c.Tracks()))
	begin := time.Now()
	die(c.Frames(0, time.Hour, func(f *media.Frame) error {
		time.Sleep(f.DTS/100 - time.Since(begin))
		if err := s.Write(context.Background(), f); err != nil {
			return err
		}
		_, err := fmt.Println(int64(f.DTS))
		return err
	}))
}

func TestKilledProcessLosesAtMostASecond(t *testing.T) {
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			killed(t, r)
		})
	}
}

func killed(t *testing.T, r recipe) {
	c, kind := containerOf("x"+r.ext), "video"
	if r.video == "" {
		kind = "audio"
	}
	script := filepath.Join(t.TempDir(), "hook.sh")
	heard := script + ".out"
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nprintf '%s|%s\\n' \"$1\" \"$2\" >> "+heard+"\n"), 0o755))
	dir := t.TempDir()
	const kills = 3
	var newest [kills]time.Duration
	for i := range kills {
		newest[i] = killOne(t, dir, r.name, time.Duration(rand.IntN(100_000))*time.Microsecond)
	}
	live := files(t, dir)
	require.Len(t, live, kills)
	for i := range kills {
		name := "call_stream1" + c.live()
		if i > 0 {
			name = fmt.Sprintf("call_stream1_%d%s", i+1, c.live())
		}
		path := filepath.Join(dir, name)
		atMostASecond(t, newest[i], path, kind)
		// A torn last fragment, as a power cut may leave it.
		if i == 0 {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(t, err)
			switch c.ext {
			case ".ogg":
				f.Write([]byte("OggS\x00\x00\x80\x07"))
			case ".wav": // whatever there is, is sound
			case ".webm", ".mkv":
				f.Write([]byte{0x1f, 0x43, 0xb6, 0x75, 0x10, 0, 4, 0, 0xe7, 0x82})
			default:
				f.Write([]byte{0, 0, 4, 0, 'm', 'o', 'o', 'f', 0, 0})
			}
			f.Close()
		}
	}
	b := newBench(t, func(c *Config) { c.Dir, c.HookScript = dir, script })
	require.Eventually(t, func() bool { return b.finish.recovered.Load() == kills }, 30*time.Second, 10*time.Millisecond)
	b.stop()
	done := files(t, dir)
	require.Len(t, done, kills)
	var ends []time.Duration
	for _, n := range done {
		require.False(t, isLive(n), n)
		path := filepath.Join(dir, n)
		switch c.ext {
		case ".webm", ".mkv":
			require.Contains(t, children(t, path), uint32(idCues))
		case ".mp4":
			require.Equal(t, []string{"ftyp", "moov", "mdat"}, boxes(t, path))
		}
		decode(t, path)
		ends = append(ends, time.Duration(ffprobe(t, path)[kind].end()*1e9))
	}
	for _, n := range newest {
		ok := false
		for _, e := range ends {
			ok = ok || n-e <= time.Second && e-n < time.Minute
		}
		require.True(t, ok, "no recovered file ends near %v: %v", n, ends)
	}
	calls, err := os.ReadFile(heard)
	require.NoError(t, err)
	require.Len(t, strings.Fields(string(calls)), kills)
	for _, c := range strings.Fields(string(calls)) {
		name, path, _ := strings.Cut(c, "|")
		require.Equal(t, "call_stream1", name)
		require.True(t, filepath.IsAbs(path))
		require.FileExists(t, path)
	}
}

// killOne runs a writer, kills it a while after its first frame and returns
// the time of the newest frame it was heard to take.
func killOne(t *testing.T, dir, recipe string, after time.Duration) time.Duration {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LINEOUT_TEST_WRITER="+dir, "LINEOUT_TEST_RECIPE="+recipe)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var newest atomic.Int64
	first, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		sc := bufio.NewScanner(out)
		for n := 0; sc.Scan(); n++ {
			var v int64
			if fmt.Sscan(sc.Text(), &v); v > newest.Load() {
				newest.Store(v)
			}
			if n == 100 { // more than a fragment
				close(first)
			}
		}
	}()
	<-first
	time.Sleep(after) // the random moment is the point of the test
	require.NoError(t, cmd.Process.Kill())
	<-done
	cmd.Wait()
	return time.Duration(newest.Load())
}

func atMostASecond(t *testing.T, newest time.Duration, path, kind string) {
	t.Helper()
	var errs strings.Builder
	cmd := exec.Command("ffprobe", "-v", "error", "-show_entries", "packet=pts_time", "-select_streams", kind[:1], "-of", "csv=p=0", path)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", path, &errs)
	lines := strings.Fields(string(out))
	require.NotEmpty(t, lines, path)
	var end float64
	fmt.Sscan(lines[len(lines)-1], &end)
	require.Less(t, newest.Seconds()-end, 1.0, "%s ends at %v s, the newest frame was at %v", path, end, newest)
}

// A kill in the middle of a write leaves a file that plays up to it, wherever
// the write was cut.
func TestKilledWriteLeavesAPlayableFile(t *testing.T) {
	dir := t.TempDir()
	live := writeLive(t, dir, "x", 2*time.Second)
	raw, err := os.ReadFile(live)
	require.NoError(t, err)
	last := strings.LastIndex(string(raw), "moof") - 4
	require.Zero(t, last%8)
	size := len(raw) - last
	copy(raw[last:], []byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size), 'f', 'r', 'e', 'e'})
	whole := -1
	for _, cut := range []int{0, 1, 8, 9, 100, 500, 800, 2000, size - 1, size} {
		path := filepath.Join(dir, "cut.mp4")
		require.NoError(t, os.WriteFile(path, raw[:last+cut], 0o644))
		n := len(ffprobe(t, path)["video"].Packets)
		require.Greater(t, n, 25)
		require.True(t, whole < 0 || n == whole, "cut after %d bytes", cut)
		whole = n
	}
}

func TestRecoveryLeavesLiveFilesAlone(t *testing.T) {
	b := newBench(t, nil)
	s := b.sink("x", nil)
	c := clip.New(t)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(0, 2*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	other := newFinisher(b.dir, 1, nil, slog.New(slog.DiscardHandler)) // as another process would
	other.recoverAll(ctx)
	require.Equal(t, []string{filepath.Base(s.cur.path)}, files(t, b.dir))
	require.NoError(t, s.Close(ctx))
	b.stop()
	require.Len(t, files(t, b.dir), 1)
}

func TestRecoveryAfterAStopInTheMiddleOfPublishing(t *testing.T) {
	for _, stage := range []string{"temp half written", "linked", "live removed"} {
		t.Run(stage, func(t *testing.T) {
			dir := t.TempDir()
			live, temp, final := filepath.Join(dir, "x.live.mp4"), filepath.Join(dir, "x.tmp.mp4"), filepath.Join(dir, "x.mp4")
			writeLive(t, dir, "x", 2*time.Second)
			if stage == "temp half written" {
				require.NoError(t, os.WriteFile(temp, []byte("half"), 0o644))
			} else {
				f, err := os.Open(live)
				require.NoError(t, err)
				st, _ := f.Stat()
				s, err := scanFile(f, st.Size())
				require.NoError(t, err)
				_, err = writeFinal(context.Background(), f, s, temp)
				require.NoError(t, err)
				f.Close()
				require.NoError(t, os.Link(temp, final))
				if stage == "live removed" {
					require.NoError(t, os.Remove(live))
				}
			}
			w := newFinisher(dir, 1, nil, slog.New(slog.DiscardHandler))
			w.recoverAll(context.Background())
			require.Equal(t, []string{"x.mp4"}, files(t, dir))
			require.Len(t, ffprobe(t, final)["video"].Packets, 50)
		})
	}
}

// writeLive leaves a growing file behind, as a killed process does.
func writeLive(t testing.TB, dir, base string, length time.Duration) string {
	c := clip.New(t)
	l, err := createLive(dir, mp4Container, header{meta: fileMeta{Stream: base, Base: base, Part: 1}}, 0)
	if err != nil {
		require.ErrorContains(t, err, "track")
	}
	require.NoError(t, c.Frames(0, length, func(f *media.Frame) error {
		if f.Track.Kind == media.Video && l.header.video == nil || f.Track.Kind == media.Audio && l.header.audio == nil {
			if err := l.addTrack(f.Track, f.Params); err != nil {
				return err
			}
		}
		return l.write(f)
	}))
	require.NoError(t, l.flush())
	require.NoError(t, l.f.Close())
	return l.path
}

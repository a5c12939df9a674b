package recorder

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/media"
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

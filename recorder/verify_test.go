package recorder

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/recorder/clip"
)

// recorded makes a finished file with its sidecar.
func recorded(t testing.TB, ext string, length time.Duration) string {
	t.Helper()
	b := newBench(t, withSidecar)
	c := clip.New(t)
	if ext == ".webm" {
		c = clip.NewVP8(t, "320x240")
	}
	s := b.sink("x", nil)
	for _, tr := range c.Tracks() {
		s.r.stream.AddTrack(tr)
	}
	s.Accepts()
	record(t, s, c, 0, length)
	b.stop()
	return filepath.Join(b.dir, "x"+ext)
}

// check is the container's verdict alone.
func checkFile(t testing.TB, path string, b []byte) (*found, error) {
	t.Helper()
	return checkerFor(filepath.Ext(path))(context.Background(), bytes.NewReader(b), int64(len(b)))
}

func TestVerify(t *testing.T) {
	ctx := context.Background()
	for _, ext := range []string{".mp4", ".webm"} {
		t.Run(ext, func(t *testing.T) {
			path := recorded(t, ext, 5*time.Second)
			p := Verify(ctx, path, false)
			require.True(t, p.OK, p.Reason)
			require.True(t, p.Proved)
			require.Len(t, p.Tracks, 2)
			require.EqualValues(t, 125, p.Tracks[0].Frames)
			require.InDelta(t, 5000, p.DurationMS, 25)

			body, err := os.ReadFile(path)
			require.NoError(t, err)
			side, err := os.ReadFile(path + sidecarExt)
			require.NoError(t, err)
			// One bit anywhere, of the file or of the sidecar.
			rnd := rand.New(rand.NewPCG(1, 2))
			places := []int{0, 4, 8, 40, len(body) / 2, len(body) - 1}
			for range 60 {
				places = append(places, rnd.IntN(len(body)))
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			for _, at := range places {
				_, err := f.WriteAt([]byte{body[at] ^ 1<<rnd.IntN(8)}, int64(at))
				require.NoError(t, err)
				p := Verify(ctx, path, false)
				require.False(t, p.OK, "byte %d", at)
				require.Contains(t, p.Reason, "SHA-256")
				_, err = f.WriteAt(body[at:at+1], int64(at))
				require.NoError(t, err)
			}
			for at := 0; at < len(side); at += 7 {
				side[at] ^= 1
				require.NoError(t, os.WriteFile(path+sidecarExt, side, 0o644))
				require.False(t, Verify(ctx, path, false).OK, "byte %d of the sidecar", at)
				side[at] ^= 1
			}
			require.NoError(t, os.WriteFile(path+sidecarExt, side, 0o644))
			require.True(t, Verify(ctx, path, false).OK)

			require.NoError(t, os.Truncate(path, int64(len(body)-1)))
			require.Contains(t, Verify(ctx, path, false).Reason, "bytes and not")
			require.NoError(t, os.WriteFile(path, body, 0o644))

			// Without a sidecar only the container speaks.
			require.NoError(t, os.Remove(path+sidecarExt))
			p = Verify(ctx, path, false)
			require.Contains(t, p.Reason, "no sidecar")
			p = Verify(ctx, path, true)
			require.True(t, p.OK, p.Reason)
			require.False(t, p.Proved)
			require.Contains(t, p.Note, "no sidecar")
			require.NoError(t, os.Truncate(path, int64(len(body)-1)))
			p = Verify(ctx, path, true)
			require.False(t, p.OK)
			require.NotNil(t, p.Offset)
		})
	}
}

// A sidecar that is sealed and lies is found out.
func TestVerifyComparesTheSidecarWithTheContainer(t *testing.T) {
	path := recorded(t, ".mp4", 2*time.Second)
	good, err := readSidecar(path)
	require.NoError(t, err)
	for name, change := range map[string]func(*Sidecar){
		"lasts":      func(s *Sidecar) { s.DurationMS += 40 },
		"tracks":     func(s *Sidecar) { s.Tracks = s.Tracks[:1] },
		"track 1":    func(s *Sidecar) { s.Tracks[0].Frames-- },
		"fragmented": func(s *Sidecar) { s.File.Fragmented = true },
	} {
		bad := *good
		bad.Tracks = append([]SidecarTrack(nil), good.Tracks...)
		change(&bad)
		b, err := bad.encode()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path+sidecarExt, b, 0o644))
		p := Verify(context.Background(), path, false)
		require.False(t, p.OK)
		require.Contains(t, p.Reason, name)
	}
}

// The containers' own checks find what a digest could only say is different.
func TestVerifyNamesWhatIsWrongWithTheContainer(t *testing.T) {
	mp4 := recorded(t, ".mp4", 3*time.Second)
	webm := recorded(t, ".webm", 3*time.Second)
	// after changes the byte that lies off behind the n-th occurrence of mark.
	after := func(mark string, n, off int, to byte) func([]byte) {
		return func(b []byte) {
			at := 0
			for range n {
				i := bytes.Index(b[at:], []byte(mark))
				require.GreaterOrEqual(t, i, 0, mark)
				at += i + len(mark)
			}
			require.NotEqual(t, to, b[at+off])
			b[at+off] = to
		}
	}
	for _, c := range []struct {
		name, path string
		change     func([]byte)
		want       string
	}{
		{"top level box", mp4, after("ftyp", 1, -5, 200), "box"},
		{"box type", mp4, after("mda", 1, 0, 'x'), "not expected"},
		{"first NAL length", mp4, after("mdat", 1, 0, 1), "NAL unit"},
		{"NAL header", mp4, after("mdat", 1, 4, 0xe5), "NAL unit"},
		{"sample size", mp4, after("stsz", 1, 15, 1), "sample"},
		{"no time passes", mp4, after("stts", 1, 15, 0), "time"},
		{"more samples have times", mp4, after("stts", 1, 11, 1), "ticks"},
		{"key frame table", mp4, after("stss", 1, 11, 2), "key frame"},
		{"chunk offset", mp4, after("stco", 1, 8, 0x7f), "outside the media"},
		{"duration", mp4, after("mvhd", 1, 19, 1), "ms"},
		{"EBML", webm, func(b []byte) { b[0] = 0 }, "EBML"},
		{"cluster", webm, after("\x1f\x43\xb6\x75", 1, 0, 0x1f), "torn"},
		{"cluster time", webm, after("\x1f\x43\xb6\x75", 3, 4+2, 0), "follow"},
		{"block flag", webm, after("\x1f\x43\xb6\x75", 3, 8, 0xa2), "damaged"},
		{"cue", webm, after("\xb3\x81", 1, 0, 7), "Cues"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := os.ReadFile(c.path)
			require.NoError(t, err)
			_, err = checkFile(t, c.path, b)
			require.NoError(t, err)
			c.change(b)
			_, err = checkFile(t, c.path, b)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestVerifySaysWhenAFileIsUnfinished(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	live := writeLive(t, dir, "x", 4*time.Second)
	p := Verify(ctx, live, false)
	require.False(t, p.OK)
	require.Contains(t, p.Reason, "unfinished")
	p = Verify(ctx, live, true)
	require.True(t, p.OK, p.Reason)
	require.Contains(t, p.Note, "unfinished: 4.0 s")
	st, err := os.Stat(live)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(live, st.Size()-100))
	p = Verify(ctx, live, true)
	require.False(t, p.OK)
	require.Contains(t, p.Reason, "torn")
	require.Positive(t, *p.Offset)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "y.tmp.mp4"), nil, 0o644))
	require.Contains(t, Verify(ctx, filepath.Join(dir, "y.tmp.mp4"), true).Reason, "y.live.mp4")
	for _, bad := range []string{"none.mp4", "x.txt", "."} {
		require.False(t, Verify(ctx, filepath.Join(dir, bad), true).OK)
	}
}

func TestVerifyAFileThatStayedFragmented(t *testing.T) {
	dir := t.TempDir()
	live := writeLive(t, dir, "x", 4*time.Second)
	st, err := os.Stat(live)
	require.NoError(t, err)
	undo := fullDisk(t, uint64(st.Size())/2)
	w := newFinisher(dir, 1, nil, slog.New(slog.DiscardHandler))
	w.sidecar = &SidecarApp{Name: "lineout"}
	w.recoverAll(context.Background())
	undo()
	path := filepath.Join(dir, "x.mp4")
	p := Verify(context.Background(), path, false)
	require.True(t, p.OK, p.Reason)
	require.Contains(t, p.Note, "fragments")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	at := bytes.LastIndex(b, []byte("moof"))
	b[at] = 'M'
	_, err = checkFile(t, path, b)
	require.ErrorContains(t, err, "fragment")
	b[at] = 'm'
	b[bytes.Index(b, []byte("mdat"))+4] = 9
	_, err = checkFile(t, path, b)
	require.ErrorContains(t, err, "NAL unit")
}

// Whatever a file holds, a verdict is reached.
func FuzzVerifyMP4(f *testing.F)  { fuzzVerify(f, ".mp4") }
func FuzzVerifyWebM(f *testing.F) { fuzzVerify(f, ".webm") }

func fuzzVerify(f *testing.F, ext string) {
	b, err := os.ReadFile(recorded(f, ext, 200*time.Millisecond))
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := checkerFor(ext)(context.Background(), bytes.NewReader(b), int64(len(b))); err == nil {
			require.NotEmpty(t, got.tracks)
		} else {
			require.False(t, strings.Contains(err.Error(), "runtime error"), err)
		}
	})
}

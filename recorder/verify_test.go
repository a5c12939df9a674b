package recorder

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/media"
)

// recorded makes a finished file with its sidecar.
func (r recipe) recorded(t testing.TB, length time.Duration) string {
	t.Helper()
	b := r.bench(t, withSidecar)
	c := r.load(t)
	record(t, r.sink(b, c), c, 0, length)
	b.stop()
	return filepath.Join(b.dir, "x"+r.ext)
}

// check is the container's verdict alone.
func checkFile(t testing.TB, path string, b []byte) (*found, error) {
	t.Helper()
	return checkerFor(filepath.Ext(path))(context.Background(), bytes.NewReader(b), int64(len(b)))
}

func TestVerify(t *testing.T) {
	ctx := context.Background()
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			path := r.recorded(t, 5*time.Second)
			p := Verify(ctx, path, false)
			require.True(t, p.OK, p.Reason)
			require.True(t, p.Proved)
			k := sidecarOf(t, path)
			require.Equal(t, r.format(), k.File.Format)
			require.False(t, k.File.Fragmented)
			require.Empty(t, k.Gaps)
			require.Equal(t, p.Tracks, k.Tracks)
			tracks := p.Tracks
			if r.video != "" {
				require.EqualValues(t, 125, p.Tracks[0].Frames)
				require.Equal(t, r.video, label(media.Codec(p.Tracks[0].Codec)))
				tracks = tracks[1:]
			}
			require.Len(t, tracks, 1)
			require.Equal(t, r.audio, label(media.Codec(tracks[0].Codec)))
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
	path := recipeOf("h264-mp4").recorded(t, 2*time.Second)
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

// resealed changes the n-th page of Ogg and its checksum with it.
func resealed(n int, change func(page []byte)) func([]byte) {
	return func(b []byte) {
		for ; n > 0; n-- {
			p, _ := parsePage(b)
			b = b[p.size:]
		}
		p, _ := parsePage(b)
		change(b[:p.size])
		sealPage(b[:p.size])
	}
}

// The containers' own checks find what a digest could only say is different.
func TestVerifyNamesWhatIsWrongWithTheContainer(t *testing.T) {
	mp4 := recipeOf("h264-mp4").recorded(t, 3*time.Second)
	webm := recipeOf("vp8-webm").recorded(t, 3*time.Second)
	mkv := recipeOf("h264-mkv PCMA").recorded(t, 3*time.Second)
	opus := recipeOf("mp4 sound Opus").recorded(t, 3*time.Second)
	ogg := recipeOf("ogg").recorded(t, 3*time.Second)
	wav := recipeOf("wav PCMA").recorded(t, 3*time.Second)
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
		{"H.264 in Matroska", mkv, after("\x81\x00\x00\x80", 1, 0, 1), "NAL unit"},
		{"codec in Matroska", mkv, after("A_MS/ACM", 1, -1, 'X'), "damaged"},
		{"Opus in MP4", opus, func(b []byte) { copy(b[bytes.Index(b, []byte("mdat"))+4:], []byte{0xff, 0x3f}) }, "Opus packet"},
		{"pre-skip in MP4", opus, after("dOps", 1, 3, 1), "dOps"},
		{"channels of Opus", opus, after("dOps", 1, 1, 3), "dOps"},
		{"gain of Opus", opus, after("dOps", 1, 8, 1), "dOps"},
		{"codec in MP4", opus, after("Opus", 1, -1, 'x'), "codec"},
		{"sample table of Opus", opus, after("stts", 1, 15, 0), "time"},
		{"Ogg page", ogg, after("OggS", 5, -1, 's'), "page 4 does not begin"},
		{"Ogg payload", ogg, func(b []byte) { b[len(b)-1] ^= 1 }, "checksum"},
		{"Ogg table", ogg, after("OggS", 4, 23, 1), "page 3"},
		{"Ogg number", ogg, resealed(3, func(p []byte) { p[18]++ }), "page 3 says it is page 4"},
		{"Ogg stream", ogg, resealed(3, func(p []byte) { p[14]++ }), "another stream"},
		{"Ogg granule", ogg, resealed(3, func(p []byte) { p[6]++ }), "sample"},
		{"Ogg packet", ogg, resealed(3, func(p []byte) { p[oggHead+int(p[26])] ^= 0x80 }), "sample"},
		{"Ogg mark", ogg, resealed(3, func(p []byte) { p[5] = oggEnd }), "follows the last"},
		{"Ogg begin", ogg, resealed(3, func(p []byte) { p[5] = oggBegin }), "marked"},
		{"Ogg end", ogg, func(b []byte) {
			at := bytes.LastIndex(b, []byte("OggS"))
			b[at+5] = 0
			sealPage(b[at:])
		}, "last page is missing"},
		{"pre-skip in Ogg", ogg, resealed(0, func(p []byte) { p[28+10] = 1 }), "Opus"},
		{"comments of Ogg", ogg, resealed(1, func(p []byte) { p[28] = 'o' }), "comments"},
		{"RIFF", wav, func(b []byte) { b[3] = 'X' }, "WAVE"},
		{"RIFF size", wav, func(b []byte) { b[4]++ }, "header says"},
		{"empty chunk of WAVE", wav, func(b []byte) { b[30] = 1 }, "JUNK"},
		{"format", wav, after("fmt ", 1, 4, 1), "fmt"},
		{"sampling rate", wav, after("fmt ", 1, 8, 0x41), "fmt"},
		{"fact", wav, after("fact", 1, 4, 1), "samples"},
		{"data size", wav, after("data", 1, 0, 1), "follow"},
		{"data size, too much", wav, after("data", 1, 3, 1), "announced"},
		{"unknown chunk", wav, after("fact", 1, -1, 'X'), "facX"},
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
	if !inProcess(t) {
		return
	}
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
	require.Contains(t, p.Note, "as it grew")
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

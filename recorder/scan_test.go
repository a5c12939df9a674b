package recorder

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lineout/media"
	"lineout/recorder/clip"
)

// A file cut anywhere gives what its whole fragments hold, never an error
// beyond the header and never more.
func TestTornFiles(t *testing.T) {
	raw, err := os.ReadFile(writeLive(t, t.TempDir(), "x", 4*time.Second))
	require.NoError(t, err)
	whole, err := scanFile(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	require.EqualValues(t, len(raw), whole.whole)
	require.Len(t, whole.tables[0].sizes, 100)
	require.Len(t, whole.tables[1].sizes, 188)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, len(raw)).Draw(t, "length")
		s, err := scanFile(bytes.NewReader(raw[:n]), int64(n))
		if n < headerSize {
			if err == nil {
				t.Fatalf("no error for %d bytes", n)
			}
			return
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if s.whole > int64(n) || len(s.tables) > 0 && len(s.tables[0].sizes) > 100 {
			t.Fatalf("cut at %d: %d whole", n, s.whole)
		}
		if len(s.tables) > 0 {
			if err := s.rewrite(context.Background(), bytes.NewReader(raw), io.Discard); err != nil {
				t.Fatalf("rewrite: %v", err)
			}
		}
	})
}

// Files beyond 4 GiB get 64-bit tables.
func TestLargeFilesGet64BitOffsets(t *testing.T) {
	raw, err := os.ReadFile(writeLive(t, t.TempDir(), "x", 4*time.Second))
	require.NoError(t, err)
	s, err := scanFile(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	s.payload += 5 << 30
	for _, tb := range s.tables {
		tb.chunks[len(tb.chunks)-1] += 5 << 30
	}
	head, err := s.head()
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 1, 'm', 'd', 'a', 't'}, head[len(head)-16:len(head)-8])
	for _, tb := range s.tables {
		stbl := tb.trak.Mdia.Minf.Stbl
		require.Nil(t, stbl.Stco)
		require.Greater(t, stbl.Co64.ChunkOffset[len(tb.chunks)-1], uint64(5<<30))
		require.Equal(t, uint64(len(head))+tb.chunks[0], stbl.Co64.ChunkOffset[0])
	}
}

func BenchmarkWriteFrame(bm *testing.B) {
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		bm.Run(kind.String(), func(bm *testing.B) {
			b := newBench(bm, nil)
			c := clip.New(bm)
			if kind == media.Audio {
				c.Video = nil
			} else {
				c.Audio = nil
			}
			s := b.sink("x", nil)
			ctx := context.Background()
			require.NoError(bm, s.Open(ctx, c.Tracks()))
			var frames []*media.Frame
			require.NoError(bm, c.Frames(0, 60*time.Second, func(f *media.Frame) error { frames = append(frames, f); return nil }))
			bm.ReportAllocs()
			bm.ResetTimer()
			for i := range bm.N {
				f := *frames[i%len(frames)]
				shift := time.Duration(i/len(frames)) * 60 * time.Second
				f.PTS, f.DTS = f.PTS+shift, f.DTS+shift
				if err := s.Write(ctx, &f); err != nil {
					bm.Fatal(err)
				}
			}
			bm.StopTimer()
			require.NoError(bm, s.Close(ctx))
		})
	}
}

// BenchmarkFinalise is per recorded second of 25 pictures and 47 AAC frames.
func BenchmarkFinalise(bm *testing.B) {
	dir := bm.TempDir()
	f, err := os.Open(writeLive(bm, dir, "x", time.Duration(max(bm.N, 10))*time.Second))
	require.NoError(bm, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(bm, err)
	bm.ReportAllocs()
	bm.ResetTimer()
	s, err := scanFile(f, st.Size())
	require.NoError(bm, err)
	_, err = writeFinal(context.Background(), f, s, dir+"/out.mp4")
	require.NoError(bm, err)
}

package recorder

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/media"
	"lineout/recorder/clip"
)

// Three minutes of call in many parts are the call to the frame: every access
// unit once, in order, each at its time, in parts that verify.
func TestRotationIsTheCallToTheFrame(t *testing.T) {
	const length = 3 * time.Minute
	for name, rotate := range map[string]rotation{"time": {after: 18 * time.Second}, "size": {bytes: 900 << 10}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, withSidecar)
			s := b.sink("x", func(r *recording) { r.rotation = rotate })
			c := clip.New(t)
			ctx := context.Background()
			require.NoError(t, s.Open(ctx, c.Tracks()))
			var want [3][]packetHash
			var first *media.Params // in the header
			require.NoError(t, c.Frames(0, length, func(f *media.Frame) error {
				data := f.Data[0]
				if f.Track.Kind == media.Video {
					first = cmp.Or(first, f.Params)
					data = appendAVCC(nil, f.Data, first)
				}
				sum := md5.Sum(data)
				want[f.Track.Kind] = append(want[f.Track.Kind], packetHash{f.PTS.Seconds(), len(data), hex.EncodeToString(sum[:])})
				return s.Write(ctx, f)
			}))
			require.NoError(t, s.Close(ctx))
			b.stop()

			parts := len(files(t, b.dir)) / 2
			require.Greater(t, parts, 8)
			var got [3][]packetHash
			for i := 1; i <= parts; i++ {
				path := filepath.Join(b.dir, fmt.Sprintf("x_%d.mp4", i))
				if i == parts {
					path = filepath.Join(b.dir, "x.mp4")
				}
				k := sidecarOf(t, path)
				require.Equal(t, i, k.Part)
				require.Equal(t, i == parts, k.Last)
				require.Empty(t, k.Gaps)
				start, err := time.Parse(time.RFC3339, k.Start.Server)
				require.NoError(t, err)
				p := Verify(ctx, path, false)
				require.True(t, p.OK, p.Reason)
				flip(t, path, i*7919)
				require.False(t, Verify(ctx, path, false).OK)
				flip(t, path, i*7919)
				for kind, l := range hashes(t, path) {
					for _, h := range l {
						h.pts += start.Sub(clipBegin).Seconds()
						got[kind] = append(got[kind], h)
					}
				}
			}
			for _, kind := range []media.Kind{media.Audio, media.Video} {
				require.Equal(t, len(want[kind]), len(got[kind]), kind)
				for i, w := range want[kind] {
					g := got[kind][i]
					require.Equal(t, w.md5, g.md5, "%s frame %d of %d", kind, i, len(want[kind]))
					require.InDelta(t, w.pts, g.pts, 0.0016, "%s frame %d", kind, i)
				}
			}
			t.Logf("%d parts hold all %d pictures and %d frames of sound", parts, len(want[media.Video]), len(want[media.Audio]))
		})
	}
}

// flip changes one bit of a file.
func flip(t *testing.T, path string, seed int) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[seed%len(b)] ^= 4
	require.NoError(t, os.WriteFile(path, b, 0o644))
}

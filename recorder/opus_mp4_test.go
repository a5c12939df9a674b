package recorder

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/codecs/opus"
	"lineout/media"
)

// Opus packets of any length follow each other to the sample, while the file
// grows and when it is finished, wherever the fragments are cut. The file has
// no pre-skip and says how far to go back before a seek.
func TestOpusPacketsOfAnyLengthInMP4(t *testing.T) {
	b := newBench(t, func(c *Config) { opusInMP4(c); c.Template = "{streamName}" })
	s := b.sink("x", nil)
	track := &media.Track{ID: "audio", Kind: media.Audio, Codec: opus.Name, ClockRate: opus.ClockRate}
	track.SetParams(&media.Params{SampleRate: opus.ClockRate, Channels: 2})
	s.r.stream.AddTrack(track)
	s.Accepts()
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, []*media.Track{track}))
	lengths := []time.Duration{2500, 5000, 10000, 20000, 40000, 60000, 120000}
	at, want := time.Duration(0), []float64(nil)
	for i := 0; at < 4*time.Second; i++ {
		f := &media.Frame{Track: track, Key: true, Params: track.Params(), Arrival: time.Unix(1_700_000_000, 0).Add(at)}
		// A nanosecond clock is never exact.
		f.DTS = at + time.Duration(i%3-1)*5*time.Microsecond
		f.PTS = f.DTS
		for k := range 1 + i%2 { // one or two packets
			d := lengths[(i+k)%len(lengths)] * time.Microsecond
			f.Data = append(f.Data, silentOpus(d))
			want = append(want, at.Seconds())
			at += d
		}
		require.NoError(t, s.Write(ctx, f))
		if i == 5 { // is no packet, and leaves a hole as long as nothing
			g := *f
			g.Data = [][]byte{{3}}
			require.NoError(t, s.Write(ctx, &g))
		}
	}
	require.NoError(t, s.cur.flush())
	live := s.cur.path
	exact := func(path string) {
		a := ffprobe(t, path)["audio"]
		require.Equal(t, "opus", a.Codec)
		require.Len(t, a.Packets, len(want))
		for i, p := range a.Packets {
			require.InDelta(t, want[i], p.PTS, 0.0000011, "packet %d", i)
		}
		decode(t, path)
	}
	exact(live)
	require.NoError(t, s.Close(ctx))
	b.stop()
	path := filepath.Join(b.dir, "x.mp4")
	exact(path)
	require.InDelta(t, at.Seconds(), ffprobe(t, path)["audio"].end(), 0.0000011)
	p := Verify(ctx, path, true)
	require.True(t, p.OK, p.Reason)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	head := raw[bytes.Index(raw, []byte("dOps"))+4:]
	require.Equal(t, []byte{0, 2, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 0}, head[:11])
	roll := raw[bytes.Index(raw, []byte("sgpd"))+4:]
	require.Equal(t, "roll", string(roll[4:8]))
	// 80 ms are 32 packets of the shortest.
	require.EqualValues(t, -32, int16(binary.BigEndian.Uint16(roll[16:])))
}

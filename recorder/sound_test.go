package recorder

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/media"
	"lineout/recorder/clip"
)

// samplesOf decodes a file to mono samples of 8 kHz.
func samplesOf(t testing.TB, path string) []int16 {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "8000", "-").Output()
	require.NoError(t, err)
	pcm := make([]int16, len(out)/2)
	require.NoError(t, binary.Read(bytes.NewReader(out), binary.LittleEndian, pcm))
	return pcm
}

// loud says whether the tone is heard in the 20 ms from a time on.
func loud(pcm []int16, at time.Duration) bool {
	from := int(at * 8000 / time.Second)
	top := int16(0)
	for _, v := range pcm[from : from+160] {
		top = max(top, v)
	}
	return top > 1000
}

// Files without times keep the timeline: what is missing is silence, what comes
// twice is there once.
func TestHolesKeepTheTimeline(t *testing.T) {
	for _, r := range recipes {
		if r.ext != ".ogg" && r.ext != ".wav" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			b := r.bench(t, func(c *Config) { c.Template = "{streamName}-{duration}" })
			c := r.load(t)
			s := r.sink(b, c)
			ctx := context.Background()
			require.NoError(t, s.Open(ctx, c.Tracks()))
			// Silence from 1 s to 2 s, from 4 s to 9 s and 53 ms, which no packet
			// fits into, and 100 ms that overlap what was before.
			require.NoError(t, c.Frames(0, 12*time.Second, func(f *media.Frame) error {
				g := *f
				switch {
				case f.DTS >= time.Second && f.DTS < 2*time.Second, f.DTS >= 4*time.Second && f.DTS < 9*time.Second:
					return nil
				case f.DTS >= 11*time.Second:
					g.DTS -= 47 * time.Millisecond
				case f.DTS >= 9*time.Second:
					g.DTS += 53 * time.Millisecond
				}
				g.PTS = g.DTS
				require.LessOrEqual(t, s.held(), 5<<20)
				return s.Write(ctx, &g)
			}))
			require.NoError(t, s.Close(ctx))
			b.stop()
			path := filepath.Join(b.dir, files(t, b.dir)[0])
			decode(t, path)
			pcm := samplesOf(t, path)
			require.InDelta(t, 11.953, float64(len(pcm))/8000, 0.021)
			for _, at := range []time.Duration{0, 950, 2030, 3950, 9080, 10950, 11100, 11900} {
				require.True(t, loud(pcm, at*time.Millisecond), "%v ms", at)
			}
			for _, at := range []time.Duration{1200, 1900, 4200, 6000, 9010} {
				require.False(t, loud(pcm, at*time.Millisecond), "%v ms", at)
			}
		})
	}
}

// held is what waits in memory.
func (s *sink) held() int {
	if s.cur == nil {
		return 0
	}
	return s.cur.mux.held()
}

// A hole that would fill the disk with silence begins a new part.
func TestLongHoleBeginsANewPart(t *testing.T) {
	r := recipes[len(recipes)-1]
	b := r.bench(t, func(c *Config) { c.Template = "{streamName}-{duration}" })
	c := r.load(t)
	s := r.sink(b, c)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(0, 2*time.Second, func(f *media.Frame) error {
		g := *f
		if f.DTS >= time.Second {
			g.DTS += longHole
		}
		return s.Write(ctx, &g)
	}))
	require.NoError(t, s.Close(ctx))
	b.stop()
	require.Equal(t, []string{"x-1000.wav", "x-1000_1.wav"}, files(t, b.dir))
}

// G.711 is kept byte for byte.
func TestG711IsNotTouched(t *testing.T) {
	for _, name := range []string{"wav PCMA", "wav PCMU"} {
		r := recipeOf(name)
		raw, err := os.ReadFile(r.recorded(t, 4*time.Second))
		require.NoError(t, err)
		var sent []byte
		require.NoError(t, r.load(t).Frames(0, 4*time.Second, func(f *media.Frame) error { sent = append(sent, f.Data[0]...); return nil }))
		require.Equal(t, sent, raw[len(raw)-len(sent):])
	}
}

// A growing WAVE file says its size, so that any player takes it.
func TestGrowingWAVEIsWhole(t *testing.T) {
	r := recipe{change: sound("wav"), clip: alone(g711Clip(g711.PCMA)), ext: ".wav"}
	raw, err := os.ReadFile(r.live(t, t.TempDir(), 3*time.Second))
	require.NoError(t, err)
	require.EqualValues(t, len(raw)-8, binary.LittleEndian.Uint32(raw[4:]))
	require.EqualValues(t, len(raw)-headerSize, binary.LittleEndian.Uint32(raw[headerSize-4:]))
	require.EqualValues(t, 24000, len(raw)-headerSize)
}

// bytesThen is a file with another begin.
type bytesThen struct {
	head []byte
	rest io.ReaderAt
}

func (r bytesThen) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.rest.ReadAt(p, at)
	if at < int64(len(r.head)) {
		copy(p[:n], r.head[at:])
	}
	return n, err
}

// Beyond 4 GiB the header is that of RF64 (EBU Tech 3306).
func TestLargeWAVEIsRF64(t *testing.T) {
	p := &media.Params{SampleRate: 48000, Channels: 1}
	small := waveHeader(l16.Name, p, 1<<32-1000, nil, 0)
	require.Equal(t, "RIFF", string(small[:4]))
	const size = 5 << 30
	for _, room := range []int{0, headerSize} {
		b := waveHeader(l16.Name, p, size, factsUUID[:], room)
		require.Equal(t, "RF64\xff\xff\xff\xffWAVEds64", string(b[:16]))
		require.EqualValues(t, len(b)-8+size, binary.LittleEndian.Uint64(b[20:]))
		require.EqualValues(t, size, binary.LittleEndian.Uint64(b[28:]))
		require.EqualValues(t, size/2, binary.LittleEndian.Uint64(b[36:]))
		// A file with nothing in it but its size takes no room on a disk.
		path := filepath.Join(t.TempDir(), "x.wav")
		require.NoError(t, os.WriteFile(path, b, 0o644))
		require.NoError(t, os.Truncate(path, int64(len(b))+size))
		out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration:stream=codec_name", "-of", "csv=p=0", path).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "pcm_s16le\n55924.053333\n", string(out))
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		got, err := checkWAV(context.Background(), f, int64(len(b))+size)
		require.NoError(t, err)
		require.EqualValues(t, 55924053, got.durationMS)
		require.Equal(t, room > 0, got.fragmented)
		_, err = checkWAV(context.Background(), f, int64(len(b))+size-2)
		require.ErrorContains(t, err, "announced")
		for at, want := range map[int]string{20: "header says", 28: "follow", 36: "samples", 44: "ds64"} {
			bad := bytes.Clone(b)
			bad[at] ^= 2
			if at == 28 {
				bad[at+4]-- // shorter
			}
			_, err := checkWAV(context.Background(), bytesThen{bad, f}, int64(len(b))+size)
			require.ErrorContains(t, err, want)
		}
	}
}

// When video joins, the sound file ends and a new part begins in the container
// of the video.
func TestVideoJoinsASoundFile(t *testing.T) {
	for _, r := range recipes {
		if r.ext != ".ogg" && r.ext != ".wav" || r.audio == "L16" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			b := r.bench(t, func(c *Config) { c.Policy, c.Formats = policyStreamName, []string{"h264-mkv", "vp8-mkv"} })
			c := r.load(t)
			s := b.live("x", "SIP", c.Audio)
			s.SetReady()
			_, err := b.call("recorder/startup", `{"streamName":"x"}`)
			require.NoError(t, err)
			b.feed(t, s, c, 0, 2*time.Second)
			require.Eventually(t, func() bool { l := b.Recordings(); return len(l) == 1 && l[0].Frames == 100 }, 10*time.Second, time.Millisecond)
			require.Equal(t, "x"+r.ext, b.RecordName(s.ID()))
			if c.Video = clip.New(t).Video; r.ext == ".ogg" {
				c.Video = clip.NewVP8(t, "320x240").Video
			}
			s.AddTrack(c.Video)
			sounds := 100
			for at := 2 * time.Second; b.Recordings()[0].Parts < 2; at += time.Second { // until the sink is open again
				b.feed(t, s, c, at, at+time.Second)
				sounds += 50
			}
			s.Close("")
			<-s.Done()
			b.stop()
			counted := map[string]int{}
			for _, n := range files(t, b.dir) {
				p := ffprobe(t, filepath.Join(b.dir, n))
				if filepath.Ext(n) == r.ext {
					counted[r.ext] += r.count(p["audio"])
					continue
				}
				require.Equal(t, ".mkv", filepath.Ext(n))
				counted[".mkv"] += len(p["audio"].Packets)
				require.NotEmpty(t, p["video"].Packets)
				require.True(t, p["video"].Packets[0].Key)
			}
			require.GreaterOrEqual(t, counted[r.ext], 100)
			require.Positive(t, counted[".mkv"])
			require.LessOrEqual(t, counted[r.ext]+counted[".mkv"], sounds)
		})
	}
}

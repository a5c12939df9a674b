package recorder

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/sinktest"
	"lineout/recorder/clip"
)

// recipe is a kind of call in a kind of file; tests of what is true of all
// files go through all of them.
type recipe struct {
	name         string
	change       func(*Config)
	clip         func() (*clip.Clip, error)
	ext          string
	video, audio string // as file names have them
	packets      int    // of sound in a second
}

func formats(f ...string) func(*Config) { return func(c *Config) { c.Formats = f } }

var recipes = []recipe{
	{"h264-mp4", formats("h264-mp4"), clip.Load, ".mp4", "H264", "AAC", 0},
	{"vp8-webm", formats("vp8-webm"), vp8Clip, ".webm", "VP8", "OPUS", 50},
	{"h264-mkv", formats("h264-mkv"), clip.Load, ".mkv", "H264", "AAC", 0},
	{"h264-mkv PCMA", formats("h264-mkv"), g711Clip(g711.PCMA), ".mkv", "H264", "PCMA", 50},
	{"h264-mkv PCMU", formats("h264-mkv"), g711Clip(g711.PCMU), ".mkv", "H264", "PCMU", 50},
	{"vp8-mkv", formats("vp8-mkv"), vp8Clip, ".mkv", "VP8", "OPUS", 50},
	{"h264-mp4 Opus", opusInMP4, opusClip, ".mp4", "H264", "OPUS", 50},
	{"mp4 sound", sound("mp4"), alone(clip.Load), ".mp4", "", "AAC", 0},
	{"mp4 sound Opus", opusInMP4, alone(vp8Clip), ".mp4", "", "OPUS", 50},
	{"ogg", sound("ogg"), alone(vp8Clip), ".ogg", "", "OPUS", 50},
	{"wav PCMA", sound("wav"), alone(g711Clip(g711.PCMA)), ".wav", "", "PCMA", 0},
	{"wav PCMU", sound("wav"), alone(g711Clip(g711.PCMU)), ".wav", "", "PCMU", 0},
	{"wav L16", sound("wav"), alone(g711Clip(l16.Name)), ".wav", "", "L16", 0},
}

func recipeOf(name string) recipe {
	return recipes[slices.IndexFunc(recipes, func(r recipe) bool { return r.name == name })]
}

// format is what a sidecar calls it.
func (r recipe) format() string {
	name, _, _ := strings.Cut(r.name, " ")
	if name == "mp4" {
		return mp4Container.format
	}
	return name
}

func sound(format string) func(*Config) { return func(c *Config) { c.AudioFormat = format } }

func opusInMP4(c *Config) { c.MP4Audio = "opus" }

// opusClip is H.264 with Opus.
func opusClip() (*clip.Clip, error) {
	c, err := clip.Load()
	if err != nil {
		return nil, err
	}
	v, err := vp8Clip()
	if err != nil {
		return nil, err
	}
	return c.WithSound(v), nil
}

// alone is a clip without its picture.
func alone(load func() (*clip.Clip, error)) func() (*clip.Clip, error) {
	return func() (*clip.Clip, error) {
		c, err := load()
		if err == nil {
			c.Video = nil
		}
		return c, err
	}
}

func vp8Clip() (*clip.Clip, error) { return clip.LoadVP8("320x240") }

func g711Clip(law media.Codec) func() (*clip.Clip, error) {
	return func() (*clip.Clip, error) { return clip.LoadG711(law) }
}

// codecNames are ffprobe's.
var codecNames = map[string]string{"H264": "h264", "VP8": "vp8", "AAC": "aac", "OPUS": "opus", "PCMA": "pcm_alaw", "PCMU": "pcm_mulaw", "L16": "pcm_s16le"}

func (r recipe) load(t testing.TB) *clip.Clip {
	c, err := r.clip()
	require.NoError(t, err)
	return c
}

// bench is a recorder with the recipe's settings.
func (r recipe) bench(t testing.TB, change func(*Config)) *bench {
	return newBench(t, func(c *Config) {
		r.change(c)
		if change != nil {
			change(c)
		}
	})
}

// sink is a sink whose stream has the clip's tracks.
func (r recipe) sink(b *bench, c *clip.Clip) *sink {
	s := b.sink("x", nil)
	for _, t := range c.Tracks() {
		s.r.stream.AddTrack(t)
	}
	s.Accepts()
	return s
}

func TestConformance(t *testing.T) {
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, sinktest.Spec{New: func(t *testing.T) pipeline.Sink { return r.sink(r.bench(t, nil), r.load(t)) }})
		})
	}
}

// seconds of sound and of picture are all there, each at its time.
func (r recipe) check(t testing.TB, path string, seconds int) {
	t.Helper()
	p := ffprobe(t, path)
	decode(t, path)
	proof := Verify(context.Background(), path, true)
	require.True(t, proof.OK, proof.Reason)
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path).Output()
	require.NoError(t, err)
	var length float64
	fmt.Sscan(string(out), &length)
	require.InDelta(t, seconds, length, 0.025)
	if r.video != "" {
		v := p["video"]
		require.Equal(t, codecNames[r.video], v.Codec)
		require.Equal(t, "320x240", v.Size)
		require.Len(t, v.Packets, seconds*clip.FPS)
		for i, k := range v.Packets {
			require.InDelta(t, float64(i)/clip.FPS, k.PTS, 0.00051)
			require.Equal(t, i%clip.FPS == 0, k.Key, "picture %d", i)
		}
	} else {
		require.NotContains(t, p, "video")
	}
	a := p["audio"]
	require.Equal(t, codecNames[r.audio], a.Codec)
	require.InDelta(t, seconds, a.end(), 0.025)
	if r.packets > 0 {
		require.Len(t, a.Packets, seconds*r.packets)
	}
	for i, k := range a.Packets {
		if r.ext == ".wav" { // ffprobe cuts it as it likes
			break
		}
		require.InDelta(t, float64(i)*a.end()/float64(len(a.Packets)), k.PTS, 0.00101)
	}
}

func TestEveryFormatIsFinalised(t *testing.T) {
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			b := r.bench(t, func(c *Config) { c.Template = "{streamName}-{startTime}-{duration}-{audioCodec}{videoCodec}" })
			c := r.load(t)
			record(t, r.sink(b, c), c, 0, 10*time.Second)
			b.stop()
			names := files(t, b.dir)
			require.Len(t, names, 1)
			require.Regexp(t, "^x-1700000000000-100(00|05)-"+r.audio+r.video+`\`+r.ext+"$", names[0])
			r.check(t, filepath.Join(b.dir, names[0]), 10)
		})
	}
}

// The parts of a rotated recording hold each packet once.
func TestEveryFormatRotates(t *testing.T) {
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			b := r.bench(t, func(c *Config) { c.Template = "{streamName}" })
			c := r.load(t)
			s := r.sink(b, c)
			s.r.rotation = rotation{after: 2500 * time.Millisecond}
			sent := map[media.Kind]int{}
			ctx := context.Background()
			require.NoError(t, s.Open(ctx, c.Tracks()))
			require.NoError(t, c.Frames(0, 9*time.Second, func(f *media.Frame) error {
				sent[f.Track.Kind]++
				return s.Write(ctx, f)
			}))
			require.NoError(t, s.Close(ctx))
			b.stop()
			names := files(t, b.dir)
			require.GreaterOrEqual(t, len(names), 3)
			for _, n := range names {
				p := ffprobe(t, filepath.Join(b.dir, n))
				decode(t, filepath.Join(b.dir, n))
				if r.video != "" {
					require.True(t, p["video"].Packets[0].Key)
				}
				sent[media.Video] -= len(p["video"].Packets)
				sent[media.Audio] -= r.count(p["audio"])
			}
			require.Zero(t, sent[media.Video])
			require.Zero(t, sent[media.Audio])
		})
	}
}

// count is the number of the call's packets of sound in a file.
func (r recipe) count(a probed) int {
	if r.ext == ".wav" {
		return int(math.Round((a.end() - a.Packets[0].PTS) / 0.02))
	}
	return len(a.Packets)
}

// live leaves a growing file behind, as a killed process does.
func (r recipe) live(t testing.TB, dir string, length time.Duration) string {
	b := r.bench(t, func(c *Config) { c.Template = "{streamName}" })
	c := r.load(t)
	s := r.sink(b, c)
	s.r.dir = dir
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(0, length, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.NoError(t, s.cur.flush())
	path := s.cur.path
	s.w.end()
	require.NoError(t, s.cur.f.Close())
	return path
}

// A growing file cut anywhere plays up to the cut, is finished by the next
// start, and then holds every whole fragment.
func TestEveryFormatCutAnywhere(t *testing.T) {
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			path := r.live(t, t.TempDir(), 4*time.Second)
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			whole := func(n int) scanned {
				s, err := containerOf(path).scan(bytes.NewReader(raw[:n]), int64(n))
				if n < headerSize {
					require.Error(t, err)
					return nil
				}
				require.NoError(t, err)
				require.LessOrEqual(t, s.wholeSize(), int64(n))
				return s
			}
			all := whole(len(raw))
			require.EqualValues(t, len(raw), all.wholeSize())
			require.InDelta(t, 4, all.ending().duration.Seconds(), 0.025)
			rng := rand.New(rand.NewPCG(1, 2))
			last := time.Duration(0)
			cuts := []int{0, 1, headerSize - 1, headerSize, headerSize + 1}
			for range 200 {
				cuts = append(cuts, rng.IntN(len(raw)))
			}
			slices.Sort(cuts)
			for i, n := range cuts {
				s := whole(n)
				if s == nil {
					continue
				}
				end := s.ending()
				require.GreaterOrEqual(t, end.duration, last)
				last = end.duration
				share := float64(n-headerSize) / float64(len(raw)-headerSize)
				require.InDelta(t, share*4, end.duration.Seconds(), 1.1, "cut at %d", n)
				if i%100 != 50 || s.empty() {
					continue
				}
				dir := t.TempDir()
				torn := filepath.Join(dir, filepath.Base(path))
				require.NoError(t, os.WriteFile(torn, raw[:n], 0o644))
				require.NoError(t, exec.Command("ffprobe", "-v", "quiet", "-show_packets", torn).Run())
				w := newFinisher(dir, 1, nil, slog.New(slog.DiscardHandler))
				w.recoverAll(context.Background())
				require.Equal(t, []string{"x" + r.ext}, files(t, dir))
				final := filepath.Join(dir, "x"+r.ext)
				decode(t, final)
				p := ffprobe(t, final)
				length := 0.0
				for _, track := range p {
					length = max(length, track.end())
				}
				// ffprobe does not tell the last packet's length in Matroska.
				require.InDelta(t, end.duration.Seconds(), length, 0.0405)
			}
		})
	}
}

func BenchmarkWriteAny(bm *testing.B) {
	for _, r := range recipes {
		bm.Run(r.name, func(bm *testing.B) {
			b := r.bench(bm, nil)
			c := r.load(bm)
			s := r.sink(b, c)
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

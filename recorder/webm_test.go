package recorder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lineout/media"
	"lineout/recorder/clip"
)

// vp8Sink is a sink whose stream has a VP8 track.
func (b *bench) vp8Sink(name string) *sink {
	s := b.sink(name, nil)
	s.r.stream.AddTrack(&media.Track{ID: "video", Kind: media.Video, Codec: webmContainer.video, ClockRate: 90000})
	s.Accepts()
	return s
}

// children lists the IDs of a Segment's children and fails on damage.
func children(t testing.TB, path string) []uint32 {
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	_, head, n := parseElement(raw)
	raw = raw[head+n:]
	id, head, n := parseElement(raw)
	require.EqualValues(t, idSegment, id)
	require.EqualValues(t, len(raw)-int(head), n, "the Segment's size")
	var ids []uint32
	require.True(t, eachElement(raw[head:], func(id uint32, _, _ int, _ []byte) bool {
		ids = append(ids, id)
		return true
	}))
	return ids
}

func TestWebMIsFinalised(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}-{startTime}-{duration}-{audioCodec}{videoCodec}" })
	record(t, b.vp8Sink("call_stream1"), clip.NewVP8(t, "320x240"), 0, 10*time.Second)
	b.stop()
	require.Equal(t, []string{"call_stream1-1700000000000-10000-OPUSVP8.webm"}, files(t, b.dir))
	path := filepath.Join(b.dir, files(t, b.dir)[0])
	require.Equal(t, []uint32{idSeekHead, idInfo, idTracks, idCues, idCluster}, children(t, path)[:5])
	p := ffprobe(t, path)
	decode(t, path)
	v, a := p["video"], p["audio"]
	require.Equal(t, "vp8", v.Codec)
	require.Equal(t, "320x240", v.Size)
	require.Equal(t, "opus", a.Codec)
	require.Len(t, v.Packets, 250)
	require.Len(t, a.Packets, 500)
	for i, k := range v.Packets {
		require.InDelta(t, float64(i)/clip.FPS, k.PTS, 0.00001)
		require.Equal(t, i%clip.FPS == 0, k.Key, "picture %d", i)
	}
	for i, k := range a.Packets {
		require.InDelta(t, float64(i)*0.02, k.PTS, 0.00001)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path).Output()
	require.NoError(t, err)
	require.Equal(t, "10.000000", strings.TrimSpace(string(out)))
}

// Cues lead to the key frames: a player that seeks lands on one, whatever was
// before it.
func TestWebMCuesPointAtKeyFrames(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
	record(t, b.vp8Sink("x"), clip.NewVP8(t, "320x240"), 0, 20*time.Second)
	b.stop()
	path := filepath.Join(b.dir, "x.webm")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	_, head, n := parseElement(raw)
	raw = raw[head+n:]
	_, head, _ = parseElement(raw)
	raw = raw[head:]
	cues := 0
	eachElement(raw, func(id uint32, at, _ int, p []byte) bool {
		switch id {
		case idSeekHead:
			eachElement(p, func(_ uint32, _, _ int, p []byte) bool {
				var want []byte
				eachElement(p, func(id uint32, _, _ int, v []byte) bool {
					if id == idSeekID {
						want = v
					} else {
						require.True(t, bytes.HasPrefix(raw[uintOf(v):], want))
					}
					return true
				})
				return true
			})
		case idCues:
			eachElement(p, func(_ uint32, _, _ int, p []byte) bool {
				var ms, cluster, relative uint64
				eachElement(p, func(id uint32, _, _ int, v []byte) bool {
					if id == idCueTime {
						ms = uintOf(v)
						return true
					}
					return eachElement(v, func(id uint32, _, _ int, v []byte) bool {
						switch id {
						case idCueClusterPosition:
							cluster = uintOf(v)
						case idCueRelativePos:
							relative = uintOf(v)
						}
						return true
					})
				})
				c := raw[cluster:]
				_, head, n := parseElement(c)
				first := true
				eachBlock(c[head:head+n], func(k block) bool {
					if uint64(k.at) == relative {
						require.True(t, k.key)
						require.EqualValues(t, videoID, k.track)
						require.EqualValues(t, ms, k.ms)
						require.True(t, first, "a key frame begins its cluster")
						cues++
					}
					first = false
					return true
				})
				return true
			})
		}
		return true
	})
	require.Equal(t, 20, cues)
	out, err := exec.Command("ffprobe", "-v", "error", "-read_intervals", "15.3%+#1", "-select_streams", "v", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.True(t, strings.HasPrefix(string(out), "15.000000,K"), "%s", out)
}

func TestWebMKeepsOffsetsAndGaps(t *testing.T) {
	for _, late := range []media.Kind{media.Audio, media.Video} {
		t.Run(late.String(), func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
			s := b.vp8Sink("x")
			c := clip.NewVP8(t, "320x240")
			ctx := context.Background()
			first := c.Audio
			if late == media.Audio {
				first = c.Video
			}
			// The other kind joins after 3 s, is shifted by 123.4 ms, and both
			// have a hole. An hour has passed before, in steps that no
			// millisecond holds.
			const join, shift, begin = 3 * time.Second, 123400 * time.Microsecond, time.Hour + 333333
			require.NoError(t, s.Open(ctx, []*media.Track{first}))
			added := false
			want := map[media.Kind][]time.Duration{}
			require.NoError(t, c.Frames(0, 12*time.Second, func(f *media.Frame) error {
				if f.DTS >= 5*time.Second && f.DTS < 8*time.Second {
					return nil
				}
				g := *f
				if f.Track.Kind == late {
					if f.DTS < join {
						return nil
					}
					if !added {
						added = true
						require.NoError(t, s.AddTrack(ctx, f.Track))
					}
					g.DTS += shift
				}
				want[f.Track.Kind] = append(want[f.Track.Kind], g.DTS)
				g.DTS += begin
				g.PTS = g.DTS
				return s.Write(ctx, &g)
			}))
			before := ffprobe(t, s.cur.path)
			require.NoError(t, s.Close(ctx))
			b.stop()
			after := ffprobe(t, filepath.Join(b.dir, "x.webm"))
			decode(t, filepath.Join(b.dir, "x.webm"))
			for k, times := range want {
				require.Len(t, after[k.String()].Packets, len(times))
				for i, at := range times {
					require.InDelta(t, at.Seconds(), after[k.String()].Packets[i].PTS, 0.00051, "%s %d", k, i)
				}
				for i, p := range before[k.String()].Packets {
					require.Equal(t, p.PTS, after[k.String()].Packets[i].PTS)
				}
			}
		})
	}
}

// VP8 changes its size in band: the file goes on and every frame decodes.
func TestWebMGoesOnWhenThePictureSizeChanges(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
	s := b.vp8Sink("x")
	small, large := clip.NewVP8(t, "320x240"), clip.NewVP8(t, "640x360")
	large.Video, large.Audio = small.Video, small.Audio
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, small.Tracks()))
	put := func(f *media.Frame) error { return s.Write(ctx, f) }
	require.NoError(t, small.Frames(0, 3*time.Second, put))
	require.NoError(t, large.Frames(3*time.Second, 6*time.Second, put))
	require.NoError(t, s.Close(ctx))
	b.stop()
	require.Equal(t, []string{"x.webm"}, files(t, b.dir))
	path := filepath.Join(b.dir, "x.webm")
	require.Len(t, ffprobe(t, path)["video"].Packets, 150)
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=width,height", "-of", "csv=p=0", path).CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("320,240\n", 75)+strings.Repeat("640,360\n", 75), string(out))
}

func TestWebMRotationLosesNothing(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
	s := b.vp8Sink("x")
	s.r.rotation = rotation{after: 2500 * time.Millisecond}
	record(t, s, clip.NewVP8(t, "320x240"), 0, 10*time.Second)
	b.stop()
	names := files(t, b.dir)
	require.Len(t, names, 4)
	pics, sounds := 0, 0
	for _, n := range names {
		p := ffprobe(t, filepath.Join(b.dir, n))
		decode(t, filepath.Join(b.dir, n))
		require.True(t, p["video"].Packets[0].Key)
		pics += len(p["video"].Packets)
		sounds += len(p["audio"].Packets)
	}
	require.Equal(t, 250, pics)
	require.Equal(t, 500, sounds)
}

// A stream decides when its video is known: before, its name is that of sound.
func TestVideoDecidesAboutTheContainer(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Policy = policyStreamName; c.SIPRecordStream = true })
	c := clip.NewVP8(t, "320x240")
	s := b.live("x", "SIP") // attached before its tracks are known
	require.Equal(t, "x.mp4", b.RecordName(s.ID()))
	for _, tr := range c.Tracks() {
		s.AddTrack(tr)
	}
	require.Equal(t, "x.webm", b.RecordName(s.ID()))
	s.SetReady()
	b.feed(t, s, c, 0, 2*time.Second)
	s.Close("")
	<-s.Done()
	b.stop()
	require.Equal(t, []string{"x.webm"}, files(t, b.dir))
	p := ffprobe(t, filepath.Join(b.dir, "x.webm"))
	require.Len(t, p["video"].Packets, 50)
	require.Len(t, p["audio"].Packets, 100)
}

// writeLiveWebM leaves a growing file behind, as a killed process does.
func writeLiveWebM(t testing.TB, dir, base string, length time.Duration) string {
	c := clip.NewVP8(t, "320x240")
	h := header{meta: fileMeta{Stream: base, Base: base, Part: 1}}
	h.add(c.Video, &media.Params{Width: 320, Height: 240})
	h.add(c.Audio, c.Audio.Params())
	l, err := createLive(dir, webmContainer, h, 0)
	require.NoError(t, err)
	require.NoError(t, c.Frames(0, length, l.write))
	require.NoError(t, l.flush())
	require.NoError(t, l.f.Close())
	return l.path
}

// A kill in the middle of a write leaves a file that plays up to it and is
// finished at the next start, wherever the write was cut.
func TestKilledWriteLeavesAPlayableWebM(t *testing.T) {
	dir := t.TempDir()
	raw, err := os.ReadFile(writeLiveWebM(t, t.TempDir(), "x", 2*time.Second))
	require.NoError(t, err)
	last := bytes.LastIndex(raw, []byte{0x1f, 0x43, 0xb6, 0x75})
	require.Zero(t, last%8)
	size := len(raw) - last
	for _, hidden := range []bool{true, false} {
		for _, cut := range []int{0, 1, 8, 9, 100, 500, 800, 2000, size - 1} {
			t.Run(fmt.Sprintf("hidden %v cut at %d", hidden, cut), func(t *testing.T) {
				torn := bytes.Clone(raw[:last+cut])
				if hidden && cut >= 8 {
					fragment := bytes.Clone(raw[last:])
					(&matroskaMuxer{}).hide(fragment)
					copy(torn[last:], fragment[:8])
				}
				path := filepath.Join(dir, "x.live.webm")
				require.NoError(t, os.WriteFile(path, torn, 0o644))
				// What a player gets of the torn file, with or without a complaint.
				out, err := exec.Command("ffprobe", "-v", "quiet", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0", path).Output()
				require.NoError(t, err)
				require.GreaterOrEqual(t, len(strings.Fields(string(out))), 37)
				w := newFinisher(dir, 1, nil, slog.New(slog.DiscardHandler))
				w.recoverAll(context.Background())
				require.Equal(t, []string{"x.webm"}, files(t, dir))
				final := filepath.Join(dir, "x.webm")
				decode(t, final)
				require.GreaterOrEqual(t, len(ffprobe(t, final)["video"].Packets), 37)
				require.NoError(t, os.Remove(final))
			})
		}
	}
}

// A file cut anywhere gives what its whole clusters hold, never an error
// beyond the header and never more.
func TestTornWebM(t *testing.T) {
	raw, err := os.ReadFile(writeLiveWebM(t, t.TempDir(), "x", 4*time.Second))
	require.NoError(t, err)
	whole, err := scanMatroska(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	require.EqualValues(t, len(raw), whole.whole)
	require.Equal(t, 100, whole.tracks[videoID].blocks)
	require.Equal(t, 200, whole.tracks[audioID].blocks)
	require.Equal(t, "x", whole.facts().Stream)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, len(raw)).Draw(t, "length")
		s, err := scanMatroska(bytes.NewReader(raw[:n]), int64(n))
		if n < headerSize {
			if err == nil {
				t.Fatalf("no error for %d bytes", n)
			}
			return
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if s.whole > int64(n) || int64(n)-s.whole > 64<<10 {
			t.Fatalf("cut at %d: %d whole", n, s.whole)
		}
		if err := s.rewrite(context.Background(), bytes.NewReader(raw[:n]), io.Discard); err != nil {
			t.Fatalf("rewrite: %v", err)
		}
	})
}

func BenchmarkWriteFrameWebM(bm *testing.B) {
	b := newBench(bm, nil)
	c := clip.NewVP8(bm, "320x240")
	s := b.vp8Sink("x")
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
}

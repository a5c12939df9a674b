package hls

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/h264"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
	"lineout/recorder/clip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func defaults() Config {
	return Config{ListSize: 8, Variant: "fmp4", SegmentDuration: 2 * time.Second, PartDuration: 200 * time.Millisecond,
		ProviderTimeout: 300 * time.Second, StartTimeout: 15 * time.Second, QueueDelay: 2 * time.Second}
}

// bench is an Output with its hub, both running.
type bench struct {
	*Output
	t    testing.TB
	hub  *pipeline.Hub
	stop func()
}

func newBench(t testing.TB, change func(*Config)) *bench {
	cfg := defaults()
	if change != nil {
		change(&cfg)
	}
	table := codecs.NewTable([]codecs.Codec{h264.Codec, aac.Codec}, nil)
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: table})
	o, err := New(outputs.Env{Streams: hub, Codecs: table, Log: slog.New(slog.DiscardHandler)}, cfg)
	require.NoError(t, err)
	b := &bench{Output: o, t: t, hub: hub}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- hub.Run(ctx) }()
	go func() { done <- o.Run(ctx) }()
	stopped := false
	b.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(b.stop)
	return b
}

func (b *bench) stream(name string) *pipeline.Stream {
	s, err := b.hub.Create(name, pipeline.Meta{})
	require.NoError(b.t, err)
	return s
}

// write puts frames straight into a packager's sink, faster than time.
func write(t testing.TB, s *sink, c *clip.Clip, from, to time.Duration) {
	require.NoError(t, c.Frames(from, to, func(f *media.Frame) error { return s.Write(context.Background(), f) }))
}

func open(t testing.TB, s *sink, c *clip.Clip) {
	require.NoError(t, c.Frames(0, 50*time.Millisecond, func(*media.Frame) error { return nil })) // makes the parameters known
	require.NoError(t, s.Open(context.Background(), c.Tracks()))
}

// settle waits until the newest muxer's content is known.
func settle(p *packager) {
	p.mu.Lock()
	g := p.gens[len(p.gens)-1]
	p.mu.Unlock()
	<-g.media
}

// direct is a packager whose attachment is idle, and a sink to write to it.
func (b *bench) direct(name string) (*packager, *sink) {
	p, err := b.Output.start(b.stream(name), false)
	require.NoError(b.t, err)
	return p, &sink{p: p}
}

func (b *bench) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.Routes()["/"].ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

type packet struct {
	StreamIndex int    `json:"stream_index"`
	PTS         string `json:"pts_time"`
	Type        string `json:"codec_type"`
}

// play reads a playlist that has an end with ffprobe and returns the times of
// its packets by kind.
func play(t testing.TB, url string) map[string][]float64 {
	t.Helper()
	var errs strings.Builder
	cmd := exec.Command("ffprobe", "-v", "error", "-show_packets", "-of", "json", url)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "ffprobe must be installed: %s", errs.String())
	var r struct{ Packets []packet }
	require.NoError(t, json.Unmarshal(out, &r))
	m := map[string][]float64{}
	for _, p := range r.Packets {
		var v float64
		fmt.Sscan(p.PTS, &v)
		m[p.Type] = append(m[p.Type], v)
	}
	return m
}

func serve(t testing.TB, b *bench) string {
	mux := http.NewServeMux()
	for pattern, h := range b.Routes() {
		mux.Handle(pattern, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestPlaysInFFmpeg(t *testing.T) {
	for _, variant := range []string{"fmp4", "lowLatency", "mpegts"} {
		for _, tracks := range []string{"both", "audio", "video"} {
			t.Run(variant+"/"+tracks, func(t *testing.T) {
				b := newBench(t, func(c *Config) { c.Variant = variant })
				url := serve(t, b)
				c := clip.New(t)
				switch tracks {
				case "audio":
					c.Video = nil
				case "video":
					c.Audio = nil
				}
				p, s := b.direct("call_stream1")
				open(t, s, c)
				write(t, s, c, 0, 11*time.Second)
				require.NoError(t, s.Close(context.Background()))
				p.end()
				got := play(t, url+"/call_stream1/call_stream1.m3u8")
				if tracks != "audio" {
					require.Len(t, got["video"], 275, "to the last picture")
				}
				if tracks != "video" {
					require.InDelta(t, 516, len(got["audio"]), 2)
				}
				if tracks == "both" {
					require.InDelta(t, got["video"][0], got["audio"][0], 0.03)
				}
				b.stop()
			})
		}
	}
}

func TestAudioKeepsItsOffset(t *testing.T) {
	for _, variant := range []string{"fmp4", "mpegts"} {
		t.Run(variant, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Variant = variant })
			url := serve(t, b)
			c := clip.New(t)
			p, s := b.direct("x")
			open(t, s, c)
			const late = 170 * time.Millisecond
			require.NoError(t, c.Frames(0, 7*time.Second, func(f *media.Frame) error {
				if f.Track.Kind == media.Audio {
					g := *f
					g.PTS, g.DTS = g.PTS+late, g.DTS+late
					f = &g
				}
				return s.Write(context.Background(), f)
			}))
			require.NoError(t, s.Close(context.Background()))
			p.end()
			got := play(t, url+"/x/x.m3u8")
			off := got["audio"][0] - got["video"][0] - late.Seconds()
			require.InDelta(t, 0, math.Remainder(off, aac.FrameSize/48000.), 0.001)
			require.Less(t, off, 0.03)
		})
	}
}

// Pictures that are converted come after their sound; none of it may be missing.
func TestSoundBeforeALatePictureIsKept(t *testing.T) {
	b := newBench(t, nil)
	url := serve(t, b)
	c := clip.New(t)
	var sound, pictures []*media.Frame
	require.NoError(t, c.Frames(0, 6*time.Second, func(f *media.Frame) error {
		if f.Track == c.Video {
			pictures = append(pictures, f)
		} else {
			sound = append(sound, f)
		}
		return nil
	}))
	st := b.stream("x")
	st.AddTrack(c.Audio)
	st.AddTrack(c.Video)
	c.Video.SetParams(nil) // known with the first converted picture
	st.SetReady()
	p, err := b.start(st, false)
	require.NoError(t, err)
	var begin time.Duration // of what the attachment has got
	require.Eventually(t, func() bool {
		begin = sound[0].PTS
		st.Write(sound[0])
		sound = sound[1:]
		return p.att.Stats().QueueFrames > 0
	}, 10*time.Second, time.Millisecond)
	until := func(list []*media.Frame, at time.Duration) []*media.Frame {
		for ; len(list) > 0 && list[0].PTS < at; list = list[1:] {
			st.Write(list[0])
		}
		return list
	}
	sound = until(sound, begin+400*time.Millisecond)
	c.Video.SetParams(pictures[0].Params)
	for at := begin + 400*time.Millisecond; len(sound) > 0; at += 400 * time.Millisecond { // in pieces that fit into a live queue
		pictures, sound = until(pictures, at), until(sound, at)
		require.Eventually(t, func() bool { return p.att.Stats().QueueFrames == 0 }, 10*time.Second, time.Millisecond)
	}
	st.Close("call ended")
	<-st.Done()
	<-p.gone
	got := play(t, url+"/x/x.m3u8")
	require.InDelta(t, begin.Seconds(), got["audio"][0]-got["video"][0], 0.05)
}

func TestNewPictureSizeIsADiscontinuity(t *testing.T) {
	for _, variant := range []string{"fmp4", "lowLatency", "mpegts"} {
		t.Run(variant, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Variant = variant })
			url := serve(t, b)
			small, large := clip.New(t), clip.Sized(t, "640x360")
			large.Video, large.Audio = small.Video, small.Audio
			p, s := b.direct("x")
			open(t, s, small)
			write(t, s, small, 0, 7*time.Second)
			small.Video.SetParams(nil)
			write(t, s, large, 8*time.Second, 15*time.Second)
			settle(p)
			file := "video1_stream.m3u8"
			if variant == "mpegts" {
				file = "main_stream.m3u8"
			}
			before := b.get("/x/" + file).Body.String()
			require.Equal(t, 1, strings.Count(before, "#EXT-X-DISCONTINUITY\n"), before)
			require.NotContains(t, before, "ENDLIST")
			require.Contains(t, before, "#EXT-X-DISCONTINUITY-SEQUENCE:0\n")
			// Sequence numbers go on when the first generation leaves the list.
			write(t, s, large, 16*time.Second, 35*time.Second)
			after := b.get("/x/" + file).Body.String()
			require.Equal(t, 0, strings.Count(after, "#EXT-X-DISCONTINUITY\n"), after)
			require.Contains(t, after, "#EXT-X-DISCONTINUITY-SEQUENCE:1\n")
			require.Greater(t, parseList(after).sequence, parseList(before).sequence)
			require.Len(t, parseList(after).segments, 8)
			require.Len(t, p.gens, 1, "the old muxer is freed")
			require.NoError(t, s.Close(context.Background()))
			p.end()
			got := play(t, url+"/x/x.m3u8")
			require.Equal(t, 7*50+25, len(got["video"]))
		})
	}
}

// Sound goes on over a discontinuity to the frame: the old muxer gives out the
// one it holds back.
func TestNoSoundIsLostAtADiscontinuity(t *testing.T) {
	for _, variant := range []string{"fmp4", "mpegts"} {
		t.Run(variant, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Variant = variant })
			url := serve(t, b)
			small, large := clip.New(t), clip.Sized(t, "640x360")
			large.Video, large.Audio = small.Video, small.Audio
			p, s := b.direct("x")
			open(t, s, small)
			write(t, s, small, 0, 7*time.Second)
			small.Video.SetParams(nil)
			write(t, s, large, 7*time.Second, 13*time.Second)
			require.NoError(t, s.Close(context.Background()))
			p.end()
			got := play(t, url+"/x/x.m3u8")["audio"]
			for i := 1; i < len(got); i++ {
				require.InDelta(t, frameTime.Seconds(), got[i]-got[i-1], 0.005, "after %v s", got[i-1])
			}
			require.InDelta(t, 13, got[len(got)-1]-got[0], 0.1)
		})
	}
}

// A stream may end just after a key frame, when the last segment has next to no
// sound or none at all: it is kept.
func TestShortLastSegmentIsKept(t *testing.T) {
	for _, variant := range []string{"fmp4", "mpegts", "lowLatency"} {
		for _, mute := range []bool{false, true} {
			t.Run(fmt.Sprint(variant, mute), func(t *testing.T) {
				b := newBench(t, func(c *Config) { c.Variant = variant })
				url := serve(t, b)
				c := clip.New(t)
				p, s := b.direct("x")
				open(t, s, c)
				pictures, sounds := 0, 0
				lastKey := time.Hour
				require.NoError(t, c.Frames(0, 20*time.Second, func(f *media.Frame) error {
					switch {
					case f.Track.Kind == media.Video && f.Key && f.DTS >= 6*time.Second:
						lastKey = min(lastKey, f.DTS)
					case f.DTS > lastKey+60*time.Millisecond, mute && f.Track.Kind == media.Audio && f.DTS > lastKey-40*time.Millisecond:
						return nil
					}
					if f.DTS > lastKey+60*time.Millisecond {
						return nil
					}
					if f.Track.Kind == media.Video {
						pictures++
					} else {
						sounds += len(f.Data)
					}
					return s.Write(context.Background(), f)
				}))
				require.NoError(t, s.Close(context.Background()))
				p.end()
				got := play(t, url+"/x/x.m3u8")
				require.Len(t, got["video"], pictures)
				require.InDelta(t, sounds, len(got["audio"]), 2, "of which silence may be some")
				require.GreaterOrEqual(t, len(got["audio"]), sounds)
			})
		}
	}
}

// Times that miss a segment's length by less than a tick are cut as the muxer
// cuts them, else the last segment would not be closed.
func TestLastSegmentByTicks(t *testing.T) {
	b := newBench(t, nil)
	url := serve(t, b)
	c := clip.New(t)
	p, s := b.direct("x")
	open(t, s, c)
	pictures := 0
	require.NoError(t, c.Frames(0, 7*time.Second, func(f *media.Frame) error {
		g := *f
		if g.Track.Kind == media.Video {
			pictures++
			if g.DTS > time.Second {
				g.PTS, g.DTS = g.PTS-4*time.Microsecond, g.DTS-4*time.Microsecond
			}
		}
		return s.Write(context.Background(), &g)
	}))
	require.NoError(t, s.Close(context.Background()))
	p.end()
	require.Len(t, play(t, url+"/x/x.m3u8")["video"], pictures)
}

// Pictures that are not shown in the order they come keep their times, to the last.
func TestReorderedPictures(t *testing.T) {
	aus := reordered(t)
	require.Len(t, aus, 175)
	for _, variant := range []string{"fmp4", "mpegts", "lowLatency"} {
		t.Run(variant, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Variant = variant })
			url := serve(t, b)
			p, s := b.direct("x")
			tr := &media.Track{ID: "v", Kind: media.Video, Codec: h264.Name, ClockRate: h264.ClockRate}
			tr.SetParams(h264.Codec.Params(nil, aus[0].nals))
			require.Equal(t, 1, tr.Params().Reorder)
			require.NoError(t, s.Open(context.Background(), []*media.Track{tr}))
			for i, au := range aus {
				require.NoError(t, s.Write(context.Background(), &media.Frame{Track: tr, Params: tr.Params(), Key: au.key, Data: au.nals,
					DTS: time.Duration(i) * 40 * time.Millisecond, PTS: time.Duration(au.shown*1e9) + 40*time.Millisecond}))
			}
			require.NoError(t, s.Close(context.Background()))
			p.end()
			got := play(t, url+"/x/x.m3u8")["video"]
			require.Len(t, got, 175)
			slices.Sort(got)
			for i := 1; i < len(got); i++ {
				require.InDelta(t, 0.04, got[i]-got[i-1], 0.001, "picture %d", i)
			}
		})
	}
}

type accessUnit struct {
	nals  [][]byte
	key   bool
	shown float64 // seconds
}

// reordered are 175 pictures of x264 with B-frames, 25 per second, one slice in each.
func reordered(t *testing.T) (aus []accessUnit) {
	t.Helper()
	mp4, raw := t.TempDir()+"/b.mp4", t.TempDir()+"/b.h264"
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x180:r=25:d=7", "-pix_fmt", "yuv420p",
		"-c:v", "libx264", "-profile:v", "main", "-g", "25", "-bf", "2", "-b_strategy", "0", "-b-pyramid", "none", "-sc_threshold", "0", mp4).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("ffmpeg", "-v", "error", "-i", mp4, "-c", "copy", raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(raw)
	require.NoError(t, err)
	var cur accessUnit
	for _, n := range bytes.Split(b, []byte{0, 0, 1})[1:] {
		n = bytes.TrimRight(n, "\x00") // of the next start code
		cur.nals = append(cur.nals, n)
		if typ := n[0] & 31; typ == 1 || typ == 5 {
			cur.key = typ == 5
			aus = append(aus, cur)
			cur = accessUnit{}
		}
	}
	out, err = exec.Command("ffprobe", "-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0", mp4).Output()
	require.NoError(t, err)
	for i, l := range strings.Fields(string(out)) {
		_, err := fmt.Sscan(strings.Trim(l, ","), &aus[i].shown)
		require.NoError(t, err)
	}
	return aus
}

// A phone that is turned again and again begins a generation each time; while
// nobody looks at the playlist they must not pile up.
func TestOldGenerationsAreFreedUnasked(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, func(c *Config) { c.ListSize, c.Dir = 3, dir })
	small, large := clip.New(t), clip.Sized(t, "640x360")
	large.Video, large.Audio = small.Video, small.Audio
	p, s := b.direct("x")
	open(t, s, small)
	for i := range 8 {
		c := small
		if i%2 == 1 {
			c = large
		}
		small.Video.SetParams(nil)
		write(t, s, c, time.Duration(8*i)*time.Second, time.Duration(8*i+7)*time.Second)
		settle(p)
	}
	p.mu.Lock()
	number, kept := p.number, len(p.gens)
	p.mu.Unlock()
	require.Equal(t, 8, number)
	require.LessOrEqual(t, kept, 4, "the one being written and three in the playlist")
	ents, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, ents, kept)
	l := parseList(b.get("/x/video1_stream.m3u8").Body.String())
	require.Len(t, l.segments, 3)
	for _, seg := range l.segments {
		require.Equal(t, http.StatusOK, b.get("/x/"+seg.uri).Code)
	}
}

func TestLateTrackKeepsPlaylistsAlive(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	video := c.Video
	p, s := b.direct("x")
	c.Video = nil
	open(t, s, c)
	write(t, s, c, 0, 5*time.Second)
	require.Equal(t, http.StatusOK, b.get("/x/audio1_stream.m3u8").Code)
	require.NoError(t, s.Close(context.Background()))
	c.Video = video
	open(t, s, c)
	write(t, s, c, 5*time.Second, 12*time.Second)
	settle(p)
	l := b.get("/x/audio1_stream.m3u8").Body.String()
	require.Contains(t, l, "#EXT-X-DISCONTINUITY\n")
	master := b.get("/x/x.m3u8").Body.String()
	require.Contains(t, master, "video2_stream.m3u8")
	require.Contains(t, master, "audio1_stream.m3u8")
	for _, seg := range parseList(l).segments {
		require.Equal(t, http.StatusOK, b.get("/x/"+seg.uri).Code)
	}
}

func TestSegmentsOnDiskAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, variant := range []string{"fmp4", "mpegts"} {
		b := newBench(t, func(c *Config) { c.Dir, c.Variant = dir, variant })
		c := clip.New(t)
		p, s := b.direct("x")
		open(t, s, c)
		write(t, s, c, 0, 9*time.Second)
		ents, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, ents, 1)
		require.NoError(t, s.Close(context.Background()))
		p.close()
		p.close()
		b.stop()
		ents, err = os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, ents)
	}
}

func TestPausesOfOneTrack(t *testing.T) {
	for _, silent := range []media.Kind{media.Audio, media.Video} {
		t.Run(silent.String(), func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.ListSize = 20 })
			url := serve(t, b)
			c := clip.New(t)
			p, s := b.direct("x")
			open(t, s, c)
			require.NoError(t, c.Frames(0, 21*time.Second, func(f *media.Frame) error {
				if f.Track.Kind == silent && f.DTS > 5*time.Second && f.DTS < 15*time.Second {
					return nil
				}
				return s.Write(context.Background(), f)
			}))
			require.NoError(t, s.Close(context.Background()))
			p.end()
			for _, file := range []string{"video1", "audio2"} {
				text := b.get("/x/" + file + "_stream.m3u8").Body.String()
				for _, seg := range parseList(text).segments {
					body := b.get("/x/" + seg.uri).Body.String()
					require.Contains(t, body, "traf", "an empty segment in %s", text)
					require.Less(t, seg.duration, 8.)
				}
			}
			got := play(t, url+"/x/x.m3u8")
			if silent == media.Audio {
				require.Len(t, got["video"], 525)
			} else {
				require.Greater(t, len(got["audio"]), 900)
				require.InDelta(t, 15, got["video"][126]-got["video"][0], 0.001)
			}
		})
	}
}

func TestLostPicturesDoNotStopHLS(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	p, s := b.direct("x")
	open(t, s, c)
	n := 0
	require.NoError(t, c.Frames(0, 30*time.Second, func(f *media.Frame) error {
		if f.Track.Kind == media.Video {
			if n++; !f.Key && n%7 < 3 {
				return nil
			}
		}
		return s.Write(context.Background(), f)
	}))
	require.Len(t, parseList(p.gens[0].text("video1_stream.m3u8")).segments, 8)
	require.NoError(t, s.Close(context.Background()))
}

func TestSettings(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"hls_variant":                  func(c *Config) { c.Variant = "x" },
		"hls_segment_duration":         func(c *Config) { c.SegmentDuration = 0 },
		"hls_queue":                    func(c *Config) { c.QueueDelay = 0 },
		"hls_part_duration":            func(c *Config) { c.PartDuration = time.Hour },
		"hls_manager_provider_timeout": func(c *Config) { c.ProviderTimeout = 0 },
		"hls_start_timeout":            func(c *Config) { c.StartTimeout = 0 },
		"hls_list_size":                func(c *Config) { c.ListSize = 2 },
		"hls_dir":                      func(c *Config) { c.Dir = "/dev/null/x" },
	} {
		cfg := defaults()
		change(&cfg)
		_, err := New(outputs.Env{Log: slog.New(slog.DiscardHandler)}, cfg)
		require.ErrorContains(t, err, name)
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("#EXTM3U\n#EXT-X-VERSION:10\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:3\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:2.0,\na.mp4\n")
	f.Add("#EXT-X-MAP:URI=\"\n#EXTINF\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseList(text).segments {
			if s.uri == "" || strings.HasPrefix(s.uri, "#") {
				t.Errorf("segment with URI %q", s.uri)
			}
		}
	})
}

func FuzzRequestPath(f *testing.F) {
	f.Add("/a/b.m3u8")
	f.Add("/..%2f../x")
	f.Add("//%00/")
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequest(http.MethodGet, "http://h"+path, nil)
		if err != nil {
			return
		}
		if name, file, ok := split(r); ok && (name == "" && file == "") {
			t.Errorf("empty parts from %q", path)
		}
	})
}

func BenchmarkWriteFrame(bm *testing.B) {
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		bm.Run(kind.String(), func(bm *testing.B) {
			b := newBench(bm, nil)
			c := clip.New(bm)
			if kind == media.Audio { // alone: segments are cut at pictures as soon as there are any
				c.Video = nil
			} else {
				c.Audio = nil
			}
			_, s := b.direct("x")
			open(bm, s, c)
			write(bm, s, c, 0, time.Second)
			bm.ReportAllocs()
			n := 0
			bm.ResetTimer()
			err := c.Frames(time.Second, 1000*time.Hour, func(f *media.Frame) error {
				if n++; n > bm.N {
					return io.EOF
				}
				return s.Write(context.Background(), f)
			})
			if !errors.Is(err, io.EOF) {
				bm.Fatalf("ended after %d frames of %d: %v", n, bm.N, err)
			}
		})
	}
}

package recorder

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
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

func TestMain(m *testing.M) {
	if dir := os.Getenv("LINEOUT_TEST_WRITER"); dir != "" {
		writeForEver(dir)
		return
	}
	if os.Getenv(clip.Folder) != "" { // a process of a test that runs already
		goleak.VerifyTestMain(m)
		return
	}
	dir, err := os.MkdirTemp("", "clips")
	if err != nil {
		panic(err)
	}
	os.Setenv(clip.Folder, dir)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// bench is a recorder with a hub and its Run.
type bench struct {
	*Output
	t    testing.TB
	hub  *pipeline.Hub
	dir  string
	stop func()
}

func defaults(dir string) Config {
	return Config{RecordStreams: true, Dir: dir, Policy: policyTemplate, Template: "stream-{mediaSessionId}-{login}",
		Formats: formatNames(), AudioFormat: "mp4", MP4Audio: "aac", HookTimeout: 10 * time.Second, SyncInterval: 5 * time.Second, Finalisers: 2, ShutdownTimeout: 20 * time.Second}
}

func newBench(t testing.TB, change func(*Config)) *bench {
	cfg := defaults(t.TempDir())
	if change != nil {
		change(&cfg)
	}
	table := codecs.NewTable([]codecs.Codec{h264.Codec, aac.Codec}, nil)
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: table})
	o, err := New(outputs.Env{Streams: hub, Codecs: table, Log: slog.New(slog.DiscardHandler)}, cfg)
	require.NoError(t, err)
	b := &bench{Output: o, t: t, hub: hub, dir: cfg.Dir}
	hubCtx, stopHub := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- hub.Run(hubCtx) }()
	go func() { done <- o.Run(ctx) }()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		stopHub()
		require.NoError(t, <-done)
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(b.stop)
	return b
}

// sink returns a sink of a new stream that is not attached to it: tests write
// into it directly, faster than time.
func (b *bench) sink(name string, change func(*recording)) *sink {
	s, err := b.hub.Create(name, pipeline.Meta{Login: "10005"})
	require.NoError(b.t, err)
	r := &recording{o: b.Output, stream: s, dir: b.dir, template: b.template(""), syncEvery: time.Hour}
	r.frames.total, r.bytes.total = &b.Output.frames, &b.Output.bytes
	r.stopping.Store(true)
	if change != nil {
		change(r)
	}
	k := &sink{r: r, w: b.finish}
	k.Accepts()
	return k
}

// record writes a clip's frames to a sink between Open and Close.
func record(t testing.TB, s *sink, c *clip.Clip, from, to time.Duration) {
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(from, to, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.NoError(t, s.Close(ctx))
}

func files(t testing.TB, dir string) []string {
	ents, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range ents {
		names = append(names, e.Name())
	}
	return names
}

// probed is what ffprobe says of one track.
type probed struct {
	Codec   string
	Start   float64
	Packets []packet
	Size    string
}

type packet struct {
	PTS, DTS, Dur float64
	Key           bool
}

func (p probed) end() float64 { l := p.Packets[len(p.Packets)-1]; return l.PTS + l.Dur }

// ffprobe reads every packet of a file and fails on any complaint.
func ffprobe(t testing.TB, path string) map[string]probed {
	t.Helper()
	cmd := exec.Command("ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", path)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "ffprobe must be installed: %s", errs.String())
	require.Empty(t, errs.String(), "ffprobe complains about %s", path)
	var r struct {
		Streams []struct {
			CodecType, CodecName, StartTime string
			Index, Width, Height            int
		}
		Packets []struct {
			StreamIndex int    `json:"stream_index"`
			PTS         string `json:"pts_time"`
			DTS         string `json:"dts_time"`
			Dur         string `json:"duration_time"`
			Flags       string
		}
	}
	raw := strings.NewReplacer("codec_type", "CodecType", "codec_name", "CodecName", "start_time", "StartTime").Replace(string(out))
	require.NoError(t, json.Unmarshal([]byte(raw), &r))
	byIndex := map[int]string{}
	m := map[string]probed{}
	num := func(s string) (v float64) { fmt.Sscan(s, &v); return v }
	for _, s := range r.Streams {
		byIndex[s.Index] = s.CodecType
		m[s.CodecType] = probed{Codec: s.CodecName, Start: num(s.StartTime), Size: fmt.Sprintf("%dx%d", s.Width, s.Height)}
	}
	for _, p := range r.Packets {
		s := m[byIndex[p.StreamIndex]]
		s.Packets = append(s.Packets, packet{num(p.PTS), num(p.DTS), num(p.Dur), strings.HasPrefix(p.Flags, "K")})
		m[byIndex[p.StreamIndex]] = s
	}
	return m
}

// decode plays the whole file and fails on any decoding error.
func decode(t testing.TB, path string) {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-f", "null", "-").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out), "ffmpeg complains about %s", path)
}

// boxes lists the top level boxes of a file.
func boxes(t testing.TB, path string) []string {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	st, _ := f.Stat()
	var kinds []string
	for pos := int64(0); pos < st.Size(); {
		kind, n, err := boxAt(f, pos, st.Size())
		require.NoError(t, err)
		kinds = append(kinds, kind)
		pos += n
	}
	return kinds
}

func TestRecordingIsFinalised(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}-{startTime}-{duration}-{audioCodec}{videoCodec}" })
	s := b.sink("call_stream1", nil)
	record(t, s, clip.New(t), 0, 10*time.Second)
	b.stop()
	require.Equal(t, []string{"call_stream1-1700000000000-10005-AACH264.mp4"}, files(t, b.dir))
	path := filepath.Join(b.dir, files(t, b.dir)[0])
	require.Equal(t, []string{"ftyp", "moov", "mdat"}, boxes(t, path))
	p := ffprobe(t, path)
	decode(t, path)
	v, a := p["video"], p["audio"]
	require.Equal(t, "h264", v.Codec)
	require.Equal(t, "320x240", v.Size)
	require.Equal(t, "aac", a.Codec)
	require.Len(t, v.Packets, 250)
	require.Len(t, a.Packets, 469)
	require.Zero(t, v.Packets[0].PTS)
	require.Zero(t, a.Packets[0].PTS)
	for i, k := range v.Packets {
		require.InDelta(t, float64(i)/clip.FPS, k.PTS, 0.0001)
		require.Equal(t, i%clip.FPS == 0, k.Key, "picture %d", i)
	}
	for i, k := range a.Packets {
		require.InDelta(t, float64(i)*1024/48000, k.PTS, 0.00003)
	}
}

func TestOffsetBetweenAudioAndVideoIsKept(t *testing.T) {
	for _, late := range []media.Kind{media.Audio, media.Video} {
		t.Run(late.String(), func(t *testing.T) {
			b := newBench(t, nil)
			s := b.sink("x", nil)
			c := clip.New(t)
			ctx := context.Background()
			first := c.Audio
			if late == media.Audio {
				first = c.Video
			}
			// The sink is opened with one track; the other joins after 3 s, in
			// the same file, and is shifted by 100 ms against the clip.
			const join, shift = 3 * time.Second, 100 * time.Millisecond
			require.NoError(t, s.Open(ctx, []*media.Track{first}))
			added := false
			require.NoError(t, c.Frames(0, 8*time.Second, func(f *media.Frame) error {
				if f.Track.Kind == late {
					if f.DTS < join {
						return nil
					}
					if !added {
						added = true
						require.NoError(t, s.AddTrack(ctx, f.Track))
					}
					g := *f
					g.PTS, g.DTS = g.PTS+shift, g.DTS+shift
					f = &g
				}
				return s.Write(ctx, f)
			}))
			live := s.cur.path
			before := ffprobe(t, live)
			require.NoError(t, s.Close(ctx))
			b.stop()
			after := ffprobe(t, filepath.Join(b.dir, files(t, b.dir)[0]))
			for name, p := range map[string]map[string]probed{"growing": before, "finished": after} {
				want := map[string]float64{"audio": 0, "video": 0}
				want[late.String()] = (join + shift).Seconds()
				for k, w := range want {
					require.InDelta(t, w, p[k].Packets[0].PTS, 0.022, "%s %s", name, k)
				}
			}
			a, v := after["audio"].Packets[0].PTS, after["video"].Packets[0].PTS
			if late == media.Video {
				require.InDelta(t, 3.1, v-a, 0.0001)
			} else {
				require.InDelta(t, 141*1024/48000.+0.1, a-v, 0.0001)
			}
		})
	}
}

func TestGapsKeepPositions(t *testing.T) {
	b := newBench(t, nil)
	s := b.sink("x", nil)
	c := clip.New(t)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(0, 8*time.Second, func(f *media.Frame) error {
		if f.DTS > 2*time.Second && f.DTS < 5*time.Second {
			return nil
		}
		return s.Write(ctx, f)
	}))
	require.NoError(t, s.Close(ctx))
	b.stop()
	p := ffprobe(t, filepath.Join(b.dir, files(t, b.dir)[0]))
	v := p["video"].Packets
	require.InDelta(t, 2, v[50].PTS, 0.0001)
	require.InDelta(t, 5, v[51].PTS, 0.0001)
	require.InDelta(t, 3, v[50].Dur, 0.0001)
	require.InDelta(t, 8, p["video"].end(), 0.0001)
	require.InDelta(t, 8, p["audio"].end(), 0.022)
}

func TestAudioOnly(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	c.Video = nil
	record(t, b.sink("x", nil), c, 0, 3*time.Second)
	b.stop()
	path := filepath.Join(b.dir, files(t, b.dir)[0])
	p := ffprobe(t, path)
	decode(t, path)
	require.Len(t, p, 1)
	require.Len(t, p["audio"].Packets, 141)
}

func TestResolutionChangeBeginsANewPart(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
	s := b.sink("x", nil)
	small, large := clip.New(t), clip.Sized(t, "640x360")
	large.Video, large.Audio = small.Video, small.Audio
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, small.Tracks()))
	require.NoError(t, small.Frames(0, 3*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	small.Video.SetParams(nil)
	require.NoError(t, large.Frames(4*time.Second, 7*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.NoError(t, s.Close(ctx))
	b.stop()
	require.ElementsMatch(t, []string{"x_1.mp4", "x.mp4"}, files(t, b.dir))
	one, two := ffprobe(t, filepath.Join(b.dir, "x_1.mp4")), ffprobe(t, filepath.Join(b.dir, "x.mp4"))
	require.Equal(t, "320x240", one["video"].Size)
	require.Equal(t, "640x360", two["video"].Size)
	require.Equal(t, 150, len(one["video"].Packets)+len(two["video"].Packets))
	decode(t, filepath.Join(b.dir, "x_1.mp4"))
	decode(t, filepath.Join(b.dir, "x.mp4"))
}

// A browser sends what its network takes: its pictures grow in one file.
func TestPicturesThatAdaptStayInOneFile(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
	st, err := b.hub.Create("x", pipeline.Meta{Adapts: true})
	require.NoError(t, err)
	s := b.sink("unused", func(r *recording) { r.stream = st })
	small, large := clip.New(t), clip.Sized(t, "640x360")
	large.Video, large.Audio = small.Video, small.Audio
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, small.Tracks()))
	require.NoError(t, small.Frames(0, 3*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	small.Video.SetParams(nil)
	require.NoError(t, large.Frames(3*time.Second, 6*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.NoError(t, s.Close(ctx))
	b.stop()
	require.Equal(t, []string{"x.mp4"}, files(t, b.dir))
	require.Len(t, ffprobe(t, filepath.Join(b.dir, "x.mp4"))["video"].Packets, 150)
	decode(t, filepath.Join(b.dir, "x.mp4"))
}

func TestRotationLosesNothing(t *testing.T) {
	for name, r := range map[string]rotation{"time": {after: 2500 * time.Millisecond}, "size": {bytes: 200 << 10}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
			s := b.sink("x", func(rec *recording) { rec.rotation = r })
			record(t, s, clip.New(t), 0, 10*time.Second)
			b.stop()
			names := files(t, b.dir)
			require.Greater(t, len(names), 2)
			require.Contains(t, names, "x.mp4")
			pics, sounds := 0, 0
			for i := range names {
				n := "x.mp4"
				if i < len(names)-1 {
					n = fmt.Sprintf("x_%d.mp4", i+1)
				}
				p := ffprobe(t, filepath.Join(b.dir, n))
				decode(t, filepath.Join(b.dir, n))
				require.True(t, p["video"].Packets[0].Key)
				pics += len(p["video"].Packets)
				sounds += len(p["audio"].Packets)
			}
			require.Equal(t, 250, pics)
			require.Equal(t, 469, sounds)
		})
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Template = "{streamName}" })
	other := filepath.Join(b.dir, "x.mp4")
	require.NoError(t, os.WriteFile(other, []byte("dear"), 0o644))
	c := clip.New(t)
	s := b.sink("x", nil)
	for range 3 {
		record(t, s, c, 0, time.Second)
	}
	b.stop()
	require.ElementsMatch(t, []string{"x.mp4", "x_1.mp4", "x_2.mp4", "x_3.mp4"}, files(t, b.dir))
	got, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, "dear", string(got))
}

func TestFileNameOfARequestCannotLeaveTheFolder(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	for _, n := range []string{"../../etc/passwd", "/abs", "..", ".", "a/b.mp4", "x\x00y", "-rf", ".hidden", strings.Repeat("ü", 300), "bad\xff", "a.live", "b.tmp.mp4"} {
		s := b.sink("s"+n, func(r *recording) { r.template = fixedName(n) })
		record(t, s, c, 0, 200*time.Millisecond)
	}
	b.stop()
	names := files(t, b.dir)
	require.Len(t, names, 12)
	for _, n := range names {
		require.LessOrEqual(t, len(n), 255)
		require.NotContains(t, n, "..")
		require.False(t, isLive(n) || isTemp(n), n)
	}
}

// A phone that sends another SPS with each key frame gets a file each ten
// seconds, not each key frame, and every file decodes.
func TestParametersThatChangeAllTheTime(t *testing.T) {
	for _, format := range []string{"h264-mp4", "h264-mkv"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(c *Config) { withSidecar(c); c.Formats = []string{format} })
			s := b.sink("x", nil)
			small, large := clip.New(t), clip.Sized(t, "640x360")
			large.Video, large.Audio = small.Video, small.Audio
			for _, tr := range small.Tracks() {
				s.r.stream.AddTrack(tr)
			}
			s.Accepts()
			ctx := context.Background()
			require.NoError(t, s.Open(ctx, small.Tracks()))
			write := func(f *media.Frame) error { return s.Write(ctx, f) }
			for sec := range 35 {
				c := small
				if sec%2 == 1 {
					c = large
				}
				small.Video.SetParams(nil)
				at := time.Duration(sec) * time.Second
				require.NoError(t, c.Frames(at, at+time.Second, write))
			}
			require.NoError(t, s.Close(ctx))
			b.stop()
			pictures, parts, inBand := 0, 0, 0
			for _, n := range files(t, b.dir) {
				if strings.HasSuffix(n, sidecarExt) {
					continue
				}
				path := filepath.Join(b.dir, n)
				parts++
				decode(t, path)
				proof := Verify(ctx, path, false)
				require.True(t, proof.OK, proof.Reason)
				if strings.HasPrefix(proof.Tracks[0].Parameters, "avc3") {
					inBand++
				}
				// Decoding may begin at every key frame.
				out, err := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-ss", "0.9", "-i", path, "-frames:v", "30", "-f", "null", "-").CombinedOutput()
				require.NoError(t, err)
				require.Empty(t, string(out))
				pictures += len(ffprobe(t, path)["video"].Packets)
			}
			// The first and the last have a second and one size: a change is
			// followed at once if none was in the ten seconds before.
			require.Equal(t, 5, parts)
			require.Equal(t, 35*clip.FPS, pictures)
			if format == "h264-mp4" {
				require.Equal(t, 3, inBand)
			}
		})
	}
}

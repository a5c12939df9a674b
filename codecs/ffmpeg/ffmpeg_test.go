package ffmpeg

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lineout/codecs"
	"lineout/codecs/h264"
	"lineout/codecs/vp8"
	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var defaults = Config{Path: "ffmpeg", Bitrate: 2000, Preset: "superfast", Threads: 1, KeyInterval: 2 * time.Second}

// clip is n pictures of VP8 made by the real encoder, a key frame every 50.
func clip(t testing.TB, size string, n int) [][]byte {
	t.Helper()
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=rate=25:size="+size, "-frames:v", fmt.Sprint(n),
		"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "0", "-g", "50", "-enc_time_base", "1:1000", "-f", "ivf", "-")
	out, err := cmd.Output()
	require.NoError(t, err, "ffmpeg with libvpx is needed: make deps")
	d := &ivfDemuxer{r: bufio.NewReader(bytes.NewReader(out))}
	var list [][]byte
	for range n {
		p, err := d.next()
		require.NoError(t, err)
		list = append(list, p.data[0])
	}
	return list
}

// frames gives a clip times that are no whole milliseconds, at a rate that
// wanders, with a pause of 3 s before picture 60.
func frames(pics [][]byte, from time.Duration) []*media.Frame {
	var list []*media.Frame
	at := from
	for i, p := range pics {
		at += 40*time.Millisecond + time.Duration(i*7919%5_000_000)
		if i == 60 {
			at += 3 * time.Second
		}
		f := &media.Frame{PTS: at, DTS: at, Data: [][]byte{p}, Arrival: time.Unix(int64(i), 0)}
		f.Params = vp8.Codec.Params(nil, f.Data)
		f.Key = f.Params != nil
		list = append(list, f)
	}
	return list
}

// converter is the conversion from the other codec to this one.
func converter(t testing.TB, to media.Codec) codecs.Converter {
	t.Helper()
	from := h264.Name
	if to == from {
		from = vp8.Name
	}
	return between(t, from, to)
}

func between(t testing.TB, from, to media.Codec) codecs.Converter {
	t.Helper()
	for _, c := range Converters(context.Background(), defaults, slog.New(slog.DiscardHandler)) {
		if c.From == from && c.To == to {
			return c
		}
	}
	t.Fatalf("no conversion %s→%s: ffmpeg with libx264 and libvpx is needed: make deps", from, to)
	panic("unreachable")
}

func begin(t testing.TB, c codecs.Converter, asked *int) *conversion {
	t.Helper()
	in := &media.Track{ID: "video", Kind: media.Video, Codec: c.From, ClockRate: 90000, RequestKeyframe: func() { *asked++ }}
	conv, err := c.New(in, codecs.Options{})
	require.NoError(t, err)
	return conv.(*conversion)
}

// run converts all frames.
func run(t testing.TB, c *conversion, in []*media.Frame) []*media.Frame {
	t.Helper()
	var out []*media.Frame
	emit := func(f *media.Frame) { out = append(out, f) }
	for _, f := range in {
		require.NoError(t, c.Convert(f, emit))
	}
	require.NoError(t, c.Flush(emit))
	require.NoError(t, c.Close())
	return out
}

// sameTimes wants every picture that went in, under its very time.
func sameTimes(t testing.TB, in, out []*media.Frame) {
	t.Helper()
	require.Len(t, out, len(in))
	for i, f := range out {
		require.Equal(t, in[i].PTS, f.PTS, "picture %d", i)
		require.Equal(t, in[i].PTS, f.DTS, "picture %d", i)
		require.Equal(t, in[i].Arrival, f.Arrival, "picture %d", i)
		require.Equal(t, in[i].Gap, f.Gap, "picture %d", i)
	}
}

// decodable counts the pictures another program sees in H.264.
func decodable(t testing.TB, out []*media.Frame) int {
	t.Helper()
	var b []byte
	for _, f := range out {
		for _, n := range f.Data {
			b = append(append(b, 0, 0, 0, 1), n...)
		}
	}
	cmd := exec.Command("ffprobe", "-v", "error", "-f", "h264", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", "-")
	cmd.Stdin = bytes.NewReader(b)
	s, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", s)
	n := 0
	_, err = fmt.Sscan(string(s), &n)
	require.NoError(t, err, "ffprobe complains: %s", s)
	return n
}

func TestVP8ToH264AndBack(t *testing.T) {
	var asked int
	in := frames(clip(t, "322x240", 150), 1234567*time.Microsecond)
	in[50].Gap = true
	out := run(t, begin(t, converter(t, h264.Name), &asked), in)
	sameTimes(t, in, out)
	require.Equal(t, 150, decodable(t, out))
	require.Zero(t, asked)
	var last time.Duration
	for i, f := range out {
		require.Equal(t, h264.Codec.Keyframe(f.Data), f.Key)
		if f.Key {
			require.True(t, h264.HasParameterSets(f.Data))
			require.True(t, i == 0 || f.PTS-last >= 1900*time.Millisecond, "picture %d: key frame after %v", i, f.PTS-last)
			last = f.PTS
		}
		require.Less(t, f.PTS-last, 2*time.Second, "picture %d", i)
		require.Same(t, out[0].Params, f.Params)
	}
	require.True(t, out[0].Key)
	require.Equal(t, 322, out[0].Params.Width)
	require.Equal(t, 240, out[0].Params.Height)
	require.Len(t, out[0].Params.Sets, 2)

	back := run(t, begin(t, converter(t, vp8.Name), &asked), out)
	sameTimes(t, out, back)
	for i, f := range back {
		require.Equal(t, out[i].Key, f.Key, "picture %d: a key frame of the source is one here, no other is", i)
	}
	require.Equal(t, 322, back[0].Params.Width)
	require.Equal(t, 240, back[0].Params.Height)
}

// To encode anew keeps the times as any other conversion does.
func TestAnew(t *testing.T) {
	var asked int
	in := frames(clip(t, "320x240", 100), 1234567*time.Microsecond)
	anew := run(t, begin(t, between(t, vp8.Name, vp8.Name), &asked), in)
	sameTimes(t, in, anew)
	require.NotEqual(t, in[10].Data, anew[10].Data)
	out := run(t, begin(t, converter(t, h264.Name), &asked), anew)
	again := run(t, begin(t, between(t, h264.Name, h264.Name), &asked), out)
	sameTimes(t, in, again)
	require.Equal(t, 100, decodable(t, again))
	require.NotEqual(t, out[10].Data, again[10].Data)
}

// The last pictures before a pause come by themselves, not with what follows it.
func TestLastPicturesCome(t *testing.T) {
	in := frames(clip(t, "320x180", 10), 0)
	c := begin(t, converter(t, h264.Name), nil)
	defer c.Close()
	var out []*media.Frame
	emit := func(f *media.Frame) { out = append(out, f) }
	for _, f := range in {
		if err := c.Convert(f, emit); err != nil {
			t.Fatal(err)
		}
	}
	limit := time.After(30 * time.Second)
	for len(out) < len(in) {
		select {
		case <-c.Ready():
			c.Collect(emit)
		case <-limit:
			t.Fatalf("%d pictures of %d came", len(out), len(in))
		}
	}
	if c.Ready() != nil {
		t.Error("nothing is under way, but something is said to become ready")
	}
	sameTimes(t, in, out)
}

func TestSizeChange(t *testing.T) {
	var asked int
	in := frames(append(clip(t, "320x240", 70), clip(t, "175x143", 70)...), 0)
	out := run(t, begin(t, converter(t, h264.Name), &asked), in)
	sameTimes(t, in, out)
	require.Equal(t, [2]int{320, 240}, [2]int{out[69].Params.Width, out[69].Params.Height})
	require.Equal(t, [2]int{174, 142}, [2]int{out[70].Params.Width, out[70].Params.Height}, "odd sides lose a line")
	require.True(t, out[70].Key)
	require.NotSame(t, out[69].Params, out[70].Params)
}

func TestPictureTooLarge(t *testing.T) {
	var asked int
	c := begin(t, converter(t, h264.Name), &asked)
	key := []byte{0x10, 0, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0}
	require.Empty(t, run(t, c, frames([][]byte{key}, 0)))
	require.True(t, c.refused)
}

// A program that dies is replaced after a pause; what comes then begins with a
// key frame that says that something is missing.
func TestProgramDies(t *testing.T) {
	var asked int
	c := begin(t, converter(t, h264.Name), &asked)
	now := time.Unix(0, 0)
	c.now = func() time.Time { return now }
	in := frames(clip(t, "320x240", 120), 0)
	var out []*media.Frame
	emit := func(f *media.Frame) { out = append(out, f) }
	for _, f := range in[:30] {
		require.NoError(t, c.Convert(f, emit))
	}
	first := c.child
	require.NoError(t, syscall.Kill(first.cmd.Process.Pid, syscall.SIGKILL))
	<-first.done
	require.NoError(t, c.Convert(in[50], emit), "a key frame, but too early")
	require.Equal(t, 1, asked)
	n := len(out)
	require.Nil(t, c.child)
	now = now.Add(minPause)
	require.NoError(t, c.Convert(in[51], emit), "late enough, but no key frame")
	require.Equal(t, 2, asked)
	require.Nil(t, c.child)
	second := run(t, c, in[100:])
	require.Len(t, second, 20)
	require.True(t, second[0].Key)
	require.True(t, second[0].Gap)
	require.False(t, second[1].Gap)
	require.Equal(t, in[100].PTS, second[0].PTS)
	require.LessOrEqual(t, n, 30)
	require.Len(t, out, n)
}

func TestPauseGrows(t *testing.T) {
	var asked int
	c := begin(t, converter(t, h264.Name), &asked)
	c.path = script(t, "exit 1")
	now := time.Unix(0, 0)
	c.now = func() time.Time { return now }
	key := frames(clip(t, "320x240", 1), 0)[0]
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		require.NoError(t, c.Convert(key, func(*media.Frame) {}))
		<-c.child.done
		require.NoError(t, c.Convert(key, func(*media.Frame) {}))
		require.Nil(t, c.child)
		require.Equal(t, want*time.Millisecond, c.retryAt.Sub(now))
		now = c.retryAt
	}
	require.NoError(t, c.Close())
}

// A program that takes everything and answers nothing is given up.
func TestProgramHangs(t *testing.T) {
	var asked int
	c := begin(t, converter(t, h264.Name), &asked)
	c.path = script(t, "sleep 1000 & sleep 1000")
	c.patience = time.Millisecond
	in := frames(clip(t, "320x240", maxUnderWay), 0)
	var pid int
	for _, f := range in {
		require.NoError(t, c.Convert(f, func(*media.Frame) { t.Error("a picture from nowhere") }))
		if c.child != nil {
			pid = c.child.cmd.Process.Pid
		}
	}
	require.Nil(t, c.child)
	require.Equal(t, 1, asked)
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the program was not reaped")
	require.NoError(t, c.Close())
}

func TestCloseKills(t *testing.T) {
	var asked int
	c := begin(t, converter(t, h264.Name), &asked)
	for _, f := range frames(clip(t, "320x240", 5), 0) {
		require.NoError(t, c.Convert(f, func(*media.Frame) {}))
	}
	pid := c.child.cmd.Process.Pid
	require.NoError(t, c.Close())
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	require.NoError(t, c.Close(), "twice is once")
}

func script(t testing.TB, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

func TestConvertersOfThisMachine(t *testing.T) {
	for _, c := range []struct {
		name, path string
		want       []media.Codec
		log        string
	}{
		{"both", "ffmpeg", []media.Codec{h264.Name, vp8.Name, h264.Name, vp8.Name}, ""},
		{"off", "", nil, ""},
		{"missing", filepath.Join(t.TempDir(), "none"), nil, "no such file"},
		{"broken", script(t, "exit 3"), nil, "exit status 3"},
		{"without x264", script(t, "echo ' V....D libvpx  VP8'"), []media.Codec{vp8.Name, vp8.Name}, "without libx264"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b lockedBuffer
			cfg := defaults
			cfg.Path = c.path
			var got []media.Codec
			for _, v := range Converters(context.Background(), cfg, slog.New(slog.NewTextHandler(&b, nil))) {
				got = append(got, v.To)
			}
			require.Equal(t, c.want, got)
			require.Contains(t, b.String(), c.log)
			if c.log == "" {
				require.Empty(t, b.String())
			} else {
				require.Equal(t, 1, strings.Count(b.String(), "\n"), b.String())
			}
		})
	}
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func BenchmarkVP8ToH264(b *testing.B) {
	var asked int
	pics := clip(b, "640x360", 250)
	for b.Loop() {
		run(b, begin(b, converter(b, h264.Name), &asked), frames(pics, 0))
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N*len(pics)), "ms/picture")
}

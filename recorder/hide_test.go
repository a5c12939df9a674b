package recorder

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/api/fault"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/opus"
	"lineout/media"
	"lineout/recorder/clip"
)

// packetHash is one packet as ffmpeg copies it out of a file.
type packetHash struct {
	pts  float64
	size int
	md5  string
}

// hashes lists a file's packets by kind.
func hashes(t testing.TB, path string) map[media.Kind][]packetHash {
	t.Helper()
	m := map[media.Kind][]packetHash{}
	for kind, sel := range map[media.Kind]string{media.Audio: "0:a?", media.Video: "0:v?"} {
		cmd := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", sel, "-c", "copy", "-copyts", "-f", "framemd5", "-")
		out, err := cmd.Output()
		require.NoError(t, err)
		base := 1.0
		for _, line := range strings.Split(string(out), "\n") {
			if tb, ok := strings.CutPrefix(line, "#tb 0: "); ok {
				var n, d float64
				fmt.Sscanf(tb, "%f/%f", &n, &d)
				base = n / d
			}
			f := strings.Split(strings.ReplaceAll(line, " ", ""), ",")
			if len(f) < 6 || strings.HasPrefix(line, "#") {
				continue
			}
			var p packetHash
			fmt.Sscan(f[2], &p.pts)
			fmt.Sscan(f[4], &p.size)
			p.pts, p.md5 = p.pts*base, f[5]
			m[kind] = append(m[kind], p)
		}
	}
	return m
}

// peaks is the loudest sample of each millisecond of a file's sound, 0 to 1.
func peaks(t testing.TB, path string) []float64 {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-vn", "-ac", "1", "-ar", "48000", "-f", "s16le", "-").Output()
	require.NoError(t, err)
	var l []float64
	for ; len(out) >= 96; out = out[96:] {
		most := 0.0
		for i := 0; i < 96; i += 2 {
			most = max(most, math.Abs(float64(int16(binary.LittleEndian.Uint16(out[i:])))/32768))
		}
		l = append(l, most)
	}
	return l
}

func loudest(l []float64) (m float64) {
	for _, v := range l {
		m = max(m, v)
	}
	return m
}

// faintest is the smallest sample a recipe's codec has: A-law has no zero.
func faintest(r recipe) float64 {
	if r.audio == "PCMA" {
		return 8.0 / 32768
	}
	return 0
}

var clipBegin = time.Unix(1_700_000_000, 0)

// hideBetween records eight seconds of a clip and changes what is hidden at
// three and at five seconds.
func hideBetween(t *testing.T, r recipe, on, off func(*curtain)) (path string) {
	t.Helper()
	b := r.bench(t, withSidecar)
	c := r.load(t)
	s := r.sink(b, c)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	step := 0
	require.NoError(t, c.Frames(0, 8*time.Second, func(f *media.Frame) error {
		if step == 0 && f.DTS >= 3*time.Second {
			step++
			s.r.draw(clipBegin.Add(3*time.Second), on)
		}
		if step == 1 && f.DTS >= 5*time.Second {
			step++
			s.r.draw(clipBegin.Add(5*time.Second), off)
		}
		return s.Write(ctx, f)
	}))
	require.NoError(t, s.Close(ctx))
	b.stop()
	for _, n := range files(t, b.dir) {
		if !strings.HasSuffix(n, sidecarExt) {
			path = filepath.Join(b.dir, n)
		}
	}
	return path
}

func TestMuteLeavesNoSound(t *testing.T) {
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			path := hideBetween(t, r, func(c *curtain) { c.muted = true }, func(c *curtain) { c.muted = false })
			decode(t, path)
			l := peaks(t, path)
			require.InDelta(t, 8000, len(l), 30)
			require.Greater(t, loudest(l[2500:2950]), 0.05)
			// The frame before the mute rings on for at most its own length.
			require.LessOrEqual(t, loudest(l[3060:5140]), faintest(r), "silence means zeros")
			require.Greater(t, loudest(l[5250:5700]), 0.05)
			p := hashes(t, path)
			if r.video != "" {
				require.Len(t, p[media.Video], 200)
			}
			// Not a byte of the packets depends on what was said.
			first := ""
			for _, a := range p[media.Audio] {
				if a.pts > 3.001 && a.pts < 5.1 {
					if first == "" {
						first = a.md5
					}
					require.Equal(t, first, a.md5, "at %v", a.pts)
				}
			}
			k := sidecarOf(t, path)
			require.Len(t, k.Gaps, 1)
			require.Equal(t, gapMute, k.Gaps[0].What)
			require.InDelta(t, 3000, k.Gaps[0].AtMS, 25)
			require.InDelta(t, 2150, k.Gaps[0].LengthMS, 45)
			require.True(t, Verify(context.Background(), path, false).OK)
		})
	}
}

func TestPauseKeepsPositions(t *testing.T) {
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			path := hideBetween(t, r, func(c *curtain) { c.paused = true }, func(c *curtain) { c.paused = false })
			decode(t, path)
			l := peaks(t, path)
			require.InDelta(t, 8000, len(l), 30)
			require.LessOrEqual(t, loudest(l[3060:5140]), faintest(r))
			require.Greater(t, loudest(l[5250:5700]), 0.05)
			p := ffprobe(t, path)
			if r.video != "" {
				// The clip has a key frame each second: pictures go on at five.
				v := p["video"].Packets
				require.Len(t, v, 150)
				require.InDelta(t, 2.96, v[74].PTS, 0.001)
				require.InDelta(t, 5, v[75].PTS, 0.001)
				require.True(t, v[75].Key)
			}
			for _, g := range sidecarOf(t, path).Gaps {
				require.Equal(t, gapPause, g.What)
			}
			require.True(t, Verify(context.Background(), path, false).OK)
		})
	}
}

// A key frame is asked for, once, and what was received before the resume stays
// out although it is written after it.
func TestPicturesGoOnWithAKeyFrame(t *testing.T) {
	b := newBench(t, withSidecar)
	s := b.sink("x", nil)
	c := clip.New(t)
	asked := 0
	c.Video.RequestKeyframe = func() { asked++ }
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(0, 4*time.Second, func(f *media.Frame) error {
		switch {
		case f.Track.Kind == media.Audio:
		case f.DTS == 400*time.Millisecond:
			s.r.draw(f.Arrival, func(c *curtain) { c.paused = true })
		case f.DTS == 920*time.Millisecond: // resumed just behind a key frame that is not written yet
			s.r.draw(f.Arrival.Add(200*time.Millisecond), func(c *curtain) { c.paused = false })
		}
		return s.Write(ctx, f)
	}))
	require.NoError(t, s.Close(ctx))
	b.stop()
	require.Equal(t, 1, asked)
	v := ffprobe(t, filepath.Join(b.dir, "x.mp4"))["video"].Packets
	require.Len(t, v, 10+50)
	require.InDelta(t, 2, v[10].PTS, 0.001)
}

// A recording that ends while it is paused says so to its end.
func TestPausedToTheEnd(t *testing.T) {
	b := newBench(t, withSidecar)
	s := b.sink("x", nil)
	c := clip.New(t)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(0, 4*time.Second, func(f *media.Frame) error {
		if f.DTS == 2*time.Second {
			s.r.draw(clipBegin.Add(f.DTS), func(c *curtain) { c.paused = true })
		}
		return s.Write(ctx, f)
	}))
	require.NoError(t, s.Close(ctx))
	b.stop()
	k := sidecarOf(t, filepath.Join(b.dir, "x.mp4"))
	require.Len(t, k.Gaps, 2)
	for _, g := range k.Gaps {
		require.Equal(t, gapPause, g.What)
		require.InDelta(t, 4000, g.AtMS+g.LengthMS, 25, "%+v", g)
	}
	require.InDelta(t, 4000, k.DurationMS, 25)
}

// What is read while it grows, and what a crash leaves, is silent too.
func TestMutedSoundIsNotInTheGrowingFile(t *testing.T) {
	b := newBench(t, nil)
	s := b.sink("x", nil)
	c := clip.New(t)
	c.Video = nil
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	s.r.draw(clipBegin, func(c *curtain) { c.muted = true })
	require.NoError(t, c.Frames(0, 4*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.Zero(t, loudest(peaks(t, s.cur.path)))
	require.NoError(t, s.Close(ctx))
}

func TestSilenceOfEachCodec(t *testing.T) {
	track := func(c media.Codec) *media.Track { return &media.Track{Kind: media.Audio, Codec: c} }
	for _, d := range []time.Duration{2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
		40 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond} {
		require.Equal(t, d, opus.PacketDuration(silentOpus(d)))
	}
	require.Nil(t, silentOpus(0))
	require.Nil(t, silence(&media.Frame{Track: track("G722"), Data: [][]byte{{1}}}, nil))
	require.Nil(t, silence(&media.Frame{Track: track(aac.Name), Data: [][]byte{{1}}}, &media.Params{}))
	require.Equal(t, [][]byte{{0xd5, 0xd5}, {0xd5}}, silence(&media.Frame{Track: track(g711.PCMA), Data: [][]byte{{1, 2}, {3}}}, nil))
}

func TestPauseAndMuteMethods(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	s := b.live("x", "SIP", c.Tracks()...)
	s.SetReady()
	for _, m := range []string{"pause", "resume", "mute", "unmute"} {
		for body, code := range map[string]fault.Code{`{}`: fault.BadRequest, `{"streamName":"none"}`: fault.NotFound, `{"streamName":"x"}`: fault.NotFound} {
			_, err := b.call("recorder/"+m, body)
			require.Equal(t, code, fault.CodeOf(err), "%s %s", m, body)
		}
	}
	_, err := b.call("recorder/startup", `{"streamName":"x"}`)
	require.NoError(t, err)
	b.feed(t, s, c, 0, time.Second)
	for _, step := range []struct {
		method, state string
		paused, muted bool
	}{
		{"mute", "muted", false, true},
		{"pause", "paused", true, true},
		{"pause", "paused", true, true},
		{"resume", "muted", false, true},
		{"unmute", "active", false, false},
		{"unmute", "active", false, false},
	} {
		_, err := b.call("recorder/"+step.method, `{"mediaSessionId":"`+s.ID()+`"}`)
		require.NoError(t, err)
		got := b.Recordings()[0]
		require.Equal(t, step.state, got.State, step.method)
		require.Equal(t, []bool{step.paused, step.muted}, []bool{got.Paused, got.Muted}, step.method)
	}
}

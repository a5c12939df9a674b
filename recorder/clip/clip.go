// Package clip gives tests real coded media: a moving picture in H.264 as SIP
// phones send it and a tone in AAC, made by ffmpeg when first asked for.
package clip

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/media"
)

// Length of the clip before it starts again, and its pictures per second. A
// key frame comes each second.
const (
	Length = 4 * time.Second
	FPS    = 25
)

// Clip is a source of frames.
type Clip struct {
	// Video and Audio are the tracks; set one to nil to leave it out.
	Video, Audio *media.Track
	video        [][][]byte
	audio        [][]byte
	picture      codecs.Codec
	sound        media.Codec
	audioStep    int64 // samples of 48 kHz in an audio frame
}

var load = sync.OnceValues(func() (*Clip, error) { return encode("320x240") })

// Load returns a clip with tracks of its own, of 320x240 pixels.
func Load() (*Clip, error) {
	c, err := load()
	if err != nil {
		return nil, fmt.Errorf("test media: %w (ffmpeg with libx264 must be installed)", err)
	}
	return c.Clone(), nil
}

// New is Load for tests.
func New(tb testing.TB) *Clip {
	tb.Helper()
	c, err := Load()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Sized is New with another picture size, like "640x360".
func Sized(tb testing.TB, size string) *Clip {
	tb.Helper()
	c, err := encode(size)
	if err != nil {
		tb.Fatalf("test media: %v (ffmpeg with libx264 must be installed)", err)
	}
	return c.Clone()
}

// Clone returns the same media with new tracks.
func (c *Clip) Clone() *Clip {
	n := *c
	n.Video = &media.Track{ID: "video", Kind: media.Video, Codec: c.picture.Name(), ClockRate: c.picture.ClockRate()}
	n.Audio = &media.Track{ID: "audio", Kind: media.Audio, Codec: c.sound, ClockRate: aac.SampleRate, Channels: 1}
	switch c.sound {
	case aac.Name:
		n.Audio.SetParams(&media.Params{SampleRate: aac.SampleRate, Channels: 1, Sets: [][]byte{{0x11, 0x88}}})
	case opus.Name:
		n.Audio.SetParams(&media.Params{SampleRate: opus.ClockRate, Channels: 2})
	default:
		n.Audio.ClockRate = g711.SampleRate
		n.Audio.SetParams(&media.Params{SampleRate: g711.SampleRate, Channels: 1})
	}
	return &n
}

// WithSound is the clip with the sound of another.
func (c *Clip) WithSound(from *Clip) *Clip {
	n := *c
	n.audio, n.sound, n.audioStep = from.audio, from.sound, from.audioStep
	return n.Clone()
}

// Tracks are the tracks the clip has.
func (c *Clip) Tracks() []*media.Track {
	var ts []*media.Track
	for _, t := range []*media.Track{c.Video, c.Audio} {
		if t != nil {
			ts = append(ts, t)
		}
	}
	return ts
}

// Frames calls do with all frames from one time to another in DTS order,
// looping the clip, with the clip's begin at DTS zero. It stops at an error.
func (c *Clip) Frames(from, to time.Duration, do func(*media.Frame) error) error {
	v, a := 0, 0
	params := c.params()
	for {
		vt := time.Duration(v) * time.Second / FPS
		at := time.Duration(int64(a) * c.audioStep * int64(time.Second) / aac.SampleRate)
		var f *media.Frame
		switch {
		case c.Audio != nil && (c.Video == nil || at <= vt):
			f = &media.Frame{Track: c.Audio, Params: c.Audio.Params(), PTS: at, DTS: at, Key: true, Arrival: time.Unix(1_700_000_000, 0).Add(at),
				Duration: time.Second * time.Duration(c.audioStep) / aac.SampleRate, Data: [][]byte{c.audio[a%len(c.audio)]}}
			a++
		default:
			au := c.video[v%len(c.video)]
			f = &media.Frame{Track: c.Video, Params: params, PTS: vt, DTS: vt, Key: c.picture.Keyframe(au), Data: au,
				Arrival: time.Unix(1_700_000_000, 0).Add(vt)}
			v++
		}
		if f.DTS >= to {
			return nil
		}
		if f.DTS < from {
			continue
		}
		if f.Track == c.Video {
			c.Video.SetParams(params)
		}
		if err := do(f); err != nil {
			return err
		}
	}
}

func (c *Clip) params() *media.Params {
	if c.Video == nil {
		return nil
	}
	return c.picture.Params(c.Video.Params(), c.video[0])
}

func encode(size string) (*Clip, error) {
	const video, audio = "v.h264", "a.aac"
	dir, done, err := made("h264-"+size, func(dir string) error {
		return ffmpegH264(size, filepath.Join(dir, video), filepath.Join(dir, audio))
	})
	if err != nil {
		return nil, err
	}
	defer done()
	c := &Clip{picture: h264.Codec, sound: aac.Name, audioStep: aac.FrameSize}
	raw, err := os.ReadFile(filepath.Join(dir, video))
	if err != nil {
		return nil, err
	}
	c.video = accessUnits(raw)
	if raw, err = os.ReadFile(filepath.Join(dir, audio)); err != nil {
		return nil, err
	}
	var packets mpeg4audio.ADTSPackets
	if err := packets.Unmarshal(raw); err != nil {
		return nil, err
	}
	// The last packets only flush the encoder; as many as fit are kept.
	for _, p := range packets[:int(Length*aac.SampleRate/aac.FrameSize/time.Second)] {
		c.audio = append(c.audio, p.AU)
	}
	return c, nil
}

func ffmpegH264(size, v, a string) error {
	length := fmt.Sprint(Length.Seconds())
	cmd := exec.Command("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin",
		"-f", "lavfi", "-i", "testsrc2=size="+size+":rate="+fmt.Sprint(FPS)+":duration="+length,
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration="+length,
		"-map", "0:v", "-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0",
		"-g", fmt.Sprint(FPS), "-x264-params", "aud=1:sliced-threads=0:slices=1:scenecut=0", "-b:v", "300k", "-pix_fmt", "yuv420p", "-f", "h264", v,
		"-map", "1:a", "-c:a", "aac", "-b:a", "64k", "-ac", "1", "-f", "adts", a)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	return nil
}

// accessUnits splits an Annex B stream at its access unit delimiters and drops
// them.
func accessUnits(b []byte) [][][]byte {
	var aus [][][]byte
	for _, n := range bytes.Split(b, []byte{0, 0, 1}) {
		n = bytes.TrimRight(n, "\x00")
		if len(n) == 0 {
			continue
		}
		if n[0]&0x1f == 9 {
			aus = append(aus, nil)
			continue
		}
		aus[len(aus)-1] = append(aus[len(aus)-1], n)
	}
	return aus
}

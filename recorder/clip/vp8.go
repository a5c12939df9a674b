package clip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"

	"lineout/codecs/opus"
	"lineout/codecs/vp8"
)

// opusStep is 20 ms at 48 kHz.
const opusStep = 960

// usualSize is that of the clip that is made once.
const usualSize = "320x240"

var loadVP8 = sync.OnceValues(func() (*Clip, error) { return encodeVP8(usualSize) })

// LoadVP8 returns a clip of VP8 and Opus; the sound comes in packets of 20 ms.
func LoadVP8(size string) (*Clip, error) {
	load := loadVP8
	if size != usualSize {
		load = func() (*Clip, error) { return encodeVP8(size) }
	}
	c, err := load()
	if err != nil {
		return nil, fmt.Errorf("test media: %w (ffmpeg with libvpx and libopus must be installed)", err)
	}
	return c.Clone(), nil
}

// NewVP8 is LoadVP8 for tests.
func NewVP8(tb testing.TB, size string) *Clip {
	tb.Helper()
	c, err := LoadVP8(size)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func encodeVP8(size string) (*Clip, error) {
	const video, audio = "v.ivf", "a.ogg"
	dir, done, err := made("vp8-"+size, func(dir string) error {
		return ffmpegVP8(size, filepath.Join(dir, video), filepath.Join(dir, audio))
	})
	if err != nil {
		return nil, err
	}
	defer done()
	c := &Clip{picture: vp8.Codec, sound: opus.Name, audioStep: opusStep}
	if c.video, err = ivf(filepath.Join(dir, video)); err != nil {
		return nil, err
	}
	if c.audio, err = ogg(filepath.Join(dir, audio)); err != nil {
		return nil, err
	}
	// What the encoder adds to flush itself is left out.
	if n := int(Length.Milliseconds() / 20); len(c.audio) > n {
		c.audio = c.audio[:n]
	}
	return c, nil
}

func ffmpegVP8(size, v, a string) error {
	length := fmt.Sprint(Length.Seconds())
	cmd := exec.Command("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin",
		"-f", "lavfi", "-i", "testsrc2=size="+size+":rate="+fmt.Sprint(FPS)+":duration="+length,
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration="+length,
		"-map", "0:v", "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-auto-alt-ref", "0",
		"-g", fmt.Sprint(FPS), "-keyint_min", fmt.Sprint(FPS), "-b:v", "300k", "-f", "ivf", v,
		"-map", "1:a", "-c:a", "libopus", "-b:a", "32k", "-ac", "1", "-frame_duration", "20", "-page_duration", "20000", "-f", "ogg", a)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	return nil
}

func ivf(path string) ([][][]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, _, err := ivfreader.NewWith(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	var frames [][][]byte
	for {
		f, _, err := r.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		frames = append(frames, [][]byte{f})
	}
}

// ogg reads a file whose pages hold one packet each.
func ogg(path string) ([][]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, _, err := oggreader.NewWith(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	var packets [][]byte
	for {
		p, _, err := r.ParseNextPage()
		if errors.Is(err, io.EOF) {
			return packets, nil
		}
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(p, []byte("OpusTags")) {
			packets = append(packets, p)
		}
	}
}

package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"lineout/codecs"
	"lineout/codecs/h264"
	"lineout/codecs/vp8"
	"lineout/media"
)

// maxPNG bounds a picture as PNG in bytes.
const maxPNG = 16 << 20

var errPNG = errors.New("the picture as PNG is larger than 16 MiB")

// PNG turns one key frame of H.264 or VP8 into a PNG picture of its size by one
// run of the program at path, which ends with ctx at the latest.
func PNG(ctx context.Context, path string, codec media.Codec, f *media.Frame) ([]byte, error) {
	var c codecs.Codec
	var m muxer
	var args []string
	switch codec {
	case h264.Name:
		c, m, args = h264.Codec, flvMuxer{}, fromH264()
	case vp8.Name:
		c, m, args = vp8.Codec, ivfMuxer{}, fromVP8()
	default:
		return nil, fmt.Errorf("no picture is made of %s", codec)
	}
	p := c.Params(f.Params, f.Data)
	if p == nil || p.Width < 2 || p.Height < 2 || p.Width*p.Height > maxPixels {
		return nil, errors.New("the stream's picture has no size, or one that is not converted")
	}
	u := unit{key: true, params: p, data: f.Data}
	cmd := exec.CommandContext(ctx, path, append(args, "-frames:v", "1", "-c:v", "png", "-f", "image2pipe", "pipe:1")...)
	cmd.Stdin = bytes.NewReader(m.unit(m.header(nil, u, p.Width, p.Height), u))
	var out bounded
	var complaints tail
	cmd.Stdout, cmd.Stderr = &out, &complaints
	ownGroup(cmd)
	cmd.Cancel = func() error { killGroup(cmd); return nil }
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	yieldCPU(cmd)
	err := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.full:
		return nil, errPNG
	case err != nil:
		return nil, fmt.Errorf("%s makes no picture: %w: %s", path, err, complaints.String())
	case len(out.data) == 0:
		return nil, fmt.Errorf("%s makes no picture: %s", path, complaints.String())
	}
	return out.data, nil
}

// bounded takes up to maxPNG.
type bounded struct {
	data []byte
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > maxPNG {
		b.full = true
		return 0, errPNG
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

package media

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"
)

// Sound is the decoded sound of a file at its own rate, one channel.
type Sound struct {
	rate    float64
	samples []int16
	chunks  []chunk
}

// Hear decodes the sound of a file.
func Hear(ctx context.Context, input string) (*Sound, error) {
	c := exec.CommandContext(ctx, "ffmpeg", append(fields("-hide_banner -nostdin -loglevel repeat+level+info -copyts -i"), input,
		"-map", "0:a:0", "-af", "aformat=sample_fmts=s16:channel_layouts=mono:sample_rates=48000,ashowinfo@a", "-f", "s16le", "pipe:1")...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("hear %s: %w: %s", input, err, lastLine(stderr.String()))
	}
	var d decoded
	d.readLog(&stderr)
	return &Sound{rate: 48000, samples: readSamples(&stdout), chunks: d.chunks}, nil
}

// Loudest is the greatest sample, of 32767, that is heard between two times of the
// file, and how much of that time the file has sound for. The times are those of
// the timestamps: sound may begin after the picture, and have holes.
func (s *Sound) Loudest(from, to time.Duration) (peak int, heard time.Duration) {
	pos, n := 0, 0
	for _, k := range s.chunks {
		for i := pos; i < min(pos+k.n, len(s.samples)); i++ {
			at := time.Duration((k.at + float64(i-pos)/s.rate) * float64(time.Second))
			if at >= from && at < to {
				n++
				peak = max(peak, int(s.samples[i]), -int(s.samples[i]))
			}
		}
		pos += k.n
	}
	return peak, time.Duration(float64(n) / s.rate * float64(time.Second))
}

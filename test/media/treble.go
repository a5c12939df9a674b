package media

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os/exec"
)

// Treble is the level in dBFS of what a file has around [TrebleHz], as the median
// over its length: -26 in the wide clips, far less where a narrow-band codec was
// on the way. It takes in some hundred Hz, because codecs of speech do not keep
// the pitch of high tones.
func Treble(ctx context.Context, input string) (float64, error) {
	c := exec.CommandContext(ctx, "ffmpeg", append(fields("-hide_banner -nostdin -loglevel error -i"), input,
		"-vn", "-ac", "1", "-af", "aresample=16000", "-f", "s16le", "pipe:1")...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("hear %s: %w: %s", input, err, lastLine(stderr.String()))
	}
	const rate, window, around, step = 16000, 320, 400, 50 // a window of 20 ms resolves 50 Hz
	x := readSamples(&stdout)
	var levels []float64
	for ; len(x) >= window; x = x[window:] {
		power := 0.0
		for hz := TrebleHz - around; hz <= TrebleHz+around; hz += step {
			a := toneAt(x[:window], float64(hz), rate)
			power += a * a
		}
		levels = append(levels, 10*math.Log10(max(power, 1e-12)))
	}
	return round1(median(levels)), nil
}

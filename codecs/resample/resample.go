// Package resample changes the sampling rate of sound by a polyphase FIR filter
// (a windowed sinc). It is made for calls: what it holds back is 2 ms of a
// telephone's sound, where general purpose resamplers hold 16 ms and more.
package resample

import (
	"fmt"
	"math"
)

const (
	// halfTaps is half the filter's length in samples of the lower rate.
	halfTaps = 16
	// beta shapes the Kaiser window: about 70 dB of image rejection.
	beta = 7.0
	// rolloff puts the filter's edge below the lower rate's Nyquist frequency:
	// 3640 Hz at 8 kHz, so that the telephone band up to 3400 Hz passes.
	rolloff = 0.91
	// maxPhases bounds the coefficient table: 48000 to 44100 needs 147.
	maxPhases = 640
)

// Resampler converts one channel. It adds no delay to the sound: output sample
// j is the sound at input sample j*in/out. It cannot be given out before half
// the filter's length of input beyond it has come, Latency. One goroutine uses it.
type Resampler struct {
	up, down int // in lowest terms: out/in
	half     int // in input samples
	coef     []float32
	buf      []float32 // input from pos-half+1 on
	pos      int       // index in buf of the input sample at or before the next output
	phase    int       // how far behind it the output is, in 1/up samples
}

// New returns a resampler from in to out Hz. Rates whose ratio needs more than
// 640 filter phases are refused.
func New(in, out int) (*Resampler, error) {
	if in <= 0 || out <= 0 || in > 192000 || out > 192000 {
		return nil, fmt.Errorf("making a resampler from %d to %d Hz: rates must be 1 to 192000", in, out)
	}
	g := gcd(in, out)
	r := &Resampler{up: out / g, down: in / g, half: halfTaps}
	if r.up > maxPhases || r.down > maxPhases {
		return nil, fmt.Errorf("making a resampler from %d to %d Hz: the ratio %d/%d is too odd", in, out, r.up, r.down)
	}
	if r.down > r.up {
		r.half = (halfTaps*r.down + r.up - 1) / r.up
	}
	r.coef = design(r.up, r.down, r.half)
	r.buf = make([]float32, 0, 4*r.half+in/10)
	r.Reset()
	return r, nil
}

// Latency is how many input samples beyond an output sample must have come.
func (r *Resampler) Latency() int { return r.half }

// Reset forgets all sound, as if the next input sample were the first.
func (r *Resampler) Reset() {
	r.buf = r.buf[:r.half-1]
	clear(r.buf)
	r.pos, r.phase = r.half-1, 0
}

// Process appends to dst what can be given out after src. It does not allocate
// when dst has room.
func (r *Resampler) Process(dst, src []float32) []float32 {
	if r.up == r.down {
		return append(dst, src...)
	}
	r.buf = append(r.buf, src...)
	taps := 2 * r.half
	for r.pos+r.half < len(r.buf) {
		x := r.buf[r.pos-r.half+1:][:taps]
		dst = append(dst, dot(x, r.coef[r.phase*taps:][:taps]))
		r.phase += r.down
		r.pos += r.phase / r.up
		r.phase %= r.up
	}
	keep := min(r.pos-r.half+1, len(r.buf))
	r.buf = r.buf[:copy(r.buf, r.buf[keep:])]
	r.pos -= keep
	return dst
}

// dot uses four sums so that one addition need not wait for the one before.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(b) >= 4 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		a, b = a[4:], b[4:]
	}
	for i := range min(len(a), len(b)) {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

// design makes the coefficients: for each phase, those of 2*half input samples.
func design(up, down, half int) []float32 {
	cut := rolloff
	if down > up {
		cut *= float64(up) / float64(down)
	}
	taps := 2 * half
	coef := make([]float32, up*taps)
	h := make([]float64, taps)
	for p := range up {
		sum := 0.0
		for k := range h {
			t := float64(p)/float64(up) - float64(k-half+1)
			h[k] = sinc(cut*t) * kaiser(t/float64(half))
			sum += h[k]
		}
		// The same gain in every phase, or a constant would come out as a tone.
		for k := range h {
			coef[p*taps+k] = float32(h[k] / sum)
		}
	}
	return coef
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

func kaiser(x float64) float64 {
	if x <= -1 || x >= 1 {
		return 0
	}
	return bessel0(beta*math.Sqrt(1-x*x)) / bessel0(beta)
}

// bessel0 is the modified Bessel function of order zero, by its power series.
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-12; k++ {
		term *= x / (2 * k) * x / (2 * k)
		sum += term
	}
	return sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

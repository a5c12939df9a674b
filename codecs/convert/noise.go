package convert

import "math"

const (
	// noiseEdge is where the noise begins to fall off in Hz, by 6 dB an octave:
	// rooms rumble more than they hiss.
	noiseEdge = 1000
	// noiseRamp is the time in 1/second in which a change of level is mostly done.
	noiseRamp = 50
)

// noise is the comfort noise of a sender that said how loud its silence is (RFC
// 3389). The same calls give the same samples.
type noise struct {
	on     bool
	target float32 // RMS, full scale is 1
	gain   float32 // what the filter's output is multiplied with now
	unit   float32 // the gain that makes an RMS of 1
	mix    float32 // of the low-pass filter
	slew   float32 // how much of the way to its target the level goes with a sample
	low    float32 // the filter's state
	state  uint32
}

func newNoise(rate int) noise {
	mix := 1 - math.Exp(-2*math.Pi*noiseEdge/float64(rate))
	// Evenly spread numbers of +-1 have a power of 1/3, of which the filter
	// leaves mix/(2-mix).
	return noise{mix: float32(mix), unit: float32(math.Sqrt(3 * (2 - mix) / mix)), slew: noiseRamp / float32(rate), state: 1}
}

// start sets the level in dBov; it begins softly, and changes so.
func (n *noise) start(level int8) {
	if !n.on {
		n.on, n.gain = true, 0
	}
	n.target = float32(math.Pow(10, float64(level)/20))
}

// append adds k samples to each plane.
func (n *noise) append(planes [][]float32, k int) {
	to := n.target * n.unit
	for range k {
		n.state ^= n.state << 13 // xorshift
		n.state ^= n.state >> 17
		n.state ^= n.state << 5
		n.low += n.mix * (float32(int32(n.state))/(1<<31) - n.low)
		n.gain += n.slew * (to - n.gain)
		for i := range planes {
			planes[i] = append(planes[i], n.low*n.gain)
		}
	}
}

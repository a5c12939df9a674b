package convert

// plc conceals lost packets of a codec that cannot do so itself, in the manner
// of G.711 appendix I: the last pitch period is repeated while it fades, and
// the first real samples fade in over its continuation.
type plc struct {
	hist     []float32 // the newest sound
	minLag   int
	hold     int // samples before the fade begins
	end      int // samples until it is silent
	blend    int // samples of fading back in
	lost     int // samples concealed in a row
	lag      int // the period being repeated
	haveHist int
}

func newPLC(rate int) plc {
	ms := rate / 1000
	return plc{
		hist: make([]float32, 30*ms), minLag: 5 * ms,
		hold: 10 * ms, end: 60 * ms, blend: 4 * ms,
	}
}

// conceal fills out, which holds zeros.
func (p *plc) conceal(out []float32) {
	if p.lost == 0 {
		p.lag = p.pitch()
	}
	for i := range out {
		out[i] = p.sample(p.lost + i)
	}
	p.lost += len(out)
}

// sample is the i-th invented one.
func (p *plc) sample(i int) float32 {
	if i >= p.end || p.lag == 0 {
		return 0
	}
	v := p.hist[len(p.hist)-p.lag+i%p.lag]
	if i > p.hold {
		v *= float32(p.end-i) / float32(p.end-p.hold)
	}
	return v
}

// good takes note of received sound and, after a loss, blends its start.
func (p *plc) good(in []float32) {
	if p.lost > 0 {
		n := min(p.blend, len(in))
		for i := range n {
			w := float32(i+1) / float32(n+1)
			in[i] = w*in[i] + (1-w)*p.sample(p.lost+i)
		}
		p.lost = 0
	}
	if len(in) >= len(p.hist) {
		copy(p.hist, in[len(in)-len(p.hist):])
	} else {
		copy(p.hist, p.hist[len(in):])
		copy(p.hist[len(p.hist)-len(in):], in)
	}
	p.haveHist = min(p.haveHist+len(in), len(p.hist))
}

// pitch is the lag, 5 to 15 ms, at which the last 15 ms resemble what was
// before them most. 0 without enough history.
func (p *plc) pitch() int {
	if p.haveHist < len(p.hist) {
		return 0
	}
	window := len(p.hist) / 2
	now := p.hist[len(p.hist)-window:]
	best, lag := float32(-1), window
	for l := p.minLag; l <= len(p.hist)-window; l++ {
		then := p.hist[len(p.hist)-window-l:][:window]
		var cross, energy float32
		for i, v := range now {
			cross += v * then[i]
			energy += then[i] * then[i]
		}
		if cross <= 0 || energy == 0 {
			continue
		}
		if score := cross * cross / energy; score > best {
			best, lag = score, l
		}
	}
	return lag
}

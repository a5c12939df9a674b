package g722

// Names in capitals are those of the blocks in ITU-T Rec. G.722 section 6.2,
// whose arithmetic on 16-bit values with saturation is kept bit for bit.

// band is the adaptive predictor and quantizer scale of one sub-band.
type band struct {
	s, sp, sz int    // predicted signal: of both predictors, poles', zeros'
	r         [3]int // reconstructed signal, newest first
	p         [3]int // the same without the poles' part
	a         [3]int // pole coefficients, from index 1
	d         [7]int // quantized differences, newest first
	b         [7]int // zero coefficients, from index 1
	nb        int    // scale factor, logarithmic
	det       int    // scale factor, linear
}

func sat(v int) int { return max(-32768, min(32767, v)) }

// sameSign compares signs, zero counting as positive.
func sameSign(a, b int) bool { return (a < 0) == (b < 0) }

// adapt takes the newest quantized difference: RECONS, PARREC, UPPOL2, UPPOL1,
// UPZERO, DELAYA, FILTEP, FILTEZ, PREDIC.
func (n *band) adapt(d int) {
	n.d[0] = d
	n.r[0] = sat(n.s + d)
	n.p[0] = sat(n.sz + d)
	n.adaptPoles()
	n.adaptZeros()
	for i := 6; i > 0; i-- {
		n.d[i] = n.d[i-1]
	}
	n.r[2], n.r[1] = n.r[1], n.r[0]
	n.p[2], n.p[1] = n.p[1], n.p[0]
	n.sp = sat(n.a[1]*sat(2*n.r[1])>>15 + n.a[2]*sat(2*n.r[2])>>15)
	n.sz = 0
	for i := 6; i > 0; i-- {
		n.sz += n.b[i] * sat(2*n.d[i]) >> 15
	}
	n.sz = sat(n.sz)
	n.s = sat(n.sp + n.sz)
}

func (n *band) adaptPoles() {
	same1, same2 := sameSign(n.p[0], n.p[1]), sameSign(n.p[0], n.p[2])
	w := sat(n.a[1] * 4)
	if same1 {
		w = -w
	}
	w = min(w, 32767)
	a2 := w >> 7
	if same2 {
		a2 += 128
	} else {
		a2 -= 128
	}
	a2 = max(-12288, min(12288, a2+n.a[2]*32512>>15))
	a1 := n.a[1] * 32640 >> 15
	if same1 {
		a1 += 192
	} else {
		a1 -= 192
	}
	limit := sat(15360 - a2)
	n.a[1], n.a[2] = max(-limit, min(limit, sat(a1))), a2
}

func (n *band) adaptZeros() {
	step := 128
	if n.d[0] == 0 {
		step = 0
	}
	for i := 1; i < 7; i++ {
		w := step
		if !sameSign(n.d[0], n.d[i]) {
			w = -step
		}
		n.b[i] = sat(w + n.b[i]*32640>>15)
	}
}

// scale adapts the quantizer: LOGSCL and SCALEL, or LOGSCH and SCALEH.
func (n *band) scale(change, limit, shift int) {
	n.nb = max(0, min(limit, n.nb*127>>7+change))
	v, by := int(ilb[n.nb>>6&31]), shift-n.nb>>11
	if by < 0 {
		v <<= -by
	} else {
		v >>= by
	}
	n.det = v << 2
}

// low takes a 6-bit code of the lower band: INVQAL, LOGSCL, SCALEL and block 4.
// Only its upper four bits steer the adaptation.
func (n *band) low(code int) {
	i := code >> 2
	d := n.det * int(qm4[i]) >> 15
	n.scale(int(wl[rl42[i]]), 18432, 8)
	n.adapt(d)
}

// high takes a 2-bit code of the higher band: INVQAH, LOGSCH, SCALEH, block 4.
func (n *band) high(code int) {
	d := n.det * int(qm2[code]) >> 15
	n.scale(int(wh[rh2[code]]), 22528, 10)
	n.adapt(d)
}

// The tables of ITU-T Rec. G.722 section 6.2.
var (
	// qmf holds half of the mirror filter's symmetrical coefficients.
	qmf = [12]int{3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11}

	q6 = [30]int16{
		0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650,
		714, 786, 858, 940, 1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
	}
	qm2 = [4]int16{-7408, -1616, 7408, 1616}
	qm4 = [16]int16{
		0, -20456, -12896, -8968, -6288, -4240, -2584, -1200,
		20456, 12896, 8968, 6288, 4240, 2584, 1200, 0,
	}
	qm6 = [64]int16{
		-136, -136, -136, -136, -24808, -21904, -19008, -16704,
		-14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
		-7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576,
		-3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
		24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192,
		10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
		4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032,
		1688, 1360, 1040, 728, 432, 136, -432, -136,
	}
	ilb = [32]int16{
		2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
		2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
	}
	wl   = [8]int16{-60, -30, 58, 172, 334, 538, 1198, 3042}
	wh   = [3]int16{0, -214, 798}
	rl42 = [16]uint8{0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0}
	rh2  = [4]uint8{2, 1, 2, 1}
)

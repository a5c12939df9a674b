package g722

// Decoder turns bytes into 16-bit samples. One goroutine uses it.
type Decoder struct {
	low, high band
	x         [24]int // both bands' sums and differences, newest last
}

// NewDecoder returns a decoder that has heard nothing.
func NewDecoder() *Decoder {
	return &Decoder{low: band{det: 32}, high: band{det: 8}}
}

// Decode appends two samples for each byte.
func (d *Decoder) Decode(dst []int16, src []byte) []int16 {
	for _, c := range src {
		rl := limit14(d.low.s + d.low.det*int(qm6[c&63])>>15)
		d.low.low(int(c & 63))
		rh := limit14(d.high.s + d.high.det*int(qm2[c>>6])>>15)
		d.high.high(int(c >> 6))
		copy(d.x[:], d.x[2:])
		d.x[22], d.x[23] = rl+rh, rl-rh
		even, odd := mirror(&d.x)
		dst = append(dst, int16(sat(odd>>11)), int16(sat(even>>11)))
	}
	return dst
}

// limit14 is LIMIT: the bands have 15 bits with their sign.
func limit14(v int) int { return max(-16384, min(16383, v)) }

// mirror is the quadrature mirror filter's two halves.
func mirror(x *[24]int) (even, odd int) {
	for i, c := range qmf {
		even += x[2*i] * c
		odd += x[2*i+1] * qmf[11-i]
	}
	return even, odd
}

// Delay is by how many samples decoded sound comes later than it went in: that
// of the two filters of 24 taps.
const Delay = 22

// Encoder turns 16-bit samples into bytes. One goroutine uses it.
type Encoder struct {
	low, high band
	x         [24]int // the newest samples, newest last
}

// NewEncoder returns an encoder that has heard nothing.
func NewEncoder() *Encoder {
	return &Encoder{low: band{det: 32}, high: band{det: 8}}
}

// Encode appends a byte for each two samples; an odd last one is left out.
func (e *Encoder) Encode(dst []byte, src []int16) []byte {
	for ; len(src) >= 2; src = src[2:] {
		copy(e.x[:], e.x[2:])
		e.x[22], e.x[23] = int(src[0]), int(src[1])
		even, odd := mirror(&e.x)
		l := quantizeLow(sat((even+odd)>>14-e.low.s), e.low.det)
		e.low.low(l)
		h := quantizeHigh(sat((odd-even)>>14-e.high.s), e.high.det)
		e.high.high(h)
		dst = append(dst, byte(h<<6|l))
	}
	return dst
}

// quantizeLow is QUANTL. Codes fall from 63 and 61 with growing size; the
// second and third steps of negative differences are 62, the rest follow 31.
func quantizeLow(diff, det int) int {
	size := diff
	if diff < 0 {
		size = -diff - 1
	}
	i := 1
	for i < len(q6) && size >= int(q6[i])*det>>12 {
		i++
	}
	switch {
	case diff >= 0:
		return 62 - i
	case i < 3:
		return 64 - i
	}
	return 34 - i
}

// quantizeHigh is QUANTH.
func quantizeHigh(diff, det int) int {
	size, code := diff, 3
	if diff < 0 {
		size, code = -diff-1, 1
	}
	if size >= 564*det>>12 {
		code--
	}
	return code
}

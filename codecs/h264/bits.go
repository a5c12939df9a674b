package h264

import "math/bits"

// bitWriter writes the syntax elements of H.264 (7.2, 9.1).
type bitWriter struct {
	b    []byte
	free int // unused bits of the last byte
}

// u writes the lowest n bits of v.
func (w *bitWriter) u(v uint, n int) {
	for n--; n >= 0; n-- {
		if w.free == 0 {
			w.b, w.free = append(w.b, 0), 8
		}
		w.free--
		w.b[len(w.b)-1] |= byte(v>>n&1) << w.free
	}
}

// ue writes an unsigned Exp-Golomb code.
func (w *bitWriter) ue(v uint) { w.u(v+1, 2*bits.Len(v+1)-1) }

// se writes a signed Exp-Golomb code.
func (w *bitWriter) se(v int) {
	if v > 0 {
		w.ue(uint(2*v - 1))
	} else {
		w.ue(uint(-2 * v))
	}
}

// nal closes what was written and returns it as a NAL unit: stop bit, header,
// emulation prevention (7.3.1).
func (w *bitWriter) nal(header byte) []byte {
	w.u(1, 1)
	out := append(make([]byte, 0, len(w.b)+2), header)
	zeros := 0
	for _, c := range w.b {
		if zeros == 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if zeros++; c != 0 {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

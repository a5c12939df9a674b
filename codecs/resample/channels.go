package resample

// Interleave appends the samples of planes, which have equal lengths, in the
// order of a stereo file: left, right, left…
func Interleave(dst []float32, planes [][]float32) []float32 {
	if len(planes) == 1 {
		return append(dst, planes[0]...)
	}
	for i := range planes[0] {
		for _, p := range planes {
			dst = append(dst, p[i])
		}
	}
	return dst
}

// Deinterleave appends each channel of src to its plane, in place.
func Deinterleave(planes [][]float32, src []float32) {
	n := len(planes)
	if n == 1 {
		planes[0] = append(planes[0], src...)
		return
	}
	for c := range planes {
		for i := c; i < len(src); i += n {
			planes[c] = append(planes[c], src[i])
		}
	}
}

// ToFloat appends 16-bit samples to dst as +-1.0.
func ToFloat(dst []float32, src []int16) []float32 {
	for _, s := range src {
		dst = append(dst, float32(s)/32768)
	}
	return dst
}

// ToInt appends samples of +-1.0 to dst as 16 bits, rounded and limited.
func ToInt(dst []int16, src []float32) []int16 {
	for _, s := range src {
		v := s * 32768
		if v >= 0 {
			v += 0.5
		} else {
			v -= 0.5
		}
		dst = append(dst, int16(max(-32768, min(32767, v))))
	}
	return dst
}

package g711

import "math/bits"

// The tables are computed once from the definition (ITU-T Rec. G.711 tables
// 1a-2b). Encoding is indexed by the 14 most significant bits of a sample: all
// that mu-law resolves, and one more than A-law does. 16 KiB stay in the
// first-level cache where the 64 KiB of a full table do not.
var (
	decodeU = decodeTable(expandU)
	decodeA = decodeTable(expandA)
	encodeU = encodeTable(compressU)
	encodeA = encodeTable(compressA)
)

func decodeTable(expand func(byte) int16) *[256]int16 {
	var t [256]int16
	for i := range t {
		t[i] = expand(byte(i))
	}
	return &t
}

func encodeTable(compress func(int) byte) *[1 << 14]byte {
	var t [1 << 14]byte
	for i := range t {
		s := int(int16(i << 2))
		if s < 0 {
			s += 3 // the smallest of the four, as it is of positive ones: mu-law would step too early
		}
		t[i] = compress(s)
	}
	return &t
}

// expandU returns the value of a mu-law code, full scale 32124.
func expandU(code byte) int16 {
	code = ^code
	exp, man := int(code>>4&7), int(code&15)
	v := (man<<3+0x84)<<exp - 0x84
	if code&0x80 != 0 {
		return int16(-v)
	}
	return int16(v)
}

// expandA returns the value of an A-law code, full scale 32256.
func expandA(code byte) int16 {
	code ^= 0x55
	exp, man := int(code>>4&7), int(code&15)
	v := man<<4 + 8
	if exp > 0 {
		v = (v + 0x100) << (exp - 1)
	}
	if code&0x80 == 0 {
		return int16(-v)
	}
	return int16(v)
}

// compressU returns the mu-law code nearest to a 16-bit sample.
func compressU(s int) byte {
	sign := byte(0)
	if s < 0 {
		s, sign = -s, 0x80
	}
	s = min(s, 32635) + 0x84
	exp := bits.Len(uint(s)) - 8
	return ^(sign | byte(exp)<<4 | byte(s>>(exp+3)&15))
}

// compressA returns the A-law code nearest to a 16-bit sample.
func compressA(s int) byte {
	sign := byte(0x80)
	if s < 0 {
		// One's complement, so that the decision values are symmetrical.
		s, sign = ^s, 0
	}
	exp := max(bits.Len(uint(s))-8, 0)
	return (sign | byte(exp)<<4 | byte(s>>(max(exp, 1)+3)&15)) ^ 0x55
}

// DecodePCMU appends the 16-bit samples of mu-law codes to dst.
func DecodePCMU(dst []int16, codes []byte) []int16 { return decode(dst, codes, decodeU) }

// DecodePCMA appends the 16-bit samples of A-law codes to dst.
func DecodePCMA(dst []int16, codes []byte) []int16 { return decode(dst, codes, decodeA) }

// EncodePCMU appends the mu-law codes of 16-bit samples to dst.
func EncodePCMU(dst []byte, samples []int16) []byte { return encode(dst, samples, encodeU) }

// EncodePCMA appends the A-law codes of 16-bit samples to dst.
func EncodePCMA(dst []byte, samples []int16) []byte { return encode(dst, samples, encodeA) }

func decode(dst []int16, codes []byte, table *[256]int16) []int16 {
	n := len(dst)
	dst = append(dst, make([]int16, len(codes))...)
	out := dst[n:]
	for i, c := range codes {
		out[i] = table[c]
	}
	return dst
}

func encode(dst []byte, samples []int16, table *[1 << 14]byte) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, len(samples))...)
	out := dst[n:]
	for i, s := range samples {
		out[i] = table[uint16(s)>>2]
	}
	return dst
}

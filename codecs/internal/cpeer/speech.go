package cpeer

import (
	"testing"
	"unsafe"

	"lineout/codecs/internal/clib"
)

type speex struct {
	clib.Caller
	reset, write, fill, encode, decode clib.Func
	enc, dec                           uintptr
	encBits, decBits                   [8]uint64
	frame                              int
	pcm                                [320]int16
	out                                [256]byte
}

// Speex is libspeex at 8000 or 16000 Hz, as we set our encoder.
func Speex(t testing.TB, rate int) Peer {
	t.Helper()
	s := &speex{frame: rate / 50}
	var mode, initBits, freeBits, newEnc, freeEnc, ctl, newDec, freeDec clib.Func
	find(t, "libspeex.so.1", "libspeex1", []*clib.Func{&mode, &initBits, &freeBits, &s.reset, &s.write, &s.fill, &newEnc, &freeEnc, &ctl, &s.encode, &newDec, &freeDec, &s.decode},
		"speex_lib_get_mode", "speex_bits_init", "speex_bits_destroy", "speex_bits_reset", "speex_bits_write", "speex_bits_read_from",
		"speex_encoder_init", "speex_encoder_destroy", "speex_encoder_ctl", "speex_encode_int", "speex_decoder_init", "speex_decoder_destroy", "speex_decode_int")
	m := mode.Call(uintptr(rate/8000 - 1))
	s.enc, s.dec = state(t, "an encoder of libspeex", newEnc.Call(m)), state(t, "a decoder of libspeex", newDec.Call(m))
	initBits.Call(uintptr(unsafe.Pointer(&s.encBits)))
	initBits.Call(uintptr(unsafe.Pointer(&s.decBits)))
	t.Cleanup(func() {
		freeEnc.Call(s.enc)
		freeDec.Call(s.dec)
		freeBits.Call(uintptr(unsafe.Pointer(&s.encBits)))
		freeBits.Call(uintptr(unsafe.Pointer(&s.decBits)))
	})
	for _, set := range [][2]int32{{4, 8}, {16, 3}} { // quality and complexity
		ctl.Call(s.enc, uintptr(set[0]), uintptr(unsafe.Pointer(&set[1])))
	}
	return s
}

// Encode changes pcm.
func (s *speex) Encode(pcm []int16) []byte {
	s.Call3(s.reset, uintptr(unsafe.Pointer(&s.encBits)), 0, 0)
	s.Call3(s.encode, s.enc, uintptr(unsafe.Pointer(&pcm[0])), uintptr(unsafe.Pointer(&s.encBits)))
	n := int32(s.Call3(s.write, uintptr(unsafe.Pointer(&s.encBits)), uintptr(unsafe.Pointer(&s.out)), uintptr(len(s.out))))
	return s.out[:n]
}

func (s *speex) Decode(packet []byte) []int16 {
	s.Call3(s.fill, uintptr(unsafe.Pointer(&s.decBits)), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)))
	s.Call3(s.decode, s.dec, uintptr(unsafe.Pointer(&s.decBits)), uintptr(unsafe.Pointer(&s.pcm)))
	return s.pcm[:s.frame]
}

func (s *speex) Conceal() []int16 {
	s.Call3(s.decode, s.dec, 0, uintptr(unsafe.Pointer(&s.pcm)))
	return s.pcm[:s.frame]
}

type g729 struct {
	clib.Caller
	encode, decode clib.Func
	enc, dec       uintptr
	pcm            [160]int16
	out            [20]byte
	n              [1]byte
}

// G729 is libbcg729 with frames of 10 ms, two at a time.
func G729(t testing.TB) Peer {
	t.Helper()
	g := &g729{}
	var newEnc, freeEnc, newDec, freeDec clib.Func
	find(t, "libbcg729.so.0", "libbcg729-0", []*clib.Func{&newEnc, &freeEnc, &g.encode, &newDec, &freeDec, &g.decode},
		"initBcg729EncoderChannel", "closeBcg729EncoderChannel", "bcg729Encoder", "initBcg729DecoderChannel", "closeBcg729DecoderChannel", "bcg729Decoder")
	g.enc, g.dec = state(t, "an encoder of libbcg729", newEnc.Call(0)), state(t, "a decoder of libbcg729", newDec.Call())
	t.Cleanup(func() { freeEnc.Call(g.enc); freeDec.Call(g.dec) })
	return g
}

func (g *g729) Encode(pcm []int16) []byte {
	for i := range 2 {
		g.Call7(g.encode, g.enc, uintptr(unsafe.Pointer(&pcm[80*i])), uintptr(unsafe.Pointer(&g.out[10*i])), uintptr(unsafe.Pointer(&g.n)), 0, 0, 0)
	}
	return g.out[:]
}

func (g *g729) Decode(packet []byte) []int16 {
	for i := range 2 {
		g.Call7(g.decode, g.dec, uintptr(unsafe.Pointer(&packet[10*i])), 10, 0, 0, 0, uintptr(unsafe.Pointer(&g.pcm[80*i])))
	}
	return g.pcm[:]
}

func (g *g729) Conceal() []int16 {
	for i := range 2 {
		g.Call7(g.decode, g.dec, 0, 0, 1, 0, 0, uintptr(unsafe.Pointer(&g.pcm[80*i])))
	}
	return g.pcm[:]
}

package cpeer

import (
	"testing"
	"unsafe"

	"lineout/codecs/internal/clib"
)

// Numbers of spandsp's g711.h.
const (
	spandspALaw = 0
	spandspULaw = 1
)

// spandsp is a codec of libspandsp. Its functions have the same arguments for
// G.711 and G.722; its concealment is for 8 kHz.
type spandsp struct {
	clib.Caller
	encode, decode, receive, fill clib.Func
	enc, dec, plc                 uintptr
	pcm                           [320]int16
	out                           [160]byte
}

func newSpandsp(t testing.TB, codec string, encArgs, decArgs [3]uintptr, newEncoder, newDecoder, free, freeDecoder string) *spandsp {
	t.Helper()
	s := &spandsp{}
	var newEnc, newDec, freeEnc, freeDec, newPLC, freePLC clib.Func
	find(t, "libspandsp.so.2", "libspandsp2", []*clib.Func{&newEnc, &newDec, &freeEnc, &freeDec, &s.encode, &s.decode, &newPLC, &freePLC, &s.receive, &s.fill},
		newEncoder, newDecoder, free, freeDecoder, codec+"_encode", codec+"_decode", "plc_init", "plc_free", "plc_rx", "plc_fillin")
	s.enc = state(t, "an encoder of libspandsp", newEnc.Call(encArgs[0], encArgs[1], encArgs[2]))
	s.dec = state(t, "a decoder of libspandsp", newDec.Call(decArgs[0], decArgs[1], decArgs[2]))
	s.plc = state(t, "the concealment of libspandsp", newPLC.Call(0))
	t.Cleanup(func() { freeEnc.Call(s.enc); freeDec.Call(s.dec); freePLC.Call(s.plc) })
	return s
}

// PCMA is the A-law of libspandsp.
func PCMA(t testing.TB) Peer { return g711(t, spandspALaw) }

// PCMU is the mu-law of libspandsp.
func PCMU(t testing.TB) Peer { return g711(t, spandspULaw) }

func g711(t testing.TB, law uintptr) Peer {
	t.Helper()
	args := [3]uintptr{0, law}
	return newSpandsp(t, "g711", args, args, "g711_init", "g711_init", "g711_free", "g711_free")
}

// G722 is the G.722 of libspandsp at 64 kbit/s.
func G722(t testing.TB) Peer {
	t.Helper()
	args := [3]uintptr{0, 64000, 0}
	return newSpandsp(t, "g722", args, args, "g722_encode_init", "g722_decode_init", "g722_encode_free", "g722_decode_free")
}

func (s *spandsp) Encode(pcm []int16) []byte {
	n := int32(s.Call7(s.encode, s.enc, uintptr(unsafe.Pointer(&s.out)), uintptr(unsafe.Pointer(&pcm[0])), uintptr(len(pcm)), 0, 0, 0))
	return s.out[:n]
}

// Decode decodes and lets the concealment hear it, as a receiver has to.
func (s *spandsp) Decode(packet []byte) []int16 {
	n := int32(s.Call7(s.decode, s.dec, uintptr(unsafe.Pointer(&s.pcm)), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)), 0, 0, 0))
	s.Call3(s.receive, s.plc, uintptr(unsafe.Pointer(&s.pcm)), uintptr(n))
	return s.pcm[:n]
}

func (s *spandsp) Conceal() []int16 {
	s.Call3(s.fill, s.plc, uintptr(unsafe.Pointer(&s.pcm)), 160)
	return s.pcm[:160]
}

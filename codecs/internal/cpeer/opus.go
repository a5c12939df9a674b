package cpeer

import (
	"testing"
	"unsafe"

	"lineout/codecs/internal/clib"
)

// Numbers of opus_defines.h.
const (
	opusVoIP          = 2048
	opusSetBitrate    = 4002
	opusSetComplexity = 4010
)

type opus struct {
	clib.Caller
	encode, decode clib.Func
	enc, dec       uintptr
	frame          int
	pcm            [5760]int16
	out            [1275]byte
}

// Opus is libopus with mono at a rate, as we set our encoder.
func Opus(t testing.TB, rate, bitrate, complexity int) Peer {
	t.Helper()
	o := &opus{frame: rate / 50}
	var newEnc, freeEnc, ctl, newDec, freeDec clib.Func
	find(t, "libopus.so.0", "libopus0", []*clib.Func{&newEnc, &freeEnc, &ctl, &o.encode, &newDec, &freeDec, &o.decode},
		"opus_encoder_create", "opus_encoder_destroy", "opus_encoder_ctl", "opus_encode", "opus_decoder_create", "opus_decoder_destroy", "opus_decode")
	var fault int32
	o.enc = state(t, "an encoder of libopus", newEnc.Call(uintptr(rate), 1, opusVoIP, uintptr(unsafe.Pointer(&fault))))
	o.dec = state(t, "a decoder of libopus", newDec.Call(uintptr(rate), 1, uintptr(unsafe.Pointer(&fault))))
	t.Cleanup(func() { freeEnc.Call(o.enc); freeDec.Call(o.dec) })
	for _, set := range [][2]int{{opusSetBitrate, bitrate}, {opusSetComplexity, complexity}} {
		if r := int32(ctl.Call(o.enc, uintptr(set[0]), uintptr(set[1]))); r != 0 {
			t.Fatalf("setting %d of libopus to %d: %d", set[0], set[1], r)
		}
	}
	return o
}

func (o *opus) Encode(pcm []int16) []byte {
	n := int32(o.Call7(o.encode, o.enc, uintptr(unsafe.Pointer(&pcm[0])), uintptr(o.frame), uintptr(unsafe.Pointer(&o.out)), uintptr(len(o.out)), 0, 0))
	return o.out[:max(n, 0)]
}

func (o *opus) Decode(packet []byte) []int16 {
	n := int32(o.Call7(o.decode, o.dec, uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)), uintptr(unsafe.Pointer(&o.pcm)), uintptr(len(o.pcm)), 0, 0))
	return o.pcm[:max(n, 0)]
}

func (o *opus) Conceal() []int16 {
	n := int32(o.Call7(o.decode, o.dec, 0, 0, uintptr(unsafe.Pointer(&o.pcm)), uintptr(o.frame), 0, 0))
	return o.pcm[:max(n, 0)]
}

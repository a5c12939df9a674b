package cpeer

import (
	"testing"
	"unsafe"

	"lineout/codecs/internal/clib"
)

// Numbers of voAAC.h and voAudio.h.
const (
	voAAC      = 8
	voAACParam = 0x42211040
)

// Structures of voType.h, voAudio.h and voAAC.h.
type (
	voBuffer struct {
		data   unsafe.Pointer
		length uint32
		time   int64
	}
	voInfo struct{ rate, channels, bits, used uint32 }
	voAPI  struct{ init, set, get, setParam, getParam, uninit clib.Func }
	voData struct {
		flag   uint32
		memory unsafe.Pointer
		_      [2]uint32
	}
	voForm struct {
		rate, bitrate  int32
		channels, adts int16
	}
)

type aac struct {
	clib.Caller
	api     voAPI
	user    voData
	memory  [7]clib.Func // alloc, free, set, copy, check, compare, move
	enc     uintptr
	in, out voBuffer
	info    voInfo
	pcm     [1024]int16
	bytes   [2048]byte
}

// AAC is the encoder of libvo-aacenc with mono at 48 kHz: frames of 1024
// samples. It has no decoder.
func AAC(t testing.TB, bitrate int) Peer {
	t.Helper()
	var table clib.Func
	a := &aac{}
	m := &a.memory
	find(t, "libvo-aacenc.so.0", "libvo-aacenc0", []*clib.Func{&table, &m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &m[6]},
		"voGetAACEncAPI", "cmnMemAlloc", "cmnMemFree", "cmnMemSet", "cmnMemCopy", "cmnMemCheck", "cmnMemCompare", "cmnMemMove")
	a.user.memory = unsafe.Pointer(m)
	table.Call(uintptr(unsafe.Pointer(&a.api)))
	if r := uint32(a.api.init.Call(uintptr(unsafe.Pointer(&a.enc)), voAAC, uintptr(unsafe.Pointer(&a.user)))); r != 0 {
		t.Fatalf("an encoder of libvo-aacenc could not be made: %#x", r)
	}
	t.Cleanup(func() { a.api.uninit.Call(a.enc) })
	f := voForm{rate: 48000, bitrate: int32(bitrate), channels: 1}
	if r := uint32(a.api.setParam.Call(a.enc, voAACParam, uintptr(unsafe.Pointer(&f)))); r != 0 {
		t.Fatalf("setting libvo-aacenc: %#x", r)
	}
	return a
}

func (a *aac) Encode(pcm []int16) []byte {
	copy(a.pcm[:], pcm)
	a.in = voBuffer{data: unsafe.Pointer(&a.pcm), length: uint32(2 * len(a.pcm))}
	a.out = voBuffer{data: unsafe.Pointer(&a.bytes), length: uint32(len(a.bytes))}
	a.Call3(a.api.set, a.enc, uintptr(unsafe.Pointer(&a.in)), 0)
	if uint32(a.Call3(a.api.get, a.enc, uintptr(unsafe.Pointer(&a.out)), uintptr(unsafe.Pointer(&a.info)))) != 0 {
		return nil
	}
	return a.bytes[:a.out.length]
}

func (a *aac) Decode([]byte) []int16 { return nil }
func (a *aac) Conceal() []int16      { return nil }

package speex

import (
	"errors"
	"fmt"
	"unsafe"

	"lineout/codecs"
	"lineout/codecs/internal/clib"
)

// library is libspeex with its functions:
//
//	const SpeexMode *speex_lib_get_mode(int)
//	int speex_lib_ctl(int, void *)
//	void speex_bits_init(SpeexBits *), _destroy, _reset
//	void speex_bits_read_from(SpeexBits *, const char *, int)
//	int speex_bits_write(SpeexBits *, char *, int)
//	void *speex_decoder_init(const SpeexMode *)
//	void speex_decoder_destroy(void *)
//	int speex_decoder_ctl(void *, int, void *)
//	int speex_decode_int(void *, SpeexBits *, int16_t *)
//	and the same for the encoder
type library struct {
	getMode, ctl                            clib.Func
	initBits, freeBits, resetBits           clib.Func
	fillBits, writeBits                     clib.Func
	newDecoder, freeDecoder, ctlDec, decode clib.Func
	newEncoder, freeEncoder, ctlEnc, encode clib.Func
}

// Numbers of speex.h.
const (
	libVersionString = 9
	setQuality       = 4
	setComplexity    = 16
	getLookahead     = 39
)

// quality 8 is 15 kbit/s at 8 kHz and 27.8 kbit/s at 16 kHz; complexity 3 is a
// third dearer than the least and the best for its price by the codec's manual.
const (
	quality    = 8
	complexity = 3
)

// Open looks for libspeex and returns what it can do.
func Open() ([]codecs.Coder, error) {
	c, err := clib.Open(clib.Spec{Files: []string{"libspeex.so.1"}, Package: "libspeex1"})
	if err != nil {
		return nil, err
	}
	l := &library{}
	if err := c.Find([]*clib.Func{&l.getMode, &l.ctl, &l.initBits, &l.freeBits, &l.resetBits, &l.fillBits, &l.writeBits,
		&l.newDecoder, &l.freeDecoder, &l.ctlDec, &l.decode, &l.newEncoder, &l.freeEncoder, &l.ctlEnc, &l.encode},
		"speex_lib_get_mode", "speex_lib_ctl", "speex_bits_init", "speex_bits_destroy", "speex_bits_reset", "speex_bits_read_from", "speex_bits_write",
		"speex_decoder_init", "speex_decoder_destroy", "speex_decoder_ctl", "speex_decode_int", "speex_encoder_init", "speex_encoder_destroy", "speex_encoder_ctl", "speex_encode_int"); err != nil {
		return nil, err
	}
	by := "libspeex"
	var version *byte
	if int32(l.ctl.Call(libVersionString, uintptr(unsafe.Pointer(&version)))) == 0 && version != nil {
		by += " " + clib.String(version)
	}
	var out []codecs.Coder
	for band, k := range []codecs.Codec{CodecNarrow, CodecWide} {
		mode := l.getMode.Call(uintptr(band))
		if mode == 0 {
			continue
		}
		rate := k.ClockRate()
		out = append(out, codecs.Coder{Codec: k, SampleRate: rate, By: by,
			NewDecoder: func() (codecs.SoundDecoder, error) { return l.decoder(mode, rate/50) },
			NewEncoder: func() (codecs.SoundEncoder, error) { return l.encoder(mode, rate/50) },
		})
	}
	return out, nil
}

// speexBits has the size and alignment of the SpeexBits of libspeex. It holds
// an address of C's memory and none of Go's.
type speexBits [8]uint64

var errClosed = errors.New("it was closed")

type decoder struct {
	clib.Caller
	l     *library
	state uintptr // 0 when closed
	bits  speexBits
	one   [maxFrame]byte
	pcm   [WideRate / 50]int16
	frame int // samples
}

func (l *library) decoder(mode uintptr, frame int) (*decoder, error) {
	d := &decoder{l: l, frame: frame, state: l.newDecoder.Call(mode)}
	if d.state == 0 {
		return nil, errors.New("libspeex could not make a decoder: no memory")
	}
	l.initBits.Call(uintptr(unsafe.Pointer(&d.bits)))
	return d, nil
}

// Samples implements codecs.SoundDecoder.
func (d *decoder) Samples(packet []byte) int { return Frames(packet) * d.frame }

// Decode implements codecs.SoundDecoder. The library sees nothing but whole
// frames of modes that exist, one at a time: it fails at some layers it should
// skip, and writes what it thinks of malformed ones to the standard error.
func (d *decoder) Decode(dst []int16, packet []byte) ([]int16, error) {
	var frames [MaxFrames]frame
	n := split(packet, &frames)
	if n == 0 {
		return dst, fmt.Errorf("decoding a Speex packet of %d bytes: not 1 to %d whole frames (RFC 5574 section 3)", len(packet), MaxFrames)
	}
	if d.state == 0 {
		return dst, fmt.Errorf("using a Speex decoder: %w", errClosed)
	}
	out := dst
	for i, f := range frames[:n] {
		size := f.alone(&d.one, packet)
		d.Call3(d.l.fillBits, uintptr(unsafe.Pointer(&d.bits)), uintptr(unsafe.Pointer(&d.one)), uintptr(size))
		if r := int32(d.Call3(d.l.decode, d.state, uintptr(unsafe.Pointer(&d.bits)), uintptr(unsafe.Pointer(&d.pcm)))); r != 0 {
			return dst, fmt.Errorf("decoding frame %d of %d of a Speex packet: libspeex returned %d", i+1, n, r)
		}
		out = append(out, d.pcm[:d.frame]...)
	}
	return out, nil
}

// Conceal implements codecs.SoundDecoder: without bits the library invents
// sound, or after frames that said "nothing is sent" comfort noise.
func (d *decoder) Conceal(dst []int16, n int) []int16 {
	for n > 0 && d.state != 0 {
		d.Call3(d.l.decode, d.state, 0, uintptr(unsafe.Pointer(&d.pcm)))
		k := min(n, d.frame)
		dst, n = append(dst, d.pcm[:k]...), n-k
	}
	return append(dst, make([]int16, n)...)
}

// Close implements codecs.SoundDecoder.
func (d *decoder) Close() {
	if d.state == 0 {
		return
	}
	d.l.freeDecoder.Call(d.state)
	d.l.freeBits.Call(uintptr(unsafe.Pointer(&d.bits)))
	d.state = 0
}

type encoder struct {
	clib.Caller
	l         *library
	state     uintptr // 0 when closed
	bits      speexBits
	in        [WideRate / 50]int16 // the library changes its input
	out       [256]byte
	frame     int // samples
	lookahead int32
}

func (l *library) encoder(mode uintptr, frame int) (*encoder, error) {
	e := &encoder{l: l, frame: frame, state: l.newEncoder.Call(mode)}
	if e.state == 0 {
		return nil, errors.New("libspeex could not make an encoder: no memory")
	}
	l.initBits.Call(uintptr(unsafe.Pointer(&e.bits)))
	for _, set := range [][2]int32{{setQuality, quality}, {setComplexity, complexity}} {
		v := set[1]
		l.ctlEnc.Call(e.state, uintptr(set[0]), uintptr(unsafe.Pointer(&v)))
	}
	l.ctlEnc.Call(e.state, getLookahead, uintptr(unsafe.Pointer(&e.lookahead)))
	d, err := l.decoder(mode, frame)
	if err != nil {
		e.Close()
		return nil, err
	}
	defer d.Close()
	var behind int32
	l.ctlDec.Call(d.state, getLookahead, uintptr(unsafe.Pointer(&behind)))
	e.lookahead += behind
	return e, nil
}

// Lookahead implements codecs.SoundEncoder: what encoder and decoder say of themselves.
func (e *encoder) Lookahead() int { return int(e.lookahead) }

// Encode implements codecs.SoundEncoder.
func (e *encoder) Encode(dst []byte, pcm []int16) ([]byte, error) {
	if len(pcm) != e.frame {
		return dst, fmt.Errorf("encoding Speex: %d samples are not a frame of %d", len(pcm), e.frame)
	}
	if e.state == 0 {
		return dst, fmt.Errorf("using a Speex encoder: %w", errClosed)
	}
	copy(e.in[:], pcm)
	e.Call3(e.l.resetBits, uintptr(unsafe.Pointer(&e.bits)), 0, 0)
	e.Call3(e.l.encode, e.state, uintptr(unsafe.Pointer(&e.in)), uintptr(unsafe.Pointer(&e.bits)))
	n := int(int32(e.Call3(e.l.writeBits, uintptr(unsafe.Pointer(&e.bits)), uintptr(unsafe.Pointer(&e.out)), uintptr(len(e.out)))))
	if n <= 0 || n > len(e.out) {
		return dst, fmt.Errorf("encoding Speex: libspeex made a packet of %d bytes", n)
	}
	return append(dst, e.out[:n]...), nil
}

// Close implements codecs.SoundEncoder.
func (e *encoder) Close() {
	if e.state == 0 {
		return
	}
	e.l.freeEncoder.Call(e.state)
	e.l.freeBits.Call(uintptr(unsafe.Pointer(&e.bits)))
	e.state = 0
}

package g729

import (
	"errors"
	"fmt"
	"unsafe"

	"lineout/codecs"
	"lineout/codecs/internal/clib"
)

// library is libbcg729 with its functions:
//
//	decoder *initBcg729DecoderChannel(void)
//	void closeBcg729DecoderChannel(decoder *)
//	void bcg729Decoder(decoder *, const uint8_t *bits, uint8_t bytes, uint8_t erased,
//	                   uint8_t sid, uint8_t rfc3389, int16_t *samples)
//	encoder *initBcg729EncoderChannel(uint8_t vad)
//	void closeBcg729EncoderChannel(encoder *)
//	void bcg729Encoder(encoder *, const int16_t *samples, uint8_t *bits, uint8_t *bytes)
type library struct {
	initDecoder, closeDecoder, decode clib.Func
	initEncoder, closeEncoder, encode clib.Func
}

// Open looks for libbcg729 and returns what it can do. The library is under
// the GPL, version 3: an operator decides to install it.
func Open() ([]codecs.Coder, error) {
	c, err := clib.Open(clib.Spec{Files: []string{"libbcg729.so.0"}, Package: "libbcg729-0"})
	if err != nil {
		return nil, err
	}
	var l library
	if err := c.Find([]*clib.Func{&l.initDecoder, &l.closeDecoder, &l.decode, &l.initEncoder, &l.closeEncoder, &l.encode},
		"initBcg729DecoderChannel", "closeBcg729DecoderChannel", "bcg729Decoder",
		"initBcg729EncoderChannel", "closeBcg729EncoderChannel", "bcg729Encoder"); err != nil {
		return nil, err
	}
	return []codecs.Coder{{Codec: Codec, SampleRate: SampleRate, By: "libbcg729",
		NewDecoder: func() (codecs.SoundDecoder, error) { return l.newDecoder() },
		NewEncoder: func() (codecs.SoundEncoder, error) { return l.newEncoder() },
	}}, nil
}

var errClosed = errors.New("it was closed")

type decoder struct {
	clib.Caller
	l     *library
	state uintptr // 0 when closed
	pcm   [frameSamples]int16
}

func (l *library) newDecoder() (*decoder, error) {
	d := &decoder{l: l, state: l.initDecoder.Call()}
	if d.state == 0 {
		return nil, errors.New("libbcg729 could not make a decoder: no memory")
	}
	return d, nil
}

// Samples implements codecs.SoundDecoder.
func (d *decoder) Samples(packet []byte) int { return Frames(packet) * frameSamples }

// Decode implements codecs.SoundDecoder. The library sees whole frames only.
func (d *decoder) Decode(dst []int16, packet []byte) ([]int16, error) {
	if Frames(packet) == 0 {
		return dst, fmt.Errorf("decoding a G.729 packet of %d bytes: not frames of %d and at most %d of them (RFC 3551 section 4.5.6)", len(packet), frameBytes, MaxFrames)
	}
	if d.state == 0 {
		return dst, fmt.Errorf("using a G.729 decoder: %w", errClosed)
	}
	for len(packet) > 0 {
		n, sid := frameBytes, uintptr(0)
		if len(packet) < frameBytes {
			n, sid = sidBytes, 1
		}
		d.Call7(d.l.decode, d.state, uintptr(unsafe.Pointer(&packet[0])), uintptr(n), 0, sid, 0, uintptr(unsafe.Pointer(&d.pcm)))
		dst = append(dst, d.pcm[:]...)
		packet = packet[n:]
	}
	return dst, nil
}

// Conceal implements codecs.SoundDecoder: a frame that is erased after a
// silence descriptor was not sent, and is comfort noise (annex B).
func (d *decoder) Conceal(dst []int16, n int) []int16 {
	for n > 0 && d.state != 0 {
		d.Call7(d.l.decode, d.state, 0, 0, 1, 0, 0, uintptr(unsafe.Pointer(&d.pcm)))
		k := min(n, frameSamples)
		dst, n = append(dst, d.pcm[:k]...), n-k
	}
	return append(dst, make([]int16, n)...)
}

// Close implements codecs.SoundDecoder.
func (d *decoder) Close() {
	if d.state != 0 {
		d.l.closeDecoder.Call(d.state)
		d.state = 0
	}
}

type encoder struct {
	clib.Caller
	l     *library
	state uintptr // 0 when closed
	bits  [frameBytes]byte
	bytes [1]uint8
}

// newEncoder makes an encoder without voice activity detection: every frame is
// sent, so a peer that wants no annex B (annexb=no) gets what it wants.
func (l *library) newEncoder() (*encoder, error) {
	e := &encoder{l: l, state: l.initEncoder.Call(0)}
	if e.state == 0 {
		return nil, errors.New("libbcg729 could not make an encoder: no memory")
	}
	return e, nil
}

// Lookahead implements codecs.SoundEncoder: 5 ms.
func (e *encoder) Lookahead() int { return SampleRate / 200 }

// Encode implements codecs.SoundEncoder.
func (e *encoder) Encode(dst []byte, pcm []int16) ([]byte, error) {
	if len(pcm)%frameSamples != 0 {
		return dst, fmt.Errorf("encoding G.729: %d samples are no frames of %d", len(pcm), frameSamples)
	}
	if e.state == 0 {
		return dst, fmt.Errorf("using a G.729 encoder: %w", errClosed)
	}
	for ; len(pcm) > 0; pcm = pcm[frameSamples:] {
		e.Call7(e.l.encode, e.state, uintptr(unsafe.Pointer(&pcm[0])), uintptr(unsafe.Pointer(&e.bits)), uintptr(unsafe.Pointer(&e.bytes)), 0, 0, 0)
		if e.bytes[0] != frameBytes {
			return dst, fmt.Errorf("encoding G.729: libbcg729 made a frame of %d bytes", e.bytes[0])
		}
		dst = append(dst, e.bits[:]...)
	}
	return dst, nil
}

// Close implements codecs.SoundEncoder.
func (e *encoder) Close() {
	if e.state != 0 {
		e.l.closeEncoder.Call(e.state)
		e.state = 0
	}
}

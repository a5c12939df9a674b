package convert

import (
	"encoding/binary"
	"fmt"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/codecs/resample"
	"lineout/media"
)

// encoder turns frames of samples into packets.
type encoder interface {
	rate() int
	channels() int
	// frame is the samples per channel that encode takes.
	frame() int
	// lookahead is by how many samples a decoder's output lags behind the frame
	// its packet stands for.
	lookahead() int
	params() *media.Params
	// encode returns the next packet, valid until the next call, nil while the
	// encoder fills up. Packets come out in the order of their frames.
	encode(planes [][]float32) ([]byte, error)
}

func (k kit) encoder(c media.Codec, sourceRate int, o codecs.Options) (encoder, error) {
	if l := k.coder(c); l != nil {
		return newLibraryEncoder(l)
	}
	switch c {
	case aac.Name:
		return newAACEncoder(o)
	case opus.Name:
		return newOpusEncoder(sourceRate, o)
	case l16.Name:
		return &l16Encoder{hz: sourceRate, par: &media.Params{SampleRate: sourceRate, Channels: 1}}, nil
	case g722.Name:
		return &g722Encoder{e: g722.NewEncoder()}, nil
	case g711.PCMU:
		return &g711Encoder{enc: g711.EncodePCMU, par: g711.CodecPCMU.Params(nil, nil)}, nil
	case g711.PCMA:
		return &g711Encoder{enc: g711.EncodePCMA, par: g711.CodecPCMA.Params(nil, nil)}, nil
	}
	return nil, fmt.Errorf("no encoder for %s", c)
}

func oneOrTwo(channels int) int {
	if channels == 2 {
		return 2
	}
	return 1
}

type aacEncoder struct {
	e   aac.Encoder
	buf []byte
}

// newAACEncoder makes mono of 64 kbit/s at 48 kHz unless asked otherwise: a
// call is mono, and every player takes this.
func newAACEncoder(o codecs.Options) (encoder, error) {
	c := aac.EncoderConfig{SampleRate: o.SampleRate, Channels: oneOrTwo(o.Channels), Bitrate: o.Bitrate}
	if c.SampleRate == 0 {
		c.SampleRate = aac.SampleRate
	}
	if c.Bitrate == 0 {
		c.Bitrate = 32000 + 32000*c.Channels
	}
	e, err := aac.NewEncoder(c)
	if err != nil {
		return nil, err
	}
	return &aacEncoder{e: e, buf: make([]byte, 0, 2048)}, nil
}

func (e *aacEncoder) rate() int             { return e.e.Params().SampleRate }
func (e *aacEncoder) channels() int         { return e.e.Params().Channels }
func (e *aacEncoder) frame() int            { return aac.FrameSize }
func (e *aacEncoder) lookahead() int        { return 0 }
func (e *aacEncoder) params() *media.Params { return e.e.Params() }

func (e *aacEncoder) encode(planes [][]float32) ([]byte, error) {
	var err error
	e.buf, err = e.e.Encode(e.buf[:0], planes)
	if err != nil || len(e.buf) == 0 {
		return nil, err
	}
	return e.buf, nil
}

type opusEncoder struct {
	e      opus.Encoder
	hz, ch int
	pcm    []float32
	buf    [opus.MaxPacket]byte
}

// newOpusEncoder encodes at the source's rate: Opus takes 8 and 16 kHz as they
// are, and decoders put out 48 kHz all the same. Packets carry no copies of the
// ones before: whoever plays over a lossy network (WebRTC) takes G.711 as it
// is, so this goes to files and HTTP, and copies cost half as much CPU again.
func newOpusEncoder(sourceRate int, o codecs.Options) (encoder, error) {
	switch sourceRate {
	case 8000, 12000, 16000, 24000:
	default: // samples of a file may be at any rate
		sourceRate = opus.ClockRate
	}
	c := opus.EncoderConfig{SampleRate: sourceRate, Channels: oneOrTwo(o.Channels), Bitrate: o.Bitrate}
	if c.Bitrate == 0 {
		c.Bitrate = 20000 * c.Channels
		if sourceRate > 8000 {
			c.Bitrate = 32000 * c.Channels
		}
	}
	e, err := opus.NewEncoder(c)
	if err != nil {
		return nil, err
	}
	return &opusEncoder{e: e, hz: sourceRate, ch: c.Channels}, nil
}

func (e *opusEncoder) rate() int             { return e.hz }
func (e *opusEncoder) channels() int         { return e.ch }
func (e *opusEncoder) frame() int            { return e.hz / 50 }
func (e *opusEncoder) lookahead() int        { return e.e.Lookahead() }
func (e *opusEncoder) params() *media.Params { return opus.Codec.Params(nil, nil) }

func (e *opusEncoder) encode(planes [][]float32) ([]byte, error) {
	e.pcm = resample.Interleave(e.pcm[:0], planes)
	n, err := e.e.Encode(e.pcm, e.buf[:])
	if err != nil {
		return nil, fmt.Errorf("encoding Opus: %w", err)
	}
	return e.buf[:n], nil
}

type g711Encoder struct {
	enc func([]byte, []int16) []byte
	par *media.Params
	pcm []int16
	buf []byte
}

func (e *g711Encoder) rate() int             { return g711.SampleRate }
func (e *g711Encoder) channels() int         { return 1 }
func (e *g711Encoder) frame() int            { return g711.SampleRate / 50 }
func (e *g711Encoder) lookahead() int        { return 0 }
func (e *g711Encoder) params() *media.Params { return e.par }

func (e *g711Encoder) encode(planes [][]float32) ([]byte, error) {
	e.pcm = resample.ToInt(e.pcm[:0], planes[0])
	e.buf = e.enc(e.buf[:0], e.pcm)
	return e.buf, nil
}

type g722Encoder struct {
	e   *g722.Encoder
	pcm []int16
	buf []byte
}

func (e *g722Encoder) rate() int             { return g722.SampleRate }
func (e *g722Encoder) channels() int         { return 1 }
func (e *g722Encoder) frame() int            { return g722.SampleRate / 50 }
func (e *g722Encoder) lookahead() int        { return g722.Delay }
func (e *g722Encoder) params() *media.Params { return g722.Codec.Params(nil, nil) }

func (e *g722Encoder) encode(planes [][]float32) ([]byte, error) {
	e.pcm = resample.ToInt(e.pcm[:0], planes[0])
	e.buf = e.e.Encode(e.buf[:0], e.pcm)
	return e.buf, nil
}

// l16Encoder writes samples down at the rate they are taken at.
type l16Encoder struct {
	hz  int
	par *media.Params
	pcm []int16
	buf []byte
}

func (e *l16Encoder) rate() int             { return e.hz }
func (e *l16Encoder) channels() int         { return 1 }
func (e *l16Encoder) frame() int            { return e.hz / 50 }
func (e *l16Encoder) lookahead() int        { return 0 }
func (e *l16Encoder) params() *media.Params { return e.par }

func (e *l16Encoder) encode(planes [][]float32) ([]byte, error) {
	e.pcm, e.buf = resample.ToInt(e.pcm[:0], planes[0]), e.buf[:0]
	for _, s := range e.pcm {
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(s))
	}
	return e.buf, nil
}

package convert

import (
	"lineout/codecs"
	"lineout/codecs/resample"
	"lineout/media"
)

// libraryDecoder is the decoder of a library.
type libraryDecoder struct {
	d   codecs.SoundDecoder
	hz  int
	pcm []int16
}

func newLibraryDecoder(c *codecs.Coder) (decoder, error) {
	d, err := c.NewDecoder()
	if err != nil {
		return nil, err
	}
	return &libraryDecoder{d: d, hz: c.SampleRate, pcm: make([]int16, 0, count(blockMax, c.SampleRate))}, nil
}

func (d *libraryDecoder) rate() int                 { return d.hz }
func (d *libraryDecoder) channels() int             { return 1 }
func (d *libraryDecoder) samples(packet []byte) int { return d.d.Samples(packet) }
func (d *libraryDecoder) close()                    { d.d.Close() }

func (d *libraryDecoder) decode(planes [][]float32, packet []byte) error {
	var err error
	if d.pcm, err = d.d.Decode(d.pcm[:0], packet); err != nil {
		return err
	}
	planes[0] = resample.ToFloat(planes[0], d.pcm)
	return nil
}

// conceal leaves it to the library for how long it invents sound and what
// follows: it knows whether the sender said that it stops.
func (d *libraryDecoder) conceal(planes [][]float32, n int, _ []byte, _ bool) {
	d.pcm = d.d.Conceal(d.pcm[:0], n)
	planes[0] = resample.ToFloat(planes[0], d.pcm)
}

// libraryEncoder is the encoder of a library.
type libraryEncoder struct {
	e   codecs.SoundEncoder
	hz  int
	par *media.Params
	pcm []int16
	buf []byte
}

func newLibraryEncoder(c *codecs.Coder) (encoder, error) {
	e, err := c.NewEncoder()
	if err != nil {
		return nil, err
	}
	return &libraryEncoder{e: e, hz: c.SampleRate, par: c.Codec.Params(nil, nil)}, nil
}

func (e *libraryEncoder) rate() int             { return e.hz }
func (e *libraryEncoder) channels() int         { return 1 }
func (e *libraryEncoder) frame() int            { return e.hz / 50 }
func (e *libraryEncoder) lookahead() int        { return e.e.Lookahead() }
func (e *libraryEncoder) params() *media.Params { return e.par }
func (e *libraryEncoder) close()                { e.e.Close() }

func (e *libraryEncoder) encode(planes [][]float32) ([]byte, error) {
	e.pcm = resample.ToInt(e.pcm[:0], planes[0])
	var err error
	e.buf, err = e.e.Encode(e.buf[:0], e.pcm)
	return e.buf, err
}

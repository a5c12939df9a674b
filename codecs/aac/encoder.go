package aac

import (
	"fmt"

	goaac "github.com/tphakala/go-aac"

	"lineout/media"
)

// Encoder turns frames of FrameSize samples into access units. One goroutine
// uses it.
type Encoder interface {
	// Encode takes the next frame, one slice of FrameSize samples per channel,
	// +-1.0, and appends an access unit to dst. Nothing is appended for the
	// first two calls: from the third on, each access unit decodes to the
	// frame given two calls before, so the caller needs no delay correction.
	Encode(dst []byte, frame [][]float32) ([]byte, error)
	// Params describe the stream; always the same pointer.
	Params() *media.Params
}

// EncoderConfig shapes an encoder.
type EncoderConfig struct {
	// SampleRate is 44100 or 48000 Hz; Channels 1 or 2.
	SampleRate, Channels int
	// Bitrate is in bit/s for all channels together.
	Bitrate int
}

// NewEncoder returns an AAC-LC encoder.
func NewEncoder(c EncoderConfig) (Encoder, error) {
	e, err := goaac.NewEncoder(goaac.EncoderConfig{
		SampleRate: c.SampleRate, Channels: c.Channels, Bitrate: c.Bitrate, Coder: goaac.CoderNMR,
	})
	if err != nil {
		return nil, fmt.Errorf("making an AAC encoder for %d Hz, %d channels, %d bit/s: %w", c.SampleRate, c.Channels, c.Bitrate, err)
	}
	if e.Delay() != FrameSize {
		return nil, fmt.Errorf("making an AAC encoder: its delay is %d samples, the timing here needs %d", e.Delay(), FrameSize)
	}
	return &encoder{e: e, params: &media.Params{
		SampleRate: c.SampleRate, Channels: c.Channels, Sets: [][]byte{e.AudioSpecificConfig()},
	}}, nil
}

type encoder struct {
	e      *goaac.Encoder
	params *media.Params
	primed bool
}

func (e *encoder) Params() *media.Params { return e.params }

func (e *encoder) Encode(dst []byte, frame [][]float32) ([]byte, error) {
	out, err := e.e.EncodeFrame(dst, frame)
	if err != nil {
		return dst, fmt.Errorf("encoding AAC: %w", err)
	}
	// The first access unit holds the time before the first sample.
	if len(out) > len(dst) && !e.primed {
		e.primed = true
		return dst, nil
	}
	return out, nil
}

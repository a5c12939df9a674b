// Package convert turns the sound of one codec into that of another: decoder,
// resampler, encoder, and the bookkeeping that keeps the output on the input's
// timeline, so that a sound heard at time t before is heard at t after.
//
// A conversion is passive: frames come out only while frames go in. What was
// missing is filled in when the next frame arrives, so a silent sender makes a
// silent pause in the output and then the fill all at once, at most 10 s of it.
package convert

import (
	"fmt"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/opus"
	"lineout/media"
)

// All lists the conversions, best first for each target.
func All() []codecs.Converter {
	var all []codecs.Converter
	for _, to := range []struct {
		codec           media.Codec
		clock, channels int
		from            []media.Codec
	}{
		{aac.Name, aac.SampleRate, 1, []media.Codec{opus.Name, g722.Name, g711.PCMA, g711.PCMU}},
		{opus.Name, opus.ClockRate, 2, []media.Codec{g722.Name, g711.PCMA, g711.PCMU, opus.Name}},
		{g711.PCMA, g711.SampleRate, 1, []media.Codec{opus.Name, g722.Name, g711.PCMU}},
		{g711.PCMU, g711.SampleRate, 1, []media.Codec{opus.Name, g722.Name, g711.PCMA}},
	} {
		for _, from := range to.from {
			all = append(all, codecs.Converter{
				From: from, To: to.codec, ClockRate: to.clock, Channels: to.channels,
				New: func(_ *media.Track, o codecs.Options) (codecs.Conversion, error) {
					return newConversion(from, to.codec, o)
				},
			})
		}
	}
	return all
}

// sourceRate is the rate in Hz at which a codec's sound is taken.
func sourceRate(from, to media.Codec) int {
	switch {
	case from == g722.Name:
		return g722.SampleRate
	case from != opus.Name:
		return g711.SampleRate
	case to == g711.PCMA || to == g711.PCMU:
		return g711.SampleRate // Opus decodes to any of its rates by itself
	}
	return opus.ClockRate
}

func newConversion(from, to media.Codec, o codecs.Options) (*conversion, error) {
	rate := sourceRate(from, to)
	enc, err := newEncoder(to, rate, o)
	if err != nil {
		return nil, fmt.Errorf("making a conversion from %s to %s: %w", from, to, err)
	}
	dec, err := newDecoder(from, rate, enc.channels())
	if err != nil {
		return nil, fmt.Errorf("making a conversion from %s to %s: %w", from, to, err)
	}
	c, err := assemble(dec, enc)
	if err != nil {
		return nil, fmt.Errorf("making a conversion from %s to %s: %w", from, to, err)
	}
	return c, nil
}

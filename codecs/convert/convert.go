// Package convert turns the sound of one codec into that of another: decoder,
// resampler, encoder, and the bookkeeping that keeps the output on the input's
// timeline, so that a sound heard at time t before is heard at t after.
//
// A conversion is passive: frames come out only while frames go in. What was
// missing is filled in when the next frame arrives, so a silent sender makes a
// silent pause in the output and then the fill all at once, at most 10 s of it.
package convert

import (
	"cmp"
	"fmt"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/media"
)

// All lists the conversions, best first for each target: between the codecs
// decoded and encoded here, and from and to those of the coders.
func All(coders ...codecs.Coder) []codecs.Converter {
	from := []media.Codec{opus.Name, g722.Name, l16.Name}
	to := []target{{aac.Name, aac.SampleRate, 1}, {opus.Name, opus.ClockRate, 2}, {g711.PCMA, g711.SampleRate, 1}, {g711.PCMU, g711.SampleRate, 1}, {g722.Name, g722.Codec.ClockRate(), 1}, {l16.Name, l16.SampleRate, 1}}
	for _, c := range coders {
		from = append(from, c.Codec.Name())
		to = append(to, target{c.Codec.Name(), c.Codec.ClockRate(), 1})
	}
	from = append(from, g711.PCMA, g711.PCMU)
	var all []codecs.Converter
	for _, t := range to {
		for _, f := range from {
			if f == t.codec && f != opus.Name { // to itself: see codecs.Rules
				continue
			}
			all = append(all, codecs.Converter{
				From: f, To: t.codec, ClockRate: t.clock, Channels: t.channels,
				New: func(in *media.Track, o codecs.Options) (codecs.Conversion, error) {
					return kit(coders).conversion(in, f, t.codec, o)
				},
			})
		}
	}
	return all
}

// target is what a conversion makes.
type target struct {
	codec           media.Codec
	clock, channels int
}

// kit makes decoders and encoders: its own, and those of coders.
type kit []codecs.Coder

func (k kit) coder(c media.Codec) *codecs.Coder {
	for i := range k {
		if k[i].Codec.Name() == c {
			return &k[i]
		}
	}
	return nil
}

// sourceRate is the rate in Hz at which a codec's sound is taken. Only that of
// samples is the track's.
func (k kit) sourceRate(in *media.Track, from, to media.Codec) int {
	if c := k.coder(from); c != nil {
		return c.SampleRate
	}
	switch from {
	case l16.Name:
		if in != nil && in.Params() != nil {
			return in.Params().SampleRate
		}
		return l16.SampleRate
	case g722.Name:
		return g722.SampleRate
	case opus.Name: // decodes to any of its rates by itself
		if c := k.coder(to); c != nil {
			return c.SampleRate
		}
		switch to {
		case g722.Name:
			return g722.SampleRate
		case g711.PCMA, g711.PCMU:
		default:
			return opus.ClockRate
		}
	}
	return g711.SampleRate
}

func (k kit) conversion(in *media.Track, from, to media.Codec, o codecs.Options) (*conversion, error) {
	c, err := k.assemble(in, from, to, o)
	if err != nil {
		return nil, fmt.Errorf("making a conversion from %s to %s: %w", from, to, err)
	}
	return c, nil
}

func (k kit) assemble(in *media.Track, from, to media.Codec, o codecs.Options) (*conversion, error) {
	rate := k.sourceRate(in, from, to)
	has := 1
	if from == l16.Name && in != nil {
		has = oneOrTwo(in.Channels)
		o.Channels = cmp.Or(o.Channels, has)
	}
	enc, err := k.encoder(to, rate, o)
	if err != nil {
		return nil, err
	}
	dec, err := k.decoder(from, rate, has, enc.channels())
	if err != nil {
		free(enc)
		return nil, err
	}
	c, err := assemble(dec, enc, o.Prompt)
	if err != nil {
		free(enc)
		free(dec)
	}
	return c, err
}

// free gives back what a decoder or encoder holds outside of Go's memory.
func free(coder any) {
	if c, ok := coder.(interface{ close() }); ok {
		c.close()
	}
}

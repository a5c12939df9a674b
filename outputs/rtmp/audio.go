package rtmp

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/speex"
	"lineout/media"
)

// audioFormat is how one codec travels in audio tags (Adobe's Video File
// Format Specification 10.1, E.4.2.1).
type audioFormat struct {
	codec media.Codec
	// tag is the tag's first byte: format, rate, sample size, channels. What
	// it says of rate and channels is fixed for each format and means nothing.
	tag byte
	// packets says that a second byte follows, and that the decoder is
	// configured by a message of its own.
	packets bool
}

// audioFormats are what RTMP servers take that calls speak or are converted to.
var audioFormats = []audioFormat{
	{aac.Name, 10<<4 | 3<<2 | 1<<1 | 1, true},
	{g711.PCMA, 7<<4 | 1<<1, false},
	{g711.PCMU, 8<<4 | 1<<1, false},
	{speex.Wide, 11<<4 | 1<<2 | 1<<1, false}, // 16 kHz, whatever the tag says
}

func formatOf(c media.Codec) *audioFormat {
	for i := range audioFormats {
		if audioFormats[i].codec == c {
			return &audioFormats[i]
		}
	}
	return nil
}

// head is what precedes the media of a tag.
func (a *audioFormat) head(b *[videoHeadBytes]byte, packet byte) []byte {
	b[0], b[1] = a.tag, packet
	if !a.packets {
		return b[:1]
	}
	return b[:2]
}

// id is the number of the format, as onMetaData tells it.
func (a *audioFormat) id() int { return int(a.tag >> 4) }

// length is how long one access unit plays.
func (a *audioFormat) length(unit []byte, rate int) time.Duration {
	switch {
	case a.packets:
		return aac.FrameSize * time.Second / time.Duration(rate)
	case a.codec == speex.Wide:
		return time.Duration(speex.Frames(unit)) * 20 * time.Millisecond
	}
	return time.Duration(len(unit)) * time.Second / time.Duration(rate)
}

// quiet returns silence that takes the place of unit, nil if there is none.
func (s *sink) quiet(a *audioFormat, unit []byte, channels int) []byte {
	switch {
	case a.packets:
		return silence(channels)
	case a.codec == speex.Wide: // 20 ms, also in place of more: silence misses nothing
		return speex.CodecWide.(codecs.Silencer).Silence()
	}
	if len(s.hush) < len(unit) {
		c := g711.CodecPCMU
		if a.codec == g711.PCMA {
			c = g711.CodecPCMA
		}
		zero := c.(codecs.Silencer).Silence()[0]
		s.hush = make([]byte, len(unit))
		for i := range s.hush {
			s.hush[i] = zero
		}
	}
	return s.hush[:len(unit)]
}

// parseAudioCodecs reads rtmp_audio_codecs.
func parseAudioCodecs(names []string) ([]media.Codec, error) {
	var list []media.Codec
	for _, n := range names {
		c, known := codecs.Named(n)
		if strings.EqualFold(strings.TrimSpace(n), "aac") {
			c, known = aac.Name, true
		}
		if !known || formatOf(c) == nil {
			return nil, fmt.Errorf("rtmp_audio_codecs names %q, which RTMP cannot carry here; possible are aac, alaw, ulaw and speex16", n)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("rtmp_audio_codecs is empty: name at least one of aac, alaw, ulaw and speex16")
	}
	return list, nil
}

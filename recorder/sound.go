package recorder

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/media"
)

// soundLength is the play time of one packet, 0 if it cannot tell. rate is in
// Hz and matters where the codec has more than one.
func soundLength(c media.Codec, rate int, packet []byte) time.Duration {
	switch c {
	case opus.Name:
		return opus.PacketDuration(packet)
	case aac.Name:
		return ticksToTime(aac.FrameSize, int64(max(rate, 1)))
	case g711.PCMA, g711.PCMU:
		return ticksToTime(int64(len(packet)), g711.SampleRate)
	}
	return 0
}

// usableSound wants the sampling rate.
func usableSound(k media.Kind, p *media.Params) error {
	if k == media.Video {
		return errors.New("the file is for sound")
	}
	if p.SampleRate <= 0 {
		return errors.New("the sampling rate is unknown")
	}
	return nil
}

// label is a codec's name in file names.
func label(c media.Codec) string { return strings.ToUpper(string(c)) }

// opusHead describes Opus (RFC 7845 section 5.1) with no pre-skip: the stream's
// times are those of the sound, and nothing before the first packet is known.
func opusHead(channels byte) []byte {
	return append([]byte("OpusHead\x01"), channels, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0)
}

// Format tags of WAVE (RFC 2361 sections 2.1, 2.6 and 2.7).
const (
	wavePCM   = 1
	waveALaw  = 6
	waveMuLaw = 7
)

var waveTags = map[media.Codec]uint16{g711.PCMA: waveALaw, g711.PCMU: waveMuLaw, l16.Name: wavePCM}

// waveCodec is the codec with a format tag, "" for one that is not ours.
func waveCodec(tag uint16) media.Codec {
	for c, t := range waveTags {
		if t == tag {
			return c
		}
	}
	return ""
}

// waveFormat is the WAVEFORMATEX that describes a track, without extra bytes.
func waveFormat(c media.Codec, p *media.Params) []byte {
	rate, channels, size := p.SampleRate, max(p.Channels, 1), waveSize(c, p)
	b := binary.LittleEndian.AppendUint16(nil, waveTags[c])
	b = binary.LittleEndian.AppendUint16(b, uint16(channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate*size))
	b = binary.LittleEndian.AppendUint16(b, uint16(size))
	b = binary.LittleEndian.AppendUint16(b, uint16(8*size/channels))
	return binary.LittleEndian.AppendUint16(b, 0)
}

package recorder

import (
	"bytes"
	"slices"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/media"
)

// silence is coded silence as long as a frame of sound, nil if it cannot be
// made. It depends on the frame's form only, not on what is heard in it.
func silence(f *media.Frame, p *media.Params) [][]byte {
	out := make([][]byte, 0, len(f.Data))
	for _, d := range f.Data {
		var s []byte
		switch f.Track.Codec {
		case aac.Name:
			s = silentAAC(p)
		case opus.Name:
			s = silentOpus(opus.PacketDuration(d))
		case g711.PCMA, g711.PCMU, l16.Name:
			s = bytes.Repeat([]byte{silentByte[f.Track.Codec]}, len(d))
		}
		if s == nil {
			return nil
		}
		out = append(out, s)
	}
	return out
}

// silentByte is silence byte by byte: the code of the smallest positive value
// (ITU-T G.711), or zero.
var silentByte = map[media.Codec]byte{g711.PCMA: 0xd5, g711.PCMU: 0xff, l16.Name: 0}

// silentAAC is an AAC-LC frame without a spectrum (ISO/IEC 14496-3 section
// 4.4.2): one element for the channels with no scale factor bands, and END.
func silentAAC(p *media.Params) []byte {
	c, err := aacConfig(p)
	if err != nil || c.Type != mpeg4audio.ObjectTypeAACLC {
		return nil
	}
	switch c.ChannelCount {
	case 1: // SCE, global gain 0, long window, max_sfb 0, no tools
		return []byte{0x00, 0x00, 0x00, 0x07}
	case 2: // CPE without a common window: the same twice
		return []byte{0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0e}
	}
	return nil
}

// silentOpus is a packet of silent CELT frames (RFC 6716 sections 3.2 and 4.3.3)
// that lasts d, nil where no whole number of frames does.
func silentOpus(d time.Duration) []byte {
	for i, frame := range []time.Duration{20, 10, 5} {
		frame *= time.Millisecond
		if n := d / frame; n > 0 && d%frame == 0 && n < 64 {
			const fullband = 31 // configuration with frames of 20 ms; those before it are shorter
			toc := byte(fullband-i)<<3 | 3
			return slices.Concat([]byte{toc, byte(n)}, bytes.Repeat([]byte{0xff, 0xfe}, int(n)))
		}
	}
	if d == 2500*time.Microsecond {
		return []byte{28 << 3, 0xff, 0xfe}
	}
	return nil
}

package recorder

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/Eyevinn/mp4ff/avc"

	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// Codec IDs of Matroska (RFC 9559 section 27.6 and the codec registry). G.711
// has none of its own: it is what a WAVEFORMATEX in CodecPrivate says.
var mkvIDs = map[media.Codec]string{
	vp8.Name:  "V_VP8",
	h264.Name: "V_MPEG4/ISO/AVC",
	opus.Name: "A_OPUS",
	aac.Name:  "A_AAC",
	g711.PCMA: idACM,
	g711.PCMU: idACM,
}

const idACM = "A_MS/ACM"

// mkvTracks is the payload of Tracks.
func mkvTracks(h header) ([]byte, error) {
	var out []byte
	entry := func(number, kind uint64, c media.Codec, more []byte) {
		var p []byte
		p = uintElement(p, idTrackNumber, number)
		p = uintElement(p, idTrackUID, number)
		p = uintElement(p, idTrackType, kind)
		p = uintElement(p, idFlagLacing, 0)
		p = element(p, idCodecID, []byte(mkvIDs[c]))
		out = element(out, idTrackEntry, p, more)
	}
	if h.video != nil {
		private, err := videoPrivate(h.videoCodec, h.video)
		if err != nil {
			return nil, err
		}
		v := uintElement(nil, idPixelWidth, uint64(h.video.Width))
		v = uintElement(v, idPixelHeight, uint64(h.video.Height))
		entry(videoID, 1, h.videoCodec, element(private, idVideo, v))
	}
	if h.audio != nil {
		more, err := audioEntry(h.audioCodec, h.audio)
		if err != nil {
			return nil, err
		}
		entry(audioID, 2, h.audioCodec, more)
	}
	return out, nil
}

// videoPrivate is CodecPrivate: for H.264 the AVCDecoderConfigurationRecord of
// ISO/IEC 14496-15 section 5.3.3.1, for VP8 nothing.
func videoPrivate(c media.Codec, p *media.Params) ([]byte, error) {
	if c != h264.Name {
		return nil, nil
	}
	if len(p.Sets) < 2 {
		return nil, fmt.Errorf("H.264 without SPS and PPS cannot be described in Matroska")
	}
	rec, err := avc.CreateAVCDecConfRec(p.Sets[:1], p.Sets[1:], true)
	if err != nil {
		return nil, fmt.Errorf("avcC: %w", err)
	}
	var b bytes.Buffer
	if err := rec.Encode(&b); err != nil {
		return nil, fmt.Errorf("avcC: %w", err)
	}
	return element(nil, idCodecPrivate, b.Bytes()), nil
}

// audioEntry is what a TrackEntry says of sound in particular.
func audioEntry(c media.Codec, p *media.Params) ([]byte, error) {
	rate, channels := p.SampleRate, uint64(max(p.Channels, 1))
	var out []byte
	switch c {
	case opus.Name:
		rate = opus.ClockRate
		if channels != 1 {
			channels = 2
		}
		// The preroll before a seek is that of RFC 7845 section 4.6.
		out = element(nil, idCodecPrivate, opusHead(byte(channels)))
		out = uintElement(out, idSeekPreRoll, 80_000_000)
	case aac.Name:
		a, err := aacConfig(p)
		if err != nil {
			return nil, err
		}
		rate = a.SampleRate
		out = element(nil, idCodecPrivate, p.Sets[0])
	case g711.PCMA, g711.PCMU:
		rate, channels = g711.SampleRate, 1
		out = element(nil, idCodecPrivate, waveFormat(c, p))
	default:
		return nil, fmt.Errorf("%s cannot be put into Matroska", c)
	}
	a := floatElement(nil, idSamplingFrequency, float64(rate))
	a = uintElement(a, idChannels, channels)
	if c == g711.PCMA || c == g711.PCMU {
		a = uintElement(a, idBitDepth, 8)
	}
	return element(out, idAudio, a), nil
}

// mkvCodec is the codec that a TrackEntry names, "" for one that is not ours.
func mkvCodec(id string, private []byte) media.Codec {
	if id == idACM {
		if len(private) < 2 {
			return ""
		}
		return waveCodec(binary.LittleEndian.Uint16(private))
	}
	for c, name := range mkvIDs {
		if name == id {
			return c
		}
	}
	return ""
}

package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4/codecs"

	"lineout/codecs/opus"
	"lineout/media"
)

// headerSize is the room a file that is being written keeps for its header:
// what the container wants before its media, our own facts, and padding.
// Because the room is fixed, a track that appears late is added by rewriting
// the header in place, in one write that leaves every fragment where it is.
const headerSize = 8192

// Track numbers inside our files. They do not depend on which track came first.
const (
	videoID = 1
	audioID = 2
)

// videoScale is the time scale of video in ticks per second; audio uses its
// sampling rate, so that a frame of it is a whole number of ticks.
const videoScale = 90000

// factsUUID is the type of the uuid box (ISO/IEC 14496-12 section 4.2) that
// holds fileMeta, so that a file can be finalised by a process that knows
// nothing else about it.
var factsUUID = [16]byte{0x6c, 0x69, 0x6e, 0x65, 0x6f, 0x75, 0x74, 0x00, 0x80, 0x01, 'r', 'e', 'c', 'f', 'a', 'c'}

// fileMeta are the facts a file carries about itself.
type fileMeta struct {
	// Stream is the stream's name, for the hook.
	Stream string `json:"stream"`
	// Base is the file's final name without suffix, with late elements open.
	Base string `json:"base"`
	// MediaSession is the stream's id.
	MediaSession string `json:"mediaSession"`
	// Part counts the files of one recording from 1.
	Part int `json:"part"`
	// Unique says that parts are told apart by their names and get no number.
	Unique bool `json:"unique,omitempty"`
	// StartMS and StartServerMS are the first frame's time on the sender's
	// clock and on ours, in milliseconds since 1970.
	StartMS       int64 `json:"start"`
	StartServerMS int64 `json:"startServer"`
	// SenderClock says that StartMS is the sender's clock; otherwise it is ours.
	SenderClock bool `json:"senderClock,omitempty"`
	// Call is what the sidecar says about the call.
	Call callFacts `json:"call"`
}

// header is what the header of a growing file says.
type header struct {
	video, audio           *media.Params
	videoCodec, audioCodec media.Codec
	// inBand says that key frames hold H.264 parameters other than video's.
	inBand bool
	meta   fileMeta
}

// add describes a track.
func (h *header) add(t *media.Track, p *media.Params) {
	if t.Kind == media.Video {
		h.video, h.videoCodec = p, t.Codec
	} else {
		h.audio, h.audioCodec = p, t.Codec
	}
}

// header implements muxer.
func (m *mp4Muxer) header(h header) ([]byte, error) {
	var init fmp4.Init
	if h.video != nil {
		if len(h.video.Sets) < 2 {
			return nil, fmt.Errorf("H.264 without SPS and PPS cannot be described in MP4")
		}
		init.Tracks = append(init.Tracks, &fmp4.InitTrack{ID: videoID, TimeScale: videoScale,
			Codec: &codecs.H264{SPS: h.video.Sets[0], PPS: h.video.Sets[1]}})
	}
	if h.audio != nil {
		codec, rate, err := soundEntry(h.audioCodec, h.audio)
		if err != nil {
			return nil, err
		}
		init.Tracks = append(init.Tracks, &fmp4.InitTrack{ID: audioID, TimeScale: uint32(rate), Codec: codec})
		m.sound, m.rate = h.audioCodec, rate
	}
	var buf seekablebuffer.Buffer
	if err := init.Marshal(&buf); err != nil {
		return nil, fmt.Errorf("MP4 header: %w", err)
	}
	if h.inBand {
		// The sample entry that allows it (ISO/IEC 14496-15 section 5.3.3.1.2).
		b := buf.Bytes()
		if i := bytes.Index(b, []byte("stsd")); i >= 0 {
			copy(b[i:], bytes.Replace(b[i:], []byte("avc1"), []byte("avc3"), 1))
		}
	}
	if b := buf.Bytes(); m.sound == opus.Name {
		// No pre-skip, see opusHead: version, channels, PreSkip of dOps.
		if i := bytes.Index(b, []byte("dOps")); i >= 0 && len(b) >= i+8 {
			clear(b[i+6 : i+8])
		}
	}
	facts, err := json.Marshal(h.meta)
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, headerSize), buf.Bytes()...)
	out = appendBox(out, "uuid", factsUUID[:], facts)
	room := headerSize - len(out)
	if room < 8 {
		return nil, fmt.Errorf("MP4 header of %d bytes does not fit in %d", len(out), headerSize)
	}
	m.video, m.inBand = h.video, h.inBand
	return appendBox(out, "free", make([]byte, room-8)), nil
}

// soundEntry describes a track of sound; rate is its ticks per second.
func soundEntry(c media.Codec, p *media.Params) (entry codecs.Codec, rate int64, err error) {
	if c == opus.Name {
		channels := 2
		if p.Channels == 1 {
			channels = 1
		}
		return &codecs.Opus{ChannelCount: channels}, opus.ClockRate, nil
	}
	a, err := aacConfig(p)
	if err != nil {
		return nil, 0, err
	}
	return &codecs.MPEG4Audio{Config: *a}, int64(a.SampleRate), nil
}

// usableMP4 wants what the sample entries are made of.
func usableMP4(k media.Kind, p *media.Params) error {
	if k == media.Video && len(p.Sets) < 2 {
		return errors.New("SPS or PPS is unknown")
	}
	return nil
}

// fitsSets says that a header made of the old parameters describes the next
// ones too. It is false for another SPS, or another AudioSpecificConfig. Another
// PPS alone may stay in band.
func fitsSets(old, next *media.Params) bool {
	if len(old.Sets) == 0 || len(next.Sets) == 0 {
		return len(old.Sets) == len(next.Sets)
	}
	return bytes.Equal(old.Sets[0], next.Sets[0])
}

func appendBox(b []byte, kind string, payload ...[]byte) []byte {
	n := 8
	for _, p := range payload {
		n += len(p)
	}
	b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	b = append(b, kind...)
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

// aacConfig decodes the AudioSpecificConfig of an AAC track.
func aacConfig(p *media.Params) (*mpeg4audio.AudioSpecificConfig, error) {
	if p == nil || len(p.Sets) == 0 {
		return nil, fmt.Errorf("AAC without an AudioSpecificConfig cannot be described in MP4")
	}
	var c mpeg4audio.AudioSpecificConfig
	if err := c.Unmarshal(p.Sets[0]); err != nil {
		return nil, fmt.Errorf("AudioSpecificConfig: %w", err)
	}
	if c.SampleRate <= 0 {
		return nil, fmt.Errorf("AudioSpecificConfig without a sampling rate")
	}
	return &c, nil
}

// shorten keeps a stream's name, which may be a long URI, from filling the header.
func shorten(s string) string {
	if len(s) > 2048 {
		s = s[:2048]
	}
	return strings.ToValidUTF8(s, "")
}

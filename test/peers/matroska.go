package peers

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

// matroska gathers frames and writes them to a file that ffmpeg reads: just enough of RFC 9559.
type matroska struct {
	entries []byte // TrackEntry elements
	tracks  int
	frames  []timedFrame
}

type timedFrame struct {
	track int
	at    time.Duration
	data  []byte
}

// tick is the unit of the file's timestamps.
const tick = 10 * time.Microsecond

// track adds a track and returns its number and what takes its payloads out of RTP.
func (m *matroska) track(c webrtc.RTPCodecParameters) (n int, d rtp.Depacketizer, err error) {
	m.tracks++
	number := element(0xD7, uint8(m.tracks))
	picture := slices.Concat(element(0x83, uint8(1)), element(0xE0, slices.Concat(element(0xB0, uint16(640)), element(0xBA, uint16(360))))) // the codec's own size counts
	sound := func(hz float64, channels uint8) []byte {
		return slices.Concat(element(0x83, uint8(2)), element(0xE1, slices.Concat(element(0xB5, hz), element(0x9F, channels))))
	}
	// acm is a WAVEFORMATEX of 8 bits a sample.
	acm := func(tag uint16, hz uint32) []byte {
		le := binary.LittleEndian
		b := le.AppendUint16(le.AppendUint16(nil, tag), 1)
		b = le.AppendUint32(le.AppendUint32(b, hz), 8000)
		b = le.AppendUint16(le.AppendUint16(le.AppendUint16(b, 1), 8), 0)
		return slices.Concat(element(0x86, "A_MS/ACM"), element(0x63A2, b), sound(float64(hz), 1))
	}
	var e []byte
	d = payload{}
	switch strings.ToLower(c.MimeType) {
	case "video/vp8":
		e, d = slices.Concat(element(0x86, "V_VP8"), picture), &codecs.VP8Packet{}
	case "video/h264": // byte stream format, so no avcC
		b := make([]byte, 40)
		b[0] = 40
		copy(b[16:], "H264")
		e, d = slices.Concat(element(0x86, "V_MS/VFW/FOURCC"), element(0x63A2, b), picture), &codecs.H264Packet{}
	case "audio/opus":
		head := append([]byte("OpusHead\x01\x02\x00\x00"), 0x80, 0xBB, 0, 0, 0, 0, 0)
		e = slices.Concat(element(0x86, "A_OPUS"), element(0x63A2, head), sound(48000, 2))
	case "audio/pcma":
		e = acm(6, 8000)
	case "audio/pcmu":
		e = acm(7, 8000)
	case "audio/g722":
		e = acm(0x028F, 16000)
	default:
		return 0, nil, fmt.Errorf("no place for it in the file")
	}
	m.entries = append(m.entries, element(0xAE, slices.Concat(number, element(0x73C5, uint8(m.tracks)), element(0x9C, uint8(0)), e))...)
	return m.tracks, d, nil
}

// payload is sound, whose packets are its frames.
type payload struct{ rtp.Depacketizer }

func (payload) Unmarshal(b []byte) ([]byte, error) { return b, nil }

func (m *matroska) add(track int, at time.Duration, data []byte) {
	m.frames = append(m.frames, timedFrame{track, at, data})
}

// bytes is the file, beginning with its first frame: one cluster for each.
func (m *matroska) bytes() []byte {
	slices.SortStableFunc(m.frames, func(a, b timedFrame) int { return int(a.at - b.at) })
	info := element(0x1549A966, element(0x2AD7B1, uint32(tick)))
	body := slices.Concat(info, element(0x1654AE6B, m.entries))
	for _, f := range m.frames {
		at := (f.at - m.frames[0].at) / tick
		block := append([]byte{0x80 | byte(f.track), 0, 0, 0x80}, f.data...)
		body = append(body, element(0x1F43B675, slices.Concat(element(0xE7, uint32(at)), element(0xA3, block)))...)
	}
	return slices.Concat(element(0x1A45DFA3, element(0x4282, "matroska")), element(0x18538067, body))
}

// element is an EBML element with its size in eight bytes; numbers are written as wide as they are.
func element(id uint32, value any) []byte {
	var v []byte
	switch x := value.(type) {
	case []byte:
		v = x
	case string:
		v = []byte(x)
	default:
		v, _ = binary.Append(nil, binary.BigEndian, x)
	}
	b := binary.BigEndian.AppendUint32(nil, id)
	for b[0] == 0 {
		b = b[1:]
	}
	b = binary.BigEndian.AppendUint64(b, 1<<56|uint64(len(v)))
	return append(b, v...)
}

package recorder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lineout/codecs/opus"
	"lineout/media"
)

// webmMuxer makes WebM of VP8 and Opus: a Segment of unknown size that grows
// by Clusters of known size. Times are milliseconds, as WebM wants them; each
// is rounded by itself from the stream's time, so that no error adds up.
type webmMuxer struct {
	data   []byte // payloads of the open cluster
	blocks []webmBlock
	next   [3]int64 // by kind: the millisecond the next block must not go before
	out    []byte   // the cluster as it is written, reused
}

// webmBlock is one frame of the open cluster.
type webmBlock struct {
	kind media.Kind
	key  bool
	dts  time.Duration
	ms   int64
	from int // in data
	size int
}

// usableWebM wants the picture's size, which key frames say.
func usableWebM(k media.Kind, p *media.Params) error {
	if k == media.Video && (p.Width <= 0 || p.Height <= 0) {
		return errors.New("the picture's size is unknown")
	}
	return nil
}

// header implements muxer.
func (m *webmMuxer) header(h header) ([]byte, error) {
	facts, err := json.Marshal(h.meta)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, headerSize)
	out = appendEBML(out)
	out = appendSize8(appendID(out, idSegment), sizeUnknown)
	out = element(out, idInfo, webmInfo(-1))
	out = element(out, idTracks, webmTracks(h))
	out = appendVoid(out, 9+128+len(facts)+len(factsUUID), append(factsUUID[:], facts...)...)
	room := headerSize - len(out)
	if room < 128 {
		return nil, fmt.Errorf("WebM header of %d bytes does not fit in %d", len(out)+128, headerSize)
	}
	return appendVoid(out, room), nil
}

func appendEBML(b []byte) []byte {
	var p []byte
	p = uintElement(p, idEBMLVersion, 1)
	p = uintElement(p, idEBMLReadVersion, 1)
	p = uintElement(p, idEBMLMaxIDLength, 4)
	p = uintElement(p, idEBMLMaxSizeLength, 8)
	p = element(p, idDocType, []byte("webm"))
	p = uintElement(p, idDocTypeVersion, 4)
	p = uintElement(p, idDocTypeReadVersion, 2)
	return element(b, idEBML, p)
}

// webmInfo is the payload of Info; a negative duration is unknown. The unit of
// time in the file is one million nanoseconds.
func webmInfo(duration time.Duration) []byte {
	p := uintElement(nil, idTimestampScale, 1_000_000)
	if duration >= 0 {
		p = floatElement(p, idDuration, float64(duration)/float64(time.Millisecond))
	}
	p = element(p, idMuxingApp, []byte("lineout"))
	return element(p, idWritingApp, []byte("lineout"))
}

// webmTracks is the payload of Tracks.
func webmTracks(h header) []byte {
	var out []byte
	entry := func(number, kind uint64, codec string, more []byte) {
		var p []byte
		p = uintElement(p, idTrackNumber, number)
		p = uintElement(p, idTrackUID, number)
		p = uintElement(p, idTrackType, kind)
		p = uintElement(p, idFlagLacing, 0)
		p = element(p, idCodecID, []byte(codec))
		out = element(out, idTrackEntry, p, more)
	}
	if h.video != nil {
		v := uintElement(nil, idPixelWidth, uint64(h.video.Width))
		v = uintElement(v, idPixelHeight, uint64(h.video.Height))
		entry(videoID, 1, "V_VP8", element(nil, idVideo, v))
	}
	if h.audio != nil {
		channels := byte(2)
		if h.audio.Channels == 1 {
			channels = 1
		}
		// OpusHead (RFC 7845 section 5.1) with no pre-skip: the stream's times
		// are those of the sound, and nothing before the first packet is known.
		// The preroll before a seek is that of section 4.6.
		head := append([]byte("OpusHead\x01"), channels, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0)
		p := element(nil, idCodecPrivate, head)
		p = uintElement(p, idSeekPreRoll, 80_000_000)
		a := floatElement(nil, idSamplingFrequency, opus.ClockRate)
		a = uintElement(a, idChannels, uint64(channels))
		entry(audioID, 2, "A_OPUS", element(p, idAudio, a))
	}
	return out
}

// collect implements muxer.
func (m *webmMuxer) collect(l *liveFile, f *media.Frame) {
	at := f.DTS
	for _, d := range f.Data {
		if len(d) == 0 {
			continue
		}
		l.note(at)
		m.blocks = append(m.blocks, webmBlock{kind: f.Track.Kind, key: f.Key, dts: at, from: len(m.data), size: len(d)})
		m.data = append(m.data, d...)
		if f.Track.Kind == media.Audio {
			at += opus.PacketDuration(d)
		}
	}
}

// cutBefore implements muxer: a key frame begins a cluster, where seeking
// players look for it.
func (m *webmMuxer) cutBefore(f *media.Frame) bool { return f.Track.Kind == media.Video && f.Key }

// held implements muxer.
func (m *webmMuxer) held() int { return len(m.data) }

// clusterHead is the length of a Cluster's ID and size as we write them.
const clusterHead = 8

// hide implements muxer. Void with a size of seven bytes is as long as Cluster
// with one of four.
func (m *webmMuxer) hide(cluster []byte) {
	binary.BigEndian.PutUint64(cluster, uint64(idVoid)<<56|1<<49|uint64(len(cluster)-clusterHead))
}

// encode implements muxer.
func (m *webmMuxer) encode(base time.Duration) ([]byte, error) {
	for i := range m.blocks {
		b := &m.blocks[i]
		b.ms = max(int64((b.dts-base+time.Millisecond/2)/time.Millisecond), m.next[b.kind])
		m.next[b.kind] = b.ms + 1
	}
	// Of one time, video goes first: a key frame then begins the cluster.
	slices.SortStableFunc(m.blocks, func(a, b webmBlock) int {
		if a.ms != b.ms {
			return int(a.ms - b.ms)
		}
		return int(b.kind) - int(a.kind)
	})
	first := m.blocks[0].ms
	out := append(m.out[:0], make([]byte, clusterHead)...)
	out = uintElement(out, idTimestamp, uint64(first))
	for _, b := range m.blocks {
		out = appendSize(appendID(out, idSimpleBlock), 4+b.size)
		number, flags := byte(audioID), byte(0)
		if b.kind == media.Video {
			number = videoID
		}
		if b.key {
			flags = 0x80
		}
		rel := b.ms - first
		out = append(out, 0x80|number, byte(rel>>8), byte(rel), flags)
		out = append(out, m.data[b.from:b.from+b.size]...)
	}
	// Eight-byte alignment is what keeps the first eight bytes on one page.
	if pad := -len(out) & 7; pad == 1 {
		out = appendVoid(out, 9)
	} else if pad > 0 {
		out = appendVoid(out, pad)
	}
	binary.BigEndian.PutUint32(out, idCluster)
	binary.BigEndian.PutUint32(out[4:], 1<<28|uint32(len(out)-clusterHead))
	m.out, m.data, m.blocks = out, m.data[:0], m.blocks[:0]
	if first < 0 || len(out) >= 1<<28-1 {
		return nil, fmt.Errorf("WebM cluster of %d bytes cannot be written", len(out))
	}
	return out, nil
}

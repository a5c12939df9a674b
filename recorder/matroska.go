package recorder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lineout/codecs/h264"
	"lineout/media"
)

// The document types of RFC 9559 files and of those that keep to WebM's subset.
const (
	docMatroska = "matroska"
	docWebM     = "webm"
)

// matroskaMuxer makes Matroska or WebM: a Segment of unknown size that grows
// by Clusters of known size. Times are milliseconds, as WebM wants them; each
// is rounded by itself from the stream's time, so that no error adds up.
type matroskaMuxer struct {
	doc    string
	h      header // as in the file
	data   []byte // payloads of the open cluster
	blocks []mkvBlock
	next   [3]int64 // by kind: the millisecond the next block must not go before
	out    []byte   // the cluster as it is written, reused
}

// mkvBlock is one frame of the open cluster.
type mkvBlock struct {
	kind     media.Kind
	key      bool
	dts, cts time.Duration // cts is PTS - DTS
	ms       int64         // of dts
	from     int           // in data
	size     int
}

// usableVP8 wants the picture's size, which key frames say.
func usableVP8(k media.Kind, p *media.Params) error {
	if k == media.Video && (p.Width <= 0 || p.Height <= 0) {
		return errors.New("the picture's size is unknown")
	}
	return nil
}

// usableAVC wants the size and what an avcC is made of.
func usableAVC(k media.Kind, p *media.Params) error {
	if err := usableMP4(k, p); err != nil {
		return err
	}
	return usableVP8(k, p)
}

// header implements muxer.
func (m *matroskaMuxer) header(h header) ([]byte, error) {
	facts, err := json.Marshal(h.meta)
	if err != nil {
		return nil, err
	}
	tracks, err := mkvTracks(h)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, headerSize)
	out = appendEBML(out, m.doc)
	out = appendSize8(appendID(out, idSegment), sizeUnknown)
	out = element(out, idInfo, mkvInfo(-1))
	out = element(out, idTracks, tracks)
	out = appendVoid(out, 9+128+len(facts)+len(factsUUID), append(factsUUID[:], facts...)...)
	room := headerSize - len(out)
	if room < 128 {
		return nil, fmt.Errorf("%s header of %d bytes does not fit in %d", m.doc, len(out)+128, headerSize)
	}
	m.h = h
	return appendVoid(out, room), nil
}

func appendEBML(b []byte, doc string) []byte {
	var p []byte
	p = uintElement(p, idEBMLVersion, 1)
	p = uintElement(p, idEBMLReadVersion, 1)
	p = uintElement(p, idEBMLMaxIDLength, 4)
	p = uintElement(p, idEBMLMaxSizeLength, 8)
	p = element(p, idDocType, []byte(doc))
	p = uintElement(p, idDocTypeVersion, 4)
	p = uintElement(p, idDocTypeReadVersion, 2)
	return element(b, idEBML, p)
}

// mkvInfo is the payload of Info; a negative duration is unknown. The unit of
// time in the file is one million nanoseconds.
func mkvInfo(duration time.Duration) []byte {
	p := uintElement(nil, idTimestampScale, 1_000_000)
	if duration >= 0 {
		p = floatElement(p, idDuration, float64(duration)/float64(time.Millisecond))
	}
	p = element(p, idMuxingApp, []byte("lineout"))
	return element(p, idWritingApp, []byte("lineout"))
}

// collect implements muxer.
func (m *matroskaMuxer) collect(l *liveFile, f *media.Frame) {
	if f.Track.Kind == media.Video {
		from := len(m.data)
		if m.h.videoCodec == h264.Name {
			if m.h.inBand {
				m.data = appendWithSets(m.data, f)
			} else {
				m.data = appendAVCC(m.data, f.Data, m.h.video)
			}
		} else {
			for _, d := range f.Data {
				m.data = append(m.data, d...)
			}
		}
		m.add(l, mkvBlock{kind: media.Video, key: f.Key, dts: f.DTS, cts: f.PTS - f.DTS, from: from})
		return
	}
	at := f.DTS
	for _, d := range f.Data {
		from := len(m.data)
		m.data = append(m.data, d...)
		m.add(l, mkvBlock{kind: media.Audio, key: true, dts: at, from: from})
		at += soundLength(m.h.audioCodec, m.h.audio.SampleRate, d)
	}
}

// add takes up the block whose payload ends data, unless it is empty.
func (m *matroskaMuxer) add(l *liveFile, b mkvBlock) {
	if b.size = len(m.data) - b.from; b.size > 0 {
		l.note(b.dts)
		m.blocks = append(m.blocks, b)
	}
}

// cutBefore implements muxer: a key frame begins a cluster, where seeking
// players look for it.
func (m *matroskaMuxer) cutBefore(f *media.Frame) bool { return f.Track.Kind == media.Video && f.Key }

// held implements muxer.
func (m *matroskaMuxer) held() int { return len(m.data) }

// clusterHead is the length of a Cluster's ID and size as we write them.
const clusterHead = 8

// hide implements muxer. Void with a size of seven bytes is as long as Cluster
// with one of four.
func (m *matroskaMuxer) hide(cluster []byte) {
	binary.BigEndian.PutUint64(cluster, uint64(idVoid)<<56|1<<49|uint64(len(cluster)-clusterHead))
}

// encode implements muxer.
func (m *matroskaMuxer) encode(base time.Duration) ([]byte, error) {
	for i := range m.blocks {
		b := &m.blocks[i]
		b.ms = max(int64((b.dts-base+time.Millisecond/2)/time.Millisecond), m.next[b.kind])
		m.next[b.kind] = b.ms + 1
	}
	// Of one time, video goes first: a key frame then begins the cluster.
	slices.SortStableFunc(m.blocks, func(a, b mkvBlock) int {
		if a.ms != b.ms {
			return int(a.ms - b.ms)
		}
		return int(b.kind) - int(a.kind)
	})
	// A block says when it is shown; blocks stand in decoding order.
	first := m.blocks[0].ms
	for i := range m.blocks {
		b := &m.blocks[i]
		b.ms += int64((b.cts + time.Millisecond/2) / time.Millisecond)
		first = min(first, b.ms)
	}
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
		return nil, fmt.Errorf("cluster of %d bytes cannot be written", len(out))
	}
	return out, nil
}

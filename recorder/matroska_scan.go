package recorder

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"lineout/media"
)

// Bounds of what is believed of a torn file. A cluster of ours holds at most
// two of fragmentBytes.
const (
	maxCluster = 16 << 20
	maxMillis  = 1 << 50
	maxRate    = 1 << 20 // Hz
)

// mkvCue is a place to begin playing at.
type mkvCue struct {
	ms       int64
	track    byte
	cluster  int64  // among all clusters
	relative uint32 // from the cluster's first child to the block
}

// mkvTrack is what was found of one track.
type mkvTrack struct {
	entry      []byte // its TrackEntry
	codec      media.Codec
	rate       int // of sound, in Hz
	blocks     int
	keys       int
	bytes      int64
	start, end time.Duration
	last       int64
	usual      int64 // milliseconds between the last two blocks
}

// mkvScan is what was found in a growing or torn file. Memory grows by
// one cue per key frame.
type mkvScan struct {
	doc    string
	meta   fileMeta
	tracks map[byte]*mkvTrack // by number
	cues   []mkvCue
	// clusters lie one after the other from headerSize to whole.
	whole int64
}

// scanMatroska reads the header and every whole cluster of a file we wrote. What
// follows the first torn or damaged one is left out.
func scanMatroska(r io.ReaderAt, size int64) (*mkvScan, error) {
	s := &mkvScan{doc: docWebM, tracks: map[byte]*mkvTrack{}}
	if err := s.readHeader(r, size); err != nil {
		return nil, err
	}
	s.whole = headerSize
	var buf []byte
	for {
		id, head, n, err := elementAt(r, s.whole, size)
		if err != nil || id != idCluster || head != clusterHead || n > maxCluster {
			break
		}
		if int64(cap(buf)) < n {
			buf = make([]byte, n+n/4)
		}
		buf = buf[:n]
		if _, err := r.ReadAt(buf, s.whole+head); err != nil || !s.readCluster(buf) {
			break
		}
		s.whole += head + n
	}
	for n, t := range s.tracks {
		if t.blocks == 0 {
			delete(s.tracks, n)
		}
	}
	if v := s.tracks[videoID]; v != nil {
		// Sound had cues until the first picture came.
		s.cues = slices.DeleteFunc(s.cues, func(c mkvCue) bool { return c.track != videoID })
	}
	return s, nil
}

// readHeader finds Tracks and our facts in the first headerSize bytes.
func (s *mkvScan) readHeader(r io.ReaderAt, size int64) error {
	if size < headerSize {
		return fmt.Errorf("the file is shorter than a header")
	}
	buf := make([]byte, headerSize)
	if _, err := r.ReadAt(buf, 0); err != nil {
		return err
	}
	id, head, n := parseElement(buf)
	if id != idEBML || head == 0 || n > headerSize-head-12 {
		return fmt.Errorf("the header is damaged: it does not begin as EBML")
	}
	eachElement(buf[head:head+n], func(id uint32, _, _ int, v []byte) bool {
		if id == idDocType && string(v) == docMatroska {
			s.doc = docMatroska
		}
		return true
	})
	buf = buf[head+n:]
	if id, head, _ = parseElement(buf); id != idSegment || head == 0 {
		return fmt.Errorf("the header is damaged: no Segment")
	}
	found := false
	var bad error
	whole := eachElement(buf[head:], func(id uint32, _, _ int, p []byte) bool {
		switch {
		case id == idTracks:
			return s.readTracks(p)
		case id == idVoid && len(p) > len(factsUUID) && [16]byte(p) == factsUUID:
			bad = json.Unmarshal(bytes.TrimRight(p[len(factsUUID):], "\x00"), &s.meta)
			found = bad == nil
			return found
		}
		return true
	})
	if bad != nil {
		return fmt.Errorf("the facts in the header are damaged: %w", bad)
	}
	if !whole || !found || len(s.tracks) == 0 {
		return fmt.Errorf("the header is not one of an unfinished recording")
	}
	return nil
}

func (s *mkvScan) readTracks(p []byte) bool {
	return eachElement(p, func(id uint32, at, head int, entry []byte) bool {
		if id != idTrackEntry {
			return false
		}
		t := &mkvTrack{entry: p[at : at+head+len(entry)]}
		var number uint64
		var codecID, private []byte
		if !eachElement(entry, func(id uint32, _, _ int, v []byte) bool {
			switch id {
			case idTrackNumber:
				number = uintOf(v)
			case idCodecID:
				codecID = v
			case idCodecPrivate:
				private = v
			case idAudio:
				return eachElement(v, func(id uint32, _, _ int, v []byte) bool {
					if id == idSamplingFrequency {
						t.rate = int(min(math.Float64frombits(uintOf(v)), maxRate))
					}
					return true
				})
			}
			return true
		}) {
			return false
		}
		t.codec = mkvCodec(string(codecID), private)
		if t.codec == "" || number != videoID && number != audioID || s.tracks[byte(number)] != nil {
			return false
		}
		s.tracks[byte(number)] = t
		return true
	})
}

// block is the head of a SimpleBlock.
type block struct {
	track   byte
	ms      int64
	key     bool
	at      uint32
	payload []byte
}

// eachBlock calls do with the blocks of a cluster.
func eachBlock(b []byte, do func(block) bool) bool {
	base := int64(-1)
	return eachElement(b, func(id uint32, at, _ int, p []byte) bool {
		switch id {
		case idTimestamp:
			if base >= 0 || uintOf(p) > maxMillis {
				return false
			}
			base = int64(uintOf(p))
			return true
		case idVoid:
			return true
		case idSimpleBlock:
			// One byte of track number and no lacing: as we write them.
			if base < 0 || len(p) < 4 || p[0]&0x80 == 0 || p[3]&0x06 != 0 {
				return false
			}
			ms := base + int64(int16(binary.BigEndian.Uint16(p[1:])))
			return do(block{track: p[0] & 0x7f, ms: ms, key: p[3]&0x80 != 0, at: uint32(at), payload: p[4:]})
		}
		return false
	})
}

// readCluster takes up a cluster, all of it or nothing.
func (s *mkvScan) readCluster(b []byte) bool {
	last := map[byte]int64{}
	n := 0
	if !eachBlock(b, func(k block) bool {
		t := s.tracks[k.track]
		if t == nil || k.ms < 0 {
			return false
		}
		before, seen := last[k.track]
		if !seen {
			before, seen = t.last, t.blocks > 0
		}
		last[k.track] = k.ms
		n++
		// Pictures may be shown in another order than decoded.
		return !seen || k.ms > before || k.track == videoID
	}) || n == 0 {
		return false
	}
	at := s.whole - headerSize
	eachBlock(b, func(k block) bool {
		s.add(k, at)
		return true
	})
	return true
}

func (s *mkvScan) add(k block, cluster int64) {
	t := s.tracks[k.track]
	at := time.Duration(k.ms) * time.Millisecond
	if t.blocks == 0 {
		t.start = at
	} else if k.ms > t.last {
		t.usual = k.ms - t.last
	}
	t.blocks++
	t.bytes += int64(len(k.payload))
	if k.key {
		t.keys++
	}
	t.start, t.last = min(t.start, at), k.ms
	if k.track == audioID {
		at += soundLength(t.codec, t.rate, k.payload)
	} else {
		at += time.Duration(min(max(t.usual, 1), 1000)) * time.Millisecond
	}
	t.end = max(t.end, at)
	if k.key && s.wantsCue(k) {
		s.cues = append(s.cues, mkvCue{k.ms, k.track, cluster, k.at})
	}
}

// wantsCue is true for each key frame, and where there is no picture for sound
// once in a second.
func (s *mkvScan) wantsCue(k block) bool {
	if k.track == videoID {
		return true
	}
	if v := s.tracks[videoID]; v != nil && v.blocks > 0 {
		return false
	}
	return len(s.cues) == 0 || k.ms-s.cues[len(s.cues)-1].ms >= 1000
}

func (s *mkvScan) facts() fileMeta  { return s.meta }
func (s *mkvScan) empty() bool      { return len(s.tracks) == 0 }
func (s *mkvScan) wholeSize() int64 { return s.whole }

// ending are the facts about the whole file that its name may need.
func (s *mkvScan) ending() ending {
	var e ending
	for n, t := range s.tracks {
		e.duration = max(e.duration, t.end)
		if n == videoID {
			e.video = label(t.codec)
		} else {
			e.audio = label(t.codec)
		}
	}
	e.duration -= s.begin()
	return e
}

// begin is the time of the earliest block.
func (s *mkvScan) begin() time.Duration {
	first := time.Duration(-1)
	for _, t := range s.tracks {
		if first < 0 || t.start < first {
			first = t.start
		}
	}
	return max(first, 0)
}

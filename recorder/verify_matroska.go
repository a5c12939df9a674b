package recorder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"lineout/codecs/h264"
)

// matroskaCheck walks a finished or growing Matroska or WebM file (RFC 9559).
type matroskaCheck struct {
	scan   *mkvScan
	about  map[byte]SidecarTrack // by number
	base   int64                 // of the Segment's first child
	places map[int64]uint32      // ID of the Segment's children by position, but for clusters
	keys   map[cuePlace]bool
	seeks  map[int64]uint32
	cues   []cuePlace
	length time.Duration // from Info, negative if it says none
}

// cuePlace is a block to begin playing at.
type cuePlace struct {
	track             byte
	ms                int64
	cluster, relative int64
}

// checkMatroska is the checker of Matroska and WebM.
func checkMatroska(ctx context.Context, r io.ReaderAt, size int64) (*found, error) {
	c := &matroskaCheck{scan: &mkvScan{tracks: map[byte]*mkvTrack{}}, about: map[byte]SidecarTrack{}, places: map[int64]uint32{}, keys: map[cuePlace]bool{}, seeks: map[int64]uint32{}, length: -1}
	id, head, n, err := elementAt(r, 0, size)
	if err != nil || id != idEBML || n == sizeUnknown {
		return nil, damaged(0, "it does not begin as EBML")
	}
	at := head + n
	id, head, n, err = elementAt(r, at, size)
	if err != nil || id != idSegment {
		return nil, damaged(at, "the Segment is missing, or longer than the file")
	}
	c.base = at + head
	growing := n == sizeUnknown
	if !growing && c.base+n != size {
		return nil, damaged(c.base+n, "%d bytes follow the Segment", size-c.base-n)
	}
	for at = c.base; at < size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		id, head, n, err := elementAt(r, at, size)
		if err != nil || n == sizeUnknown || n > maxMoov {
			return nil, damaged(at, "an element is torn")
		}
		p := make([]byte, n)
		if _, err := r.ReadAt(p, at+head); err != nil {
			return nil, err
		}
		if err := c.child(id, at, head, p); err != nil {
			return nil, err
		}
		at += head + n
	}
	f := &found{fragmented: growing}
	return f, c.finish(f)
}

// child takes one of the Segment's elements.
func (c *matroskaCheck) child(id uint32, at, head int64, p []byte) error {
	c.places[at-c.base] = id
	ok := true
	switch id {
	case idCluster:
		delete(c.places, at-c.base)
		return c.cluster(at, head, p)
	case idTracks:
		ok = c.scan.readTracks(p)
		for n, t := range c.scan.tracks {
			c.about[n] = t.describe()
		}
	case idInfo:
		ok = eachElement(p, func(id uint32, _, _ int, v []byte) bool {
			if id == idDuration && len(v) == 8 {
				c.length = time.Duration(math.Float64frombits(binary.BigEndian.Uint64(v)) * float64(time.Millisecond))
			}
			return true
		})
	case idSeekHead:
		ok = eachElement(p, func(_ uint32, _, _ int, seek []byte) bool {
			var id uint32
			return eachElement(seek, func(kind uint32, _, _ int, v []byte) bool {
				if kind == idSeekID {
					id = uint32(uintOf(v))
				} else if kind == idSeekPosition {
					c.seeks[int64(uintOf(v))] = id
				}
				return true
			})
		})
	case idCues:
		ok = eachElement(p, func(_ uint32, _, _ int, point []byte) bool { return c.cue(point) })
	case idVoid:
	default:
		return damaged(at, "an element %#x is not expected here", id)
	}
	if !ok {
		return damaged(at, "an element %#x is damaged", id)
	}
	return nil
}

func (c *matroskaCheck) cue(point []byte) bool {
	var k cuePlace
	ok := eachElement(point, func(id uint32, _, _ int, v []byte) bool {
		switch id {
		case idCueTime:
			k.ms = int64(uintOf(v))
		case idCueTrackPositions:
			return eachElement(v, func(id uint32, _, _ int, v []byte) bool {
				switch id {
				case idCueTrack:
					k.track = byte(uintOf(v))
				case idCueClusterPosition:
					k.cluster = int64(uintOf(v))
				case idCueRelativePos:
					k.relative = int64(uintOf(v))
				}
				return true
			})
		}
		return true
	})
	c.cues = append(c.cues, k)
	return ok
}

// cluster reads every block of a cluster.
func (c *matroskaCheck) cluster(at, head int64, p []byte) error {
	var fault error
	ok := eachBlock(p, func(k block) bool {
		pos := at + head + int64(k.at)
		t := c.scan.tracks[k.track]
		// Pictures may be shown in another order than decoded, but not twice.
		if t == nil || t.blocks > 0 && (k.ms == t.last || k.ms < t.last && t.codec != h264.Name) {
			fault = damaged(pos, "a block of track %d at %d ms does not follow its track", k.track, k.ms)
			return false
		}
		d := c.about[k.track]
		if err := checkSample(t.codec, &d, k.payload, k.key, t.blocks == 0); err != nil {
			fault = damaged(pos, "a block of track %d: %v", k.track, err)
			return false
		}
		c.scan.add(k, at-c.base)
		if k.key {
			c.keys[cuePlace{k.track, k.ms, at - c.base, int64(k.at)}] = true
		}
		return true
	})
	if fault == nil && !ok {
		fault = damaged(at, "a cluster is damaged")
	}
	return fault
}

// finish compares what points somewhere with what is there.
func (c *matroskaCheck) finish(f *found) error {
	var end time.Duration
	for n, t := range c.scan.tracks {
		if t.blocks == 0 {
			delete(c.scan.tracks, n)
		}
		end = max(end, t.end)
	}
	if c.scan.empty() {
		return errors.New("it holds no media")
	}
	f.tracks, f.durationMS = c.scan.contents(), roundMS(c.scan.ending().duration)
	if f.fragmented {
		return nil
	}
	if c.length != end {
		return fmt.Errorf("its header says %v, its tracks last until %v", c.length, end)
	}
	for at, id := range c.seeks {
		if c.places[at] != id {
			return damaged(c.base+at, "SeekHead promises element %#x here", id)
		}
	}
	for _, k := range c.cues {
		if !c.keys[k] {
			return damaged(c.base+k.cluster, "Cues promise a key frame of track %d at %d ms here", k.track, k.ms)
		}
	}
	return nil
}

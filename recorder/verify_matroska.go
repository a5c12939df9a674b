package recorder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"lineout/codecs/opus"
	"lineout/media"
)

// matroskaCheck walks a finished or growing WebM file (RFC 9559).
type matroskaCheck struct {
	r      io.ReaderAt
	size   int64
	base   int64 // of the Segment's first child
	tracks []*matroskaTrack
	places map[int64]uint32 // ID of the Segment's children by position, but for clusters
	keys   map[cuePlace]bool
	seeks  map[int64]uint32
	cues   []cuePlace
	length time.Duration // from Info, negative if it says none
}

// matroskaTrack is a track of a matroskaCheck.
type matroskaTrack struct {
	number     byte
	d          SidecarTrack
	last       int64
	usual      int64
	start, end time.Duration
}

// cuePlace is a block to begin playing at.
type cuePlace struct {
	track             byte
	ms                int64
	cluster, relative int64
}

// checkMatroska is the checker of WebM.
func checkMatroska(ctx context.Context, r io.ReaderAt, size int64) (*found, error) {
	c := &matroskaCheck{r: r, size: size, places: map[int64]uint32{}, keys: map[cuePlace]bool{}, seeks: map[int64]uint32{}, length: -1}
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
		ok = eachElement(p, func(id uint32, from, head int, entry []byte) bool {
			return id == idTrackEntry && c.track(p[from:from+head+len(entry)], entry)
		})
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

func (c *matroskaCheck) track(whole, entry []byte) bool {
	t := &matroskaTrack{d: describeTrack(whole), last: -1}
	ok := eachElement(entry, func(id uint32, _, _ int, v []byte) bool {
		if id == idTrackNumber {
			t.number = byte(uintOf(v))
		}
		return true
	})
	c.tracks = append(c.tracks, t)
	return ok && t.d.Kind != "" && t.d.Codec != ""
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
		var t *matroskaTrack
		for _, x := range c.tracks {
			if x.number == k.track {
				t = x
			}
		}
		if t == nil || k.ms <= t.last {
			fault = damaged(pos, "a block of track %d at %d ms does not follow its track", k.track, k.ms)
			return false
		}
		if err := checkSample(media.Codec(t.d.Codec), &t.d, k.payload, k.key, t.d.Frames == 0); err != nil {
			fault = damaged(pos, "a block of track %d: %v", k.track, err)
			return false
		}
		t.take(k)
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

// take counts a block.
func (t *matroskaTrack) take(k block) {
	if t.d.Frames == 0 {
		t.start = time.Duration(k.ms) * time.Millisecond
	} else {
		t.usual = k.ms - t.last
	}
	t.last, t.end = k.ms, time.Duration(k.ms)*time.Millisecond
	if t.d.Kind == media.Audio.String() {
		t.end += opus.PacketDuration(k.payload)
	} else {
		t.end += time.Duration(min(max(t.usual, 1), 1000)) * time.Millisecond
	}
	t.d.Frames++
	t.d.Bytes += int64(len(k.payload))
	if k.key {
		t.d.Keyframes++
	}
}

// finish compares what points somewhere with what is there.
func (c *matroskaCheck) finish(f *found) error {
	first, last := time.Duration(-1), time.Duration(0)
	for _, t := range c.tracks {
		if t.d.Frames == 0 {
			continue
		}
		if first < 0 || t.start < first {
			first = t.start
		}
		last = max(last, t.end)
	}
	if first < 0 {
		return errors.New("it holds no media")
	}
	for _, t := range c.tracks {
		if t.d.Frames > 0 {
			t.d.StartMS, t.d.EndMS = roundMS(t.start-first), roundMS(t.end-first)
			f.tracks = append(f.tracks, t.d)
		}
	}
	f.durationMS = roundMS(last - first)
	if f.fragmented {
		return nil
	}
	if c.length != last {
		return fmt.Errorf("its header says %v, its tracks last until %v", c.length, last)
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

package recorder

import (
	"bufio"
	"context"
	"io"
	"time"
)

// rewrite writes the finished form: a Segment of known size with SeekHead,
// Info with the duration, Tracks and Cues before the clusters, which are
// copied as they are.
func (s *mkvScan) rewrite(ctx context.Context, r io.ReaderAt, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.Write(s.head()); err != nil {
		return err
	}
	if err := copyPieces(ctx, out, r, headerSize, s.whole); err != nil {
		return err
	}
	return out.Flush()
}

// head is everything before the first cluster. Its size does not depend on the
// positions in it, which are all written in eight bytes.
func (s *mkvScan) head() []byte {
	var length time.Duration
	var entries []byte
	for _, n := range []byte{videoID, audioID} {
		if t := s.tracks[n]; t != nil {
			length = max(length, t.end)
			entries = append(entries, t.entry...)
		}
	}
	info := element(nil, idInfo, mkvInfo(length))
	tracks := element(nil, idTracks, entries)
	cues := s.cueElement(0)
	size := len(seekHead(0, 0, 0)) + len(info) + len(tracks) + len(cues)
	cues = s.cueElement(int64(size))

	b := appendEBML(nil, s.doc)
	b = appendSize8(appendID(b, idSegment), uint64(size)+uint64(s.whole-headerSize))
	at := len(seekHead(0, 0, 0))
	b = append(b, seekHead(at, at+len(info), at+len(info)+len(tracks))...)
	b = append(b, info...)
	b = append(b, tracks...)
	return append(b, cues...)
}

// seekHead says where Info, Tracks and Cues are, counted from the Segment's
// first child.
func seekHead(info, tracks, cues int) []byte {
	var p []byte
	for _, s := range []struct {
		id uint32
		at int
	}{{idInfo, info}, {idTracks, tracks}, {idCues, cues}} {
		seek := element(nil, idSeekID, appendID(nil, s.id))
		p = element(p, idSeek, uint8Element(seek, idSeekPosition, uint64(s.at)))
	}
	return element(nil, idSeekHead, p)
}

// cueElement is Cues with the clusters beginning at base.
func (s *mkvScan) cueElement(base int64) []byte {
	p := make([]byte, 0, 40*len(s.cues))
	var point, pos []byte
	for _, c := range s.cues {
		pos = uintElement(pos[:0], idCueTrack, uint64(c.track))
		pos = uint8Element(pos, idCueClusterPosition, uint64(base+c.cluster))
		pos = uintElement(pos, idCueRelativePos, uint64(c.relative))
		point = element(uintElement(point[:0], idCueTime, uint64(c.ms)), idCueTrackPositions, pos)
		p = element(p, idCuePoint, point)
	}
	return element(nil, idCues, p)
}

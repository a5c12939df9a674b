package recorder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"

	"lineout/media"
)

// maxMoof bounds what is read into memory for one fragment's tables. Ours are
// below 100 kB.
const maxMoof = 4 << 20

// run is a count of equal values in a row, as stts and ctts hold them.
type run struct {
	n uint32
	v int64
}

func push(rs []run, v int64) []run {
	if k := len(rs); k > 0 && rs[k-1].v == v {
		rs[k-1].n++
		return rs
	}
	return append(rs, run{1, v})
}

// table holds what the finished file says about one track: 4 bytes for a
// sample's size, everything else in runs or per fragment.
type table struct {
	trak    *mp4.TrakBox
	sizes   []uint32
	deltas  []run // length of each sample but the newest
	offsets []run // PTS - DTS
	keys    []uint32
	chunks  []uint64 // position of each fragment's samples among all payloads
	counts  []run    // samples per chunk

	start, last uint64 // ticks of the first and the newest sample
	lastDur     uint32
}

func (t *table) scale() uint64 { return uint64(t.trak.Mdia.Mdhd.Timescale) }

// end is the tick after the last sample.
func (t *table) end() uint64 { return t.last + uint64(t.lastDur) }

// extent is a piece of the scanned file: one fragment's payload.
type extent struct{ from, size int64 }

// scan is what was found in a growing or torn file.
type scan struct {
	meta    fileMeta
	tables  []*table
	extents []extent
	payload int64 // sum of extents
	whole   int64 // file position after the last whole fragment
}

// scanFile reads the header and every whole fragment of a file we wrote. What
// follows the first torn or damaged box is left out: an interrupted write
// leaves such an end. Memory grows by about four bytes per sample.
func scanFile(r io.ReaderAt, size int64) (*scan, error) {
	s := &scan{}
	if err := s.readHeader(r, size); err != nil {
		return nil, err
	}
	pos := int64(headerSize)
	for {
		n, err := s.readFragment(r, pos, size)
		if err != nil {
			break
		}
		pos += n
	}
	s.whole = pos
	kept := s.tables[:0]
	for _, t := range s.tables {
		if len(t.sizes) > 0 {
			kept = append(kept, t)
		}
	}
	s.tables = kept
	return s, nil
}

func (s *scan) facts() fileMeta  { return s.meta }
func (s *scan) empty() bool      { return len(s.tables) == 0 }
func (s *scan) wholeSize() int64 { return s.whole }

// errTorn says that a box is not whole, or not one of ours.
var errTorn = errors.New("torn")

// boxAt reads a box's type and size and checks that it lies within limit.
func boxAt(r io.ReaderAt, pos, limit int64) (kind string, size int64, err error) {
	var h [8]byte
	if pos+8 > limit {
		return "", 0, errTorn
	}
	if _, err := r.ReadAt(h[:], pos); err != nil {
		return "", 0, err
	}
	size = int64(binary.BigEndian.Uint32(h[:4]))
	if size < 8 || pos+size > limit {
		return "", 0, errTorn
	}
	return string(h[4:]), size, nil
}

// readHeader finds moov and our facts in the first headerSize bytes.
func (s *scan) readHeader(r io.ReaderAt, size int64) error {
	if size < headerSize {
		return fmt.Errorf("the file is shorter than a header")
	}
	found := false
	for pos := int64(0); pos < headerSize; {
		kind, n, err := boxAt(r, pos, headerSize)
		if err != nil {
			return fmt.Errorf("the header is damaged: %w", err)
		}
		buf := make([]byte, n)
		if _, err := r.ReadAt(buf, pos); err != nil {
			return err
		}
		switch kind {
		case "moov":
			if err := s.readMoov(buf); err != nil {
				return err
			}
		case "uuid":
			if n >= 24 && [16]byte(buf[8:24]) == factsUUID {
				if err := json.Unmarshal(buf[24:], &s.meta); err != nil {
					return fmt.Errorf("the facts in the header are damaged: %w", err)
				}
				found = true
			}
		}
		pos += n
	}
	if !found || len(s.tables) == 0 {
		return fmt.Errorf("the header is not one of an unfinished recording")
	}
	return nil
}

func (s *scan) readMoov(buf []byte) error {
	box, err := decodeBox(buf)
	if err != nil {
		return fmt.Errorf("moov: %w", err)
	}
	moov, ok := box.(*mp4.MoovBox)
	if !ok || len(s.tables) > 0 {
		return fmt.Errorf("moov: unexpected box")
	}
	for _, t := range moov.Traks {
		if t.Tkhd == nil || t.Mdia == nil || t.Mdia.Mdhd == nil || t.Mdia.Mdhd.Timescale == 0 || t.Mdia.Hdlr == nil ||
			t.Mdia.Minf == nil || t.Mdia.Minf.Stbl == nil || t.Mdia.Minf.Stbl.Stsd == nil {
			return fmt.Errorf("moov: incomplete track")
		}
		s.tables = append(s.tables, &table{trak: t})
	}
	return nil
}

// decodeBox parses one box. The parser belongs to a library and the bytes to a
// torn file, so a panic in it is an error.
func decodeBox(buf []byte) (box mp4.Box, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("damaged box: %v", r)
		}
	}()
	return mp4.DecodeBoxSR(0, bits.NewFixedSliceReader(buf))
}

// readFragment takes up the moof and mdat at pos and returns their length.
func (s *scan) readFragment(r io.ReaderAt, pos, size int64) (int64, error) {
	kind, n, err := boxAt(r, pos, size)
	if err != nil || kind != "moof" || n > maxMoof {
		return 0, errTorn
	}
	kind, m, err := boxAt(r, pos+n, size)
	if err != nil || kind != "mdat" {
		return 0, errTorn
	}
	buf := make([]byte, n)
	if _, err := r.ReadAt(buf, pos); err != nil {
		return 0, err
	}
	box, err := decodeBox(buf)
	if err != nil {
		return 0, err
	}
	moof, ok := box.(*mp4.MoofBox)
	if !ok {
		return 0, errTorn
	}
	// All of the fragment is checked before any of it is taken up.
	for _, traf := range moof.Trafs {
		if err := s.check(traf, n+8, n+m); err != nil {
			return 0, err
		}
	}
	for _, traf := range moof.Trafs {
		s.tableOf(traf).add(traf, uint64(s.payload+int64(traf.Trun.DataOffset)-(n+8)))
	}
	s.extents = append(s.extents, extent{pos + n + 8, m - 8})
	s.payload += m - 8
	return n + m, nil
}

func (s *scan) tableOf(traf *mp4.TrafBox) *table {
	for _, t := range s.tables {
		if t.trak.Tkhd.TrackID == traf.Tfhd.TrackID {
			return t
		}
	}
	return nil
}

// check says whether a track fragment is one of ours, goes on in time, and
// whether its samples lie between from and to, which count from the moof.
func (s *scan) check(traf *mp4.TrafBox, from, to int64) error {
	if traf.Tfhd == nil || traf.Tfdt == nil || traf.Trun == nil || len(traf.Truns) != 1 || len(traf.Trun.Samples) == 0 {
		return errTorn
	}
	t := s.tableOf(traf)
	if t == nil || !traf.Trun.HasSampleDuration() || !traf.Trun.HasSampleSize() || !traf.Trun.HasDataOffset() {
		return errTorn
	}
	at := traf.Tfdt.BaseMediaDecodeTime()
	if at > 1<<56 || (len(t.sizes) > 0 && (at <= t.last || at-t.last > 1<<32-1)) {
		return errTorn
	}
	end := int64(traf.Trun.DataOffset)
	if end < from {
		return errTorn
	}
	for _, sm := range traf.Trun.Samples {
		end += int64(sm.Size)
	}
	if end > to {
		return errTorn
	}
	return nil
}

// add takes up a checked fragment whose samples begin at payload position at.
func (t *table) add(traf *mp4.TrafBox, at uint64) {
	const nonSync = 1 << 16
	tick := traf.Tfdt.BaseMediaDecodeTime()
	if len(t.sizes) == 0 {
		t.start = tick
	}
	t.chunks = append(t.chunks, at)
	t.counts = push(t.counts, int64(len(traf.Trun.Samples)))
	for _, sm := range traf.Trun.Samples {
		if len(t.sizes) > 0 {
			t.deltas = push(t.deltas, int64(tick-t.last))
		}
		t.sizes = append(t.sizes, sm.Size)
		t.offsets = push(t.offsets, int64(sm.CompositionTimeOffset))
		if sm.Flags&nonSync == 0 {
			t.keys = append(t.keys, uint32(len(t.sizes)))
		}
		t.last, t.lastDur = tick, sm.Dur
		tick += uint64(sm.Dur)
	}
}

// ending are the facts about the whole file that its name may need.
func (s *scan) ending() ending {
	var e ending
	first, last := time.Duration(-1), time.Duration(0)
	for _, t := range s.tables {
		from, to := ticksToTime(int64(t.start), int64(t.scale())), ticksToTime(int64(t.end()), int64(t.scale()))
		if first < 0 || from < first {
			first = from
		}
		last = max(last, to)
		switch d := describeEntry(t.trak.Mdia.Minf.Stbl.Stsd); d.Kind {
		case media.Video.String():
			e.video = label(media.Codec(d.Codec))
		case media.Audio.String():
			e.audio = label(media.Codec(d.Codec))
		}
	}
	if first >= 0 {
		e.duration = last - first
	}
	return e
}

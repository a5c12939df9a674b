package recorder

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/Eyevinn/mp4ff/mp4"

	"lineout/codecs/opus"
)

// movieScale is the time scale of edit lists in a finished file: fine enough
// that the offset between audio and video survives exactly.
const movieScale = 90000

// rewrite writes the fast-start form of a scanned file to w: all tables first,
// then the payloads in the order they were recorded, copied fragment by
// fragment. ctx is looked at between fragments.
func (s *scan) rewrite(ctx context.Context, r io.ReaderAt, w io.Writer) error {
	head, err := s.head()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.Write(head); err != nil {
		return err
	}
	for _, e := range s.extents {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(r, e.from, e.size)); err != nil {
			return err
		}
	}
	return out.Flush()
}

// head is everything before the payloads: ftyp, moov, and mdat's own header.
func (s *scan) head() ([]byte, error) {
	ftyp := mp4.NewFtyp("isom", 512, []string{"isom", "iso2", "avc1", "mp41"})
	moov := mp4.NewMoovBox()
	mvhd := mp4.CreateMvhd()
	mvhd.Timescale = movieScale
	moov.AddChild(mvhd)
	first := s.firstTick()
	for _, t := range s.tables {
		end, err := t.describe(first)
		if err != nil {
			return nil, err
		}
		mvhd.Duration = max(mvhd.Duration, end)
		mvhd.NextTrackID = max(mvhd.NextTrackID, t.trak.Tkhd.TrackID+1)
		moov.AddChild(t.trak)
	}
	if mvhd.Duration > 1<<32-1 {
		mvhd.Version = 1
	}
	// The tables' size decides whether the payloads end beyond what 32 bits
	// can say, and 64-bit tables are larger: ask with the larger ones.
	large := s.payload+int64(ftyp.Size()+moov.Size())+int64(8*len(s.extents)*len(s.tables))+16 > 1<<32-1
	mdat := []byte{0, 0, 0, 0, 'm', 'd', 'a', 't'}
	if large {
		binary.BigEndian.PutUint32(mdat, 1)
		mdat = binary.BigEndian.AppendUint64(mdat, uint64(s.payload+16))
	} else {
		binary.BigEndian.PutUint32(mdat, uint32(s.payload+8))
	}
	for _, t := range s.tables {
		t.placeChunks(0, large)
	}
	base := ftyp.Size() + moov.Size() + uint64(len(mdat))
	for _, t := range s.tables {
		t.placeChunks(base, large)
	}
	var b bytes.Buffer
	if err := ftyp.Encode(&b); err != nil {
		return nil, fmt.Errorf("ftyp: %w", err)
	}
	if err := moov.Encode(&b); err != nil {
		return nil, fmt.Errorf("moov: %w", err)
	}
	b.Write(mdat)
	if uint64(b.Len()) != base {
		return nil, fmt.Errorf("moov has %d bytes, not the %d planned", b.Len(), base)
	}
	return b.Bytes(), nil
}

// firstTick is the start of the earliest track in movie ticks.
func (s *scan) firstTick() uint64 {
	first := ^uint64(0)
	for _, t := range s.tables {
		first = min(first, t.movie(t.start))
	}
	return first
}

// movie converts media ticks to movie ticks, rounding to the nearest.
func (t *table) movie(tick uint64) uint64 {
	sec, rest := tick/t.scale(), tick%t.scale()
	return sec*movieScale + (rest*movieScale+t.scale()/2)/t.scale()
}

// describe fills the track's boxes but for chunk offsets, and returns where it
// ends in the movie. first is the movie tick everything is shifted to.
func (t *table) describe(first uint64) (uint64, error) {
	// Decoding begins before anything is shown where pictures are reordered.
	lead := uint64(max(t.offsets[0].v, 0))
	from, length := t.movie(t.start+lead)-first, t.movie(t.end()-t.start)
	mdhd, tkhd := t.trak.Mdia.Mdhd, t.trak.Tkhd
	mdhd.Duration, tkhd.Duration = t.end()-t.start, from+length
	if mdhd.Duration > 1<<32-1 {
		mdhd.Version = 1
	}
	if tkhd.Duration > 1<<32-1 {
		tkhd.Version = 1
	}
	elst := &mp4.ElstBox{}
	if from > 0 {
		elst.Entries = append(elst.Entries, mp4.ElstEntry{SegmentDuration: from, MediaTime: -1, MediaRateInteger: 1})
	}
	elst.Entries = append(elst.Entries, mp4.ElstEntry{SegmentDuration: length, MediaTime: int64(lead), MediaRateInteger: 1})
	if from+length > 1<<32-1 {
		elst.Version = 1
	}
	edts := &mp4.EdtsBox{}
	edts.AddChild(elst)
	trak := mp4.NewTrakBox()
	trak.AddChild(tkhd)
	trak.AddChild(edts)
	trak.AddChild(t.trak.Mdia)
	t.trak = trak

	stbl := mp4.NewStblBox()
	stbl.AddChild(t.trak.Mdia.Minf.Stbl.Stsd)
	stts := &mp4.SttsBox{}
	for _, r := range push(t.deltas, int64(t.lastDur)) {
		stts.SampleCount = append(stts.SampleCount, r.n)
		stts.SampleTimeDelta = append(stts.SampleTimeDelta, uint32(r.v))
	}
	stbl.AddChild(stts)
	if len(t.offsets) > 1 || t.offsets[0].v != 0 {
		ctts := &mp4.CttsBox{Version: 1}
		for _, r := range t.offsets {
			if err := ctts.AddSampleCountsAndOffset([]uint32{r.n}, []int32{int32(r.v)}); err != nil {
				return 0, fmt.Errorf("ctts: %w", err)
			}
		}
		stbl.AddChild(ctts)
	}
	t.addRoll(stbl)
	if len(t.keys) < len(t.sizes) {
		stbl.AddChild(&mp4.StssBox{SampleNumber: t.keys})
	}
	stsc := &mp4.StscBox{}
	chunk := uint32(1)
	for _, r := range t.counts {
		if err := stsc.AddEntry(chunk, uint32(r.v), 1); err != nil {
			return 0, fmt.Errorf("stsc: %w", err)
		}
		chunk += r.n
	}
	stbl.AddChild(stsc)
	stbl.AddChild(&mp4.StszBox{SampleNumber: uint32(len(t.sizes)), SampleSize: t.sizes})
	minf := t.trak.Mdia.Minf
	for i, c := range minf.Children {
		if c.Type() == "stbl" {
			minf.Children[i] = stbl
		}
	}
	minf.Stbl = stbl
	return from + length, nil
}

// preroll is how much Opus is decoded before what is heard after a seek is
// right (RFC 7845 section 4.6), in samples.
const preroll = opus.ClockRate * 80 / 1000

// addRoll says the same for Opus in MP4: a sample group counts the packets
// that last so long, by the shortest there are.
func (t *table) addRoll(stbl *mp4.StblBox) {
	if t.trak.Mdia.Minf.Stbl.Stsd.Opus == nil {
		return
	}
	shortest := int64(max(t.lastDur, 1))
	for _, r := range t.deltas {
		shortest = min(shortest, r.v)
	}
	n := (preroll + shortest - 1) / max(shortest, opusUnit)
	stbl.AddChild(&mp4.SgpdBox{Version: 1, GroupingType: "roll", DefaultLength: 2,
		SampleGroupEntries: []mp4.SampleGroupEntry{&mp4.RollSampleGroupEntry{RollDistance: -int16(n)}}})
	stbl.AddChild(&mp4.SbgpBox{GroupingType: "roll", SampleCounts: []uint32{uint32(len(t.sizes))}, GroupDescriptionIndices: []uint32{1}})
}

// placeChunks sets the chunk offsets for payloads that begin at base.
func (t *table) placeChunks(base uint64, large bool) {
	stbl := t.trak.Mdia.Minf.Stbl
	if large {
		if stbl.Co64 == nil {
			stbl.AddChild(&mp4.Co64Box{ChunkOffset: make([]uint64, len(t.chunks))})
		}
		for i, c := range t.chunks {
			stbl.Co64.ChunkOffset[i] = base + c
		}
		return
	}
	if stbl.Stco == nil {
		stbl.AddChild(&mp4.StcoBox{ChunkOffset: make([]uint32, len(t.chunks))})
	}
	for i, c := range t.chunks {
		stbl.Stco.ChunkOffset[i] = uint32(base + c)
	}
}

// digest proves a file.
type digest struct {
	size   int64
	sha256 string
}

// digestOf reads a whole file.
func digestOf(ctx context.Context, r io.Reader) (digest, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}))
	return digest{n, hex.EncodeToString(sum.Sum(nil))}, err
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// counting takes the digest of what is written through it, so that a finished
// file need not be read again.
type counting struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

// writeFinal makes the fast-start file beside a growing one and forces it to
// disk. On failure nothing is left behind.
func writeFinal(ctx context.Context, live *os.File, s scanned, temp string) (d digest, err error) {
	// A leftover of this name may be a second name of a finished recording:
	// the name is taken away, the file is never opened.
	os.Remove(temp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return d, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(temp)
		}
	}()
	w := &counting{w: f, sum: sha256.New()}
	if err := s.rewrite(ctx, live, w); err != nil {
		return d, err
	}
	return digest{w.n, hex.EncodeToString(w.sum.Sum(nil))}, f.Sync()
}

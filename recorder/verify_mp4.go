package recorder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"lineout/codecs/opus"
	"lineout/media"
)

// maxMoov bounds the tables of a finished file: those of two days are below it.
const maxMoov = 128 << 20

// topBox is a box of a file's top level.
type topBox struct {
	kind           string
	at, head, size int64
}

func (b topBox) end() int64 { return b.at + b.size }

// topBoxes lists the top level boxes, which must fill the file (ISO/IEC
// 14496-12 section 4.2).
func topBoxes(r io.ReaderAt, size int64) ([]topBox, error) {
	var l []topBox
	for at := int64(0); at < size; {
		var h [16]byte
		n := min(size-at, 16)
		if _, err := r.ReadAt(h[:n], at); err != nil {
			return nil, err
		}
		b := topBox{kind: string(h[4:8]), at: at, head: 8, size: int64(binary.BigEndian.Uint32(h[:]))}
		if b.size == 1 && n == 16 {
			b.head, b.size = 16, int64(binary.BigEndian.Uint64(h[8:]))
		}
		if n < 8 || b.size < b.head || b.size > size-at {
			return nil, damaged(at, "a box of %d bytes is announced where %d are left", b.size, size-at)
		}
		const many = 1 << 20
		if l = append(l, b); len(l) > many {
			return nil, damaged(at, "there are more than %d boxes", many)
		}
		at = b.end()
	}
	return l, nil
}

// checkMP4 is the checker of MP4, finished or fragmented.
func checkMP4(ctx context.Context, r io.ReaderAt, size int64) (*found, error) {
	boxes, err := topBoxes(r, size)
	if err != nil {
		return nil, err
	}
	for _, b := range boxes {
		if b.kind == "moof" {
			return checkFragments(ctx, r, size)
		}
	}
	var moov, mdat *topBox
	for i, b := range boxes {
		switch {
		case b.kind == "moov" && moov == nil:
			moov = &boxes[i]
		case b.kind == "mdat" && mdat == nil:
			mdat = &boxes[i]
		case b.kind == "ftyp" && i == 0:
		default:
			return nil, damaged(b.at, "a box %q is not expected here", b.kind)
		}
	}
	if moov == nil || mdat == nil || moov.size > maxMoov {
		return nil, errors.New("it lacks its tables (moov) or its media (mdat)")
	}
	buf := make([]byte, moov.size)
	if _, err := r.ReadAt(buf, moov.at); err != nil {
		return nil, err
	}
	box, err := decodeBox(buf)
	m, ok := box.(*mp4.MoovBox)
	if err != nil || !ok || m.Mvhd == nil {
		return nil, damaged(moov.at, "the tables cannot be read: %v", err)
	}
	f := &found{}
	for i, t := range m.Traks {
		x, err := openTrack(t, *mdat)
		if err != nil {
			return nil, fmt.Errorf("track %d: %w", i+1, damaged(moov.at, "%v", err))
		}
		d, err := x.check(ctx, &window{r: r, size: size})
		if err != nil {
			return nil, fmt.Errorf("track %d: %w", i+1, err)
		}
		d.StartMS, d.EndMS = roundMS(x.begin), roundMS(x.begin+x.length)
		f.durationMS = max(f.durationMS, d.EndMS)
		f.tracks = append(f.tracks, d)
	}
	if want := roundMS(ticksToTime(int64(m.Mvhd.Duration), int64(max(m.Mvhd.Timescale, 1)))); len(f.tracks) == 0 || want != f.durationMS {
		return nil, damaged(moov.at, "its header says %d ms, its tracks last %d ms", want, f.durationMS)
	}
	return f, nil
}

// mp4Track walks the samples of one track of a finished file.
type mp4Track struct {
	d      SidecarTrack
	mdat   topBox
	sizes  *mp4.StszBox
	keys   *mp4.StssBox // nil: all are
	chunks []uint64
	perRun *mp4.StscBox
	count  uint32
	begin  time.Duration
	length time.Duration
}

// openTrack checks that a track's tables agree with each other.
func openTrack(t *mp4.TrakBox, mdat topBox) (*mp4Track, error) {
	if t.Tkhd == nil || t.Mdia == nil || t.Mdia.Mdhd == nil || t.Mdia.Mdhd.Timescale == 0 || t.Mdia.Minf == nil || t.Mdia.Minf.Stbl == nil {
		return nil, errors.New("it is not described")
	}
	st := t.Mdia.Minf.Stbl
	if st.Stsd == nil || st.Stts == nil || st.Stsc == nil || st.Stsz == nil || st.Stco == nil && st.Co64 == nil {
		return nil, errors.New("a table is missing")
	}
	x := &mp4Track{d: describeEntry(st.Stsd), mdat: mdat, sizes: st.Stsz, keys: st.Stss, perRun: st.Stsc, count: st.Stsz.SampleNumber}
	if x.d.Kind == "" {
		return nil, errors.New("its codec is none of ours")
	}
	if o := st.Stsd.Opus; o != nil {
		if d := o.Dops; d == nil || d.Version != 0 || d.PreSkip != 0 || d.InputSampleRate != opus.ClockRate || d.OutputGain != 0 ||
			d.ChannelMappingFamily != 0 || uint16(d.OutputChannelCount) != o.ChannelCount || t.Mdia.Mdhd.Timescale != opus.ClockRate {
			return nil, errors.New("the description of Opus (dOps) is not as we write it")
		}
	}
	if x.count == 0 || st.Stsz.SampleUniformSize == 0 && len(st.Stsz.SampleSize) != int(x.count) {
		return nil, errors.New("the table of sizes is damaged")
	}
	if st.Co64 != nil {
		x.chunks = st.Co64.ChunkOffset
	} else {
		for _, o := range st.Stco.ChunkOffset {
			x.chunks = append(x.chunks, uint64(o))
		}
	}
	var n, ticks uint64
	for i, c := range st.Stts.SampleCount {
		if st.Stts.SampleTimeDelta[i] == 0 || int32(st.Stts.SampleTimeDelta[i]) < 0 {
			return nil, fmt.Errorf("time does not grow after sample %d", n+1)
		}
		n += uint64(c)
		ticks += uint64(c) * uint64(st.Stts.SampleTimeDelta[i])
	}
	if n != uint64(x.count) || ticks != t.Mdia.Mdhd.Duration {
		return nil, fmt.Errorf("%d samples of %d ticks have times, it should be %d of %d", n, ticks, x.count, t.Mdia.Mdhd.Duration)
	}
	if c := st.Ctts; c != nil && (len(c.EndSampleNr) == 0 || c.EndSampleNr[len(c.EndSampleNr)-1] != x.count) {
		return nil, errors.New("the table of picture offsets is damaged")
	}
	x.length = ticksToTime(int64(ticks), int64(t.Mdia.Mdhd.Timescale))
	if t.Edts != nil && len(t.Edts.Elst) == 1 {
		for _, e := range t.Edts.Elst[0].Entries {
			if e.MediaTime == -1 {
				x.begin += ticksToTime(int64(e.SegmentDuration), movieScale)
			}
		}
	}
	if x.keys != nil {
		for i, k := range x.keys.SampleNumber {
			if k == 0 || k > x.count || i > 0 && k <= x.keys.SampleNumber[i-1] {
				return nil, errors.New("the table of key frames is damaged")
			}
		}
	}
	return x, nil
}

func (x *mp4Track) size(n uint32) uint32 {
	if x.sizes.SampleUniformSize != 0 {
		return x.sizes.SampleUniformSize
	}
	return x.sizes.SampleSize[n]
}

// check reads every sample.
func (x *mp4Track) check(ctx context.Context, w *window) (SidecarTrack, error) {
	d, n, key, run := x.d, uint32(0), 0, 0
	entries := x.perRun.Entries
	low := x.mdat.at + x.mdat.head
	for c, offset := range x.chunks {
		if err := ctx.Err(); err != nil {
			return d, err
		}
		for run+1 < len(entries) && entries[run+1].FirstChunk <= uint32(c)+1 {
			run++
		}
		if len(entries) == 0 || entries[0].FirstChunk != 1 || entries[run].SamplesPerChunk > x.count-n {
			return d, damaged(int64(offset), "chunk %d has more samples than there are", c+1)
		}
		at := int64(offset)
		for range entries[run].SamplesPerChunk {
			size := int64(x.size(n))
			if at < low || at > x.mdat.end()-size {
				return d, damaged(at, "sample %d lies outside the media", n+1)
			}
			isKey := x.keys == nil
			if !isKey && key < len(x.keys.SampleNumber) && x.keys.SampleNumber[key] == n+1 {
				isKey = true
				key++
			}
			b, err := w.at(at, int(size))
			if err != nil {
				return d, damaged(at, "sample %d cannot be read: %v", n+1, err)
			}
			if err := checkSample(media.Codec(d.Codec), &d, b, isKey, n == 0); err != nil {
				return d, damaged(at, "sample %d: %v", n+1, err)
			}
			if isKey {
				d.Keyframes++
			}
			d.Bytes += size
			at += size
			low = at
			n++
		}
	}
	if n != x.count {
		return d, damaged(x.mdat.at, "only %d of %d samples have a place", n, x.count)
	}
	d.Frames = int64(n)
	return d, nil
}

// checkFragments checks a file that is as it grew.
func checkFragments(ctx context.Context, r io.ReaderAt, size int64) (*found, error) {
	s, err := scanFile(r, size)
	if err != nil {
		return nil, err
	}
	if s.whole != size {
		return nil, damaged(s.whole, "a fragment is damaged")
	}
	for i, t := range s.tables {
		if err := s.checkTable(ctx, t, &window{r: r, size: size}); err != nil {
			return nil, fmt.Errorf("track %d: %w", i+1, err)
		}
	}
	return &found{fragmented: true, durationMS: roundMS(s.ending().duration), tracks: s.contents()}, nil
}

// checkTable reads every sample of a scanned track.
func (s *scan) checkTable(ctx context.Context, t *table, w *window) error {
	d := describeEntry(t.trak.Mdia.Minf.Stbl.Stsd)
	n, key, chunk := 0, 0, 0
	ext, before := 0, int64(0) // the extent a chunk is in, and payload before it
	for _, c := range t.counts {
		for range c.n {
			if err := ctx.Err(); err != nil {
				return err
			}
			pos := int64(t.chunks[chunk])
			for ext < len(s.extents) && pos >= before+s.extents[ext].size {
				before += s.extents[ext].size
				ext++
			}
			if ext == len(s.extents) {
				return damaged(s.whole, "chunk %d lies outside the media", chunk+1)
			}
			at := s.extents[ext].from + pos - before
			for range c.v {
				isKey := key < len(t.keys) && t.keys[key] == uint32(n+1)
				if isKey {
					key++
				}
				b, err := w.at(at, int(t.sizes[n]))
				if err != nil {
					return damaged(at, "sample %d cannot be read: %v", n+1, err)
				}
				if err := checkSample(media.Codec(d.Codec), &d, b, isKey, n == 0); err != nil {
					return damaged(at, "sample %d: %v", n+1, err)
				}
				at += int64(len(b))
				n++
			}
			chunk++
		}
	}
	return nil
}

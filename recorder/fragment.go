package recorder

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"

	"lineout/media"
)

// liveTrack is the open fragment's part of one track.
type liveTrack struct {
	data    []byte       // payloads
	samples []mp4.Sample // all but Dur, which needs the next sample
	dts     []time.Duration
	next    uint64 // tick the next sample must not go before
	usual   uint32 // ticks between the last two samples
}

// write adds one frame, and a fragment to the file when it is time.
func (l *liveFile) write(f *media.Frame) error {
	if l.held > 0 && (f.DTS-l.first >= fragmentTime || l.heldBytes() >= fragmentBytes || l.held >= fragmentCount) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	k := f.Track.Kind
	t := &l.tracks[k]
	from := len(t.data)
	if k == media.Video {
		t.data = l.appendAVCC(t.data, f.Data)
		if len(t.data) > from {
			l.add(k, f.DTS, f.PTS-f.DTS, f.Key, len(t.data)-from)
		}
		return nil
	}
	for i, au := range f.Data {
		if len(au) > 0 {
			t.data = append(t.data, au...)
			l.add(k, f.DTS+ticksToTime(int64(i)*aacSamples, l.rate), 0, true, len(au))
		}
	}
	l.end = max(l.end, f.DTS+ticksToTime(int64(len(f.Data))*aacSamples, l.rate))
	return nil
}

// heldBytes is the size of the open fragment's payloads.
func (l *liveFile) heldBytes() int {
	return len(l.tracks[media.Video].data) + len(l.tracks[media.Audio].data)
}

func (l *liveFile) add(k media.Kind, dts, cts time.Duration, key bool, size int) {
	if l.held == 0 {
		l.first = dts
	}
	if !l.seen {
		l.started, l.end, l.seen = dts, dts, true
	}
	l.first, l.started, l.end = min(l.first, dts), min(l.started, dts), max(l.end, dts)
	l.held++
	flags := mp4.SyncSampleFlags
	if !key {
		flags = mp4.SetNonSyncSampleFlags(0)
	}
	t := &l.tracks[k]
	t.samples = append(t.samples, mp4.NewSample(flags, 0, uint32(size), int32(timeToTicks(cts, l.scale(k)))))
	t.dts = append(t.dts, dts)
}

// appendAVCC adds an access unit with length prefixes, without what the header
// says already: an avc1 sample entry wants no parameter sets in band
// (ISO/IEC 14496-15 section 5.3.3.1.2).
func (l *liveFile) appendAVCC(b []byte, au [][]byte) []byte {
	for _, n := range au {
		if len(n) == 0 {
			continue
		}
		switch n[0] & 0x1f {
		case naluSPS, naluPPS:
			if l.inHeader(n) {
				continue
			}
		case naluAUD:
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(n)))
		b = append(b, n...)
	}
	return b
}

// NAL unit types, ITU-T H.264 table 7-1.
const (
	naluSPS = 7
	naluPPS = 8
	naluAUD = 9
)

func (l *liveFile) inHeader(n []byte) bool {
	p := l.header.video
	return p != nil && len(p.Sets) >= 2 && (bytes.Equal(n, p.Sets[0]) || bytes.Equal(n, p.Sets[1]))
}

// flush writes the open fragment. A kill can cut a write short, and players
// refuse a file that ends within a moof. So the fragment is written as a free
// box first, which they skip, cut short or not; then its first eight bytes,
// which never cross a page, make it a moof at one stroke. After a failure the
// file is as it was before, without the fragment.
func (l *liveFile) flush() error {
	if l.held == 0 {
		return nil
	}
	if !l.baseSet {
		l.base, l.baseSet = l.first, true
	}
	err := l.encode()
	for k := range l.tracks {
		t := &l.tracks[k]
		t.data, t.samples, t.dts = t.data[:0], t.samples[:0], t.dts[:0]
	}
	l.held = 0
	if err != nil {
		return fmt.Errorf("fragment for recording %s: %w", l.path, err)
	}
	var begin [8]byte
	copy(begin[:], l.out)
	binary.BigEndian.PutUint32(l.out, uint32(len(l.out)))
	copy(l.out[4:], "free")
	_, err = l.f.WriteAt(l.out, l.size)
	if err == nil {
		_, err = l.f.WriteAt(begin[:], l.size)
	}
	if err != nil {
		l.f.Truncate(l.size)
		return fmt.Errorf("write recording %s: %w", l.path, err)
	}
	l.size += int64(len(l.out))
	if l.syncEvery > 0 && time.Since(l.lastSync) >= l.syncEvery {
		l.lastSync = time.Now()
		if err := l.f.Sync(); err != nil {
			return fmt.Errorf("sync recording %s: %w", l.path, err)
		}
	}
	return nil
}

// encode makes moof and mdat of the open fragment in l.out.
func (l *liveFile) encode() error {
	moof := &mp4.MoofBox{}
	l.seq++
	if err := moof.AddChild(mp4.CreateMfhd(l.seq)); err != nil {
		return err
	}
	for _, k := range [...]media.Kind{media.Video, media.Audio} {
		if t := &l.tracks[k]; len(t.dts) > 0 {
			traf, err := t.fragment(l, k)
			if err != nil {
				return err
			}
			if err := moof.AddChild(traf); err != nil {
				return err
			}
		}
	}
	head := int(moof.Size())
	offset := head + 8
	for _, traf := range moof.Trafs {
		traf.Trun.DataOffset = int32(offset)
		offset += int(traf.Trun.SizeOfData())
	}
	// Eight-byte alignment is what keeps the first eight bytes on one page.
	offset = (offset + 7) &^ 7
	if cap(l.out) < offset {
		l.out = make([]byte, offset+offset/4)
	}
	l.out = l.out[:offset]
	if err := moof.EncodeSW(bits.NewFixedSliceWriterFromSlice(l.out[:head])); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(l.out[head:], uint32(offset-head))
	copy(l.out[head+4:], "mdat")
	n := head + 8
	n += copy(l.out[n:], l.tracks[media.Video].data)
	n += copy(l.out[n:], l.tracks[media.Audio].data)
	clear(l.out[n:])
	return nil
}

// fragment turns the collected samples into ticks. The last sample's length is
// a guess; the next fragment's start and the finaliser know better.
func (t *liveTrack) fragment(l *liveFile, k media.Kind) (*mp4.TrafBox, error) {
	scale, id := l.scale(k), uint32(videoID)
	if k == media.Audio {
		id = audioID
	}
	if t.usual == 0 {
		t.usual = uint32(scale / 25)
	}
	var start, at uint64
	for i, d := range t.dts {
		tick := t.tick(d-l.base, scale, k)
		if i == 0 {
			start = tick
		} else {
			t.samples[i-1].Dur = uint32(tick - at)
			t.usual = uint32(tick - at)
		}
		t.next, at = tick+1, tick
	}
	if k == media.Audio {
		t.usual = aacSamples
	}
	t.samples[len(t.samples)-1].Dur = min(t.usual, uint32(scale))
	traf := &mp4.TrafBox{}
	trun := mp4.CreateTrun(0)
	trun.Samples = t.samples
	for _, b := range []mp4.Box{mp4.CreateTfhd(id), mp4.CreateTfdt(start), trun} {
		if err := traf.AddChild(b); err != nil {
			return nil, err
		}
	}
	return traf, nil
}

// tick is a time on the track's scale. It grows strictly, and audio that is
// within two ticks of following on follows on, so that rounding a timeline in
// nanoseconds does not make samples of 1023 and 1025 ticks.
func (t *liveTrack) tick(d time.Duration, scale int64, k media.Kind) uint64 {
	tick := uint64(0)
	if v := timeToTicks(d, scale); v > 0 {
		tick = uint64(v)
	}
	if k == media.Audio && t.next > 0 {
		if follow := t.next - 1 + aacSamples; tick+2 >= follow && tick <= follow+2 {
			return follow
		}
	}
	return max(tick, t.next)
}

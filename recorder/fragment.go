package recorder

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"

	"lineout/codecs/aac"
	"lineout/codecs/opus"
	"lineout/media"
)

// liveTrack is the open fragment's part of one track.
type liveTrack struct {
	data    []byte       // payloads
	samples []mp4.Sample // all but Dur, which needs the next sample
	dts     []time.Duration
	lengths []uint32 // ticks each sample of sound lasts by itself, 0 for pictures
	next    uint64   // tick the next sample must not go before
	follow  uint64   // tick the next sample of sound has if nothing is missing, 0 for pictures
	usual   uint32   // ticks the last sample lasts, as far as is known
}

// mp4Muxer makes fragmented MP4 of H.264 and AAC or Opus.
type mp4Muxer struct {
	video  *media.Params // as in the header
	inBand bool          // parameter sets stay in the pictures
	sound  media.Codec
	rate   int64        // audio ticks per second
	tracks [3]liveTrack // by media.Kind
	out    []byte       // the fragment as it is written, reused
	seq    uint32
}

// collect implements muxer.
func (m *mp4Muxer) collect(l *liveFile, f *media.Frame) {
	k := f.Track.Kind
	t := &m.tracks[k]
	from := len(t.data)
	if k == media.Video {
		if m.inBand {
			t.data = appendWithSets(t.data, f)
		} else {
			t.data = appendAVCC(t.data, f.Data, m.video)
		}
		if len(t.data) > from {
			m.add(l, k, f.DTS, f.PTS-f.DTS, f.Key, len(t.data)-from, 0)
		}
		return
	}
	at := int64(0) // ticks after the frame's begin
	for _, au := range f.Data {
		n := m.soundTicks(au)
		if len(au) > 0 && n > 0 {
			t.data = append(t.data, au...)
			m.add(l, k, f.DTS+ticksToTime(at, m.rate), 0, true, len(au), uint32(n))
		}
		at += n
	}
}

// soundTicks is how long a packet of sound lasts: an AAC-LC frame (ISO/IEC
// 14496-3 section 4.5.1.1) as long as all, an Opus packet as it says itself, 0
// if it is malformed.
func (m *mp4Muxer) soundTicks(packet []byte) int64 {
	if m.sound == opus.Name {
		return opusSamples(packet)
	}
	return aac.FrameSize
}

// cutBefore implements muxer. A fragment may begin with any sample.
func (m *mp4Muxer) cutBefore(*media.Frame) bool { return false }

// held implements muxer.
func (m *mp4Muxer) held() int {
	return len(m.tracks[media.Video].data) + len(m.tracks[media.Audio].data)
}

func (m *mp4Muxer) scale(k media.Kind) int64 {
	if k == media.Video {
		return videoScale
	}
	return m.rate
}

func (m *mp4Muxer) add(l *liveFile, k media.Kind, dts, cts time.Duration, key bool, size int, length uint32) {
	l.note(dts)
	flags := mp4.SyncSampleFlags
	if !key {
		flags = mp4.SetNonSyncSampleFlags(0)
	}
	t := &m.tracks[k]
	t.samples = append(t.samples, mp4.NewSample(flags, 0, uint32(size), int32(timeToTicks(cts, m.scale(k)))))
	t.dts = append(t.dts, dts)
	t.lengths = append(t.lengths, length)
}

// appendAVCC adds an access unit with length prefixes, without what the header
// says already: an avc1 sample entry wants no parameter sets in band
// (ISO/IEC 14496-15 section 5.3.3.1.2).
func appendAVCC(b []byte, au [][]byte, header *media.Params) []byte {
	for _, n := range au {
		if len(n) == 0 {
			continue
		}
		switch n[0] & 0x1f {
		case naluSPS, naluPPS:
			if inHeader(n, header) {
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

// appendWithSets adds an access unit that brings its own parameter sets, so
// that decoding can begin at each key frame.
func appendWithSets(b []byte, f *media.Frame) []byte {
	if f.Key && f.Params != nil && !slices.ContainsFunc(f.Data, func(n []byte) bool { return len(n) > 0 && n[0]&0x1f == naluSPS }) {
		b = appendAVCC(b, f.Params.Sets, nil)
	}
	return appendAVCC(b, f.Data, nil)
}

// NAL unit types, ITU-T H.264 table 7-1.
const (
	naluSPS = 7
	naluPPS = 8
	naluAUD = 9
)

func inHeader(n []byte, p *media.Params) bool {
	return p != nil && len(p.Sets) >= 2 && (bytes.Equal(n, p.Sets[0]) || bytes.Equal(n, p.Sets[1]))
}

// hide implements muxer: a free box is skipped by every player.
func (m *mp4Muxer) hide(fragment []byte) {
	binary.BigEndian.PutUint32(fragment, uint32(len(fragment)))
	copy(fragment[4:], "free")
}

// encode implements muxer.
func (m *mp4Muxer) encode(base time.Duration) ([]byte, error) {
	err := m.marshal(base)
	for k := range m.tracks {
		t := &m.tracks[k]
		t.data, t.samples, t.dts, t.lengths = t.data[:0], t.samples[:0], t.dts[:0], t.lengths[:0]
	}
	return m.out, err
}

// marshal makes moof and mdat of the open fragment in m.out.
func (m *mp4Muxer) marshal(base time.Duration) error {
	moof := &mp4.MoofBox{}
	m.seq++
	if err := moof.AddChild(mp4.CreateMfhd(m.seq)); err != nil {
		return err
	}
	for _, k := range [...]media.Kind{media.Video, media.Audio} {
		if t := &m.tracks[k]; len(t.dts) > 0 {
			traf, err := t.fragment(m, k, base)
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
	if cap(m.out) < offset {
		m.out = make([]byte, offset+offset/4)
	}
	m.out = m.out[:offset]
	if err := moof.EncodeSW(bits.NewFixedSliceWriterFromSlice(m.out[:head])); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(m.out[head:], uint32(offset-head))
	copy(m.out[head+4:], "mdat")
	n := head + 8
	n += copy(m.out[n:], m.tracks[media.Video].data)
	n += copy(m.out[n:], m.tracks[media.Audio].data)
	clear(m.out[n:])
	return nil
}

// fragment turns the collected samples into ticks. The last sample's length is
// a guess; the next fragment's start and the finaliser know better.
func (t *liveTrack) fragment(m *mp4Muxer, k media.Kind, base time.Duration) (*mp4.TrafBox, error) {
	scale, id := m.scale(k), uint32(videoID)
	if k == media.Audio {
		id = audioID
	}
	if t.usual == 0 {
		t.usual = uint32(scale / 25)
	}
	var start, at uint64
	for i, d := range t.dts {
		tick := t.tick(d-base, scale)
		if i == 0 {
			start = tick
		} else {
			t.samples[i-1].Dur = uint32(tick - at)
			t.usual = uint32(tick - at)
		}
		t.next, at = tick+1, tick
		if n := t.lengths[i]; n > 0 {
			t.usual, t.follow = n, tick+uint64(n)
		}
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

// tick is a time on the track's scale. It grows strictly, and sound that is
// within two ticks of following on follows on, so that rounding a timeline in
// nanoseconds does not make AAC frames of 1023 and 1025 ticks.
func (t *liveTrack) tick(d time.Duration, scale int64) uint64 {
	tick := uint64(0)
	if v := timeToTicks(d, scale); v > 0 {
		tick = uint64(v)
	}
	if t.follow > 0 && tick+2 >= t.follow && tick <= t.follow+2 {
		return t.follow
	}
	return max(tick, t.next)
}

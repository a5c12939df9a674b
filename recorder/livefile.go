package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"

	"lineout/media"
)

// A fragment is written when it holds this much media or memory, so that no
// more than this is missing after a kill.
const (
	fragmentTime  = 500 * time.Millisecond
	fragmentBytes = 4 << 20
	fragmentCount = 4096
)

// aacSamples is the length of an AAC-LC frame (ISO/IEC 14496-3 section 4.5.1.1).
const aacSamples = 1024

// liveFile is a fragmented MP4 that grows by whole fragments and is playable
// after each of them. One goroutine uses it.
type liveFile struct {
	f      *os.File
	path   string
	header header
	rate   int64 // audio ticks per second

	tracks [3]liveTrack // by media.Kind
	arena  []byte       // payloads of the open fragment
	out    seekablebuffer.Buffer
	part   fmp4.Part

	base      time.Duration // DTS that is tick zero of every track
	baseSet   bool
	first     time.Duration // lowest DTS of the open fragment
	seq       uint32
	size      int64 // bytes of the file that are whole
	started   time.Duration
	end       time.Duration
	lastSync  time.Time
	syncEvery time.Duration
	seen      bool // at least one frame was added
}

// liveTrack is the open fragment's part of one track.
type liveTrack struct {
	part    fmp4.PartTrack
	samples []fmp4.Sample
	pos     []span
	dts     []time.Duration
	next    uint64 // tick the next sample must not go before
	usual   uint32 // ticks between the last two samples
}

type span struct{ from, to int }

// createLive makes a new file for a recording and locks it. It never opens a
// file that exists.
func createLive(dir string, h header, syncEvery time.Duration) (*liveFile, error) {
	head, err := h.marshal()
	if err != nil {
		return nil, err
	}
	for n := 1; n < 10000; n++ {
		name := h.meta.Base
		if n > 1 {
			name += "_" + strconv.Itoa(n)
		}
		path := filepath.Join(dir, name+liveSuffix)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create recording: %w", err)
		}
		if !lockNew(f, path) {
			f.Close() // another process took it for a leftover
			continue
		}
		if _, err := f.WriteAt(head, 0); err != nil {
			os.Remove(path)
			f.Close()
			return nil, fmt.Errorf("write the header of recording %s: %w", path, err)
		}
		l := &liveFile{f: f, path: path, header: h, size: headerSize, syncEvery: syncEvery, lastSync: time.Now()}
		l.setRate()
		return l, nil
	}
	return nil, fmt.Errorf("create recording: 9999 files named like %s%s exist", h.meta.Base, liveSuffix)
}

// lockNew locks a file just made and makes sure that it still has its name.
func lockNew(f *os.File, path string) bool {
	if tryLock(f) != nil {
		return false
	}
	a, err1 := f.Stat()
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

func (l *liveFile) setRate() {
	if c, err := aacConfig(l.header.audio); err == nil {
		l.rate = int64(c.SampleRate)
	}
}

// addTrack puts a track that appeared late into the header, in place.
func (l *liveFile) addTrack(k media.Kind, p *media.Params) error {
	h := l.header
	if k == media.Video {
		h.video = p
	} else {
		h.audio = p
	}
	head, err := h.marshal()
	if err != nil {
		return err
	}
	if _, err := l.f.WriteAt(head, 0); err != nil {
		return fmt.Errorf("rewrite the header of recording %s: %w", l.path, err)
	}
	l.header = h
	l.setRate()
	return nil
}

func (l *liveFile) scale(k media.Kind) int64 {
	if k == media.Video {
		return videoScale
	}
	return l.rate
}

// write adds one frame, and a fragment to the file when it is time.
func (l *liveFile) write(f *media.Frame) error {
	if l.pending() > 0 {
		if f.DTS-l.first >= fragmentTime || len(l.arena) >= fragmentBytes || l.pending() >= fragmentCount {
			if err := l.flush(); err != nil {
				return err
			}
		}
	}
	k := f.Track.Kind
	from := len(l.arena)
	if k == media.Video {
		l.arena = l.appendAVCC(l.arena, f.Data)
		if len(l.arena) > from {
			l.add(k, f.DTS, f.PTS-f.DTS, f.Key, from)
		}
		return nil
	}
	for i, au := range f.Data {
		if len(au) == 0 {
			continue
		}
		from := len(l.arena)
		l.arena = append(l.arena, au...)
		l.add(k, f.DTS+ticksToTime(int64(i)*aacSamples, l.rate), 0, true, from)
	}
	l.end = max(l.end, f.DTS+ticksToTime(int64(len(f.Data))*aacSamples, l.rate))
	return nil
}

func (l *liveFile) pending() int { return len(l.tracks[1].dts) + len(l.tracks[2].dts) }

func (l *liveFile) add(k media.Kind, dts, cts time.Duration, key bool, from int) {
	t := &l.tracks[k]
	if l.pending() == 0 {
		l.first = dts
	}
	if !l.seen {
		l.started, l.end, l.seen = dts, dts, true
	}
	l.first, l.started, l.end = min(l.first, dts), min(l.started, dts), max(l.end, dts)
	t.samples = append(t.samples, fmp4.Sample{PTSOffset: int32(timeToTicks(cts, l.scale(k))), IsNonSyncSample: !key})
	t.pos = append(t.pos, span{from, len(l.arena)})
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
		b = append(b, byte(len(n)>>24), byte(len(n)>>16), byte(len(n)>>8), byte(len(n)))
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

// flush writes the open fragment with one write. After a failure the file is
// as it was before.
func (l *liveFile) flush() error {
	if l.pending() == 0 {
		return nil
	}
	if !l.baseSet {
		l.base, l.baseSet = l.first, true
	}
	l.part.Tracks = l.part.Tracks[:0]
	for _, k := range [...]media.Kind{media.Video, media.Audio} {
		if t := &l.tracks[k]; len(t.dts) > 0 {
			l.part.Tracks = append(l.part.Tracks, t.fragment(l, k))
		}
	}
	l.seq++
	l.part.SequenceNumber = l.seq
	l.out.Reset()
	l.out.Seek(0, io.SeekStart)
	err := l.part.Marshal(&l.out)
	for k := range l.tracks {
		l.tracks[k].reset()
	}
	l.arena = l.arena[:0]
	if err != nil {
		return fmt.Errorf("fragment for recording %s: %w", l.path, err)
	}
	if _, err := l.f.WriteAt(l.out.Bytes(), l.size); err != nil {
		l.f.Truncate(l.size)
		return fmt.Errorf("write recording %s: %w", l.path, err)
	}
	l.size += int64(l.out.Len())
	if l.syncEvery > 0 && time.Since(l.lastSync) >= l.syncEvery {
		l.lastSync = time.Now()
		if err := l.f.Sync(); err != nil {
			return fmt.Errorf("sync recording %s: %w", l.path, err)
		}
	}
	return nil
}

// fragment turns the collected samples into ticks. The last sample's length is
// a guess; the next fragment's start and the finaliser know better.
func (t *liveTrack) fragment(l *liveFile, k media.Kind) *fmp4.PartTrack {
	scale := l.scale(k)
	t.part = fmp4.PartTrack{ID: videoID, Samples: t.part.Samples[:0]}
	if k == media.Audio {
		t.part.ID = audioID
	}
	if t.usual == 0 {
		t.usual = uint32(scale / 25)
	}
	at := uint64(0)
	for i := range t.dts {
		tick := t.tick(t.dts[i]-l.base, scale, k)
		if i == 0 {
			t.part.BaseTime = tick
		} else {
			t.samples[i-1].Duration = uint32(tick - at)
			t.usual = uint32(tick - at)
		}
		t.next = tick + 1
		at = tick
		t.samples[i].Duration = min(t.usual, uint32(scale))
		t.samples[i].Payload = l.arena[t.pos[i].from:t.pos[i].to:t.pos[i].to]
		t.part.Samples = append(t.part.Samples, &t.samples[i])
	}
	if k == media.Audio {
		t.usual = aacSamples
		t.samples[len(t.dts)-1].Duration = aacSamples
	}
	return &t.part
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

func (t *liveTrack) reset() {
	clear(t.samples)
	t.samples, t.pos, t.dts = t.samples[:0], t.pos[:0], t.dts[:0]
}

// length is the play time of what is in the file and the open fragment.
func (l *liveFile) length() time.Duration { return l.end - l.started }

// empty says that no fragment is in the file.
func (l *liveFile) empty() bool { return l.size == headerSize }

// timeToTicks rounds to the nearest tick.
func timeToTicks(d time.Duration, scale int64) int64 {
	sec, rest := int64(d/time.Second), int64(d%time.Second)
	half := int64(time.Second) / 2
	if rest < 0 {
		half = -half
	}
	return sec*scale + (rest*scale+half)/int64(time.Second)
}

func ticksToTime(t, scale int64) time.Duration {
	return time.Duration(t/scale)*time.Second + time.Duration(t%scale)*time.Second/time.Duration(scale)
}

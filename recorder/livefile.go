package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

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
	held   int          // samples in the open fragment
	out    []byte       // the fragment as it is written, reused

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

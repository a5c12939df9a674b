package recorder

import (
	"errors"
	"fmt"
	"io"
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
	// fragmentSpan bounds how far a frame may lie before the others of its
	// fragment, so that times relative to a fragment stay small.
	fragmentSpan = 10 * time.Second
)

// liveFile is a file that grows by whole fragments and is playable after each
// of them. One goroutine uses it.
type liveFile struct {
	f      *os.File
	disk   disk // f, but for tests of what fails
	path   string
	header header
	mux    muxer
	held   int // samples in the open fragment

	base      time.Duration // DTS that is tick zero of every track
	baseSet   bool
	first     time.Duration // lowest DTS of the open fragment
	size      int64         // bytes of the file that are whole
	started   time.Duration
	lastSync  time.Time
	syncEvery time.Duration
	seen      bool // at least one frame was added
}

// disk is what a growing file is written by.
type disk interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// createLive makes a new file for a recording and locks it. It never opens a
// file that exists.
func createLive(dir string, c *container, h header, syncEvery time.Duration) (*liveFile, error) {
	mux := c.muxer()
	head, err := mux.header(h)
	if err != nil {
		return nil, err
	}
	for n := 1; n < 10000; n++ {
		name := h.meta.Base
		if n > 1 {
			name += "_" + strconv.Itoa(n)
		}
		path := filepath.Join(dir, name+c.live())
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
		return &liveFile{f: f, disk: f, path: path, header: h, mux: mux, size: headerSize, syncEvery: syncEvery, lastSync: time.Now()}, nil
	}
	return nil, fmt.Errorf("create recording: 9999 files named like %s%s exist", h.meta.Base, c.live())
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

// addTrack puts a track that appeared late into the header, in place.
func (l *liveFile) addTrack(t *media.Track, p *media.Params) error {
	h := l.header
	h.add(t, p)
	return l.rewriteHeader(h)
}

// rewriteHeader puts another header in the place of the first, in one write.
func (l *liveFile) rewriteHeader(h header) error {
	head, err := l.mux.header(h)
	if err != nil {
		return err
	}
	if _, err := l.disk.WriteAt(head, 0); err != nil {
		return fmt.Errorf("rewrite the header of recording %s: %w", l.path, err)
	}
	l.header = h
	return nil
}

// keepInBand prepares the file for pictures that bring their own parameters.
func (l *liveFile) keepInBand() error {
	if l.header.inBand {
		return nil
	}
	h := l.header
	h.inBand = true
	return l.rewriteHeader(h)
}

// write adds one frame, and a fragment to the file when it is time.
func (l *liveFile) write(f *media.Frame) error {
	for more := true; more; {
		if err := l.flushBefore(f); err != nil {
			return err
		}
		m, ok := l.mux.(filler)
		more = ok && m.fill(l, f)
	}
	l.mux.collect(l, f)
	return nil
}

// flushBefore writes the open fragment if f should not be in it.
func (l *liveFile) flushBefore(f *media.Frame) error {
	if l.held > 0 && (f.DTS-l.first >= fragmentTime || l.first-f.DTS >= fragmentSpan ||
		l.mux.held() >= fragmentBytes || l.held >= fragmentCount || l.mux.cutBefore(f)) {
		return l.flush()
	}
	return nil
}

// note takes down the time of a sample that was added to the open fragment.
func (l *liveFile) note(dts time.Duration) {
	if l.held == 0 {
		l.first = dts
	}
	if !l.seen {
		l.started, l.seen = dts, true
	}
	l.first, l.started = min(l.first, dts), min(l.started, dts)
	l.held++
}

// flush writes the open fragment. A kill can cut a write short, and players
// refuse an MP4 that ends within a moof. So the fragment is written as
// something they skip, cut short or not; then its first eight bytes, which
// never cross a page, make it a fragment at one stroke. After a failure the
// file is as it was before, without the fragment.
func (l *liveFile) flush() error {
	if l.held == 0 {
		return nil
	}
	if !l.baseSet {
		l.base, l.baseSet = l.first, true
	}
	out, err := l.mux.encode(l.base)
	l.held = 0
	if err != nil {
		return fmt.Errorf("fragment for recording %s: %w", l.path, err)
	}
	if err := l.append(out); err != nil {
		l.takeBack()
		return fmt.Errorf("write recording %s: %w", l.path, err)
	}
	l.size += int64(len(out))
	if l.syncEvery > 0 && time.Since(l.lastSync) >= l.syncEvery {
		l.lastSync = time.Now()
		if err := l.disk.Sync(); err != nil {
			return fmt.Errorf("sync recording %s: %w", l.path, err)
		}
	}
	return nil
}

// takeBack makes the file what it was before a fragment, as far as it can be
// written at all.
func (l *liveFile) takeBack() {
	l.disk.Truncate(l.size)
	if g, ok := l.mux.(grower); ok {
		if head, err := g.grown(l.size); err == nil {
			l.disk.WriteAt(head, 0)
		}
	}
}

// append writes an encoded fragment at the end, and the header if that says how
// long the file is.
func (l *liveFile) append(fragment []byte) error {
	var begin [8]byte
	n := copy(begin[:], fragment)
	l.mux.hide(fragment)
	if _, err := l.disk.WriteAt(fragment, l.size); err != nil {
		return err
	}
	if _, err := l.disk.WriteAt(begin[:n], l.size); err != nil {
		return err
	}
	g, ok := l.mux.(grower)
	if !ok {
		return nil
	}
	head, err := g.grown(l.size + int64(len(fragment)))
	if err != nil {
		return err
	}
	if _, err := l.disk.WriteAt(head, 0); err != nil {
		return fmt.Errorf("its header: %w", err)
	}
	return nil
}

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

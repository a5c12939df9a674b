// Package sound reads sound files and plays them in real time: WAVE and Ogg
// Opus by itself, all else by a child process of ffmpeg if there is one. It is
// for announcements into calls.
package sound

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"lineout/api/fault"
	"lineout/media"
)

// Config says where files are.
type Config struct {
	Dir string `setting:"inject_sound_dir" default:"media" doc:"Folder of the sound files that /call/inject_sound plays into calls; a fileName may name files below it and nothing else."`
}

// Folder opens the files of one folder. Safe for concurrent use.
type Folder struct {
	Config
	// FFmpeg is the program for formats not known here, "" for none.
	FFmpeg string
}

// reader gives a file's packets one after the other.
type reader interface {
	// next is valid until the one after; io.EOF ends the file.
	next() (packet []byte, length time.Duration, err error)
	io.Closer
}

// File is one that is being played. One goroutine uses it.
type File struct {
	// Track is what its frames belong to; its parameters are set.
	Track *media.Track

	name  string
	r     reader
	first []byte // read by Open
	size  time.Duration
	at    time.Duration
}

// Open opens a file by its name below the folder and reads its beginning. ctx
// bounds the whole life of the child process, if one is needed. Errors carry
// their class: 404 when there is no such file, 400 for a name that leaves the
// folder, 500 for one that cannot be played.
func (d *Folder) Open(ctx context.Context, name string) (*File, error) {
	if !filepath.IsLocal(name) {
		return nil, fault.New(fault.BadRequest, "fileName %q is not the name of a file below the sound folder (inject_sound_dir)", name)
	}
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	s, err := d.start(ctx, f)
	if err != nil {
		_ = f.Close()
		return nil, fault.New(fault.Internal, "the sound file %q cannot be played: %w", name, err)
	}
	s.name = name
	packet, length, err := s.r.next()
	if err == nil {
		s.first, s.size = append([]byte(nil), packet...), length
		return s, nil
	}
	cerr := s.r.Close()
	if errors.Is(err, io.EOF) {
		err = errors.Join(errors.New("it holds no sound"), cerr)
	}
	return nil, fault.New(fault.Internal, "the sound file %q cannot be played: %w", name, err)
}

// open never leaves the folder, neither by the name nor by a symbolic link, and
// takes regular files only: others could keep it waiting.
func (d *Folder) open(name string) (*os.File, error) {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return nil, fault.New(fault.NotFound, "there is no sound file %q: the folder %q cannot be opened (inject_sound_dir)", name, d.Dir)
	}
	defer root.Close()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil, fault.New(fault.NotFound, "there is no sound file %q in %q (inject_sound_dir)", name, d.Dir)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, fault.New(fault.Internal, "open the sound file %q: %w", name, err)
	}
	return f, nil
}

// start finds the reader for a file, which owns it from then on.
func (d *Folder) start(ctx context.Context, f *os.File) (*File, error) {
	b := bufio.NewReaderSize(f, 32<<10)
	head, _ := b.Peek(4)
	var own error
	switch string(head) {
	case "RIFF":
		w, err := newWAV(b, f)
		if err == nil {
			return &File{Track: samples(w.rate), r: w}, nil
		}
		own = err
	case "OggS":
		o, err := newOgg(b, f)
		if err == nil {
			return &File{Track: coded(), r: o}, nil
		}
		own = err
	default:
		own = errors.New("it is neither WAVE nor Ogg")
	}
	if d.FFmpeg == "" {
		return nil, own
	}
	path, err := exec.LookPath(d.FFmpeg)
	if err != nil {
		return nil, fmt.Errorf("%w, and the ffmpeg that could read it is missing (setting ffmpeg)", own)
	}
	c, err := newChild(ctx, path, f)
	if err != nil {
		return nil, err
	}
	return &File{Track: samples(childRate), r: c}, nil
}

// Play writes the file's frames at the pace of the clock and closes it. The
// error is ctx's when that ends first.
func (f *File) Play(ctx context.Context, write func(*media.Frame)) error {
	defer f.r.Close()
	if c, ok := f.r.(*child); ok { // which may keep next waiting
		defer context.AfterFunc(ctx, c.stop)()
	}
	begin := time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	packet, length := f.first, f.size
	for {
		if late := time.Since(begin.Add(f.at)); late > lateMax { // the machine slept: no burst
			begin = begin.Add(late)
		}
		timer.Reset(time.Until(begin.Add(f.at)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		write(&media.Frame{Track: f.Track, Params: f.Track.Params(), PTS: f.at, DTS: f.at, Duration: length,
			Arrival: time.Now(), Key: true, Data: [][]byte{append([]byte(nil), packet...)}})
		f.at += length
		var err error
		if packet, length, err = f.r.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("play the sound file %q: %w", f.name, err)
		}
	}
}

// Close gives up a file that is not to be played.
func (f *File) Close() error { return f.r.Close() }

// lateMax is how far playing may fall behind the clock and catch up.
const lateMax = 500 * time.Millisecond

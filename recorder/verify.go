package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Proof is what Verify found out about one file.
type Proof struct {
	File string `json:"file"`
	OK   bool   `json:"ok"`
	// Reason says why not: what is wrong, where, and what to do. "" if OK.
	Reason string `json:"reason,omitempty"`
	// Offset is the byte the damage was found at, null if it has no one place.
	Offset *int64 `json:"offset,omitempty"`
	// Note is what should be known although the file is OK.
	Note string `json:"note,omitempty"`
	// Proved says that size and SHA-256 are those of the sidecar.
	Proved     bool           `json:"proved"`
	DurationMS int64          `json:"durationMs"`
	Tracks     []SidecarTrack `json:"tracks"`
	SHA256     string         `json:"sha256,omitempty"`
}

// found is what a container holds by itself.
type found struct {
	// fragmented is true for a file that is as it grew.
	fragmented bool
	durationMS int64
	tracks     []SidecarTrack
}

// checker reads all of a finished file of one container and proves that it is
// whole: every position in it points at what it should, time grows, pictures
// begin with a key frame, and samples look like their codec. Its error is a
// *damage where there is a place to name.
type checker func(ctx context.Context, r io.ReaderAt, size int64) (*found, error)

// checkerFor is the checker for files with an extension, nil if there is none.
func checkerFor(ext string) checker {
	switch ext {
	case ".mp4":
		return checkMP4
	case ".webm", ".mkv":
		return checkMatroska
	case ".ogg":
		return checkOgg
	case ".wav":
		return checkWAV
	}
	return nil
}

// damage is a fault at one place of a file.
type damage struct {
	at   int64
	what string
}

func (d *damage) Error() string { return fmt.Sprintf("%s (at byte %d)", d.what, d.at) }

func damaged(at int64, format string, args ...any) error {
	return &damage{at, fmt.Sprintf(format, args...)}
}

const (
	restore = "restore the file from a copy"
	noProof = "nothing proves the content: there is no sidecar"
)

// Verify checks a recording against its sidecar and by itself. With
// noSidecar a file without one is judged by its container alone.
func Verify(ctx context.Context, path string, noSidecar bool) Proof {
	p := Proof{File: path, Tracks: []SidecarTrack{}}
	if err := p.verify(ctx, path, noSidecar); err != nil {
		p.Reason = err.Error()
		var d *damage
		if errors.As(err, &d) {
			p.Offset = &d.at
		}
		return p
	}
	p.OK = true
	return p
}

func (p *Proof) verify(ctx context.Context, path string, noSidecar bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	if !st.Mode().IsRegular() {
		return errors.New("it is not a file: name the recordings one by one")
	}
	check := checkerFor(filepath.Ext(path))
	if check == nil && containerOf(path) == nil {
		return fmt.Errorf("files named *%s cannot be checked: it is no recording of ours", filepath.Ext(path))
	}
	if isLive(path) || isTemp(path) {
		return p.unfinished(path, f, st.Size(), noSidecar)
	}
	side, err := readSidecar(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("sidecar %s: %w; %s", filepath.Base(path)+sidecarExt, err, "restore it from a copy")
	}
	var got *found
	var cerr error
	if check != nil {
		got, cerr = check(ctx, f, st.Size())
	}
	if got != nil {
		p.DurationMS, p.Tracks = got.durationMS, got.tracks
	}
	if missing {
		switch {
		case cerr != nil:
			return fmt.Errorf("%w; %s", cerr, restore)
		case got == nil:
			return fmt.Errorf("%s, and files named *%s are proved by it alone", noProof, filepath.Ext(path))
		case !noSidecar:
			return fmt.Errorf("%s; the container is whole: restore %s, or say --no-sidecar", noProof, filepath.Base(path)+sidecarExt)
		}
		p.Note = noProof
		return nil
	}
	d, err := digestOf(ctx, io.NewSectionReader(f, 0, st.Size()))
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	p.SHA256 = d.sha256
	switch {
	case d.size != side.File.Size:
		err = fmt.Errorf("it has %d bytes and not the %d recorded", d.size, side.File.Size)
	case d.sha256 != side.File.SHA256:
		err = fmt.Errorf("its SHA-256 is %s and not the %s recorded", d.sha256, side.File.SHA256)
	}
	if err != nil {
		if cerr != nil {
			err = fmt.Errorf("%w: %w", err, cerr)
		}
		return fmt.Errorf("%w; it was changed after it was recorded: %s", err, restore)
	}
	p.Proved = true
	if cerr != nil {
		return fmt.Errorf("%w; the file is as it was written, so this is a fault of the writer: report it", cerr)
	}
	if got == nil {
		p.DurationMS, p.Tracks = side.DurationMS, side.Tracks
		return nil
	}
	if err := side.agrees(got); err != nil {
		return fmt.Errorf("%w; file and sidecar are as they were written, so this is a fault of the writer: report it", err)
	}
	if got.fragmented {
		p.Note = "kept as it grew, it could not be rewritten when it ended"
	}
	return nil
}

func readSidecar(path string) (*Sidecar, error) {
	f, err := os.Open(path + sidecarExt)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 1 << 20 // ours are below 100 kB
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, err
	}
	return decodeSidecar(b)
}

// unfinished judges a file that is still written or was left behind.
func (p *Proof) unfinished(path string, f *os.File, size int64, noSidecar bool) error {
	const finish = "start lineout on this folder to finish it"
	if isTemp(path) {
		return fmt.Errorf("it is a working file of the recording in %s; %s", filepath.Base(liveFor(path)), finish)
	}
	s, err := containerOf(path).scan(f, size)
	if err != nil {
		return fmt.Errorf("it is unfinished, and %w", err)
	}
	p.DurationMS, p.Tracks = roundMS(s.ending().duration), s.contents()
	state := fmt.Sprintf("it is unfinished: %.1f s in %d bytes are whole", s.ending().duration.Seconds(), s.wholeSize())
	if torn := size - s.wholeSize(); torn > 0 {
		return damaged(s.wholeSize(), "%s, %d bytes after them are torn; %s", state, torn, finish)
	}
	if !noSidecar {
		return fmt.Errorf("%s, but %s yet; %s", state, noProof, finish)
	}
	p.Note = state
	return nil
}

// agrees compares a sidecar with what the container holds.
func (s *Sidecar) agrees(f *found) error {
	if f.durationMS-s.DurationMS > 1 || s.DurationMS-f.durationMS > 1 {
		return fmt.Errorf("it lasts %d ms and not the %d ms the sidecar says", f.durationMS, s.DurationMS)
	}
	if f.fragmented != s.File.Fragmented {
		return errors.New("the sidecar is wrong about whether it is fragmented")
	}
	if len(f.tracks) != len(s.Tracks) {
		return fmt.Errorf("it has %d tracks and not the %d the sidecar says", len(f.tracks), len(s.Tracks))
	}
	for i, t := range f.tracks {
		want := s.Tracks[i]
		if max(t.StartMS-want.StartMS, want.StartMS-t.StartMS, t.EndMS-want.EndMS, want.EndMS-t.EndMS) <= 1 {
			t.StartMS, t.EndMS = want.StartMS, want.EndMS // each is rounded from other ticks
		}
		if t != want {
			return fmt.Errorf("track %d is %+v and not %+v as the sidecar says", i+1, t, want)
		}
	}
	return nil
}

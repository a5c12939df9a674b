package recorder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// place says how a finished file is to be called.
type place struct {
	dir, base, ext string
	// number is the part number to begin trying with; 0 tries the plain name
	// first. A name that is taken is never touched: the next number is tried.
	number int
}

// publish gives the file at path its final name and returns it; afterwards the
// old name is gone, and before it the file replaced, if any. Nothing that
// exists is ever overwritten, whoever makes files in the folder at the same
// time, and no name is taken whose sidecar's name is. placed is called while
// both names exist: what it does is done again by the recovery if the process
// ends in the middle.
func (p place) publish(path, replaced string, placed func(final string)) (string, error) {
	const most = 1 << 20
	for n := p.number; n < most; n++ {
		name := p.base
		if n > 0 {
			suffix := "_" + strconv.Itoa(n)
			name = cut(name, maxBase) + suffix
		}
		final := filepath.Join(p.dir, name+p.ext)
		if _, err := os.Lstat(final + sidecarExt); err == nil {
			continue
		}
		err := moveNew(path, final, replaced, placed)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("name the finished recording: %w", err)
		}
		syncDir(p.dir)
		return final, nil
	}
	return "", fmt.Errorf("name the finished recording: %d files named like %s%s exist", most, p.base, p.ext)
}

// moveNew renames from to a name that must not exist. Link is atomic and
// refuses an existing name; on filesystems without links the name is first
// taken by an empty file of ours. The old name goes last: while it is there,
// recovery can see that the file was published.
func moveNew(from, to, replaced string, placed func(final string)) error {
	err := os.Link(from, to)
	if err == nil {
		placed(to)
		if replaced != "" {
			os.Remove(replaced)
		}
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, cerr := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if cerr != nil {
		return cerr
	}
	f.Close()
	if rerr := os.Rename(from, to); rerr != nil {
		os.Remove(to)
		return rerr
	}
	placed(to)
	if replaced != "" {
		os.Remove(replaced)
	}
	return nil
}

// published finds the final name of a working file that was linked to it.
func published(dir, temp string) (string, bool) {
	st, err := os.Stat(temp)
	if err != nil {
		return "", false
	}
	found, ext := "", filepath.Ext(temp)
	eachName(dir, func(name string) bool {
		if strings.HasSuffix(name, ext) && !isTemp(name) && !isLive(name) {
			if o, err := os.Lstat(filepath.Join(dir, name)); err == nil && os.SameFile(st, o) {
				found = filepath.Join(dir, name)
				return false
			}
		}
		return true
	})
	return found, found != ""
}

// eachName calls do with the names in dir until it returns false. An archive
// may hold very many, so they are read a thousand at a time.
func eachName(dir string, do func(name string) bool) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			if !do(n) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// syncDir makes new names survive a power loss, where the system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}

package clip

import (
	"os"
	"path/filepath"
)

// Folder is the environment variable that names a folder in which clips are
// kept, so that all processes of a test encode each of them once.
const Folder = "LINEOUT_TEST_CLIPS"

// made returns a folder with what encode puts into it. done removes it unless
// it is kept.
func made(name string, encode func(dir string) error) (dir string, done func(), err error) {
	keep := os.Getenv(Folder)
	kept := filepath.Join(keep, name)
	if keep != "" {
		if _, err := os.Stat(kept); err == nil {
			return kept, func() {}, nil
		}
	}
	dir, err = os.MkdirTemp(keep, "clip")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(dir) }
	if err := encode(dir); err != nil {
		done()
		return "", nil, err
	}
	if keep != "" && os.Rename(dir, kept) == nil {
		return kept, func() {}, nil
	}
	return dir, done, nil
}

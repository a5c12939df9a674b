//go:build unix

package hooks

import (
	"os"
	"syscall"
)

// tryLock takes the file's lock or fails at once. The kernel lets go of it
// when the process ends, however it ends.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

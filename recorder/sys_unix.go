//go:build unix

package recorder

import (
	"os"
	"os/exec"
	"syscall"
)

// tryLock takes the file's lock or fails at once. The kernel lets go of it
// when the process ends, however it ends.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// killGroup makes the end of cmd's context kill what cmd has started, too.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

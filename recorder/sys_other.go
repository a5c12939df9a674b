//go:build !unix

package recorder

import (
	"os"
	"os/exec"
)

// tryLock does nothing where files have no advisory locks: two servers must
// not share a record_dir there.
func tryLock(*os.File) error { return nil }

// killGroup leaves the default: only the program itself is killed.
func killGroup(*exec.Cmd) {}

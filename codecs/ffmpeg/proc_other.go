//go:build !unix

package ffmpeg

import "os/exec"

func ownGroup(*exec.Cmd) {}

func yieldCPU(*exec.Cmd) {}

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

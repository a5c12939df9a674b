package sound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"lineout/codecs/l16"
)

// childRate is what ffmpeg is asked for, in Hz.
const childRate = 48000

// child is an ffmpeg that decodes a file. It cannot run ahead: nobody reads its
// output faster than it is played.
type child struct {
	cmd  *exec.Cmd
	file *os.File
	out  io.ReadCloser
	stop context.CancelFunc
	said said
	buf  [childRate / 50 * l16.SampleSize]byte
}

// newChild hands the open file on, not its name: what is opened was checked.
func newChild(ctx context.Context, path string, f *os.File) (*child, error) {
	ctx, stop := context.WithCancel(ctx)
	c := &child{file: f, stop: stop}
	c.cmd = exec.CommandContext(ctx, path, "-nostdin", "-hide_banner", "-v", "error",
		"-protocol_whitelist", "file", "-i", "file:/dev/fd/3", "-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "s16be", "pipe:1")
	c.cmd.ExtraFiles = []*os.File{f}
	c.cmd.Stderr = &c.said
	c.cmd.WaitDelay = time.Second
	var err error
	if c.out, err = c.cmd.StdoutPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return c, nil
}

func (c *child) next() ([]byte, time.Duration, error) {
	n, err := io.ReadFull(c.out, c.buf[:])
	if n -= n % l16.SampleSize; n > 0 {
		return c.buf[:n], time.Duration(n/l16.SampleSize) * time.Second / childRate, nil
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return nil, 0, err
}

// Close ends the process and reaps it. The error is what the process said.
func (c *child) Close() error {
	c.stop()
	_ = c.cmd.Wait() // it was told to end; why it ended before is in said
	_ = c.file.Close()
	if s := strings.TrimSpace(c.said.b.String()); s != "" {
		return fmt.Errorf("ffmpeg: %s", s)
	}
	return nil
}

// said keeps the beginning of what a process says.
type said struct{ b bytes.Buffer }

func (t *said) Write(p []byte) (int, error) {
	t.b.Write(p[:min(len(p), 500-min(t.b.Len(), 500))])
	return len(p), nil
}

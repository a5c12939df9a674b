package ffmpeg

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// child is one run of the program. Its three goroutines (writer, reader, and
// os/exec's for standard error) end with the process.
type child struct {
	cmd *exec.Cmd
	in  chan unit // never blocks: the conversion counts what is under way

	// ready has a token when out is not empty.
	ready chan struct{}
	// done is closed when the process has been reaped and out is complete.
	done chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	out    []picture
	reaped bool

	err    error // valid once done is closed
	stderr tail
}

// start runs the program; first begins its input and is followed by send.
func start(k kind, path string, args []string, first unit, w, h int) (*child, error) {
	c := &child{cmd: exec.Command(path, args...), in: make(chan unit, maxUnderWay+1),
		ready: make(chan struct{}, 1), done: make(chan struct{})}
	ownGroup(c.cmd)
	c.cmd.Stderr = &c.stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	yieldCPU(c.cmd)
	m := k.mux()
	c.wg.Go(func() { c.write(stdin, m, m.header(nil, first, w, h)) })
	c.wg.Go(func() { c.read(k.demux(bufio.NewReaderSize(stdout, 64<<10))) })
	return c, nil
}

// write feeds standard input until in or the process ends.
func (c *child) write(w io.WriteCloser, m muxer, buf []byte) {
	defer w.Close()
	for {
		select {
		case u, ok := <-c.in:
			if !ok {
				return
			}
			buf = m.unit(buf, u)
			if _, err := w.Write(buf); err != nil {
				return // it has ended, which the reader sees
			}
			buf = buf[:0]
		case <-c.done:
			return
		}
	}
}

// read collects pictures until the process ends, and reaps it.
func (c *child) read(d demuxer) {
	var err error
	for err == nil {
		var p picture
		if p, err = d.next(); err == nil {
			c.mu.Lock()
			c.out = append(c.out, p)
			c.mu.Unlock()
			select {
			case c.ready <- struct{}{}:
			default:
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		c.kill() // it talks nonsense
	}
	werr := c.wait()
	switch {
	case werr != nil:
		err = werr
	case errors.Is(err, io.EOF):
		err = nil
	}
	if s := c.stderr.String(); s != "" && err != nil {
		err = fmt.Errorf("%w: %s", err, s)
	}
	c.err = err
	close(c.done)
}

// wait reaps the process; from then on kill does nothing.
func (c *child) wait() error {
	err := c.cmd.Wait()
	c.mu.Lock()
	c.reaped = true
	c.mu.Unlock()
	return err
}

// take returns what came back since the last call.
func (c *child) take() []picture {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	c.out = nil
	return out
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// send queues a unit; false means that the queue is full.
func (c *child) send(u unit) bool {
	select {
	case c.in <- u:
		return true
	default:
		return false
	}
}

func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		killGroup(c.cmd)
	}
}

// stop kills the process and waits until nothing of it is left.
func (c *child) stop() {
	c.kill()
	c.wg.Wait()
}

// tail keeps the end of what the program complains about: the last words before
// it ends are why.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const maxTail = 512

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - maxTail; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

// String is one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.buf)), " ")
}

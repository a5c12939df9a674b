package peers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lineout/test/media"
)

// startTimeout bounds the start of any peer. It is long because tests share few cores.
const startTimeout = 30 * time.Second

// Process is a program started by a test. It runs in a process group of its own
// and ends with the test, also when the test process is killed.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  *logFile
	done chan struct{}
	err  error // valid after done
}

// start runs the command with its output in NAME.log of the test's artefacts. The
// command's directory and environment are the caller's business.
func start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	log, err := newLogFile(filepath.Join(Artefacts(t), name+".log"))
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		log.Close()
		t.Fatalf("start %s: %v (tools/install-test-deps.sh installs what the tests need)", name, err)
	}
	p := &Process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("end of the log of %s (all of it: %s):\n%s", name, log.path, log.tail(40))
		}
		log.Close()
	})
	return p
}

// PID is the process id, which is also the id of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode is the exit code of a process that has ended, -1 if a signal ended it.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Log is everything the process has written so far.
func (p *Process) Log() string { return p.log.String() }

// Stop asks the process group to end (SIGTERM), after 5 s makes it (SIGKILL), and waits for its end.
func (p *Process) Stop() {
	p.end(syscall.SIGTERM, 5*time.Second)
}

// Kill9 ends the process group without warning, as a crash or a power cut does, and waits for its end.
func (p *Process) Kill9() {
	p.end(syscall.SIGKILL, 5*time.Second)
}

func (p *Process) end(sig syscall.Signal, patience time.Duration) {
	select {
	case <-p.done:
		return
	default:
	}
	p.Signal(sig)
	p.Signal(syscall.SIGCONT) // a stopped process would not hear the first
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// Yield lets all others of normal priority go first when the machine is busy.
func (p *Process) Yield() { _ = syscall.Setpriority(syscall.PRIO_PGRP, p.PID(), 10) }

// Signal sends a signal to the process group.
func (p *Process) Signal(sig syscall.Signal) {
	syscall.Kill(-p.PID(), sig) // ESRCH: it has just ended
}

// await polls until ready holds; it fails the test when the process ends first or the time is up.
func (p *Process) await(t testing.TB, what string, timeout time.Duration, ready func() bool) {
	t.Helper()
	err := poll(timeout, func() (bool, error) {
		if ready() {
			return true, nil
		}
		select {
		case <-p.done:
			return false, fmt.Errorf("it ended: %v", p.err)
		default:
			return false, nil
		}
	})
	if err != nil {
		t.Fatalf("%s: waiting for %s: %v\n%s", p.name, what, err, p.log.tail(20))
	}
}

// Eventually fails the test unless holds becomes true in time. Other programs
// tell nobody when their state changes, so it asks again and again.
func Eventually(t testing.TB, what string, timeout time.Duration, holds func() bool) {
	t.Helper()
	if err := poll(timeout, func() (bool, error) { return holds(), nil }); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

func poll(timeout time.Duration, f func() (bool, error)) error {
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := f()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v", timeout)
		}
		<-tick.C
	}
}

// listens tells whether a TCP port of 127.0.0.1 takes connections.
func listens(port int) bool {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 200*time.Millisecond)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Artefacts is the folder for what a test leaves behind to be looked at: logs,
// screenshots, recordings. A run of the test replaces what the last one left.
func Artefacts(t testing.TB) string {
	t.Helper()
	root, err := media.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, ".cache", "artefacts", strings.NewReplacer("/", "_", " ", "_").Replace(t.Name()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Clips is the folder of the test clips.
func Clips(t testing.TB) string {
	t.Helper()
	dir, err := media.Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// logFile is a file that can be searched while it grows.
type logFile struct {
	path string
	mu   sync.Mutex
	buf  bytes.Buffer
	file *os.File

	pending []byte // the end of what was written, while it may be part of a status line
}

func newLogFile(path string) (*logFile, error) {
	for n := 2; ; n++ { // several peers of one kind in one test
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return &logFile{path: path, file: f}, nil
		}
		f.Close()
		path = fmt.Sprintf("%s-%d.log", strings.TrimSuffix(path, ".log"), n)
	}
}

// statusLine is what a soft phone repaints on a terminal ten times a second.
var statusLine = regexp.MustCompile(`\r\[\d+:\d\d:\d\d\][^\r\n]*\r`)

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = statusLine.ReplaceAll(append(l.pending, b...), nil)
	keep := len(l.pending)
	if i := bytes.LastIndexByte(l.pending, '\r'); i >= 0 && keep-i < 200 && bytes.IndexByte(l.pending[i:], '\n') < 0 {
		keep = i // a status line may have begun
	}
	l.buf.Write(l.pending[:keep])
	if _, err := l.file.Write(l.pending[:keep]); err != nil {
		return 0, err
	}
	l.pending = append([]byte(nil), l.pending[keep:]...)
	return len(b), nil
}

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logFile) tail(lines int) string {
	all := strings.Split(strings.TrimRight(l.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (l *logFile) Close() error { return l.file.Close() }

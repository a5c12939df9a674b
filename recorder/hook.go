package recorder

import (
	"context"
	"log/slog"
	"os/exec"
	"path/filepath"
	"time"
)

// hook is the program of on_record_hook_script.
type hook struct {
	path    string // absolute; "" is none
	timeout time.Duration
}

// hookCall is one finished recording the hook has to hear of.
type hookCall struct{ stream, path string }

// callHook queues a call. Hooks have their own workers, so that a slow upload
// holds up no recording.
func (w *finisher) callHook(stream, path string) {
	if w.hook == nil || w.hook.path == "" {
		return
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	w.begin()
	select {
	case w.hooks <- hookCall{stream, path}:
	default:
		w.end()
		w.hookFailed.Add(1)
		w.log.Error("on_record_hook_script is not run, too many calls wait for it", "stream", stream, "file", path)
	}
}

func (w *finisher) hookLoop(ctx context.Context) {
	for {
		select {
		case c := <-w.hooks:
			if err := w.hook.run(ctx, c, w.log); err != nil {
				w.hookFailed.Add(1)
			}
			w.end()
		case <-ctx.Done():
			return
		}
	}
}

// run calls the program with the stream's name and the absolute path as
// arguments; no shell sees them. It is killed, with what it started, when the
// timeout is over.
func (h *hook) run(ctx context.Context, c hookCall, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.path, c.stream, c.path)
	killGroup(cmd)
	cmd.WaitDelay = time.Second
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		log.Error("on_record_hook_script failed", "script", h.path, "stream", c.stream, "file", c.path, "err", err, "output", string(out.b))
	}
	return err
}

// tail keeps the last kilobyte of a program's output for the log.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 1024
	t.b = append(t.b, p...)
	if n := len(t.b); n > keep {
		t.b = append(t.b[:0], t.b[n-keep:]...)
	}
	return len(p), nil
}

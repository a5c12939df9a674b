package recorder

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// job is a file that is no longer written, still open and locked.
type job struct {
	f    *os.File
	path string
	// last says that the recording ends with this part, which then carries no
	// number.
	last      bool
	recovered bool
	// seen is what the writer knows beyond what is in the file; nil for a
	// recovered one.
	seen *seen
	// placed is told the final path of the file, "" if it has none; nil: nobody asks.
	placed func(final string)
}

// close ends the work on a file, which has its final name now or is left as it is.
func (j *job) close(final string) {
	j.f.Close()
	if j.placed != nil {
		j.placed(final)
	}
}

// maxJobs bounds how many files wait to be finalised, each with an open file.
const maxJobs = 1024

// finisher turns growing files into finished ones and runs the hook.
type finisher struct {
	dir     string
	log     *slog.Logger
	hook    *hook
	sidecar *SidecarApp // who writes sidecars; nil is none
	workers int
	jobs    chan job
	hooks   chan hookCall

	// work counts open files, waiting jobs and waiting hooks; quiet is told
	// when it comes back to zero.
	mu    sync.Mutex
	work  int
	quiet chan struct{}
	full  atomic.Bool // files were left for a recovery pass
	later []job       // guarded by mu: files that found no room on the disk

	finalised, failed, recovered, hookFailed, sidecarFailed atomic.Uint64
}

func newFinisher(dir string, workers int, h *hook, log *slog.Logger) *finisher {
	return &finisher{dir: dir, workers: max(1, workers), hook: h, log: log,
		jobs: make(chan job, maxJobs), hooks: make(chan hookCall, maxJobs), quiet: make(chan struct{}, 1)}
}

// begin and end bracket whatever a stop should wait for.
func (w *finisher) begin() {
	w.mu.Lock()
	w.work++
	w.mu.Unlock()
}

func (w *finisher) end() {
	w.mu.Lock()
	w.work--
	idle := w.work == 0
	w.mu.Unlock()
	if idle {
		select {
		case w.quiet <- struct{}{}:
		default:
		}
	}
}

func (w *finisher) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.work == 0
}

// submit hands a file over. It never blocks: a file that finds no room stays
// playable as it is and is taken up by the next recovery pass.
func (w *finisher) submit(j job) {
	w.begin()
	select {
	case w.jobs <- j:
	default:
		w.full.Store(true)
		w.log.Warn("too many recordings end at once, this one is finalised later", "file", j.path)
		j.close("")
		w.end()
	}
}

// run finalises and calls hooks until ctx ends, then goes on until nothing is
// left to do or grace is over.
func (w *finisher) run(ctx context.Context, grace time.Duration) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	for range w.workers {
		wg.Go(func() { w.finaliseLoop(work) })
		wg.Go(func() { w.hookLoop(work) })
	}
	wg.Go(func() { w.recoverLoop(ctx) })
	<-ctx.Done()
	w.resume()
	limit := time.NewTimer(grace)
	defer limit.Stop()
	for !w.idle() {
		select {
		case <-w.quiet:
			continue
		case <-limit.C:
			w.log.Warn("recordings are left to be finalised at the next start", "waited", grace)
		}
		break
	}
	stop()
	wg.Wait()
	w.drain()
	return nil
}

// drain closes what no worker will take any more.
func (w *finisher) drain() {
	w.mu.Lock()
	for _, j := range w.later {
		j.close("")
	}
	w.later = nil
	w.mu.Unlock()
	for {
		select {
		case j := <-w.jobs:
			j.close("")
			w.end()
		case h := <-w.hooks:
			w.log.Warn("on_record_hook_script was not run, the server stops", "stream", h.stream, "file", h.path)
			w.end()
		default:
			return
		}
	}
}

func (w *finisher) finaliseLoop(ctx context.Context) {
	for {
		select {
		case j := <-w.jobs:
			w.finish(ctx, j)
			w.end()
		case <-ctx.Done():
			return
		}
	}
}

// recoverLoop looks for unfinished files at the start, and again when files
// had to be left behind.
func (w *finisher) recoverLoop(ctx context.Context) {
	w.recoverAll(ctx)
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	again := time.NewTicker(postponedFor)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			w.resume()
		case <-t.C:
			if w.full.Swap(false) {
				w.recoverAll(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// finish makes the final file of one job. When that fails the fragmented file,
// which is as playable, takes the final name.
func (w *finisher) finish(ctx context.Context, j job) {
	kept, final := false, ""
	defer func() {
		if !kept {
			j.close(final)
		}
	}()
	begun := time.Now()
	st, err := j.f.Stat()
	var s scanned
	c := containerOf(j.path)
	if err == nil {
		s, err = c.scan(j.f, st.Size())
	}
	if err != nil {
		w.failed.Add(1)
		w.log.Error("recording cannot be finalised and is left as it is", "file", j.path, "err", err)
		return
	}
	meta := s.facts()
	if s.empty() {
		os.Remove(j.path)
		w.log.Info("recording holds no media and is removed", "stream", meta.Stream, "file", j.path)
		return
	}
	end := s.ending()
	p := place{dir: filepath.Dir(j.path), base: meta.final(end), ext: c.ext}
	if !j.last && !meta.Unique {
		p.number = max(1, meta.Part)
	}
	temp := tempFor(j.path)
	var d digest
	if d, err = writeFinal(ctx, j.f, s, temp); err == nil {
		final, err = p.publish(temp, j.path, func(final string) { w.writeSidecar(j, s, final, d, false) })
		if err != nil {
			os.Remove(temp)
		}
	}
	switch {
	case err == nil:
		w.finalised.Add(1)
	case ctx.Err() != nil:
		return // the server stops; the next start goes on
	case noSpace(err) && w.postpone(j):
		kept = true
		w.log.Warn("recording is finalised later, the disk is full", "stream", meta.Stream, "file", j.path, "err", err)
		return
	default:
		w.failed.Add(1)
		cause := err
		final, err = p.publish(j.path, "", func(final string) {
			if d, err = digestOf(ctx, io.NewSectionReader(j.f, 0, st.Size())); err == nil {
				w.writeSidecar(j, s, final, d, true)
			}
		})
		if err != nil {
			w.log.Error("recording cannot be finalised and is left as it is", "file", j.path, "err", cause, "rename_err", err)
			return
		}
		w.log.Warn("recording is kept fragmented, it could not be rewritten for fast start", "file", final, "err", cause)
	}
	w.report(j, s, end, final, st.Size(), time.Since(begun))
}

// report logs a finished recording and queues its hook.
func (w *finisher) report(j job, s scanned, end ending, final string, size int64, took time.Duration) {
	what := "recording finished"
	if j.recovered {
		what = "unfinished recording recovered"
		w.recovered.Add(1)
	}
	w.log.Info(what, "stream", s.facts().Stream, "file", final, "duration", end.duration.Round(time.Millisecond),
		"video", end.video, "audio", end.audio, "torn_bytes", size-s.wholeSize(), "took", took.Round(time.Millisecond))
	w.callHook(s.facts().Stream, final)
}

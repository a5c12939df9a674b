package recorder

import (
	"context"
	"os"
	"path/filepath"
)

// recoverAll finalises the growing files that no process writes any more, one
// after the other. Files of a live process are locked and left alone.
func (w *finisher) recoverAll(ctx context.Context) {
	var names []string
	err := eachName(w.dir, func(name string) bool {
		if isLive(name) || isTemp(name) {
			names = append(names, name)
		}
		return ctx.Err() == nil
	})
	if err != nil {
		w.log.Error("record_dir cannot be searched for unfinished recordings", "dir", w.dir, "err", err)
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		path := filepath.Join(w.dir, name)
		w.begin()
		if isLive(name) {
			w.recoverLive(ctx, path)
		} else {
			w.recoverTemp(ctx, path)
		}
		w.end()
	}
}

// recoverLive finalises one growing file whose process is gone.
func (w *finisher) recoverLive(ctx context.Context, path string) {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		w.log.Error("unfinished recording cannot be opened", "file", path, "err", err)
		return
	}
	if !lockNew(f, path) {
		f.Close()
		return // somebody writes it, or has just finished it
	}
	temp := tempFor(path)
	if final, ok := published(w.dir, temp); ok {
		// It was stopped between giving the final name and cleaning up.
		defer f.Close()
		w.finishPublished(ctx, f, path, temp, final)
		return
	}
	if st, err := f.Stat(); err == nil && st.Size() == 0 {
		// Made, but the process ended before the first byte.
		os.Remove(path)
		f.Close()
		return
	}
	w.finish(ctx, job{f: f, path: path, last: true, recovered: true})
}

// recoverTemp removes a working file's name when its recording is published
// and the growing file is gone.
func (w *finisher) recoverTemp(ctx context.Context, temp string) {
	live := liveFor(temp)
	if _, err := os.Lstat(live); err == nil {
		return // belongs to a growing file and goes with it
	}
	final, ok := published(w.dir, temp)
	if !ok {
		w.log.Warn("a working file without its recording is left for you to look at", "file", temp)
		return
	}
	f, err := os.Open(final)
	if err != nil {
		return
	}
	defer f.Close()
	w.finishPublished(ctx, f, "", temp, final)
}

// finishPublished cleans up behind a recording that has its final name.
func (w *finisher) finishPublished(ctx context.Context, f *os.File, live, temp, final string) {
	stream := ""
	if live != "" {
		if st, err := f.Stat(); err == nil {
			if s, err := containerOf(live).scan(f, st.Size()); err == nil {
				stream = s.facts().Stream
				w.completeSidecar(ctx, job{f: f, path: live, last: true, recovered: true}, s, final)
			}
		}
		os.Remove(live)
	}
	os.Remove(temp)
	w.recovered.Add(1)
	w.log.Info("unfinished recording recovered", "stream", stream, "file", final)
	if stream != "" {
		w.callHook(stream, final)
	}
}

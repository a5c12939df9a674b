package recorder

import (
	"errors"
	"syscall"
	"time"
)

const (
	// maxLater bounds the files that wait for room on the disk, each open.
	maxLater = 64
	// postponedFor is how long they wait for the next try.
	postponedFor = 5 * time.Second
)

// noSpace says that an error goes away when somebody clears up.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// postpone keeps a file that found no room to be finalised in: as it is it
// plays, and its sidecar would find no room either. It reports false when too
// many wait.
func (w *finisher) postpone(j job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.later) >= maxLater {
		return false
	}
	w.later = append(w.later, j)
	return true
}

// resume tries the postponed files again.
func (w *finisher) resume() {
	w.mu.Lock()
	l := w.later
	w.later = nil
	w.mu.Unlock()
	for _, j := range l {
		w.submit(j)
	}
}

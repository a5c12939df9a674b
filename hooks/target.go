package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"lineout/api/mask"
	"lineout/outputs"
)

const (
	// firstPause and longestPause bound the time between two tries, which doubles.
	firstPause   = time.Second
	longestPause = time.Minute
	// lastTime is how long a stop goes on delivering.
	lastTime = 2 * time.Second
	// diskPause is the time between two tries to write the journal.
	diskPause = 10 * time.Second
	// badAfter failures in a row an operator hears of it: one happens when a
	// receiver is restarted.
	badAfter = 2
)

// target delivers to one address.
type target struct {
	cfg    Config
	name   string // the address as it may be shown
	url    *url.URL
	file   string // name of its journal
	client *http.Client
	log    *slog.Logger
	q      *queue

	journal  *journal // nil: in memory only; used by keep alone once it runs
	diskFull bool     // the last write of the journal failed

	mu        sync.Mutex
	failures  int           // in a row
	bad       time.Time     // since when; zero: it is well
	recovered chan struct{} // closed by the first success after a failure
	full      bool          // said in the log that notifications are dropped; until half of them are gone
	sent      uint64
	failed    uint64
	dropped   map[string]uint64 // by reason
}

// Why notifications are dropped.
const (
	queueFull = "queue_full"
	tooOld    = "too_old"
	refused   = "refused"
)

func newTarget(c Config, u *url.URL, client *http.Client, log *slog.Logger) *target {
	if c.Timeout <= 0 {
		c.Timeout = time.Minute // nothing here waits for ever
	}
	t := &target{cfg: c, url: u, name: mask.URL(u.String()), file: fileName(u), client: client,
		q: newQueue(c.MaxBytes, c.MaxAge), recovered: make(chan struct{}), dropped: map[string]uint64{}}
	t.log = log.With("call_app", t.name)
	return t
}

// open takes over what the address's journal holds.
func (t *target) open(folder string) error {
	j, was, err := openJournal(filepath.Join(folder, t.file))
	if err != nil {
		return err
	}
	t.journal = j
	t.q.restore(was.items)
	for _, it := range was.broken {
		t.push(it)
	}
	if len(was.items)+len(was.broken)+was.damaged > 0 {
		t.log.Info("notifications of an earlier run are delivered now", "count", len(was.items), "damaged_lines", was.damaged, "calls_broken_off", len(was.broken))
	}
	return nil
}

func (t *target) push(it *item) {
	n := t.q.push(it)
	if n == 0 {
		return
	}
	t.mu.Lock()
	t.dropped[queueFull] += uint64(n)
	first := !t.full
	t.full = true
	t.mu.Unlock()
	if first {
		t.log.Error("too many notifications wait for this address, the oldest are dropped", "limit_bytes", t.cfg.MaxBytes)
	}
}

// run delivers until ctx ends, and lastTime more.
func (t *target) run(ctx context.Context) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var workers, keeper sync.WaitGroup
	for lane := range lanes {
		workers.Go(func() { t.deliver(ctx, work, lane) })
	}
	stop := make(chan struct{})
	keeper.Go(func() { t.keep(stop) })
	idle := make(chan struct{})
	go func() { workers.Wait(); close(idle) }()
	<-ctx.Done()
	last := time.NewTimer(lastTime)
	defer last.Stop()
	select {
	case <-idle:
	case <-last.C:
	}
	cancel()
	<-idle
	close(stop)
	keeper.Wait()
	t.client.CloseIdleConnections()
	if n, _ := t.q.length(time.Now()); n > 0 {
		t.log.Warn("notifications are left undelivered", "count", n, "kept_for_next_start", t.journal != nil && !t.diskFull)
	}
}

// deliver empties one lane, in order. A try that failed is repeated after a
// pause, or as soon as another lane has got through.
func (t *target) deliver(ctx, work context.Context, lane int) {
	pause := firstPause
	for {
		it, expired := t.q.next(lane, time.Now())
		if expired > 0 {
			t.drop(tooOld, expired)
		}
		if it == nil {
			if ctx.Err() != nil {
				return
			}
			select {
			case <-t.q.wake[lane]:
			case <-ctx.Done():
			}
			continue
		}
		t.mu.Lock()
		recovered := t.recovered
		t.mu.Unlock()
		err := t.post(work, it)
		if err == nil {
			t.q.done(it)
			t.succeeded()
			pause = firstPause
			continue
		}
		if work.Err() != nil { // the try was broken off by us
			t.q.keep(it)
			return
		}
		t.hasFailed(err)
		if t.giveUp(it, err) {
			t.q.done(it)
			t.drop(refused, 1)
			continue
		}
		t.q.keep(it)
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
			pause = min(2*pause, longestPause)
		case <-recovered:
			pause = firstPause
		case <-ctx.Done():
			wait.Stop()
			return
		}
		wait.Stop()
	}
}

// post sends one notification.
func (t *target) post(ctx context.Context, it *item) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	req, err := newRequest(ctx, t.url.JoinPath(it.method).String(), it.body, t.cfg)
	if err != nil {
		return err
	}
	res, err := t.client.Do(req)
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			return fmt.Errorf("no answer within %s (rest_request_timeout)", t.cfg.Timeout)
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the address, which may hold keys
		}
		return err
	}
	finish(res)
	if res.StatusCode/100 != 2 {
		return answerError(res.StatusCode)
	}
	return nil
}

// giveUp says that it makes no sense to send this notification again.
func (t *target) giveUp(it *item, err error) bool {
	if !t.cfg.Retry {
		return true
	}
	a, answered := errors.AsType[answerError](err)
	if !answered {
		return false // until it is too old
	}
	it.refusals++
	return !a.temporary() || it.refusals > t.cfg.Retries
}

func (t *target) succeeded() {
	t.mu.Lock()
	t.sent++
	t.full = t.full && t.q.crowded()
	since, wasBad := t.bad, !t.bad.IsZero()
	if t.failures > 0 {
		close(t.recovered)
		t.recovered = make(chan struct{})
	}
	t.failures, t.bad = 0, time.Time{}
	t.mu.Unlock()
	if wasBad {
		n, _ := t.q.length(time.Now())
		t.log.Info("notifications get through again", "after_seconds", int(time.Since(since).Seconds()), "waiting", n)
	}
}

func (t *target) hasFailed(err error) {
	t.mu.Lock()
	t.failed++
	t.failures++
	first := t.failures == badAfter
	if first {
		t.bad = time.Now()
	}
	t.mu.Unlock()
	if first {
		n, _ := t.q.length(time.Now())
		t.log.Warn("notifications do not get through", "cause", err, "waiting", n)
	}
}

func (t *target) drop(why string, n int) {
	t.mu.Lock()
	t.dropped[why] += uint64(n)
	t.mu.Unlock()
}

// keep writes the journal until stop, and a last time then.
func (t *target) keep(stop <-chan struct{}) {
	if t.journal == nil {
		<-stop
		return
	}
	for {
		select {
		case <-t.q.dirty:
			t.write()
		case <-stop:
			t.write()
			_ = t.journal.file.Close()
			return
		}
		if !t.diskFull {
			continue
		}
		wait := time.NewTimer(diskPause)
		select {
		case <-wait.C:
		case <-stop:
			wait.Stop()
			t.write()
			_ = t.journal.file.Close()
			return
		}
	}
}

// write brings the journal up to date.
func (t *target) write() {
	changes, all, anew, live := t.q.take()
	var err error
	switch {
	case anew:
		err = t.journal.writeAnew(all)
	case len(changes) > 0:
		err = t.journal.append(changes)
	}
	switch {
	case err != nil:
		if !t.diskFull {
			t.log.Error("notifications cannot be kept on disk, a restart would lose them", "file", t.journal.path, "err", err)
		}
		t.diskFull = true
		t.q.writeAnew() // a line may have been torn
		return
	case t.diskFull:
		t.diskFull = false
		t.log.Info("notifications are kept on disk again", "file", t.journal.path)
	}
	if t.journal.size > smallJournal && t.journal.size > 2*int64(live) {
		t.q.writeAnew()
	}
}

func (t *target) metrics(now time.Time) []outputs.Metric {
	n, oldest := t.q.length(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	l := map[string]string{"target": t.name}
	out := []outputs.Metric{
		{Name: "lineout_hooks_sent_total", Help: "CallApp notifications the receiver has taken.", Labels: l, Value: float64(t.sent)},
		{Name: "lineout_hooks_failed_total", Help: "Tries to send a CallApp notification that failed.", Labels: l, Value: float64(t.failed)},
		{Name: "lineout_hooks_queued", Help: "CallApp notifications that wait.", Labels: l, Value: float64(n)},
		{Name: "lineout_hooks_oldest_seconds", Help: "Age of the oldest CallApp notification that waits.", Labels: l, Value: oldest.Seconds()},
	}
	for _, why := range []string{queueFull, tooOld, refused} {
		out = append(out, outputs.Metric{Name: "lineout_hooks_dropped_total", Help: "CallApp notifications given up, by reason.",
			Labels: map[string]string{"target": t.name, "reason": why}, Value: float64(t.dropped[why])})
	}
	return out
}

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"lineout/codecs"
	"lineout/media"
)

// Attachment is a sink on a stream: its queue, its goroutine, its retries.
type Attachment struct {
	stream *Stream
	label  string
	sink   Sink
	policy Policy
	log    *slog.Logger
	queue  *queue

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	ending  chan struct{} // closed by finish: deliver what is queued, then close
	endOnce sync.Once

	joined   chan struct{} // closed when the tracks of a ready stream are connected
	joinOnce sync.Once

	mu    sync.Mutex
	state State
	err   error
	// refused are tracks that cannot be given to the sink, which was said.
	refused map[*media.Track]error

	frames, bytes, retries atomic.Uint64

	// What follows belongs to the attachment's goroutine.
	inputs  []input
	acc     Accepts
	opened  [3]*media.Track // by kind, what the sink knows
	current [3]*media.Track // by kind, what frames came from last
	wasOpen bool
	needKey bool // video waits for a key frame since Open
	lastKey time.Duration
	asked   bool
}

// input is one connected track.
type input struct {
	src, out *media.Track
	undo     func()
}

// AttachmentStats are an attachment's counters.
type AttachmentStats struct {
	Frames, Bytes, Dropped, Retries uint64
	QueueFrames, QueueBytes         int
	QueueDelay                      time.Duration
}

func newAttachment(s *Stream, label string, sink Sink, p Policy) *Attachment {
	a := &Attachment{stream: s, label: label, sink: sink, policy: p, log: s.log.With("sink", label),
		queue: newQueue(p), done: make(chan struct{}), ending: make(chan struct{}),
		joined: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.queue.onDrop = func(video bool) {
		if video {
			a.stream.Track(media.Video).AskKeyframe()
		}
	}
	return a
}

// Label names the sink in logs and graphs.
func (a *Attachment) Label() string { return a.label }

// Done is closed when the sink is closed for good.
func (a *Attachment) Done() <-chan struct{} { return a.done }

// State is what the sink is doing now.
func (a *Attachment) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Err is the error of the last failure, nil if there was none.
func (a *Attachment) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Missing says why the sink does without tracks the stream has and it wants,
// nil if it has them all.
func (a *Attachment) Missing() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, t := range a.stream.Tracks() {
		if err := a.refused[t]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.ID, err))
		}
	}
	return errors.Join(errs...)
}

// Stats are the counters so far.
func (a *Attachment) Stats() AttachmentStats {
	st := AttachmentStats{Frames: a.frames.Load(), Bytes: a.bytes.Load(), Retries: a.retries.Load()}
	st.QueueFrames, st.QueueBytes, st.QueueDelay, st.Dropped = a.queue.stats()
	return st
}

// finish asks the goroutine to deliver what is queued and close.
func (a *Attachment) finish() {
	a.endOnce.Do(func() { close(a.ending) })
	a.queue.finish()
}

// Detach flushes the queue, closes the sink and waits for both. When ctx ends
// first, the sink is cut off and ctx's error returned. Idempotent.
func (a *Attachment) Detach(ctx context.Context) error {
	a.finish()
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		a.cancel()
		return fmt.Errorf("detach %s: %w", a.label, ctx.Err())
	}
}

func (a *Attachment) join() { a.joinOnce.Do(func() { close(a.joined) }) }

func (a *Attachment) setState(st State, err error) {
	a.mu.Lock()
	same := a.state == st
	a.state = st
	if err != nil {
		a.err = err
	}
	a.mu.Unlock()
	if (!same || err != nil) && a.policy.OnState != nil {
		a.policy.OnState(st, err)
	}
}

// run opens the sink, feeds it and opens it again as the policy says.
func (a *Attachment) run() {
	defer close(a.done)
	defer a.join()
	defer a.cancel()
	defer a.disconnect()
	defer func() {
		if r := recover(); r != nil {
			a.log.Error("sink panicked and is closed", "panic", r, "stack", string(debug.Stack()))
			a.setState(Failed, fmt.Errorf("internal error in sink %s: %v", a.label, r))
		}
	}()
	failures := 0
	for {
		begin := time.Now()
		active, err := a.session()
		if active && time.Since(begin) > a.policy.Retry.Max {
			failures = 0 // a peer that takes us and drops us at once is not met at the shortest pause
		}
		var perm *Permanent
		switch {
		case err == nil || a.ctx.Err() != nil:
			a.setState(Closed, nil)
			return
		case errors.Is(err, errReopen):
			continue
		case errors.As(err, &perm), a.policy.Retry.Min <= 0,
			a.policy.Retry.MaxTries > 0 && failures+1 >= a.policy.Retry.MaxTries:
			a.log.Error("sink failed", "err", err)
			a.setState(Failed, err)
			return
		}
		failures++
		a.retries.Add(1)
		wait := a.policy.Retry.wait(failures)
		a.log.Warn("sink failed, will be opened again", "err", err, "in", wait)
		if a.wasOpen {
			a.setState(Lost, err)
		} else {
			a.setState(Failed, err)
		}
		if !a.sleep(wait) {
			a.setState(Closed, nil)
			return
		}
	}
}

// wait is the pause after the n-th consecutive failure, n from 1.
func (b Backoff) wait(n int) time.Duration {
	d := b.Min
	for ; n > 1 && d < b.Max; n-- {
		d *= 2
	}
	if b.Max > 0 && d > b.Max {
		d = b.Max
	}
	return d
}

// sleep reports false when the attachment is to end. A lossless sink whose
// stream ends while it waits gets one last try instead: what is queued would
// be lost.
func (a *Attachment) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.ctx.Done():
		return false
	case <-a.ending:
		if !a.policy.Lossless {
			return false
		}
		n, _, _, _ := a.queue.stats()
		a.policy.Retry.MaxTries = 1
		return n > 0
	}
}

// errReopen says that the set of tracks changed and the sink must begin anew.
var errReopen = errors.New("tracks changed")

// session is one life of the sink from connecting to Close. active says that
// it was open; a nil error means that the attachment has ended well.
func (a *Attachment) session() (active bool, err error) {
	a.opened = [3]*media.Track{}
	if !a.waitReady() {
		return false, nil
	}
	a.accept(a.sink.Accepts())
	if a.acc.NeedParams {
		a.queue.wait(a.acc.TrackWait)
	}
	err = a.connect()
	a.join()
	if err != nil {
		if errors.Is(err, ErrClosed) {
			return false, nil
		}
		return false, &Permanent{err}
	}
	defer func() {
		// A live sink that is not open costs nothing: no conversion runs for
		// it. A lossless one keeps collecting for its next file.
		if err != nil && !errors.Is(err, errReopen) && !a.policy.Lossless {
			a.disconnect()
			a.queue.reset()
		}
	}()
	tracks, err := a.waitParams()
	if err != nil || tracks == nil {
		return false, err
	}
	for _, t := range tracks {
		a.opened[t.Kind] = t
	}
	if err := a.sink.Open(a.ctx, tracks); err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), a.stream.hub.cfg.FlushTimeout)
		defer cancel()
		if cerr := a.sink.Close(ctx); cerr != nil && err == nil {
			a.log.Error("sink did not close cleanly", "err", cerr)
			a.mu.Lock()
			a.err = cerr
			a.mu.Unlock()
		}
	}()
	a.wasOpen, a.needKey, a.asked = true, true, false
	a.setState(Active, nil)
	a.askKeyframe()
	return true, a.feed()
}

// accept takes note of what the sink wants from now on. Tracks that were
// connected for something else are given up, with what is queued of them.
func (a *Attachment) accept(acc Accepts) {
	if !acc.sameCodecs(a.acc) && len(a.inputs) > 0 {
		a.disconnect()
		a.queue.reset()
	}
	a.acc = acc
	a.queue.mu.Lock()
	a.queue.interleave = acc.Interleave
	a.queue.mu.Unlock()
}

// turn prepares the sink for tracks by which it changes its mind: it gets
// what is queued of the old ones, and then a new Open. What a conversion
// holds at this moment, some tens of milliseconds of sound, is lost.
func (a *Attachment) turn() error {
	a.disconnect()
	a.queue.mu.Lock()
	a.queue.interleave = 0
	a.queue.mu.Unlock()
	for {
		f, _, ok, done, err := a.queue.pop(time.Now())
		if err != nil || done {
			return err
		}
		if !ok {
			a.queue.reset() // a key frame comes first again
			return errReopen
		}
		if err := a.deliver(f); err != nil {
			return err
		}
	}
}

// waitReady waits until the source has declared its tracks.
func (a *Attachment) waitReady() bool {
	select {
	case <-a.stream.ready:
		return true
	default:
	}
	select {
	case <-a.stream.ready:
		return true
	case <-a.ending:
	case <-a.ctx.Done():
	}
	return false
}

// connect subscribes to the tracks the sink wants and that are not connected
// yet. It fails only if nothing at all can be connected.
func (a *Attachment) connect() error {
	var errs []error
	for _, t := range a.stream.Tracks() {
		want := a.acc.Audio
		if t.Kind == media.Video {
			want = a.acc.Video
		}
		if len(want) == 0 || a.connected(t) {
			continue
		}
		conv, err := a.stream.hub.cfg.Codecs.Plan(t.Codec, want, a.acc.Streaming)
		if err == nil {
			err = a.connectOne(t, conv)
		}
		if errors.Is(err, ErrClosed) {
			return err
		}
		if err != nil {
			a.refuse(t, err)
			errs = append(errs, fmt.Errorf("%s: %w", t.ID, err))
		}
	}
	if len(a.inputs) == 0 && len(errs) > 0 {
		return errors.Join(errs...)
	}
	return nil
}

// refuse notes why the sink does without a track, and says so once.
func (a *Attachment) refuse(t *media.Track, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, told := a.refused[t]; told {
		return
	}
	if a.refused == nil {
		a.refused = map[*media.Track]error{}
	}
	a.refused[t] = err
	a.log.Warn("track cannot be given to sink", "track", t.ID, "codec", t.Codec, "err", err)
}

func (a *Attachment) connectOne(t *media.Track, conv *codecs.Converter) error {
	out, undo, err := a.stream.subscribe(t, conv, a.queue)
	if err != nil {
		return err
	}
	a.inputs = append(a.inputs, input{src: t, out: out, undo: undo})
	a.queue.setExpected(t.Kind, true)
	t.AskKeyframe()
	return nil
}

func (a *Attachment) connected(t *media.Track) bool {
	for _, in := range a.inputs {
		if in.src == t {
			return true
		}
	}
	return false
}

// feeds says that frames of a track may come out of the queue.
func (a *Attachment) feeds(out *media.Track) bool {
	for _, in := range a.inputs {
		if in.out == out {
			return true
		}
	}
	return false
}

func (a *Attachment) disconnect() {
	for _, in := range a.inputs {
		in.undo()
		a.queue.setExpected(in.src.Kind, false)
	}
	a.inputs = nil
}

// waitParams returns the tracks to open the sink with, or nil when the
// attachment is to end with nothing delivered. It returns at once if the sink
// does not need parameters.
func (a *Attachment) waitParams() ([]*media.Track, error) {
	var deadline <-chan time.Time
	patient := true
	for {
		changed := a.stream.trackChange()
		if err := a.connect(); err != nil {
			return nil, nil // the stream has ended
		}
		ts := a.candidates()
		known, missing := split(ts, a.acc.NeedParams)
		frames, _, _, _ := a.queue.stats()
		if len(known) > 0 && len(missing) == 0 {
			return known, nil
		}
		if deadline == nil && frames > 0 {
			t := time.NewTimer(a.acc.TrackWait)
			defer t.Stop()
			deadline = t.C
		}
		select {
		case <-a.queue.notify:
		case <-changed:
			if !a.sink.Accepts().sameCodecs(a.acc) {
				return nil, errReopen
			}
		case <-deadline:
			if len(known) > 0 && patient && a.beingConverted() {
				t := time.NewTimer(a.queue.maxDelay) // the queue has room for it
				defer t.Stop()
				deadline, patient = t.C, false
				continue
			}
			if len(known) > 0 {
				return known, nil
			}
			deadline = nil
		case <-a.ctx.Done():
			return nil, nil
		case <-a.ending:
			if len(known) > 0 && frames > 0 {
				return known, nil
			}
			return nil, nil
		}
	}
}

// beingConverted says that a track which is missing is there and only waits for
// its conversion, which takes its time on a busy machine.
func (a *Attachment) beingConverted() bool {
	for _, in := range a.inputs {
		if in.out != in.src && in.out.Params() == nil && in.src.Params() != nil {
			return true
		}
	}
	return false
}

// candidates are the connected tracks, of each kind the one in use, else the
// newest.
func (a *Attachment) candidates() []*media.Track {
	var byKind [3]*media.Track
	for _, in := range a.inputs {
		if k := in.out.Kind; byKind[k] == nil || byKind[k] != a.current[k] {
			byKind[k] = in.out
		}
	}
	var ts []*media.Track
	for _, t := range byKind {
		if t != nil {
			ts = append(ts, t)
		}
	}
	return ts
}

func split(ts []*media.Track, needParams bool) (known, missing []*media.Track) {
	for _, t := range ts {
		if needParams && t.Params() == nil {
			missing = append(missing, t)
		} else {
			known = append(known, t)
		}
	}
	return known, missing
}

// feed delivers frames until the queue ends, the sink fails, or tracks change.
func (a *Attachment) feed() error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	changed := a.stream.trackChange()
	var lost <-chan struct{}
	watched, _ := a.sink.(LossWatcher)
	if watched != nil {
		lost = watched.Lost()
	}
	for {
		f, wait, ok, done, err := a.queue.pop(time.Now())
		switch {
		case err != nil:
			return err
		case done:
			return nil
		case ok:
			if err := a.deliver(f); err != nil {
				return err
			}
			continue
		}
		var due <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-a.queue.notify:
		case <-due:
		case <-lost:
			return fmt.Errorf("connection: %w", watched.LossErr())
		case <-changed:
			changed = a.stream.trackChange()
			if !a.sink.Accepts().sameCodecs(a.acc) {
				return a.turn()
			}
			if err := a.connect(); err != nil && !errors.Is(err, ErrClosed) {
				return &Permanent{err}
			}
		case <-a.ctx.Done():
			return nil
		}
	}
}

// deliver gives one frame to the sink, first introducing its track if the sink
// does not know it.
func (a *Attachment) deliver(f *media.Frame) error {
	t := f.Track
	if t.Kind == media.Video && a.needKey && !f.Key {
		return nil
	}
	if a.opened[t.Kind] != t {
		if !a.feeds(t) {
			return nil // pushed while its track was given up
		}
		a.current[t.Kind] = t
		if a.acc.NeedParams && t.Params() == nil {
			return nil
		}
		adder, ok := a.sink.(TrackAdder)
		err := ErrReopen
		if ok && a.opened[t.Kind] == nil {
			err = adder.AddTrack(a.ctx, t)
		}
		if errors.Is(err, ErrReopen) {
			a.log.Info("track joins, sink begins anew", "track", t.ID, "codec", t.Codec)
			a.queue.unpop(f)
			return errReopen
		}
		if err != nil {
			return fmt.Errorf("add track %s: %w", t.ID, err)
		}
		a.opened[t.Kind] = t
	}
	if t.Kind == media.Video {
		a.needKey = false
	}
	a.pace(f)
	if err := a.sink.Write(a.ctx, f); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	a.frames.Add(1)
	a.bytes.Add(uint64(f.Size()))
	return nil
}

// pace asks for a key frame when the sink's period has passed without one.
func (a *Attachment) pace(f *media.Frame) {
	if a.acc.KeyframeEvery <= 0 || f.Track.Kind != media.Video {
		return
	}
	if f.Key {
		a.lastKey, a.asked = f.DTS, false
	} else if !a.asked && f.DTS-a.lastKey >= a.acc.KeyframeEvery {
		a.asked = true
		f.Track.AskKeyframe()
	} else if a.asked && f.DTS-a.lastKey >= 2*a.acc.KeyframeEvery {
		a.lastKey += a.acc.KeyframeEvery // ask again after another period
		a.asked = false
	}
}

// askKeyframe asks unless a key frame is waiting in the queue already.
func (a *Attachment) askKeyframe() {
	if !a.queue.hasKey() {
		a.stream.Track(media.Video).AskKeyframe()
	}
}

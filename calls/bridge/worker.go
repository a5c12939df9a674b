package bridge

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"lineout/media"
)

const (
	// What waits for a worker, and behind a hole: more than 2 s of sound, and of
	// pictures at 4 Mbit/s. When there is no room, what is new goes.
	soundQueue, soundReach     = 128, 64
	pictureQueue, pictureReach = 1024, 512
	// staleMax is how old sound may be when its turn comes; older is dropped, so
	// that a machine that was busy does not leave the call with a delay.
	staleMax = 200 * time.Millisecond
)

// item is a packet, or with p nil a sender report.
type item struct {
	p    *rtp.Packet
	at   time.Time
	plan *plan
	// turned says that the sound around it is converted.
	turned bool

	ntp      uint64
	ts, ssrc uint32
}

// maker makes what a worker sends. One goroutine uses it.
type maker interface {
	// packet takes the next packet in order; lost are missing before it.
	packet(it item, lost int)
	// restart says that another source's packets follow.
	restart()
	report(it item)
	close()
}

// worker converts one flow on a goroutine of its own.
type worker struct {
	f       *flow
	queue   chan item
	pending atomic.Int64 // packets given to it and not dealt with yet
	order   order
	ssrc    uint32
	media   maker
}

func newWorker(f *flow) *worker {
	if f.kind == media.Video {
		return &worker{f: f, queue: make(chan item, pictureQueue), order: newOrder(pictureReach), media: newPicture(f)}
	}
	return &worker{f: f, queue: make(chan item, soundQueue), order: newOrder(soundReach), media: newSound(f)}
}

// push is called by the goroutine that receives. It does not wait.
func (w *worker) push(it item) {
	w.pending.Add(1)
	select {
	case w.queue <- it:
	default:
		w.drop()
	}
}

func (w *worker) drop() {
	w.f.counters.dropped.Add(1)
	w.pending.Add(-1)
}

func (w *worker) run(ctx context.Context) {
	defer w.media.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		if at := w.order.due(); !at.IsZero() {
			timer.Reset(max(time.Until(at), 0))
			due = timer.C
		}
		select {
		case it := <-w.queue:
			w.take(it)
		case <-due:
		case <-ctx.Done():
			return
		}
		w.drain(time.Now(), false)
	}
}

func (w *worker) take(it item) {
	if it.p == nil {
		w.media.report(it)
		w.pending.Add(-1)
		return
	}
	now := time.Now()
	if it.p.SSRC != w.ssrc {
		w.begin(it.p.SSRC, now)
	}
	v := w.order.push(it, now)
	if v == leapt {
		w.begin(it.p.SSRC, now)
		v = w.order.push(it, now)
	}
	if v != taken {
		w.drop()
	}
}

// begin ends the row of packets so far.
func (w *worker) begin(ssrc uint32, now time.Time) {
	w.drain(now, true)
	w.order.reset()
	w.ssrc = ssrc
	w.media.restart()
}

func (w *worker) drain(now time.Time, force bool) {
	for {
		it, lost, ok := w.order.pop(now, force)
		if !ok {
			return
		}
		w.f.counters.lost.Add(uint64(lost))
		if w.f.kind == media.Audio && now.Sub(it.at) > staleMax {
			w.drop() // a hole in the timestamps, which the next one shows
			continue
		}
		w.media.packet(it, lost)
		w.pending.Add(-1)
	}
}

package pipeline

import (
	"sync"
	"time"

	"lineout/media"
)

const (
	defaultMaxDelay = 2 * time.Second
	defaultMaxBytes = 8 << 20
)

// queue holds frames between the source's goroutine, which must never wait,
// and one consumer. It is bounded in media time and bytes.
//
// Live policy on overflow: everything before the newest queued key frame goes;
// if there is none, all queued video goes and video is refused until the next
// key frame. So no frame is ever delivered whose reference was dropped.
//
// Lossless policy on overflow: what is queued stays and is delivered, what
// arrives is refused, and once the queue is empty pop reports ErrSlow.
type queue struct {
	noise      bool // takes frames that describe silence, see media.Frame.Noise
	maxDelay   time.Duration
	maxBytes   int
	lossless   bool
	interleave time.Duration
	onDrop     func(video bool) // after a live drop; called without the lock
	// grace adds to maxDelay until what was queued before the sink could open
	// has been delivered.
	grace time.Duration

	notify chan struct{} // capacity 1: something changed

	mu       sync.Mutex
	items    []item // a slice used as a ring: head is the first live element
	head     int
	bytes    int
	lastDTS  [3]time.Duration // newest pushed DTS by kind
	seen     [3]bool          // a frame of the kind was pushed since reset
	expect   [3]bool          // the kind is connected
	needKey  bool             // video is refused until a key frame
	gap      [3]bool          // the next frame of the kind follows a drop
	overflow bool
	finished bool
	dropped  uint64
}

type item struct {
	f  *media.Frame
	at time.Time
}

func newQueue(p Policy) *queue {
	q := &queue{maxDelay: p.MaxDelay, maxBytes: p.MaxBytes, lossless: p.Lossless,
		notify: make(chan struct{}, 1)}
	if q.maxDelay <= 0 {
		q.maxDelay = defaultMaxDelay
	}
	if q.maxBytes <= 0 {
		q.maxBytes = defaultMaxBytes
	}
	q.needKey = true
	return q
}

func (q *queue) wake() {
	select {
	case q.notify <- struct{}{}:
	default:
	}
}

// wait makes room for what comes while the sink waits to be opened.
func (q *queue) wait(d time.Duration) {
	q.mu.Lock()
	q.grace = d
	q.mu.Unlock()
}

// setExpected says which kinds are connected, so that interleaving does not
// wait for a kind that will never come.
func (q *queue) setExpected(k media.Kind, on bool) {
	q.mu.Lock()
	q.expect[k] = on
	q.mu.Unlock()
	q.wake()
}

// reset empties the queue and asks for video to begin with a key frame.
func (q *queue) reset() {
	q.mu.Lock()
	q.clear()
	q.needKey, q.overflow = true, false
	q.seen = [3]bool{}
	q.mu.Unlock()
}

func (q *queue) clear() {
	clear(q.items)
	q.items, q.head, q.bytes = q.items[:0], 0, 0
}

// finish says that nothing more will be pushed.
func (q *queue) finish() {
	q.mu.Lock()
	q.finished = true
	q.mu.Unlock()
	q.wake()
}

// push adds a frame; it never blocks. It is safe for one goroutine per track.
func (q *queue) push(f *media.Frame) {
	q.mu.Lock()
	drop := q.pushLocked(f)
	q.mu.Unlock()
	if drop != 0 && q.onDrop != nil {
		q.onDrop(drop == media.Video)
	}
	q.wake()
}

// pushLocked returns the kind whose decoding a drop interrupted, 0 if none.
func (q *queue) pushLocked(f *media.Frame) media.Kind {
	if q.finished || f.Noise != 0 && !q.noise {
		return 0
	}
	k := f.Track.Kind
	if k == media.Video && q.needKey {
		if !f.Key {
			q.gap[k] = true
			return 0
		}
	}
	if q.lossless && (q.overflow || q.full(f)) {
		if !q.overflow {
			q.overflow = true
		}
		q.dropped++
		return 0
	}
	if k == media.Video {
		q.needKey = false
	}
	if q.gap[k] {
		q.gap[k] = false
		if !f.Gap {
			g := *f // frames are shared: the mark goes on a copy
			g.Gap = true
			f = &g
		}
	}
	q.insert(item{f: f, at: time.Now()})
	q.bytes += f.Size()
	q.lastDTS[k], q.seen[k] = f.DTS, true
	if !q.lossless && q.over() {
		return q.dropLive()
	}
	return 0
}

// insert keeps DTS order when kinds are interleaved; within a kind frames come
// in order already.
func (q *queue) insert(it item) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
	if q.interleave <= 0 {
		return
	}
	for i := len(q.items) - 1; i > q.head && q.items[i-1].f.DTS > it.f.DTS && q.items[i-1].f.Track.Kind != it.f.Track.Kind; i-- {
		q.items[i], q.items[i-1] = q.items[i-1], q.items[i]
	}
}

// span is the queued media time.
func (q *queue) span() time.Duration {
	if len(q.items)-q.head < 2 {
		return 0
	}
	return q.items[len(q.items)-1].f.DTS - q.items[q.head].f.DTS
}

func (q *queue) limit() time.Duration { return q.maxDelay + q.grace }

func (q *queue) over() bool { return q.span() > q.limit() || q.bytes > q.maxBytes }

func (q *queue) full(f *media.Frame) bool {
	if len(q.items) == q.head {
		return false
	}
	return f.DTS-q.items[q.head].f.DTS > q.limit() || q.bytes+f.Size() > q.maxBytes
}

// dropLive makes room by the live policy.
func (q *queue) dropLive() media.Kind {
	hasVideo := false
	for i := len(q.items) - 1; i >= q.head; i-- {
		f := q.items[i].f
		if f.Track.Kind != media.Video {
			continue
		}
		hasVideo = true
		if f.Key && i > q.head {
			q.discard(func(j int, _ *media.Frame) bool { return j < i })
			q.gap[media.Audio] = true
			q.markFirst(media.Video)
			if !q.over() {
				return media.Video
			}
			break
		}
	}
	newest := q.items[len(q.items)-1].f.DTS
	q.discard(func(_ int, f *media.Frame) bool {
		return f.Track.Kind == media.Video || newest-f.DTS > q.limit()/2
	})
	for q.bytes > q.maxBytes { // only oversized audio is left
		q.discard(func(j int, _ *media.Frame) bool { return j == q.head })
	}
	q.gap[media.Audio] = true
	if hasVideo {
		q.needKey, q.gap[media.Video] = true, true
		return media.Video
	}
	return media.Audio
}

// markFirst sets Gap on the first queued frame of a kind.
func (q *queue) markFirst(k media.Kind) {
	for i := q.head; i < len(q.items); i++ {
		if f := q.items[i].f; f.Track.Kind == k {
			if !f.Gap {
				g := *f
				g.Gap = true
				q.items[i].f = &g
			}
			return
		}
	}
	q.gap[k] = true
}

// discard removes the queued frames that match.
func (q *queue) discard(match func(i int, f *media.Frame) bool) {
	out := q.items[:q.head]
	for i := q.head; i < len(q.items); i++ {
		if it := q.items[i]; match(i, it.f) {
			q.bytes -= it.f.Size()
			q.dropped++
		} else {
			out = append(out, it)
		}
	}
	clear(q.items[len(out):])
	q.items = out
}

// pop returns the next frame that is due. With ok false the caller waits for
// notify, or for the given time if it is not 0. done says that nothing will
// come any more.
func (q *queue) pop(now time.Time) (f *media.Frame, wait time.Duration, ok, done bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.items) {
		if q.overflow {
			q.overflow, q.needKey = false, true
			return nil, 0, false, false, ErrSlow
		}
		return nil, 0, false, q.finished, nil
	}
	it := q.items[q.head]
	if w := q.hold(it, now); w > 0 {
		return nil, w, false, false, nil
	}
	q.items[q.head] = item{}
	q.head++
	q.bytes -= it.f.Size()
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	if q.grace > 0 && q.span() <= q.maxDelay {
		q.grace = 0
	}
	return it.f, 0, true, false, nil
}

// hold is how long the head must wait for the other kind to catch up.
func (q *queue) hold(it item, now time.Time) time.Duration {
	if q.interleave <= 0 || q.finished || q.overflow {
		return 0
	}
	other := media.Audio
	if it.f.Track.Kind == media.Audio {
		other = media.Video
	}
	if !q.expect[other] || q.seen[other] && q.lastDTS[other] >= it.f.DTS {
		return 0
	}
	if w := q.interleave - now.Sub(it.at); w > 0 {
		return w
	}
	return 0
}

func (q *queue) stats() (frames, bytes int, delay time.Duration, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.head, q.bytes, q.span(), q.dropped
}

// unpop puts back the frame that pop just returned.
func (q *queue) unpop(f *media.Frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes += f.Size()
	it := item{f: f, at: time.Now()}
	if q.head > 0 {
		q.head--
		q.items[q.head] = it
		return
	}
	q.items = append([]item{it}, q.items...)
}

// hasKey says that a video key frame is queued.
func (q *queue) hasKey() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.items[q.head:] {
		if it.f.Track.Kind == media.Video && it.f.Key {
			return true
		}
	}
	return false
}

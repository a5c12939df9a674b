package hooks

import (
	"cmp"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// lanes is how many notifications of one address are under way at once. A call
// keeps to its lane, and a lane to its order; so calls do not wait for each
// other's answers more than they have to.
const lanes = 4

// overhead is what a notification costs beside its body.
const overhead = 160

// maxWaiting bounds the changes the journal has not written yet; beyond it the
// journal is written anew instead.
const maxWaiting = 4096

// item is one notification for one address.
type item struct {
	seq      uint64
	at       time.Time
	call     *callRef
	method   string
	body     []byte
	last     bool // of its call's status
	sending  bool
	refusals int
}

func (i *item) size() int { return len(i.body) + len(i.call.id) + overhead }

// change is what the journal has to write down: an item, or that it is done with.
type change struct {
	item *item
	done bool
}

// queue holds what one address has not answered yet, within a limit of bytes
// and age. Nothing in it waits for I/O.
type queue struct {
	limit  int
	maxAge time.Duration

	wake  [lanes]chan struct{} // capacity 1: the lane has something to do
	dirty chan struct{}        // capacity 1: the journal has something to write

	mu      sync.Mutex
	lanes   [lanes][]*item // each in order
	bytes   int
	seq     uint64
	changes []change
	anew    bool // the journal has to be written anew
	// running is the last status of each call that has not ended, delivered or
	// not: of what a crash leaves in the journal a next start tells the end.
	running map[*callRef][]byte
}

func newQueue(limit int, maxAge time.Duration) *queue {
	q := &queue{limit: limit, maxAge: maxAge, dirty: make(chan struct{}, 1), running: map[*callRef][]byte{}}
	for i := range q.wake {
		q.wake[i] = make(chan struct{}, 1)
	}
	return q
}

func laneOf(c *callRef) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.id))
	return int(h.Sum32() % lanes)
}

// push adds a notification and returns how many were dropped for it.
func (q *queue) push(it *item) (dropped int) {
	q.mu.Lock()
	switch {
	case it.method != callStatus:
	case it.last:
		delete(q.running, it.call)
	default:
		q.running[it.call] = it.body
	}
	if it.size() > q.limit/4 { // one call must not push out all others
		q.mu.Unlock()
		return 1
	}
	if q.bytes+it.size() > q.limit {
		dropped = q.makeRoom(it.size())
	}
	q.seq++
	it.seq = q.seq
	q.add(it)
	q.note(change{item: it})
	q.mu.Unlock()
	signal(q.wake[laneOf(it.call)])
	signal(q.dirty)
	return dropped
}

// restore adds what the journal held, in order.
func (q *queue) restore(items []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range items {
		q.seq = max(q.seq, it.seq)
		q.add(it)
	}
	if q.bytes > q.limit { // the limit has been lowered
		q.makeRoom(0)
	}
	q.anew = true
	signal(q.dirty)
	for _, w := range q.wake {
		signal(w)
	}
}

func (q *queue) add(it *item) {
	l := laneOf(it.call)
	q.lanes[l] = append(q.lanes[l], it)
	q.bytes += it.size()
}

// makeRoom drops the oldest notifications of ended calls until an eighth of
// the limit and need are free, so that it is not called for every push to a
// full queue; and, when that was not enough, of running calls until need is.
func (q *queue) makeRoom(need int) (dropped int) {
	var ended, running []*item
	for _, lane := range q.lanes {
		for _, it := range lane {
			switch {
			case it.sending:
			case it.call.ended.Load():
				ended = append(ended, it)
			default:
				running = append(running, it)
			}
		}
	}
	gone := map[*item]bool{}
	free := func(from []*item, limit int) {
		slices.SortFunc(from, func(a, b *item) int { return cmp.Compare(a.seq, b.seq) })
		for _, it := range from {
			if q.bytes+need <= limit {
				return
			}
			gone[it] = true
			q.bytes -= it.size()
			q.note(change{item: it, done: true})
		}
	}
	free(ended, q.limit-q.limit/8)
	free(running, q.limit)
	for i := range q.lanes {
		q.lanes[i] = slices.DeleteFunc(q.lanes[i], func(it *item) bool { return gone[it] })
	}
	return len(gone)
}

// next is the lane's oldest notification, marked as being sent, or nil. What is
// too old is dropped on the way.
func (q *queue) next(lane int, now time.Time) (it *item, expired int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lanes[lane]) > 0 {
		it := q.lanes[lane][0]
		if now.Sub(it.at) <= q.maxAge {
			it.sending = true
			return it, expired
		}
		q.removeHead(lane)
		expired++
	}
	return nil, expired
}

// done removes what next returned.
func (q *queue) done(it *item) {
	q.mu.Lock()
	q.removeHead(laneOf(it.call))
	q.mu.Unlock()
}

// keep gives what next returned back for another try.
func (q *queue) keep(it *item) {
	q.mu.Lock()
	it.sending = false
	q.mu.Unlock()
}

func (q *queue) removeHead(lane int) {
	it := q.lanes[lane][0]
	q.lanes[lane][0] = nil
	q.lanes[lane] = q.lanes[lane][1:]
	q.bytes -= it.size()
	q.note(change{item: it, done: true})
	signal(q.dirty)
}

func (q *queue) note(c change) {
	if q.anew {
		return
	}
	if q.changes = append(q.changes, c); len(q.changes) > maxWaiting {
		q.changes, q.anew = nil, true
	}
}

// take is what the journal has to write: changes, or (anew) all there is, the
// status of running calls first. bytes is the size of all there is.
func (q *queue) take() (changes []change, all []*item, anew bool, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	changes, anew = q.changes, q.anew
	q.changes, q.anew = nil, false
	bytes = q.bytes
	for c, body := range q.running {
		it := &item{call: c, method: callStatus, body: body}
		bytes += it.size()
		if anew {
			all = append(all, it)
		}
	}
	if anew {
		for _, lane := range q.lanes {
			all = append(all, lane...)
		}
		slices.SortFunc(all, func(a, b *item) int { return cmp.Compare(a.seq, b.seq) })
	}
	return changes, all, anew, bytes
}

// writeAnew asks for a journal that holds only what is queued.
func (q *queue) writeAnew() {
	q.mu.Lock()
	q.changes, q.anew = nil, true
	q.mu.Unlock()
	signal(q.dirty)
}

// crowded says that more than half of the limit is used.
func (q *queue) crowded() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > q.limit/2
}

// length is how many notifications wait, and the age of the oldest.
func (q *queue) length(now time.Time) (n int, oldest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, lane := range q.lanes {
		if n += len(lane); len(lane) > 0 {
			oldest = max(oldest, now.Sub(lane[0].at))
		}
	}
	return n, oldest
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

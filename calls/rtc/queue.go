package rtc

import (
	"sync"

	"lineout/calls/leg"
)

// queueLength bounds the events that wait for their reader.
const queueLength = 256

// queue is the events of a peer: put never blocks, and there is always a place
// for Ended, after which it is closed.
type queue struct {
	ch     chan leg.Event
	mu     sync.Mutex
	closed bool
}

func newQueue() *queue { return &queue{ch: make(chan leg.Event, queueLength)} }

// put says whether the event was taken, or came too late to matter.
func (q *queue) put(e leg.Event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
	case e.Type == leg.Ended:
		q.closed = true
		q.ch <- e // its place is kept
		close(q.ch)
	case len(q.ch) >= queueLength-1:
		return false
	default:
		q.ch <- e
	}
	return true
}

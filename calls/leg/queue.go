package leg

import "sync"

// queueSize bounds the events that wait for their reader.
const queueSize = 64

// Queue carries the events of a leg: Put never blocks. When the reader sleeps,
// digits, messages, holds and changes of media are dropped first, then the
// oldest; Ended always fits, and closes the channel. Safe for concurrent use.
type Queue struct {
	mu     sync.Mutex // keeps order and close apart from sends
	events chan Event
	over   bool
}

// NewQueue makes an empty queue.
func NewQueue() *Queue { return &Queue{events: make(chan Event, queueSize)} }

// Events is Leg.Events.
func (q *Queue) Events() <-chan Event { return q.events }

// Put adds an event; after Ended it does nothing.
func (q *Queue) Put(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over || e.minor() && len(q.events) >= queueSize/2 {
		return
	}
	for {
		select {
		case q.events <- e:
			if e.Type == Ended {
				q.over = true
				close(q.events)
			}
			return
		default:
		}
		select { // full: the oldest goes
		case <-q.events:
		default:
		}
	}
}

func (e *Event) minor() bool {
	switch e.Type {
	case DTMFReceived, MessageReceived, Transfer, Held, Resumed, MediaChanged, KeyframeWanted:
		return true
	}
	return false
}

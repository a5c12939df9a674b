package sip

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// turn says whose offer is under way. RFC 3264 section 4 allows one at a time,
// RFC 3261 section 14 one INVITE at a time in either direction.
type turn uint8

const (
	nobody turn = iota
	ours
	theirs
)

// offers is the right to change a session. Safe for concurrent use.
type offers struct {
	mu     sync.Mutex
	who    turn
	serial int
	over   chan struct{} // closed when the present turn ends
}

// begin takes the turn if nobody has it; else it says who has. end may be
// called more than once.
func (o *offers) begin(who turn) (end func(), has turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.who != nobody {
		return nil, o.who
	}
	return o.take(who), nobody
}

// replace begins a turn in place of the present one, whose end then means nothing.
func (o *offers) replace(who turn) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over != nil {
		close(o.over)
	}
	return o.take(who)
}

func (o *offers) take(who turn) func() {
	o.serial++
	serial := o.serial
	o.who, o.over = who, make(chan struct{})
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.serial == serial && o.who != nobody {
			close(o.over)
			o.who, o.over = nobody, nil
		}
	}
}

// wait is begin that waits for its turn.
func (o *offers) wait(ctx context.Context, who turn) (end func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		end, has := o.begin(who)
		if has == nobody {
			return end, nil
		}
		o.mu.Lock()
		over := o.over
		o.mu.Unlock()
		if over == nil {
			continue
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (o *offers) free() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.who == nobody
}

// glareWait is how long to wait after a 491 (RFC 3261 section 14.1): in steps
// of 10 ms, longer for the one that made the Call-ID, so that the two sides do
// not meet again.
func glareWait(owner bool) time.Duration {
	if owner {
		return 2100*time.Millisecond + time.Duration(rand.IntN(191))*10*time.Millisecond
	}
	return time.Duration(rand.IntN(201)) * 10 * time.Millisecond
}

package calls

import (
	"context"
	"sync/atomic"
	"time"

	"lineout/calls/leg"
)

const (
	// taskQueue bounds what is to be told to a party that is slow to agree; on
	// overflow the newest is dropped, with a line in the log.
	taskQueue = 32
	// taskTime bounds each: SIP needs 32 s to give a request up (RFC 3261 section 17.1.2.2).
	taskTime = 35 * time.Second
)

// side is one party of a call.
type side struct {
	c    *call
	name string // "far" or "near"
	leg  leg.Leg
	in   leg.Inbound // leg, if that party has called
	// session and appKey are those of the browser it is, "" if it is none.
	session, appKey string
	// via is how the user calls, if it was called and the device says so.
	via *Account

	tasks chan task

	// What follows belongs to the call's goroutine.
	phase phase
	over  bool // Ended has come
	rx    *receiver

	// asked says that it was put on hold for the other side: what it tells of hold
	// then is no news to that.
	asked atomic.Bool
}

// task is something a party is asked to do, which may take its time.
type task struct {
	what string
	do   func(context.Context) error
}

// happening is something for the call's goroutine: an event of a side, or a
// function of ours.
type happening struct {
	side  *side
	event leg.Event
	do    func()
}

// attend begins to follow a leg: its events come to the call's goroutine, which
// goes on until each leg it attends has ended.
func (c *call) attend(name string, l leg.Leg) *side {
	s := &side{c: c, name: name, leg: l, tasks: make(chan task, taskQueue)}
	c.live++
	c.helpers.Go(func() {
		ended := false
		for e := range l.Events() {
			ended = ended || e.Type == leg.Ended
			c.post(happening{side: s, event: e})
		}
		if !ended {
			c.post(happening{side: s, event: leg.Event{Type: leg.Ended, Cause: leg.Cause{Kind: leg.Internal, Text: "the leg ended without a word"}}})
		}
	})
	c.helpers.Go(s.work)
	return s
}

// post hands something to the call's goroutine, while there is one.
func (c *call) post(h happening) bool {
	select {
	case c.inbox <- h:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// work does the tasks of a side one after the other.
func (s *side) work() {
	for {
		select {
		case t := <-s.tasks:
			ctx, cancel := context.WithTimeout(s.c.ctx, taskTime)
			err := t.do(ctx)
			cancel()
			if err != nil && s.c.ctx.Err() == nil {
				s.c.log.Warn("a party did not agree", "side", s.name, "to", t.what, "err", err)
			}
		case <-s.c.ctx.Done():
			return
		}
	}
}

// ask queues a task. It does not wait.
func (s *side) ask(what string, do func(context.Context) error) {
	select {
	case s.tasks <- task{what, do}:
	default:
		s.c.log.Warn("too much waits to be told to a party, this is dropped", "side", s.name, "what", what)
	}
}

// hangup ends a leg, with a bound.
func (s *side) hangup(cause leg.Cause) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.c.ctx), s.c.m.d.HangupTimeout)
	defer cancel()
	if err := s.leg.Hangup(ctx, cause); err != nil {
		s.c.log.Warn("hang up", "side", s.name, "err", err)
	}
}

// Package local joins two users of this server without a protocol between
// them: the two ends of a pair are legs, and what one does the other is told of.
// Their media is handed over on the goroutine that brings it. They behave as the
// two ends of a SIP call do.
package local

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"lineout/calls/leg"
)

// NewPair calls a user of this server. caller is the leg of the one who calls,
// as a Dialer would have made it; called is the same call as the other side sees
// it, to be given to a leg.Receiver. Both are a leg.Transferer, a leg.Referee and
// a leg.Messenger. r.Like is what the caller has, nil for everything; nothing
// runs on a goroutine of the pair.
func NewPair(r leg.Request) (caller leg.Leg, called leg.Inbound) {
	p := &pair{req: r, done: make(chan struct{})}
	p.caller, p.called = newEnd(p, "caller"), newEnd(p, "callee")
	p.caller.other, p.called.other = p.called, p.caller
	for _, e := range []*end{p.caller, p.called} {
		e.events.Put(leg.Event{Type: leg.Trying, Code: 100, Text: "Trying"})
	}
	return p.caller, calledEnd{p.called}
}

// pair is a call between its two ends.
type pair struct {
	req            leg.Request
	caller, called *end
	done           chan struct{} // closed when the call is over
	over           atomic.Bool

	mu       sync.Mutex // of the state; events are put under it, so that both ends see them in one order
	agreed   bool       // there is media
	answered bool
	ended    bool
}

// calledEnd is the end that is called.
type calledEnd struct{ *end }

// Ring implements leg.Inbound.
func (c calledEnd) Ring(t leg.Terms, media bool) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered || p.ended {
		return
	}
	e := leg.Event{Type: leg.Ringing, Code: 180, Text: "Ringing"}
	if media {
		e = leg.Event{Type: leg.EarlyMedia, Code: 183, Text: "Session Progress"}
		first := !p.agreed
		if !p.agree(t) {
			return
		}
		if first {
			p.tell(e, true)
			return
		}
	}
	p.tell(e, false)
}

// Answer implements leg.Inbound.
func (c calledEnd) Answer(t leg.Terms) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered || p.ended || !p.agree(t) {
		return
	}
	p.answered = true
	p.tell(leg.Event{Type: leg.Answered, Code: 200, Text: "OK"}, true)
}

// tell puts an event at both ends. The caller holds mu, as in all that follows.
func (p *pair) tell(e leg.Event, media bool) {
	for _, end := range []*end{p.caller, p.called} {
		if media {
			e.Media = &end.media
		}
		end.events.Put(e)
	}
}

// agree settles the media, once; it is false when that ended the call.
func (p *pair) agree(t leg.Terms) bool {
	if p.agreed {
		return true
	}
	tracks := negotiate(p.req, t)
	if len(tracks) == 0 {
		c := leg.Cause{Kind: leg.NoCommonCodecs, Code: 488, Text: "the caller and the user who is called have no kind of media in common"}
		p.finish(c, c)
		return false
	}
	p.agreed = true
	p.caller.media.configure(tracks, false)
	p.called.media.configure(tracks, true)
	return true
}

// finish ends the call with a cause for each end.
func (p *pair) finish(caller, called leg.Cause) {
	p.ended = true
	p.over.Store(true)
	close(p.done)
	p.caller.events.Put(leg.Event{Type: leg.Ended, Code: caller.Code, Text: caller.Text, Cause: caller})
	p.called.events.Put(leg.Event{Type: leg.Ended, Code: called.Code, Text: called.Text, Cause: called})
}

// Hangup implements leg.Leg.
func (e *end) Hangup(_ context.Context, c leg.Cause) error {
	p := e.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	c.Local = true
	other := leg.Cause{Code: 200, Kind: leg.Normal, Text: "the other side hung up"}
	switch {
	case p.answered:
		if c.Text != "" && c.Kind != leg.Normal {
			other.Text += ": " + c.Kind.Info()
		}
	case e == p.caller:
		other = leg.Cause{Code: 487, Kind: leg.Normal, Text: "the caller gave up"}
	default: // refused
		code, text := c.Status()
		c.Code = code
		other = leg.Cause{Code: code, Kind: leg.KindOf(code), Text: fmt.Sprintf("%s: %d %s", refusal(code), code, text)}
	}
	if e == p.caller {
		p.finish(c, other)
	} else {
		p.finish(other, c)
	}
	return nil
}

// refusal says in words what a status means that a call was refused with.
func refusal(code int) string {
	switch code {
	case 404:
		return "the callee is not known at this server"
	case 408:
		return "the callee could not be reached in time"
	case 480:
		return "the callee cannot be reached now"
	case 486, 600:
		return "the callee is busy"
	case 488, 606:
		return "the callee takes none of the offered codecs"
	case 603:
		return "the callee declined the call"
	}
	return "the call was refused"
}

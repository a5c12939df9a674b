package sip

import (
	"context"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// holder is one of the two who can put a call on hold.
type holder uint8

const (
	byThem holder = 1 << iota
	byUs
)

// setHeld notes a hold or its end and tells of it when the call as a whole is
// held or resumed by it. Before the answer there is nothing to tell.
func (d *dialog) setHeld(by holder, held bool) {
	d.mu.Lock()
	before := d.heldBy
	if held {
		d.heldBy |= by
	} else {
		d.heldBy &^= by
	}
	after, answered := d.heldBy, d.answered
	d.mu.Unlock()
	if before == after || !answered {
		return
	}
	who := "the other side"
	if by == byUs {
		who = "this side"
	}
	d.log.Info("SIP call hold changed", "by", who, "held", held)
	switch {
	case before == 0:
		d.emit(leg.Event{Type: leg.Held})
	case after == 0:
		d.emit(leg.Event{Type: leg.Resumed})
	}
}

// Hold implements leg.Leg: sendonly, or inactive where we sent nothing (RFC
// 3264 section 8.4).
func (d *dialog) Hold(ctx context.Context) error { return d.changeHold(ctx, true) }

// Resume implements leg.Leg.
func (d *dialog) Resume(ctx context.Context) error { return d.changeHold(ctx, false) }

func (d *dialog) changeHold(ctx context.Context, hold bool) error {
	what := map[bool]string{true: "put on hold", false: "resumed"}[hold]
	d.mu.Lock()
	answered, held := d.answered, d.heldBy&byUs != 0
	d.mu.Unlock()
	if !answered {
		return fault.New(fault.Conflict, "the call %s is not established, so it cannot be %s", d.callID, what)
	}
	if held == hold {
		return nil
	}
	err := d.propose(ctx, func(l *localSession) {
		for i := range l.sections {
			o := &l.sections[i]
			if s := d.media.section(o.kind); s != nil && !o.refused {
				o.dir = makeDirection(s.want, !hold)
			}
		}
	})
	if err != nil {
		return fault.New(fault.Internal, "the call %s cannot be %s: %w", d.callID, what, err)
	}
	d.media.hold(hold)
	d.setHeld(byUs, hold)
	return nil
}

// hold says that this side wants no media: what still comes is dropped.
func (m *session) hold(held bool) {
	for _, s := range m.sections {
		s.mu.Lock()
		s.muted = held
		s.mu.Unlock()
	}
}

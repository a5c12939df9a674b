package calls

import (
	"context"

	"lineout/calls/leg"
)

// opposite is the side that is joined to s, nil if there is none.
func (c *call) opposite(s *side) *side {
	switch s {
	case c.far:
		return c.near
	case c.near:
		return c.far
	}
	return nil
}

// pass hands on what a side says that is no change of its state.
func (c *call) pass(s *side, e leg.Event) {
	to := c.opposite(s)
	switch e.Type {
	case leg.MediaChanged:
		if s.rx != nil {
			s.rx.mediaChanged()
		}
		if s == c.far {
			c.inject.refresh()
		}
	case leg.KeyframeWanted:
		c.keyframeWanted(s)
	case leg.DTMFReceived:
		c.digit(s, to, e)
	case leg.MessageReceived:
		if s == c.far {
			c.wrote(e)
		} else {
			c.log.Info("message received", "side", s.name, "bytes", len(e.Text)) // its words are nobody else's business
		}
		if to == nil || e.ContentType == "message/cpim" { // its headers name others than who is joined
			return
		}
		if m, ok := to.leg.(leg.Messenger); ok {
			to.ask("message", func(ctx context.Context) error { return m.SendMessage(ctx, e.Text) })
		}
	case leg.Referred:
		c.referred(s, to, e)
	case leg.Transfer:
		if r, ok := c.near.leg.(leg.Referee); ok && c.user.asker {
			r.Refer(e.Code, e.Text)
			c.user.asker = e.Code < 200
		}
		c.transferred(e)
	}
}

func (c *call) keyframeWanted(s *side) {
	j := c.user.joint.Load()
	switch {
	case s == c.far && c.inject.sink.Load() != nil:
		c.inject.keyframeWanted()
	case j == nil:
	case s == c.far:
		j.bridge.KeyframeWantedByB()
	default:
		j.bridge.KeyframeWantedByA()
	}
}

// digit passes a digit on in the way it came, unless the bridge does.
func (c *call) digit(s, to *side, e leg.Event) {
	if s == c.far {
		c.dialled(e)
	}
	if to == nil || !to.phase.talks() {
		return
	}
	if e.How == leg.RFC4733 {
		if j := c.user.joint.Load(); j != nil {
			toFar, toNear := j.bridge.PassesEvents()
			if s == c.near && toFar || s == c.far && toNear {
				return
			}
		}
	}
	to.ask("a digit", func(ctx context.Context) error { return to.leg.SendDTMF(ctx, e.Digit, e.How) })
}

// holds lets the other side know of a hold and of its end. Only what a side
// wanted by itself is passed on, not what it was asked for.
func (c *call) holds(s *side, on bool) {
	if s.asked.Load() {
		if !on {
			s.asked.Store(false)
		}
		return
	}
	to := c.opposite(s)
	switch {
	case to == nil || !to.phase.talks():
	case on && to.asked.CompareAndSwap(false, true):
		to.ask("hold", func(ctx context.Context) error {
			err := to.leg.Hold(ctx)
			if err != nil {
				to.asked.Store(false)
			}
			return err
		})
	case !on && to.asked.Load():
		to.ask("resume", to.leg.Resume)
	}
}

// hold puts the other party on hold for the user, or for REST.
func (c *call) hold(ctx context.Context, on bool) error {
	c.mu.Lock()
	far := c.far
	c.mu.Unlock()
	if !on {
		return far.leg.Resume(ctx)
	}
	already := far.asked.Swap(true)
	err := far.leg.Hold(ctx)
	if err != nil && !already {
		far.asked.Store(false)
	}
	return err
}

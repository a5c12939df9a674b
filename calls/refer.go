package calls

import (
	"context"
	"strings"

	"lineout/calls/leg"
)

// referred does what a side asks for that wants to be replaced (RFC 3515): what
// the user's phone asks goes on to the other party; when that asks, the user is
// connected to somebody else, with the same media.
func (c *call) referred(s, to *side, e leg.Event) {
	asker, ok := s.leg.(leg.Referee)
	switch {
	case !ok:
	case to == nil || !to.phase.talks() || c.user.asker || c.user.next != nil:
		asker.Refer(491, "Request Pending")
	case s == c.near:
		t, ok := to.leg.(leg.Transferer)
		if !ok || e.Replaces != "" { // the dialog it names is the user's with us, not the other party's
			asker.Refer(501, "Not Implemented")
			return
		}
		c.user.asker = true
		to.ask("transfer", func(ctx context.Context) error {
			err := t.Transfer(ctx, e.Text, "")
			if err != nil {
				c.post(happening{do: func() {
					c.user.asker = false
					asker.Refer(503, "Service Unavailable")
				}})
			}
			return err
		})
	default:
		c.replace(e.Text, e.Replaces)
	}
}

// replace calls somebody in the place of the other party, who asked for it.
func (c *call) replace(target, replaces string) {
	u := c.user
	switch {
	case u.calls:
	case c.near.via != nil:
		u.via = *c.near.via
	default:
		login, domain, _ := strings.Cut(u.in.Account, "@")
		u.via = Account{Login: login, Domain: domain, Local: c.m.d.Local != nil && c.m.d.Local(domain)}
	}
	l, err := c.dial(newCallID(), target, replaces, c.near.like())
	if err != nil {
		c.tellAsker(503, "Service Unavailable")
		return
	}
	c.log.Info("the other party is to be replaced", "by", target)
	u.next = c.attend("far", l)
	c.tellAsker(100, "Trying")
	c.update(func(i *Info) { i.Target = target })
}

func (c *call) tellAsker(code int, text string) {
	if r, ok := c.far.leg.(leg.Referee); ok {
		r.Refer(code, text)
	}
}

// replacing follows the new party until it has answered.
func (c *call) replacing(s *side, e leg.Event, changed bool) {
	switch {
	case !changed:
	case s.phase != answered:
		c.tellAsker(180, "Ringing")
	default:
		c.tellAsker(200, "OK")
		old := c.far
		c.user.next = nil
		c.setSide(&c.far, s)
		if old.rx != nil && s.rx != nil {
			s.rx.taps.Store(old.rx.taps.Load())
		}
		c.user.move(old, s)
		c.drop(old, leg.Cause{Local: true, Text: "transferred"})
		c.log.Info("the other party was replaced")
		c.settled()
		if c.near.asked.Load() { // the party that has left had put the user on hold
			c.near.ask("resume", c.near.leg.Resume)
		}
		c.join()
		if s.rx != nil {
			s.rx.mediaChanged()
		}
		c.update(func(i *Info) { i.Target = "" })
		c.progress(e)
	}
}

// move lets what listens to one side listen to another.
func (u *user) move(from, to *side) {
	for _, t := range u.taps {
		for _, p := range t.taps {
			if p.side == from {
				p.side = to
			}
		}
	}
}

// notReplaced goes on with the party that is there.
func (c *call) notReplaced(cause leg.Cause) {
	c.user.next = nil
	code := cause.Code
	if code < 300 {
		code = 503
	}
	c.log.Warn("the other party could not be replaced, the call goes on", "sip", cause.Code, "cause", cause.Text)
	c.tellAsker(code, cause.Text)
	c.update(func(i *Info) { i.Target = "" })
}

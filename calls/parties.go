package calls

import (
	"cmp"
	"context"
	"crypto/rand"
	"time"

	"lineout/calls/leg"
)

// newCallID names a call that nobody gave a name.
func newCallID() string { return rand.Text() }

// begin gives a call its other party.
func (c *call) begin(l leg.Leg) {
	s := c.attend("far", l)
	c.setSide(&c.far, s)
}

// setSide changes far or near.
func (c *call) setSide(which **side, s *side) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*which = s
}

// other is the leg of the other party, nil while there is none.
func (c *call) other() leg.Leg {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.far == nil {
		return nil
	}
	return c.far.leg
}

// summon calls the devices of a user.
func (m *Manager) summon(in leg.Incoming, l leg.Inbound, parent string, devices []leg.Line) *leg.Refusal {
	account := in.Account
	m.mu.Lock()
	if m.calls[in.CallID] != nil { // a call of ours that came back by a proxy
		parent, in.CallID = in.CallID, newCallID()
	}
	m.mu.Unlock()
	c, err := m.claimUser(in, account, false, func(c *call) {
		c.user.lines = devices
		c.info.Incoming, c.info.ParentCallID = true, parent
		c.info.SDP, c.info.SIPMessage = in.SDP, in.Message
		c.info.MediaProvider = "WebRTC"
	})
	if err != nil {
		return m.refusal(in, err)
	}
	c.begin(l)
	c.far.in = l
	c.log.Info("user is called", "caller", in.Caller, "callee", in.Callee, "account", account, "from", in.Source, "devices", len(devices))
	go c.run()
	return nil
}

// greetUser begins a user's call; the function it returns ends that.
func (c *call) greetUser() func() {
	u := c.user
	if u.calls {
		c.update(func(i *Info) { i.Status, i.SIPStatus = Trying, 100 })
		return func() {}
	}
	u.limit = time.NewTimer(c.m.d.RingLimit)
	i := leg.Invitation{CallID: c.req.CallID, Caller: c.info.Caller, Callee: c.req.Callee, DisplayName: u.in.DisplayName, Like: u.in.Tracks}
	for _, x := range u.lines {
		u.waiting++
		c.live++ // nobody leaves before it has said something
		c.helpers.Go(func() {
			l, err := x.Ring(c.ctx, i)
			if !c.post(happening{do: func() { c.rung(x, l, err) }}) && err == nil {
				abandon(l)
			}
		})
	}
	return func() { u.limit.Stop() }
}

// abandon ends a leg that nobody attends.
func abandon(l leg.Leg) {
	_ = l.Hangup(context.Background(), leg.Cause{Local: true, Text: "the call is over"})
	for range l.Events() {
	}
}

// rung takes what a line said when it was asked to ring.
func (c *call) rung(x leg.Line, l leg.Leg, err error) {
	u := c.user
	u.waiting--
	c.live--
	if err != nil {
		c.log.Warn("a device cannot be rung", "err", err)
		c.refused(leg.Cause{Kind: leg.Setup, Code: 480, Text: err.Error()})
		return
	}
	s := c.attend(near, l)
	if m, ok := x.(leg.Member); ok {
		s.session, s.appKey = m.Session()
	}
	if w, ok := x.(Caller); ok {
		via := w.Via()
		s.via = &via
	}
	if u.over || c.near != nil && c.near.phase.talks() {
		c.drop(s, elsewhere)
		return
	}
	u.rings[s] = true
	if len(u.lines) == 1 {
		c.setSide(&c.near, s) // its early media is the caller's
	}
}

// elsewhere is why the other devices of a user stop ringing (RFC 3326 section 2).
var elsewhere = leg.Cause{Local: true, Code: 200, Text: "answered elsewhere"}

// drop ends a side without waiting for it.
func (c *call) drop(s *side, cause leg.Cause) {
	if s.rx != nil {
		s.rx.cancel()
	}
	if !s.over {
		c.helpers.Go(func() { s.hangup(cause) })
	}
}

// converse takes an event of a side of a user's call.
func (c *call) converse(s *side, e leg.Event) {
	u := c.user
	if e.Type == leg.Ended {
		c.left(s, e)
		return
	}
	if u.over || s.over || s != c.far && s != c.near && s != u.next && !u.rings[s] {
		return
	}
	if e.Media != nil {
		if md, ok := e.Media.(leg.Forwarder); ok {
			c.hear(s, md)
		} else {
			c.end(leg.Cause{Local: true, Kind: leg.Internal, Text: "a leg cannot be joined to another"})
		}
	}
	before := s.phase
	to, changed := s.phase.advance(e.Type)
	if changed {
		s.phase = to
	}
	switch {
	case s == u.next:
		c.replacing(s, e, changed)
		return
	case !changed:
		c.pass(s, e)
	case to == held, before == held:
		c.holds(s, to == held)
	case u.calls && s == c.far:
		c.answerBack(c.near, s, to)
	case !u.calls && u.rings[s]:
		if to == answered {
			c.choose(s)
		}
		if to != answered && c.near != s { // of several none has the caller's ear
			to, s.phase = ringing, ringing
		}
		c.answerBack(c.far, s, to)
	}
	if changed || e.Type == leg.MediaChanged {
		c.join()
	}
	c.progress(e)
}

// answerBack tells the side that began the call how far the other has come.
func (c *call) answerBack(caller, called *side, to phase) {
	if to <= c.user.told {
		return
	}
	c.user.told = to
	t := leg.Terms{SendAudio: true, SendVideo: c.user.in.HasVideo, Like: called.like(), Referable: true}
	switch {
	case to == answered:
		caller.in.Answer(t)
	case to == early && called.rx != nil:
		caller.in.Ring(t, true)
	case to == ringing, to == early:
		caller.in.Ring(t, false)
	}
}

// choose gives the call to the device that answered first.
func (c *call) choose(s *side) {
	u := c.user
	delete(u.rings, s)
	u.limit.Stop()
	c.setSide(&c.near, s)
	for x := range u.rings {
		delete(u.rings, x)
		c.drop(x, elsewhere)
	}
}

// progress announces the status that both sides make.
func (c *call) progress(e leg.Event) {
	u := c.user
	from := c.Info().Status
	caller, called := idle, c.far.phase
	if c.near != nil {
		caller = c.near.phase
	}
	if !u.calls {
		caller, called = called, caller
		for s := range u.rings {
			called = max(called, s.phase)
		}
	}
	to := conversation(from, caller, called)
	if to == Hold && !u.talked { // held before the other side knew that it was answered
		c.announce(Established, e.Code)
	}
	if to != from {
		c.announce(to, e.Code)
	}
}

// announce gives the call a status. The first ESTABLISHED begins a conversation.
func (c *call) announce(to Status, code int) {
	first := to == Established && !c.user.talked
	c.user.talked = c.user.talked || first
	c.update(func(i *Info) {
		i.Status = to
		if code != 0 {
			i.SIPStatus = code
		}
		if first {
			i.SessionID, i.AppKey = c.near.session, cmp.Or(c.near.appKey, i.AppKey)
			i.MediaProvider = provider(c.near.session)
		}
	})
	c.log.Info("call status", "status", to, "sip", code)
	if first {
		c.m.mu.Lock()
		c.m.established++
		c.m.mu.Unlock()
		if c.settled() {
			c.record()
		}
	}
}

// settled begins what a conversation of two brings with it, if both have media.
func (c *call) settled() bool {
	for _, s := range []*side{c.near, c.far} {
		if s.rx == nil { // answered without a word on media
			c.end(leg.Cause{Local: true, Kind: leg.NoCommonCodecs, Text: "the " + s.name + " side was answered without media"})
			return false
		}
		c.user.follows(s == c.far).set(s.rx.md)
	}
	c.mu.Lock()
	c.md = c.far.rx.md
	c.mu.Unlock()
	c.inject.move()
	return true
}

// left takes the end of a leg.
func (c *call) left(s *side, e leg.Event) {
	u := c.user
	talked := c.far.phase.talks() && c.near != nil && c.near.phase.talks()
	s.over, s.phase = true, gone
	c.live--
	if s.rx != nil {
		s.rx.cancel()
	}
	switch {
	case u.over:
	case s == u.next:
		c.notReplaced(e.Cause)
	case u.rings[s]:
		delete(u.rings, s)
		c.refused(e.Cause)
	case s == c.far, s == c.near:
		c.over(s, e.Cause, talked)
	}
}

// refused notes that a device does not take the call; that of the last, or of
// a person who declines (RFC 3261 section 16.7), decides.
func (c *call) refused(cause leg.Cause) {
	u := c.user
	if u.over {
		return
	}
	if u.refusal == (leg.Cause{}) || rank(cause) < rank(u.refusal) {
		u.refusal = cause
	}
	if cause.Code >= 600 || len(u.rings) == 0 && u.waiting == 0 {
		c.over(nil, u.refusal, false)
	}
}

// rank orders refusals: that of a person goes before that of a busy device, and
// that before all that devices say of themselves.
func rank(c leg.Cause) int {
	switch {
	case c.Code >= 600:
		return 0
	case c.Kind == leg.Busy:
		return 1
	case c.Kind == leg.Rejected:
		return 2
	}
	return 3
}

// conclude ends a call for a reason of ours; source, if not nil, is the side
// that has ended.
func (c *call) conclude(source *side, cause leg.Cause) {
	if c.user.over {
		return
	}
	c.over(source, cause, c.far.phase.talks())
}

// over is the end of a call: it is announced at once, so that nobody waits for a
// party that says nothing more, and all legs that are left are hung up.
func (c *call) over(source *side, cause leg.Cause, talked bool) {
	u := c.user
	u.over = true
	c.mu.Lock()
	c.hanging = true
	c.mu.Unlock()
	to := final(cause, talked)
	if !u.calls && (source == nil || source == c.near) && cause.Kind == leg.Rejected {
		to = Finish // the user did not want it
	}
	c.part()
	c.inject.close()
	c.endTaps()
	c.finish(to, leg.Event{Cause: cause})
	c.dismiss(source, cause)
}

// dismiss hangs up all legs but the one that has ended.
func (c *call) dismiss(source *side, cause leg.Cause) {
	cause.Local = true
	switch cause.Code { // what a server told us of our login is not for others
	case 401, 407:
		cause.Code = 403
	}
	sides := []*side{c.far, c.near}
	if u := c.user; u != nil {
		sides = append(sides, u.next)
		for s := range u.rings {
			if s != c.near {
				sides = append(sides, s)
			}
		}
	}
	for _, s := range sides {
		if s != nil && s != source {
			c.drop(s, cause)
		}
	}
}

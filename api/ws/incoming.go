package ws

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"lineout/calls"
	"lineout/calls/leg"
)

// line makes a session a device of its account.
type line struct{ s *session }

// Session implements leg.Member.
func (l line) Session() (id, appKey string) { return l.s.id, l.s.app }

// Via implements calls.Caller.
func (l line) Via() calls.Account { return l.s.account }

// Ring implements leg.Line. A session whose browser is away rings as well:
// the browser is told when it comes back.
func (l line) Ring(ctx context.Context, i leg.Invitation) (leg.Leg, error) {
	s := l.s
	p := s.server.deps.Phone
	c, err := s.add(i.CallID, true)
	if err != nil {
		return nil, fmt.Errorf("ring a browser: %w", err)
	}
	peer, err := p.Offer(ctx, i.Like, PeerOptions{ID: c.id, SessionID: s.id, SendSDP: c.sendSDP})
	if err != nil {
		c.end(nil)
		return nil, fmt.Errorf("ring a browser: %w", err)
	}
	r := &ringing{Peer: peer, c: c}
	stop := p.Calls.Watch(c.id, c.changed)
	c.mu.Lock()
	c.unwatch = stop
	c.leg, c.peer = r, peer
	c.invite = incomingCall{CallID: c.id, Incoming: true, Caller: i.Caller, Callee: i.Callee,
		VisibleName: cmp.Or(i.DisplayName, i.Caller, "anonymous")}
	c.invite.Caller = cmp.Or(i.Caller, "anonymous")
	c.timer = time.AfterFunc(s.server.config.RingTime, func() {
		c.hangup(leg.Cause{Code: 480, Kind: leg.RequestTimeout, Text: "nobody answered in the browser within ws.ring_time"})
	})
	c.mu.Unlock()
	if !s.work.run(c.serve) {
		c.hangup(leg.Cause{Text: "the browser's session has ended"})
		return r, nil
	}
	s.log.Info("browser is called", "call", c.id, "caller", i.Caller)
	s.inform("OnCallEvent", s.describe("callId", c.id, "caller", i.Caller, "callee", i.Callee, "incoming", true, "visibleName", c.invite.VisibleName))
	c.announce() // after it: what the page does next is told after it
	return r, nil
}

// announce tells the browser of the call: first the SDP, without which the
// page's answer would fail, and at last that it rings, without which the page
// could not reject it (8.2). Each socket of the session is told once: a browser
// that comes back while the call is being made is told by who is first, and a
// second SDP would wedge its page (P7).
func (c *call) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.s.current()
	if c.over || c.hung || c.invite.CallID == "" || k != nil && c.announced == k {
		return // without an invitation it is announced once that is complete
	}
	c.announced = k
	if k != nil {
		k.send("setRemoteSDP", c.id, c.sdp)
		k.send("notifyIncomingCall", c.invite)
	}
	c.say("ring", "RING")
}

// remind tells a browser that has come back what goes on. Calls its page does
// not know any more it ignores.
func (s *session) remind() {
	s.mu.Lock()
	var l []*call
	for _, c := range s.calls {
		l = append(l, c)
	}
	s.mu.Unlock()
	for _, c := range l {
		if c.ringing() {
			c.announce()
			continue
		}
		c.repeat()
	}
}

// repeat tells the newest status again.
func (c *call) repeat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != "" {
		c.say(c.last, c.status)
	}
}

// ringing is the leg of a browser that is called: when the call is taken back,
// the page is to know at once.
type ringing struct {
	Peer
	c *call
}

func (r *ringing) Hangup(ctx context.Context, cause leg.Cause) error {
	err := r.Peer.Hangup(ctx, cause)
	if r.c.ringing() {
		r.c.finish("FINISH", cause)
	}
	return err
}

// answerCall takes the browser's SDP. Whether it fits is seen here; ESTABLISHED
// comes from the registry once media can flow.
func answerCall(s *session, arg json.RawMessage) error {
	var m callMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	c := s.call(string(m.CallID))
	if c == nil || !c.incoming {
		s.unknownCall(string(m.CallID))
		return nil
	}
	c.mu.Lock()
	if c.answered || c.hung || c.over {
		c.mu.Unlock()
		return nil
	}
	c.answered = true
	c.stopTimer()
	p := c.peer
	c.mu.Unlock()
	s.inform("answer", s.describe("callId", c.id))
	if err := p.SetAnswer(string(m.SDP)); err != nil {
		c.fail(err)
		c.s.work.run(func() {
			c.hangUpLeg(p, leg.Cause{Code: 488, Kind: leg.NoCommonCodecs, Text: "the browser's answer cannot be used: " + err.Error()})
		})
	}
	return nil
}

package ws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"lineout/calls"
	"lineout/calls/leg"
)

const (
	// maxID bounds callIds; the SDK's are UUIDs.
	maxID = 128
	// Requests about a call that may wait for the one before.
	opQueue = 64
	// hangupTime is how long a call that is hung up may take to end before the
	// page is told so.
	hangupTime = 5 * time.Second
)

// call is a call as the browser knows it. What becomes of it the registry of
// calls tells; a goroutine of its own makes requests about it one after another.
type call struct {
	s        *session
	id       string
	incoming bool
	ctx      context.Context // ends with the call
	cancel   context.CancelFunc
	ops      chan func()
	news     chan struct{} // capacity 1: a status has been told

	mu   sync.Mutex
	leg  leg.Leg // nil before it is there
	peer Peer    // of a call to the browser
	sdp  string  // ours, once it was made
	// announced is the socket that was told of the invite last.
	announced *socket
	hung      bool // the browser does not want it any more
	answered  bool // of a call to the browser: it has taken it
	rang      bool
	over      bool
	told      int    // statuses so far
	last      string // message of the newest status
	status    string
	invite    incomingCall
	timer     *time.Timer // of ringing, or of the end
	unwatch   func()
}

// add makes a call of a session known by its id.
func (s *session) add(id string, incoming bool) (*call, error) {
	if !validID(id) {
		return nil, fmt.Errorf("the callId has to be 1 to %d printable characters without blanks", maxID)
	}
	c := &call{s: s, id: id, incoming: incoming, ops: make(chan func(), opQueue), news: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ctx.Err() != nil:
		return nil, errors.New("the browser's session has ended")
	case s.calls[id] != nil:
		return nil, errUsed
	case len(s.calls) >= s.server.config.MaxCalls:
		return nil, fmt.Errorf("this session has %d calls already (ws.max_calls_per_session)", len(s.calls))
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(s.ctx))
	s.calls[id] = c
	return c, nil
}

var errUsed = errors.New("the callId is in use")

func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for _, r := range id {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return true
}

func (s *session) call(id string) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[id]
}

// dropCalls hangs up the calls that are chosen.
func (s *session) dropCalls(why string, choose func(*call) bool) {
	s.mu.Lock()
	var l []*call
	for _, c := range s.calls {
		l = append(l, c)
	}
	s.mu.Unlock()
	for _, c := range l {
		if choose(c) {
			c.hangup(leg.Cause{Code: 480, Text: why})
		}
	}
}

// ringing says that the browser is called and has not answered.
func (c *call) ringing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.incoming && !c.answered
}

// hangup ends the call for the browser's side.
func (c *call) hangup(cause leg.Cause) {
	c.mu.Lock()
	if c.hung || c.over {
		c.mu.Unlock()
		return
	}
	c.hung = true
	if c.incoming && !c.answered {
		cause.Code, cause.Kind = cmp.Or(cause.Code, 603), leg.Rejected
	} else {
		cause.Code = 0
	}
	l := c.leg
	c.stopTimer()
	c.timer = time.AfterFunc(hangupTime, func() { c.finish("FINISH", leg.Cause{}) })
	c.mu.Unlock()
	if l == nil { // place gives up
		c.finish("FINISH", leg.Cause{})
		return
	}
	c.s.work.run(func() { c.hangUpLeg(l, cause) })
}

func (c *call) hangUpLeg(l leg.Leg, cause leg.Cause) {
	ctx, cancel := context.WithTimeout(context.Background(), hangupTime)
	defer cancel()
	if err := l.Hangup(ctx, cause); err != nil {
		c.s.log.Warn("hang up", "call", c.id, "err", err)
	}
}

func (c *call) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// sendSDP brings our SDP to the browser, once: a second one would be taken for
// an offer (P7). Of a call to the browser it waits for the announcement.
func (c *call) sendSDP(sdp string) {
	c.mu.Lock()
	first := c.sdp == "" && !c.over
	c.sdp = sdp
	c.mu.Unlock()
	switch {
	case !first:
		c.s.log.Error("a second SDP of a call is not sent", "call", c.id)
	case !c.incoming:
		c.s.send("setRemoteSDP", c.id, sdp)
	}
}

// changed is told of each change of the call, in order.
func (c *call) changed(i calls.Info) {
	if i.Status.Final() {
		if i.Target != "" && i.Status == calls.Finish {
			c.transferred()
		}
		c.finish(final(i.Status), i.Cause)
		return
	}
	if c.incoming && (i.SessionID != "" && i.SessionID != c.s.id) {
		return // another device of the account has it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.incoming && !c.answered {
		return
	}
	switch i.Status {
	case calls.Ring, calls.RingMedia:
		c.rang = true
		c.say("ring", "RING")
	case calls.SessionProgress:
		if !c.rang { // pages show nothing for it
			c.say("ring", "RING")
		}
		c.say("ring", "SESSION_PROGRESS")
	case calls.Established:
		c.say("talk", "ESTABLISHED")
	case calls.Hold:
		c.say("hold", "HOLD")
	}
}

// say tells a status. c.mu is held, which keeps statuses in order.
func (c *call) say(message, status string) {
	if c.over {
		return
	}
	c.last, c.status = message, status
	c.told++
	c.s.send(message, callStatus{CallID: c.id, Status: status})
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// final is what pages are told of a call that is over: those of the SDK do not
// know BUSY (8.1).
func final(s calls.Status) string {
	if s == calls.Finish {
		return "FINISH"
	}
	return "FAILED"
}

// finish tells the end of the call, once, and forgets it.
func (c *call) finish(status string, cause leg.Cause) {
	c.mu.Lock()
	if c.hung || c.incoming && !c.answered {
		status = "FINISH"
	}
	c.mu.Unlock()
	m := callStatus{CallID: c.id, Status: status, Info: cause.Kind.Info(), SIPStatus: cause.Code}
	if status != "FINISH" {
		m.Reason = cause.Text
	}
	c.end(&m)
}

// end forgets the call, and tells m of it unless it is nil.
func (c *call) end(m *callStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	c.stopTimer()
	if m != nil {
		c.s.send("finish", *m)
	}
	c.cancel()
	s := c.s
	s.mu.Lock()
	delete(s.calls, c.id)
	s.mu.Unlock()
	if c.unwatch != nil {
		s.work.run(c.unwatch) // not here: it may be the watcher that told us
	}
}

// placeCall makes a call. It is answered at once: until then a hang up would
// not be told to us (P3).
func placeCall(s *session, arg json.RawMessage) error {
	var m callMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	c, err := s.add(string(m.CallID), false)
	switch {
	case errors.Is(err, errUsed):
		return err // an end would end the call that has this id
	case err == nil && s.server.deps.Phone == nil:
		err = errors.New("this server has no telephones")
	case err == nil && s.account.Login == "":
		err = errors.New("this session has no SIP account to call with")
	case err == nil && m.Callee == "":
		err = errors.New("no callee is given")
	}
	if err != nil {
		s.send("finish", callStatus{CallID: string(m.CallID), Status: "FAILED", Info: leg.Setup.Info(), Reason: err.Error()})
		if c != nil {
			c.end(nil)
		}
		return nil
	}
	s.send("notifyTryingResponse", callStatus{CallID: c.id, Status: "TRYING"})
	if !s.work.run(func() { c.place(m) }) {
		c.end(nil)
	}
	return nil
}

// place is the goroutine of a call the browser makes.
func (c *call) place(m callMessage) {
	s := c.s
	p := s.server.deps.Phone
	select { // pages call as soon as the session is there, registered or not
	case <-s.signed:
	case <-c.ctx.Done():
		return
	}
	l, in, err := p.Accept(c.ctx, string(m.SDP), PeerOptions{ID: c.id, SessionID: s.id, SendSDP: c.sendSDP})
	if err != nil {
		c.fail(err)
		return
	}
	c.mu.Lock()
	c.leg = l
	gone := c.over
	c.mu.Unlock()
	if gone {
		c.discard(l, leg.Cause{Text: "the browser has hung up"})
		return
	}
	a := s.account
	a.DisplayName = string(m.VisibleName)
	in.CallID, in.Caller, in.Callee, in.DisplayName, in.Source = c.id, a.Login, string(m.Callee), a.DisplayName, s.remote
	if a.Local {
		in.User = p.Account(a)
	}
	if err := s.ask("call", s.describe("callId", c.id, "callee", in.Callee, "caller", in.Caller, "incoming", false,
		"hasAudio", in.HasAudio, "hasVideo", in.HasVideo, "visibleName", in.DisplayName)); err != nil {
		c.discard(l, leg.Cause{Code: 403, Kind: leg.Rejected, Text: "the application refuses: " + err.Error()})
		return
	}
	s.log.Info("browser calls", "call", c.id, "callee", in.Callee)
	if r := p.Calls.Place(c.ctx, in, l, a, c.changed); r != nil {
		s.log.Info("browser's call cannot be placed", "call", c.id, "callee", in.Callee, "err", r)
		c.discard(l, leg.Cause{Code: r.Code, Kind: leg.Rejected, Text: r.Error()})
		return
	}
	c.serve()
}

// discard ends a leg nobody else has.
func (c *call) discard(l leg.Leg, cause leg.Cause) {
	c.finish("FAILED", cause)
	c.hangUpLeg(l, cause)
	for range l.Events() {
	}
}

func (c *call) fail(err error) {
	c.s.log.Info("browser's call failed", "call", c.id, "err", err)
	var i interface{ CallInfo() string }
	info := leg.Internal.Info()
	if errors.As(err, &i) {
		info = i.CallInfo()
	}
	c.end(&callStatus{CallID: c.id, Status: "FAILED", Info: info, Reason: err.Error()})
}

package ws

import (
	"context"
	"encoding/json"
	"time"

	"lineout/calls/leg"
)

const (
	// opTime bounds a request about a call.
	opTime = 20 * time.Second
	// settle is how long the status that follows from a request may come after it.
	settle = time.Second
)

// wanted is the status a request is for.
var wanted = map[string]string{"hold": "HOLD", "unhold": "ESTABLISHED"}

// serve makes requests about the call one after another until it ends.
func (c *call) serve() {
	for {
		select {
		case f := <-c.ops:
			f()
		case <-c.ctx.Done():
			return
		}
	}
}

// unknownCall ends a call of the page that is none here, so that its user can
// make another.
func (s *session) unknownCall(id string) {
	s.send("finish", callStatus{CallID: id, Status: "FINISH", Info: leg.Normal.Info(), Reason: "there is no such call"})
}

func hangupCall(s *session, arg json.RawMessage) error {
	var m callMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	c := s.call(string(m.CallID))
	if c == nil {
		s.unknownCall(string(m.CallID))
		return nil
	}
	s.inform("hangup", s.describe("callId", c.id))
	c.hangup(leg.Cause{Text: "hung up in the browser"})
	return nil
}

// request is the handler of a request about a call: pages that asked for something wait for a
// status, so one that fails is answered by the status that is.
func request(method string, do func(ctx context.Context, p Calls, m callMessage) error) func(*session, json.RawMessage) error {
	return func(s *session, arg json.RawMessage) error {
		var m callMessage
		if err := json.Unmarshal(orObject(arg), &m); err != nil {
			return err
		}
		c := s.call(string(m.CallID))
		if c == nil {
			s.unknownCall(string(m.CallID))
			return nil
		}
		op := func() {
			select {
			case <-c.news:
			default:
			}
			c.mu.Lock()
			before, already := c.told, c.status == wanted[method]
			c.mu.Unlock()
			s.inform(method, s.describe("callId", c.id, "target", string(m.Target), "dtmf", string(m.DTMF), "type", string(m.Type)))
			ctx, cancel := context.WithTimeout(c.ctx, opTime)
			defer cancel()
			err := do(ctx, s.server.deps.Phone.Calls, m)
			if c.ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Info("browser's request about a call failed", "call", c.id, "request", method, "err", err)
				s.send("fail", failure{APIMethod: method, ID: c.id, Status: "FAILED", Info: err.Error()})
			}
			if err == nil && wanted[method] != "" && !already {
				c.awaitNews()
			}
			c.mu.Lock()
			same := c.told == before
			c.mu.Unlock()
			if same && (wanted[method] != "" || err != nil && method == "transfer") {
				c.repeat()
			}
		}
		select {
		case c.ops <- op:
		default:
			s.send("fail", failure{APIMethod: method, ID: c.id, Status: "FAILED", Info: "too many requests about this call wait already"})
		}
		return nil
	}
}

// awaitNews waits for the status that follows from a request: to repeat the one
// before would make the page think that the request has come to nothing.
func (c *call) awaitNews() {
	limit := time.NewTimer(settle)
	defer limit.Stop()
	select {
	case <-c.news:
	case <-limit.C:
	case <-c.ctx.Done():
	}
}

func hold(ctx context.Context, p Calls, m callMessage) error {
	return p.Hold(ctx, string(m.CallID), true)
}

func unhold(ctx context.Context, p Calls, m callMessage) error {
	return p.Hold(ctx, string(m.CallID), false)
}

func sendDTMF(ctx context.Context, p Calls, m callMessage) error {
	return p.SendDTMF(ctx, string(m.CallID), string(m.DTMF), string(m.Type))
}

func transfer(ctx context.Context, p Calls, m callMessage) error {
	return p.Transfer(ctx, string(m.CallID), string(m.Target), "")
}

// transferred tells that the other party talks to somebody else now. Nothing is
// told before: any other status makes the SDK keep the call's media for the
// next one (8.4).
func (c *call) transferred() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.s.inform("TransferStatusEvent", c.s.describe("callId", c.id, "status", "COMPLETED"))
		c.s.send("notifyTransferEvent", transferStatus{CallID: c.id, Status: "COMPLETED"})
	}
}

package calls

import (
	"context"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// Transfer asks the other party of a call to call target, or, when replaces is
// the callId of another call here, to talk to that call's party in our place
// (S1-5). It returns when the other party has agreed to try; the call ends once
// that has worked, and goes on if it has not.
func (m *Manager) Transfer(ctx context.Context, id, target, replaces string) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	if (target == "") == (replaces == "") {
		return fault.New(fault.BadRequest, "a transfer needs one of target and replaces")
	}
	t, ok := c.other().(leg.Transferer)
	if !ok {
		return fault.New(fault.Internal, "call %q cannot be transferred: its leg does not know how", id)
	}
	if err := t.Transfer(ctx, target, replaces); err != nil {
		return err
	}
	c.update(func(i *Info) { i.Target = target })
	return nil
}

// transferred follows the progress of a transfer.
func (c *call) transferred(e leg.Event) {
	switch {
	case e.Code < 200:
	case e.Code < 300:
		c.log.Info("call was transferred", "sip", e.Code)
		c.end(leg.Cause{Local: true, Text: "transferred"})
	default:
		c.log.Warn("call could not be transferred, it goes on", "sip", e.Code, "text", e.Text)
		c.update(func(i *Info) { i.Target = "" })
	}
}

// SendMessage sends a text to the other party of a call (S0-4).
func (m *Manager) SendMessage(ctx context.Context, id, text string) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	l, ok := c.other().(leg.Messenger)
	if !ok {
		return fault.New(fault.Internal, "call %q carries no messages", id)
	}
	return l.SendMessage(ctx, text)
}

// SendText sends a text outside of a call, from an account to r's callee (S0-4).
func (m *Manager) SendText(ctx context.Context, r Request, contentType, text string) error {
	t, ok := m.d.Dialer.(leg.Texter)
	if !ok {
		return fault.New(fault.Internal, "messages outside of calls cannot be sent here")
	}
	if r.Callee == "" {
		return fault.New(fault.BadRequest, "key %q is missing", "callee")
	}
	return t.SendText(ctx, leg.Request{Callee: r.Callee, Caller: r.Caller, DisplayName: r.VisibleName,
		Login: r.SIPLogin, AuthName: r.SIPAuthName, Password: r.SIPPassword, Domain: r.SIPDomain, Proxy: r.SIPProxy, Port: r.SIPPort}, contentType, text)
}

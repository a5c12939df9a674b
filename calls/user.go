package calls

import (
	"context"

	"lineout/calls/leg"
)

// Account is how a user of this server reaches whom it calls.
type Account struct {
	// Login, AuthName and Password are the SIP account, Domain is that of From and
	// To; Proxy, Port and Transport say where requests go, as in leg.Request.
	Login, AuthName, Password string
	Domain, Proxy             string
	Port                      int
	Transport                 string
	// Local says that the account is one of this server: calls to other such
	// accounts stay inside.
	Local bool
	// DisplayName is told to the callee; the caller's own, if it is empty.
	DisplayName string
	// SessionID is that of the browser that calls, "" for a phone. AppKey and
	// Custom are shown with the call.
	SessionID, AppKey string
	Custom            map[string]any
}

// Place makes a call for a user of this server: l has called, a browser or a
// registered phone. in.CallID is the user's. watch, if not nil, is told of each
// change of the call in order, from its first status on; it must not block. The
// leg's events are to be left to the manager if Place returns nil.
func (m *Manager) Place(ctx context.Context, in leg.Incoming, l leg.Inbound, via Account, watch func(Info)) *leg.Refusal {
	return &leg.Refusal{Code: 501, Text: "Not Implemented"}
}

// Attach implements leg.Switchboard.
func (m *Manager) Attach(account string, l leg.Line) (detach func()) {
	return func() {}
}

// Watch calls f on each change of a call, in order, from now on until stop or
// the call's end. f must not block. Of a call that rings several lines it says
// by SessionID which of them has it, once one has answered. An unknown call
// changes no more.
func (m *Manager) Watch(callID string, f func(Info)) (stop func()) {
	return func() {}
}

package server

import (
	"context"

	"lineout/hooks"
)

// sessionHooks bring what browser sessions do to the CallApp addresses. They
// are notifications: nobody is waited for, so nobody refuses.
type sessionHooks struct{ *hooks.Notifier }

// Ask implements ws.Hooks.
func (h sessionHooks) Ask(_ context.Context, session, method string, body map[string]any) error {
	h.Session(session, method, body)
	return nil
}

// Tell implements ws.Hooks.
func (h sessionHooks) Tell(session, method string, body map[string]any) {
	h.Session(session, method, body)
}

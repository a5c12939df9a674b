package rest

import (
	"context"

	"lineout/api/loose"
	"lineout/calls"
)

// tapRequest is the body of /call/tap and /call/untap, additions to the
// documented methods.
type tapRequest struct {
	CallID   loose.String `json:"callId"`
	ToStream loose.String `json:"toStream"`
	Side     loose.String `json:"side"`
	Record   loose.Bool   `json:"record"`
}

// callTap makes a named stream of a user's call while that goes on.
func (a *API) callTap(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	var q tapRequest
	if err := decode(&q); err != nil {
		return nil, err
	}
	return nil, a.Calls.Tap(ctx, calls.Tap{CallID: id, ToStream: string(q.ToStream), Side: string(q.Side), Record: q.Record.Or(false)})
}

// callUntap ends such a stream; the call goes on.
func (a *API) callUntap(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	var q tapRequest
	if err := decode(&q); err != nil {
		return nil, err
	}
	return nil, a.Calls.Untap(ctx, id, string(q.ToStream))
}

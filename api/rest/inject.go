package rest

import (
	"context"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/outputs"
)

// callInject sends something to the other party of a call: a live stream, or a
// sound file (rest-api 2.7).
func (a *API) callInject(sound bool) outputs.Method {
	return func(ctx context.Context, decode func(any) error) (any, error) {
		id, err := callID(decode)
		if err != nil {
			return nil, err
		}
		var q struct {
			StreamName loose.String `json:"streamName"`
			FileName   loose.String `json:"fileName"`
		}
		if err := decode(&q); err != nil {
			return nil, err
		}
		switch {
		case sound && q.FileName == "":
			return nil, fault.New(fault.BadRequest, "key %q is missing", "fileName")
		case sound:
			return nil, a.Calls.InjectSound(ctx, id, string(q.FileName))
		case q.StreamName == "":
			return nil, fault.New(fault.BadRequest, "key %q is missing", "streamName")
		}
		return nil, a.Calls.InjectStream(ctx, id, string(q.StreamName))
	}
}

// callEndInjection ends what is sent, be it a stream or a file.
func (a *API) callEndInjection(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	return nil, a.Calls.EndInjection(ctx, id)
}

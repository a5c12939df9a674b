package rest

import (
	"context"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/calls"
)

// callAnswer is an addition to the documented methods: it takes a call to this
// server that its route leaves to the API (rest-api 2.11).
func (a *API) callAnswer(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	var q struct {
		ToStream   loose.String `json:"toStream"`
		RTMPURL    loose.String `json:"rtmpUrl"`
		RTMPStream loose.String `json:"rtmpStream"`
		HasAudio   loose.Bool   `json:"hasAudio"`
		HasVideo   loose.Bool   `json:"hasVideo"`
		Record     loose.Bool   `json:"record"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	return nil, a.Calls.Answer(ctx, calls.Answer{CallID: id, ToStream: string(q.ToStream), RTMPURL: string(q.RTMPURL), RTMPStream: string(q.RTMPStream),
		HasAudio: given(q.HasAudio), HasVideo: given(q.HasVideo), Record: given(q.Record)})
}

// callReject is an addition, as callAnswer.
func (a *API) callReject(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	var q struct {
		Code loose.Int `json:"code"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	code := q.Code.Or(0)
	if code != 0 && (code < 400 || code > 699) {
		return nil, fault.New(fault.BadRequest, "key %q: %d is not a SIP status from 400 to 699", "code", code)
	}
	return nil, a.Calls.Reject(ctx, id, int(code))
}

// given is nil for a key that is missing.
func given(b loose.Bool) *bool {
	if !b.Set {
		return nil
	}
	return &b.Value
}

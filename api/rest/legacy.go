package rest

import (
	"context"

	"lineout/api/fault"
	"lineout/calls"
	"lineout/outputs"
)

// legacyMethods is the /RESTCall interface of the first SIP as RTMP page: the
// same methods under older names, the status as plain text.
func (a *API) legacyMethods() map[string]outputs.Method {
	return map[string]outputs.Method{
		"call":      a.callStartup,
		"getStatus": a.legacyStatus,
		"getCalls":  a.callFindAll,
		"sendDTMF":  a.callSendDTMF,
		"hangup":    a.callTerminate,
	}
}

func (a *API) legacyStatus(_ context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	found := a.Calls.Find(calls.Filter{CallID: id})
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "there is no call %q", id)
	}
	return text(found[0].Status), nil
}

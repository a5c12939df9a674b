package rest

import (
	"context"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// registrationObject is one SIP account that is or should be registered. The
// method is an addition to the documented ones.
type registrationObject struct {
	SIPLogin  string `json:"sipLogin"`
	SIPDomain string `json:"sipDomain"`
	Server    string `json:"server"`
	// Standing accounts are those of sip_accounts; others are registered by calls.
	Standing bool `json:"standing"`
	// Status is REGISTERED, FAILED, or PENDING before the first answer.
	Status string `json:"status"`
	// Expires and Next are seconds from now: until the binding ends, until the
	// next REGISTER.
	Expires  *int    `json:"expires"`
	Next     *int    `json:"next"`
	Failures int     `json:"failures"`
	Error    *string `json:"error"`
	Code     *int    `json:"sipStatus"`
	Calls    int     `json:"calls"`
}

func (a *API) registrationFindAll(context.Context, func(any) error) (any, error) {
	var found []leg.Registration
	if a.Registrations != nil {
		found = a.Registrations()
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "no SIP account is registered or should be")
	}
	now := a.Now()
	left := func(at time.Time) *int {
		if at.IsZero() || at.Before(now) {
			return nil
		}
		s := int(at.Sub(now) / time.Second)
		return &s
	}
	out := make([]registrationObject, 0, len(found))
	for _, r := range found {
		o := registrationObject{SIPLogin: r.Login, SIPDomain: r.Domain, Server: r.Server, Standing: r.Standing, Status: "PENDING",
			Expires: left(r.Expires), Next: left(r.Next), Failures: r.Failures, Error: null(r.Error), Code: null(r.Code), Calls: r.Calls}
		switch {
		case r.Registered:
			o.Status = "REGISTERED"
		case r.Failures > 0:
			o.Status = "FAILED"
		}
		out = append(out, o)
	}
	return out, nil
}

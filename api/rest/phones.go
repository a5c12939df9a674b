package rest

import (
	"context"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// phoneObject is one SIP phone of a user that is registered at this server. The
// method is an addition to the documented ones.
type phoneObject struct {
	SIPLogin  string `json:"sipLogin"`
	SIPDomain string `json:"sipDomain"`
	Contact   string `json:"contact"`
	Source    string `json:"source"`
	UserAgent string `json:"userAgent"`
	Expires   int    `json:"expires"` // seconds from now
}

func (a *API) userFindAll(context.Context, func(any) error) (any, error) {
	var found []leg.Phone
	if a.Phones != nil {
		found = a.Phones()
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "no SIP phone is registered at this server")
	}
	out := make([]phoneObject, 0, len(found))
	for _, p := range found {
		out = append(out, phoneObject{SIPLogin: p.Login, SIPDomain: p.Domain, Contact: p.Contact, Source: p.Source, UserAgent: p.Agent,
			Expires: int(max(p.Expires.Sub(a.Now()), 0) / time.Second)})
	}
	return out, nil
}

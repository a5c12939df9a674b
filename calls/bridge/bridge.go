// Package bridge joins the media of two legs. What both have agreed on is
// passed on as it is, on the goroutine that received it; other sound is
// converted packet by packet, behind no more delay than it takes to put
// packets in order. It knows leg.Forwarder and no protocol.
package bridge

import (
	"context"
	"log/slog"
	"sync"

	"lineout/calls/leg"
	"lineout/codecs"
)

// Options are what a bridge may be told. The zero value is fine.
type Options struct {
	// Log is for what an operator must know; nil for nothing.
	Log *slog.Logger
}

// Bridge joins two legs, A and B. Its methods are safe for concurrent use, but
// packets of one kind come from one goroutine, as Media.Run delivers them.
type Bridge struct {
	log   *slog.Logger
	table *codecs.Table
	a, b  leg.Forwarder

	mu sync.Mutex
}

// New joins two legs whose media was agreed on. Receiving stays with the
// caller, who gives what a's Run delivers to FromA and what b's does to FromB.
// What is converted flows while Run does.
func New(a, b leg.Forwarder, table *codecs.Table, o Options) *Bridge {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Bridge{log: log, table: table, a: a, b: b}
}

// FromA takes a packet that A received. It does not block.
func (b *Bridge) FromA(p leg.Packet) {}

// FromB takes a packet that B received. It does not block.
func (b *Bridge) FromB(p leg.Packet) {}

// Run converts until ctx ends. It owns the goroutines of the bridge.
func (b *Bridge) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// MediaChanged is to be called when a leg's media was agreed on anew
// (leg.MediaChanged, leg.Held, leg.Resumed). Kinds that stay as they are go on
// undisturbed.
func (b *Bridge) MediaChanged() {}

// KeyframeWantedByA passes on a request for a key frame that A's leg told of by
// leg.KeyframeWanted. Those by RTCP are seen in FromA.
func (b *Bridge) KeyframeWantedByA() {}

// KeyframeWantedByB is KeyframeWantedByA for B.
func (b *Bridge) KeyframeWantedByB() {}

// PassesEvents says whether telephone-events that come by RTP are passed on to
// the other leg by RTP. If not, digits are to be sent by its SendDTMF when
// leg.DTMFReceived tells of them.
func (b *Bridge) PassesEvents() (aToB, bToA bool) { return false, false }

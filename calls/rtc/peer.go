package rtc

import (
	"context"

	"lineout/calls/leg"
)

// Peer is one browser: a leg.Inbound when it has called, a leg.Leg when it is
// called, and a source of media when it publishes.
type Peer struct{ events chan leg.Event }

// Events implements leg.Leg.
func (p *Peer) Events() <-chan leg.Event { return p.events }

// SetAnswer takes the browser's answer to Offer. Answered follows on Events
// once ICE and DTLS are up, or Ended.
func (p *Peer) SetAnswer(sdp string) error { return errNotYet }

// Connected is closed when ICE and DTLS are up.
func (p *Peer) Connected() <-chan struct{} { return nil }

// Media is what the peer sends and receives; it is there from the time our SDP
// is made, nil before.
func (p *Peer) Media() leg.Forwarder { return nil }

// Ring implements leg.Inbound.
func (p *Peer) Ring(t leg.Terms, media bool) {}

// Answer implements leg.Inbound.
func (p *Peer) Answer(t leg.Terms) {}

// SendDTMF implements leg.Leg by telephone-events (RFC 4733), whichever way is asked for.
func (p *Peer) SendDTMF(ctx context.Context, digits string, how leg.DTMF) error { return errNotYet }

// Hold implements leg.Leg.
func (p *Peer) Hold(ctx context.Context) error { return errNotYet }

// Resume implements leg.Leg.
func (p *Peer) Resume(ctx context.Context) error { return errNotYet }

// Hangup implements leg.Leg.
func (p *Peer) Hangup(ctx context.Context, c leg.Cause) error { return errNotYet }

var _ leg.Inbound = (*Peer)(nil)

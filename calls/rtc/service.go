// Package rtc makes a browser a leg of a call: it agrees on the media by one
// SDP each way, without trickle ICE, and carries RTP both ways over ICE and
// DTLS-SRTP. Who brings the SDP to the browser and back is not its business.
package rtc

import (
	"context"
	"errors"
	"log/slog"

	"lineout/calls/leg"
	"lineout/codecs"
)

// Service makes peers.
type Service struct {
	config Config
	table  *codecs.Table
	log    *slog.Logger
}

// Options are what the signalling side knows of a peer.
type Options struct {
	// ID is the call's or stream's id, for logs.
	ID string
	// SessionID names the signalling session, for logs.
	SessionID string
	Log       *slog.Logger
	// SendSDP is called at most once, when our SDP is ready. It must not block.
	SendSDP func(sdp string)
}

var errNotYet = errors.New("calls of browsers are not served")

// Accept takes the offer of a browser that calls. The peer makes its answer by
// Ring with media or Answer; errors are *Error.
func (s *Service) Accept(ctx context.Context, offer string, o Options) (*Peer, leg.Incoming, error) {
	return nil, leg.Incoming{}, errNotYet
}

// Offer makes an offer to a browser that is called, of what like holds; its
// answer is to be given to SetAnswer. SendSDP has been called when it returns.
func (s *Service) Offer(ctx context.Context, like []leg.TrackInfo, o Options) (*Peer, error) {
	return nil, errNotYet
}

// Publish answers the offer of a browser that sends only. Media is there once
// the peer is connected.
func (s *Service) Publish(ctx context.Context, offer string, o Options) (*Peer, error) {
	return nil, errNotYet
}

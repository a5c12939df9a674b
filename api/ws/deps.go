package ws

import (
	"context"
	"log/slog"
	"net/netip"

	"lineout/calls"
	"lineout/calls/leg"
	"lineout/pipeline"
)

// Deps are the parts of the server a session acts on.
type Deps struct {
	// Stream finds a stream by name, nil if there is none.
	Stream func(name string) *pipeline.Stream
	// Play answers a player; it waits for the stream to be ready. An error
	// with a method StreamInfo() string brings its own info text.
	Play func(ctx context.Context, r PlayRequest) (p Playback, answer string, err error)
	// Publish answers a publisher and reserves its stream's name. An error with a
	// method StreamInfo() string brings its own info text. Nil: nobody publishes.
	Publish func(ctx context.Context, r PublishRequest) (Publication, error)
	// Snapshot is a picture of a stream as PNG. Nil: this server makes none.
	Snapshot func(ctx context.Context, s *pipeline.Stream) ([]byte, error)
	// Phone makes and takes calls. Nil: sessions are for players only.
	Phone *Phone
	// Hooks tell the operator's programs what sessions do. Nil: there are none.
	Hooks Hooks
	Log   *slog.Logger
}

// Hooks tell the operator's programs of what a session does, by the names of
// the hooks reference. The body holds the session's appKey, and no password; it is
// theirs from then on. What is told and asked of one session arrives in order.
type Hooks interface {
	// Ask may wait for the answer; an error says that the program refuses, and why.
	Ask(ctx context.Context, session, method string, body map[string]any) error
	// Tell does not wait.
	Tell(session, method string, body map[string]any)
}

// PlayRequest is one playStream.
type PlayRequest struct {
	Stream *pipeline.Stream
	// Offer is the player's SDP.
	Offer string
	// ID is the player's mediaSessionId, SessionID the WebSocket session's.
	ID, SessionID string
}

// Playback is a player that was answered.
type Playback interface {
	// Connected is closed when ICE and DTLS are up; media waits for Start.
	Connected() <-chan struct{}
	Start()
	// Stop ends it with one of the info texts, the first of which stays.
	Stop(reason string)
	// Ended is closed when it ends, for whatever reason; then Reason is its
	// info text. Done is closed when everything is freed.
	Ended() <-chan struct{}
	Reason() string
	Done() <-chan struct{}
}

// Phone is what it takes for a session to be a telephone.
type Phone struct {
	Calls Calls
	// Accept takes the offer of a browser that calls, Offer makes one to a browser
	// that is called (package calls/rtc). An error with a method CallInfo() string
	// brings its own info text.
	Accept func(ctx context.Context, offer string, o PeerOptions) (leg.Inbound, leg.Incoming, error)
	Offer  func(ctx context.Context, like []leg.TrackInfo, o PeerOptions) (Peer, error)
	// Local says whether an account is of this server, and Account is the name such
	// a one is called by; Check says whether somebody at an address may use it.
	Local   func(a calls.Account) bool
	Account func(a calls.Account) string
	Check   func(login, domain, password string, remote netip.Addr) error
	// Register keeps an account registered at its SIP server until release. It
	// returns when that has taken it or refused, which changed is told before, as of
	// each change after.
	Register func(ctx context.Context, r leg.Request, changed func(leg.Registration)) (account string, release func(), err error)
}

// Calls is the registry of calls.
type Calls interface {
	// Place makes a call for the user of a session, whose side of it is l. watch is
	// told of each change in order.
	Place(ctx context.Context, in leg.Incoming, l leg.Inbound, via calls.Account, watch func(calls.Info)) *leg.Refusal
	// Attach lets an account be called by the line.
	Attach(account string, l leg.Line) (detach func())
	// Watch tells of each change of a call from now on, in order.
	Watch(callID string, f func(calls.Info)) (stop func())
	Hold(ctx context.Context, id string, hold bool) error
	SendDTMF(ctx context.Context, id, digits, how string) error
	Transfer(ctx context.Context, id, target, replaces string) error
}

// PeerOptions are what calls/rtc is told of a browser.
type PeerOptions struct {
	ID, SessionID string
	// SendSDP is called once, with our SDP.
	SendSDP func(sdp string)
}

// Peer is a browser that is called.
type Peer interface {
	leg.Leg
	// SetAnswer takes the browser's SDP.
	SetAnswer(sdp string) error
}

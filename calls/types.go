// Package calls makes calls and keeps them: it reserves names before anything
// is dialled, drives each call's state machine, taps what the other party
// sends into a named stream, and tells observers of every change. It knows no
// protocol: legs come from a leg.Dialer.
package calls

import (
	"lineout/calls/leg"
)

// Request is what /call/startup asks for (rest-api 2.1).
type Request struct {
	CallID, Callee, Caller, VisibleName string
	// ToStream is the name of the stream on this server; when empty and
	// RTMPStream is given, the call's stream is named after the call.
	ToStream            string
	RTMPURL, RTMPStream string
	// HasAudio and HasVideo say whether we send (sendrecv) or only receive (S2-24, S2-25).
	HasAudio, HasVideo bool

	SIPLogin, SIPAuthName, SIPPassword string
	SIPDomain, SIPProxy                string
	SIPPort                            int
	// SIPTransport is udp, tcp or tls, SIPSRTP off, secure, optional or
	// required; when empty, the server's address or the settings say.
	SIPTransport, SIPSRTP string
	Register              bool

	AppKey string
	Custom map[string]any
}

// Filter selects calls; empty fields match all, the others are joined by AND.
type Filter struct {
	CallID, Callee, RTMPURL, Status, StreamName string
}

// Status is the state of a call as clients see it (CALL_STATUS).
type Status string

// The statuses (rest-api 2.9).
const (
	New             Status = "NEW"
	Pending         Status = "PENDING"
	Trying          Status = "TRYING"
	Ring            Status = "RING"
	RingMedia       Status = "RING_MEDIA"
	SessionProgress Status = "SESSION_PROGRESS"
	Established     Status = "ESTABLISHED"
	Hold            Status = "HOLD"
	Busy            Status = "BUSY"
	Finish          Status = "FINISH"
	Failed          Status = "FAILED"
)

// Final says that the call is over.
func (s Status) Final() bool { return s == Busy || s == Finish || s == Failed }

// The four values of rtmpStreamStatus (S2-28).
const (
	RTMPWait   = "RTMP_STREAM_WAIT"
	RTMPActive = "RTMP_STREAM_ACTIVE"
	RTMPLost   = "RTMP_CONNECTION_LOST"
	RTMPFailed = "RTMP_CONNECTION_FAILED"
)

// Info is a snapshot of a call, with the keys of S2-13 in mind; empty strings
// and zero codes are null in the REST answer.
type Info struct {
	Custom           map[string]any
	NodeID           string
	AppKey           string
	SessionID        string
	CallID           string
	ParentCallID     string
	Incoming         bool
	Status           Status
	SIPStatus        int
	RTMPURL          string // as given, with user, password and query values masked
	RTMPStream       string
	StreamName       string
	RTMPStreamStatus string
	Caller, Callee   string
	HasAudio         bool
	HasVideo         bool
	SDP              string // the caller's offer, of calls to us
	SIPMessage       string // the INVITE, of calls to us, without secrets
	VisibleName      string
	InviteParameters map[string]string
	MediaProvider    string // "Flash" for calls made by REST (S2-29)
	Target           string
	HoldForTransfer  bool
	// Cause is set once the call is over.
	Cause   leg.Cause
	rtmpURL string // as given: two targets may differ in their keys only
	// MediaSessionID is the id of the call's stream.
	MediaSessionID string
}

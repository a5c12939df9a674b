package webrtc

import (
	"lineout/api/fault"
)

// Reason says why a viewer ended. Its text is what the WebSDK's pages compare,
// so it is part of the protocol (STREAM_STATUS_INFO).
type Reason string

// The reasons for which a viewer ends.
const (
	ByUser       Reason = "Stopped by user"
	ByDisconnect Reason = "Stopped by session disconnect"
	ByTerminate  Reason = "Stopped by rest /terminate"
	ByPublisher  Reason = "Stopped by publisher stop"
	ByICETimeout Reason = "Failed by ICE timeout"
	ByKeepAlive  Reason = "Failed by ICE keep alive"
	ByDTLS       Reason = "Failed by DTLS error"
	ByError      Reason = "Failed by error"
)

// Stopped says that the end was asked for by the viewer or an operator. Every
// other end is a failure in the eyes of a player, which may try again.
func (r Reason) Stopped() bool {
	return r == ByUser || r == ByDisconnect || r == ByTerminate
}

// PlayError is why Play refused: Info is the text for a WebSDK player and Code
// the class for HTTP.
type PlayError struct {
	Info string
	Code fault.Code
	Err  error
}

func (e *PlayError) Error() string { return e.Err.Error() }

// Unwrap gives access to the class (fault.CodeOf) and the cause.
func (e *PlayError) Unwrap() []error { return []error{e.Err, &fault.Error{Code: e.Code, Err: e.Err}} }

// StreamInfo is the text for notifyStreamStatusEvent's info field.
func (e *PlayError) StreamInfo() string { return e.Info }

package webrtc

import (
	"lineout/api/fault"
)

// Why a viewer ends. The texts are what the WebSDK's pages compare, so they
// are part of the protocol (STREAM_STATUS_INFO).
const (
	ByUser       = "Stopped by user"
	ByDisconnect = "Stopped by session disconnect"
	ByTerminate  = "Stopped by rest /terminate"
	ByPublisher  = "Stopped by publisher stop"
	ByICETimeout = "Failed by ICE timeout"
	ByKeepAlive  = "Failed by ICE keep alive"
	ByDTLS       = "Failed by DTLS error"
	ByError      = "Failed by error"
)

// failed says that an end was nobody's wish.
func failed(reason string) bool {
	switch reason {
	case ByUser, ByDisconnect, ByTerminate, ByPublisher:
		return false
	}
	return true
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

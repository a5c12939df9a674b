package publish

import (
	"errors"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// Why a publication ends. The texts are what the WebSDK's pages compare, so
// they are part of the protocol (STREAM_STATUS_INFO).
const (
	ByUser       = "Stopped by user"
	ByDisconnect = "Stopped by session disconnect"
	ByTerminate  = "Stopped by rest /terminate"
	ByRTMP       = "Failed by RTMP writer error"
	ByError      = "Failed by error"
	NoCodecs     = "No common codecs"
	NameInUse    = "Stream name is already in use"
	IDInUse      = "MediaSessionId is already in use"

	// byPublisher is what players are told.
	byPublisher = "Stopped by publisher stop"
	byServer    = "The server is stopping"
)

// Wanted says that an end with this reason was somebody's wish.
func Wanted(reason string) bool {
	switch reason {
	case ByUser, ByDisconnect, ByTerminate, byServer:
		return true
	}
	return false
}

// ended is the reason that a peer's end is.
func ended(c leg.Cause, err error) string {
	if c.Kind == leg.Normal {
		return ByUser
	}
	return info(err)
}

// info is the text that an error brings along.
func info(err error) string {
	var i interface{ StreamInfo() string }
	if errors.As(err, &i) {
		return i.StreamInfo()
	}
	return ByError
}

// Error is why Publish refused: Info is the text for a WebSDK publisher and
// Code the class for HTTP.
type Error struct {
	Info string
	Code fault.Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives access to the class (fault.CodeOf) and the cause.
func (e *Error) Unwrap() []error { return []error{e.Err, &fault.Error{Code: e.Code, Err: e.Err}} }

// StreamInfo is the text for notifyStreamStatusEvent's info field.
func (e *Error) StreamInfo() string { return e.Info }

package rtc

import (
	"lineout/calls/leg"
)

// Error is why a peer could not be made or has failed.
type Error struct {
	Kind leg.CauseKind
	// Stream is the text for a publisher (STREAM_STATUS_INFO) where it differs
	// from a call's, "" elsewhere.
	Stream string
	Err    error
}

func refused(k leg.CauseKind, err error) *Error {
	e := &Error{Kind: k, Err: err}
	switch k {
	case leg.Setup, leg.Rejected, leg.RequestTimeout, leg.Internal:
		e.Stream = "Failed by error"
	}
	return e
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// CallInfo is the text that pages of calls compare (CALL_STATUS_INFO).
func (e *Error) CallInfo() string { return e.Kind.Info() }

// StreamInfo is the text that pages of publishers compare (STREAM_STATUS_INFO).
func (e *Error) StreamInfo() string {
	if e.Stream != "" {
		return e.Stream
	}
	return e.Kind.Info()
}

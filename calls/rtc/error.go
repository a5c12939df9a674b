package rtc

// Error is why a peer could not be made or has failed.
type Error struct {
	// Info is what pages compare (CALL_STATUS_INFO and STREAM_STATUS_INFO of the
	// WebSDK).
	Info string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// StreamInfo is the text for a publisher, CallInfo for a call.
func (e *Error) StreamInfo() string { return e.Info }

// CallInfo is the text for a call.
func (e *Error) CallInfo() string { return e.Info }

package limit

import "errors"

// ErrExceeded says that somebody has failed too often lately.
var ErrExceeded = errors.New("there were too many failed logins, try again later")

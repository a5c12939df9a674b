// Package fault classifies errors by what a client can do about them, so that
// each API has one place that turns an error into a status.
package fault

import (
	"errors"
	"fmt"
)

// Code is the class of a fault. Its value is the matching HTTP status.
type Code int

// The classes of fault the REST API knows (S2-47).
const (
	BadRequest   Code = 400
	Unauthorized Code = 401
	Forbidden    Code = 403
	NotFound     Code = 404
	Conflict     Code = 409
	TooLarge     Code = 413
	Internal     Code = 500
	Unavailable  Code = 503
)

// Error is an error with a class.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// New makes a fault; format and args are those of fmt.Errorf.
func New(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Err: fmt.Errorf(format, args...)}
}

// CodeOf is the class of err, Internal when it has none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

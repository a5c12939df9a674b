package rest

import (
	"encoding/json"
	"net/http"
	"time"

	"lineout/api/fault"
)

// errorBody is the body of every error, with the keys in the order of S2-47.
type errorBody struct {
	Error     string `json:"error"`
	Exception string `json:"exception"`
	Message   string `json:"message"`
	Path      string `json:"path"`
	Status    int    `json:"status"`
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
}

const exceptionPackage = "com.flashphoner.rest.server.exception."

// exceptions names the classes the way the original names its own (S2-47; the
// others by analogy, rest-api 1.4).
var exceptions = map[fault.Code]string{
	fault.BadRequest:            "BadRequestException",
	fault.Unauthorized:          "UnauthorizedException",
	fault.Forbidden:             "ForbiddenException",
	fault.NotFound:              "NotFoundException",
	http.StatusMethodNotAllowed: "MethodNotAllowedException",
	fault.Conflict:              "ConflictException",
	fault.TooLarge:              "PayloadTooLargeException",
	fault.Internal:              "InternalErrorException",
	fault.Unavailable:           "ServiceUnavailableException",
}

// WriteError answers a request in the form of the API, for those who serve
// paths below /rest-api/ beside it.
func WriteError(w http.ResponseWriter, r *http.Request, err error) { writeError(w, r, err, time.Now()) }

// writeError answers with the class and the message of err.
func writeError(w http.ResponseWriter, r *http.Request, err error, now time.Time) {
	code := fault.CodeOf(err)
	name := exceptions[code]
	if name == "" {
		name = exceptions[fault.Internal]
	}
	data, merr := json.Marshal(errorBody{Error: http.StatusText(int(code)), Exception: exceptionPackage + name,
		Message: err.Error(), Path: r.URL.Path, Status: int(code), Timestamp: now.UnixMilli()})
	if merr != nil { // cannot be: the struct holds plain values only
		data = nil
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if code == fault.Unavailable {
		h.Set("Retry-After", "5")
	}
	write(w, int(code), data)
}

// Package wish holds what the HTTP sides of publishing and of playing have in
// common: WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep).
package wish

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

const (
	// maxOffer bounds an SDP offer, maxFragment a trickle ICE fragment.
	maxOffer    = 64 << 10
	maxFragment = 16 << 10

	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"
)

// CORS lets pages of any origin use a resource: none has cookies to steal.
func CORS(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization, If-Match")
	h.Set("Access-Control-Expose-Headers", "Location, Link, ETag, Accept-Patch, Retry-After")
	h.Set("Access-Control-Max-Age", "600")
}

// EndpointOptions answers OPTIONS of an endpoint that offers are posted to.
func EndpointOptions(w http.ResponseWriter) {
	w.Header().Set("Accept-Post", sdpType)
	w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	w.WriteHeader(http.StatusNoContent)
}

// SessionOptions answers OPTIONS of a session.
func SessionOptions(w http.ResponseWriter) {
	w.Header().Set("Accept-Patch", fragmentType)
	w.Header().Set("Access-Control-Allow-Methods", "PATCH, DELETE, OPTIONS")
	w.WriteHeader(http.StatusNoContent)
}

// NotAllowed answers a method that a resource does not have.
func NotAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}

// Offer reads a posted offer. When it cannot, it has answered.
func Offer(w http.ResponseWriter, r *http.Request) (sdp string, ok bool) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != sdpType {
		w.Header().Set("Accept-Post", sdpType)
		http.Error(w, "want an SDP offer with Content-Type "+sdpType, http.StatusUnsupportedMediaType)
		return "", false
	}
	return body(w, r, maxOffer)
}

// Created answers an offer: 201 with the session's location and entity tag.
func Created(w http.ResponseWriter, location, etag, answer string) error {
	h := w.Header()
	h.Set("Content-Type", sdpType)
	h.Set("Location", location)
	h.Set("ETag", strconv.Quote(etag))
	h.Set("Accept-Patch", fragmentType)
	w.WriteHeader(http.StatusCreated)
	_, err := io.WriteString(w, answer)
	return err
}

// Patch takes trickled candidates, which we need not know since they are
// learned from the client's own checks. An ICE restart, seen by another ufrag
// than the client's, is refused with 422 (RFC 9725 section 4.3.1).
func Patch(w http.ResponseWriter, r *http.Request, etag, ufrag string) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != fragmentType {
		w.Header().Set("Accept-Patch", fragmentType)
		http.Error(w, "want Content-Type "+fragmentType, http.StatusUnsupportedMediaType)
		return
	}
	if m := r.Header.Get("If-Match"); m != "" && m != "*" && m != strconv.Quote(etag) {
		http.Error(w, "If-Match does not name this session's ETag", http.StatusPreconditionFailed)
		return
	}
	fragment, ok := body(w, r, maxFragment)
	if !ok {
		return
	}
	for line := range strings.Lines(fragment) {
		if u, ok := strings.CutPrefix(strings.TrimSpace(line), "a=ice-ufrag:"); ok && ufrag != "" && u != ufrag {
			http.Error(w, "ICE restart is not supported: POST a new offer", http.StatusUnprocessableEntity)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// body reads a bounded body and answers for itself when it cannot.
func body(w http.ResponseWriter, r *http.Request, limit int64) (string, bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return string(b), true
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(w, fmt.Sprintf("the body has more than %d bytes", limit), http.StatusRequestEntityTooLarge)
	} else {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
	}
	return "", false
}

package webrtc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lineout/api/fault"
)

// maxFragment bounds a trickle ICE fragment.
const maxFragment = 16 << 10

// whepEndpoint serves /whep/{stream} (draft-ietf-wish-whep section 4): POST of
// an offer is answered with 201, the answer, and the session's Location. A
// stream whose call is not answered yet holds the request up to the play_wait
// setting and then says 409 with Retry-After.
func (s *Service) whepEndpoint(w http.ResponseWriter, r *http.Request) {
	cors(w)
	switch r.Method {
	case http.MethodPost:
		s.whepPlay(w, r)
	case http.MethodOptions:
		s.links(w)
		w.Header().Set("Accept-Post", "application/sdp")
		w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	default:
		notAllowed(w, "POST, OPTIONS")
	}
}

// whepSession serves /whep/{stream}/{id}: DELETE ends the viewer. PATCH takes
// trickled candidates, which we need not know since they are learned from the
// player's own checks; an ICE restart is refused with 422 (RFC 9725 section
// 4.3.1).
func (s *Service) whepSession(w http.ResponseWriter, r *http.Request) {
	cors(w)
	if r.Method == http.MethodOptions {
		s.links(w)
		w.Header().Set("Accept-Patch", "application/trickle-ice-sdpfrag")
		w.Header().Set("Access-Control-Allow-Methods", "PATCH, DELETE, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method != http.MethodDelete && r.Method != http.MethodPatch {
		notAllowed(w, "PATCH, DELETE, OPTIONS")
		return
	}
	v := s.viewer(r.PathValue("id"))
	if v == nil || v.group.key.stream.Name() != r.PathValue("stream") {
		http.Error(w, "no such WHEP session", http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		whepPatch(w, r, v)
		return
	}
	v.Stop(ByUser)
	select {
	case <-v.Done():
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Service) whepPlay(w http.ResponseWriter, r *http.Request) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/sdp" {
		w.Header().Set("Accept-Post", "application/sdp")
		http.Error(w, "want an SDP offer with Content-Type application/sdp", http.StatusUnsupportedMediaType)
		return
	}
	body, ok := readBody(w, r, maxOffer)
	if !ok {
		return
	}
	name := r.PathValue("stream")
	st := s.streams.Get(name)
	if st == nil {
		http.Error(w, "Stream not found", http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.config.PlayWait+10*time.Second)
	defer cancel()
	v, answer, err := s.Play(ctx, st, body, PlayOptions{Provider: "WHEP"})
	if err != nil {
		s.whepError(w, name, err)
		return
	}
	v.Start()
	h := w.Header()
	s.links(w)
	h.Set("Content-Type", "application/sdp")
	h.Set("Location", "/whep/"+url.PathEscape(name)+"/"+v.ID())
	h.Set("ETag", strconv.Quote(v.etag))
	h.Set("Accept-Patch", "application/trickle-ice-sdpfrag")
	w.WriteHeader(http.StatusCreated)
	if _, err := io.WriteString(w, answer); err != nil {
		v.Stop(ByDisconnect)
	}
}

func (s *Service) whepError(w http.ResponseWriter, name string, err error) {
	code := fault.CodeOf(err)
	if code == fault.Conflict || code == fault.Unavailable {
		w.Header().Set("Retry-After", "2")
	}
	text := err.Error()
	var pe *PlayError
	if errors.As(err, &pe) && code != fault.BadRequest {
		text = pe.Info + ": " + text
	}
	s.log.Info("WHEP player refused", "stream", name, "status", int(code), "err", err)
	http.Error(w, text, int(code))
}

func whepPatch(w http.ResponseWriter, r *http.Request, v *Viewer) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/trickle-ice-sdpfrag" {
		w.Header().Set("Accept-Patch", "application/trickle-ice-sdpfrag")
		http.Error(w, "want Content-Type application/trickle-ice-sdpfrag", http.StatusUnsupportedMediaType)
		return
	}
	if m := r.Header.Get("If-Match"); m != "" && m != "*" && m != strconv.Quote(v.etag) {
		http.Error(w, "If-Match does not name this session's ETag", http.StatusPreconditionFailed)
		return
	}
	body, ok := readBody(w, r, maxFragment)
	if !ok {
		return
	}
	for line := range strings.Lines(body) {
		if u, ok := strings.CutPrefix(strings.TrimSpace(line), "a=ice-ufrag:"); ok && v.ufrag != "" && u != v.ufrag {
			http.Error(w, "ICE restart is not supported: POST a new offer", http.StatusUnprocessableEntity)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// readBody reads a bounded body and answers for itself when it cannot.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (string, bool) {
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

// cors lets pages of any origin play: a WHEP player has no cookies to steal.
func cors(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization, If-Match")
	h.Set("Access-Control-Expose-Headers", "Location, Link, ETag, Accept-Patch, Retry-After")
	h.Set("Access-Control-Max-Age", "600")
}

// links tells the configured ICE servers (draft-ietf-wish-whep section 4.6).
func (s *Service) links(w http.ResponseWriter) {
	for _, srv := range s.iceServers {
		link := "<" + srv.URLs[0] + `>; rel="ice-server"`
		if srv.Username != "" {
			link += fmt.Sprintf(`; username=%q; credential=%q; credential-type="password"`, srv.Username, srv.Credential)
		}
		w.Header().Add("Link", link)
	}
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}

package webrtc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"lineout/api/fault"
	"lineout/api/wish"
)

// whepEndpoint serves /whep/{stream} (draft-ietf-wish-whep section 4): POST of
// an offer is answered with 201, the answer, and the session's Location. A
// stream whose call is not answered yet holds the request up to the play_wait
// setting and then says 409 with Retry-After.
func (s *Service) whepEndpoint(w http.ResponseWriter, r *http.Request) {
	wish.CORS(w)
	switch r.Method {
	case http.MethodPost:
		s.whepPlay(w, r)
	case http.MethodOptions:
		s.Links(w.Header())
		wish.EndpointOptions(w)
	default:
		wish.NotAllowed(w, "POST, OPTIONS")
	}
}

// whepSession serves /whep/{stream}/{id}: DELETE ends the viewer.
func (s *Service) whepSession(w http.ResponseWriter, r *http.Request) {
	wish.CORS(w)
	if r.Method == http.MethodOptions {
		s.Links(w.Header())
		wish.SessionOptions(w)
		return
	}
	if r.Method != http.MethodDelete && r.Method != http.MethodPatch {
		wish.NotAllowed(w, "PATCH, DELETE, OPTIONS")
		return
	}
	v := s.viewer(r.PathValue("id"))
	if v == nil || v.group.key.stream.Name() != r.PathValue("stream") {
		http.Error(w, "no such WHEP session", http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		wish.Patch(w, r, v.etag, v.ufrag)
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
	offer, ok := wish.Offer(w, r)
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
	v, answer, err := s.Play(ctx, st, offer, PlayOptions{Provider: "WHEP"})
	if err != nil {
		s.whepError(w, name, err)
		return
	}
	v.Start()
	s.Links(w.Header())
	if err := wish.Created(w, "/whep/"+url.PathEscape(name)+"/"+v.ID(), v.etag, answer); err != nil {
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

// Links puts the configured ICE servers into a header (draft-ietf-wish-whep
// section 4.6, RFC 9725 section 4.6).
func (s *Service) Links(h http.Header) {
	for _, srv := range s.iceServers {
		link := "<" + srv.URLs[0] + `>; rel="ice-server"`
		if srv.Username != "" {
			link += fmt.Sprintf(`; username=%q; credential=%q; credential-type="password"`, srv.Username, srv.Credential)
		}
		h.Add("Link", link)
	}
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}

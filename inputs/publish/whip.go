package publish

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lineout/api/fault"
	"lineout/api/wish"
)

// answerTime bounds the wait for our SDP.
const answerTime = 10 * time.Second

// Routes implements outputs.Output: WHIP (RFC 9725). The endpoint of a stream
// is /whip/{stream}, and each session has a resource below it.
func (s *Service) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"/whip/{stream}":      http.HandlerFunc(s.endpoint),
		"/whip/{stream}/{id}": http.HandlerFunc(s.session),
	}
}

// endpoint serves /whip/{stream}: POST of an offer is answered with 201, the
// answer and the session's Location; with 409 when the stream's name is in use.
func (s *Service) endpoint(w http.ResponseWriter, r *http.Request) {
	wish.CORS(w)
	switch r.Method {
	case http.MethodPost:
		if s.allowed(w, r) {
			s.post(w, r)
		}
	case http.MethodOptions: // without a token: browsers send none here
		s.links(w)
		wish.EndpointOptions(w)
	default:
		wish.NotAllowed(w, "POST, OPTIONS")
	}
}

// session serves /whip/{stream}/{id}: DELETE ends the publication.
func (s *Service) session(w http.ResponseWriter, r *http.Request) {
	wish.CORS(w)
	switch r.Method {
	case http.MethodOptions:
		s.links(w)
		wish.SessionOptions(w)
		return
	case http.MethodDelete, http.MethodPatch:
	default:
		wish.NotAllowed(w, "PATCH, DELETE, OPTIONS")
		return
	}
	if !s.allowed(w, r) {
		return
	}
	p := s.find(r.PathValue("id"))
	if p == nil || p.stream.Name() != r.PathValue("stream") || p.stream.Meta().Provider != whip {
		http.Error(w, "no such WHIP session", http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		wish.Patch(w, r, p.ID(), p.ufrag)
		return
	}
	p.Stop(ByUser)
	select {
	case <-p.stream.Closing(): // the name is free
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusOK)
}

// whip is the provider of its publications in listings.
const whip = "WHIP"

func (s *Service) post(w http.ResponseWriter, r *http.Request) {
	offer, ok := wish.Offer(w, r)
	if !ok {
		return
	}
	name := r.PathValue("stream")
	answer := make(chan string, 1)
	p, err := s.Publish(r.Context(), Request{Name: name, Provider: whip, Offer: offer, SendSDP: func(sdp string) { answer <- sdp }})
	if err != nil {
		s.refuse(w, name, err)
		return
	}
	t := time.NewTimer(answerTime)
	defer t.Stop()
	select {
	case sdp := <-answer:
		s.links(w)
		if wish.Created(w, "/whip/"+url.PathEscape(name)+"/"+p.ID(), p.ID(), sdp) != nil {
			p.Stop(ByDisconnect)
		}
		return
	case <-p.Ended():
	case <-t.C:
	case <-r.Context().Done():
	}
	p.Stop(ByDisconnect)
	http.Error(w, ByError, http.StatusInternalServerError)
}

func (s *Service) refuse(w http.ResponseWriter, name string, err error) {
	code := fault.CodeOf(err)
	if code == fault.Unavailable {
		w.Header().Set("Retry-After", "2")
	}
	s.log.Info("WHIP publisher refused", "stream", name, "status", int(code), "err", err)
	http.Error(w, err.Error(), int(code))
}

// allowed checks the bearer token (RFC 6750 section 2.1) and answers who has none.
func (s *Service) allowed(w http.ResponseWriter, r *http.Request) bool {
	if s.cfg.WHIPToken == "" {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, got := sha256.Sum256([]byte(s.cfg.WHIPToken)), sha256.Sum256([]byte(strings.TrimSpace(token)))
	if strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="lineout"`)
	http.Error(w, "publishing needs the token of whip.token as Authorization: Bearer TOKEN", http.StatusUnauthorized)
	return false
}

func (s *Service) links(w http.ResponseWriter) {
	if s.d.Links != nil {
		s.d.Links(w.Header())
	}
}

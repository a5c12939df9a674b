package publish

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

const token = "Bearer s3cret"

// whipClient asks the service as an encoder would.
func whipClient(r *rig) func(method, path, contentType, body string, header ...string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	for pattern, h := range r.Routes() {
		mux.Handle(pattern, h)
	}
	return func(method, path, contentType, body string, header ...string) *httptest.ResponseRecorder {
		q := httptest.NewRequest(method, path, strings.NewReader(body))
		if contentType != "" {
			q.Header.Set("Content-Type", contentType)
		}
		for i := 0; i+1 < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, q)
		return w
	}
}

// RFC 9725 sections 4.2 to 4.5: a session from POST to DELETE.
func TestWHIPSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.WHIPToken = "s3cret" })
		defer r.stop()
		do := whipClient(r)
		const sdp = "application/sdp"
		for _, auth := range []string{"", "Bearer wrong", "Basic s3cret", "Bearer"} {
			if w := do("POST", "/whip/cam", sdp, "o", "Authorization", auth); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%q: %d", auth, w.Code)
			}
		}
		if w := do("POST", "/whip/cam", "text/plain", "o", "Authorization", token); w.Code != 415 {
			t.Errorf("no SDP: %d", w.Code)
		}
		if w := do("GET", "/whip/cam", "", ""); w.Code != 405 || w.Header().Get("Allow") != "POST, OPTIONS" {
			t.Errorf("GET: %d", w.Code)
		}
		if w := do("OPTIONS", "/whip/cam", "", ""); w.Code != 204 || w.Header().Get("Accept-Post") != sdp || w.Header().Get("Link") == "" ||
			!strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("OPTIONS: %d %v", w.Code, w.Header())
		}
		if w := do("POST", "/whip/cam", sdp, "bad", "Authorization", token); w.Code != 400 {
			t.Errorf("bad offer: %d %s", w.Code, w.Body)
		}

		w := do("POST", "/whip/a%20b", sdp, "a=ice-ufrag:uf\r\n", "Authorization", token)
		h := w.Header()
		location := h.Get("Location")
		if w.Code != 201 || h.Get("Content-Type") != sdp || !strings.HasPrefix(location, "/whip/a%20b/") || h.Get("ETag") == "" || h.Get("Link") == "" ||
			!strings.HasPrefix(w.Body.String(), "answer to") {
			t.Fatalf("POST: %d %v %q", w.Code, h, w.Body)
		}
		if st := r.hub.Get("a b"); st == nil || st.Meta().Provider != "WHIP" {
			t.Error("no stream")
		}
		if w := do("POST", "/whip/a%20b", sdp, "o", "Authorization", token); w.Code != 409 {
			t.Errorf("name in use: %d", w.Code)
		}
		const fragment = "application/trickle-ice-sdpfrag"
		for body, want := range map[string]int{"a=ice-ufrag:uf\r\na=candidate:1\r\n": 204, "a=ice-ufrag:other\r\n": 422} {
			if w := do("PATCH", location, fragment, body, "Authorization", token, "If-Match", h.Get("ETag")); w.Code != want {
				t.Errorf("PATCH %q: %d", body, w.Code)
			}
		}
		if w := do("PATCH", location, fragment, "", "Authorization", token, "If-Match", `"x"`); w.Code != 412 {
			t.Errorf("PATCH with another ETag: %d", w.Code)
		}
		if w := do("DELETE", location, "", ""); w.Code != 401 {
			t.Errorf("DELETE without the token: %d", w.Code)
		}
		if w := do("DELETE", strings.Replace(location, "a%20b", "x", 1), "", "", "Authorization", token); w.Code != 404 {
			t.Errorf("DELETE of another stream's: %d", w.Code)
		}
		if w := do("DELETE", location, "", "", "Authorization", token); w.Code != 200 || r.hub.Get("a b") != nil {
			t.Errorf("DELETE: %d", w.Code)
		}
		synctest.Wait()
		if w := do("DELETE", location, "", "", "Authorization", token); w.Code != 404 {
			t.Errorf("DELETE again: %d", w.Code)
		}
	})
}

// A publication of a page is not to be touched by WHIP.
func TestWHIPEndsItsOwnOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.publish(t, Request{Name: "cam", ID: "p"})
		if w := whipClient(r)("DELETE", "/whip/cam/p", "", ""); w.Code != 404 || r.hub.Get("cam") == nil {
			t.Errorf("DELETE: %d", w.Code)
		}
	})
}

package webrtc

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lineout/codecs/g711"
)

func do(t *testing.T, method, url, contentType, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

func TestWHEPSession(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.PlayWait = 30 * time.Millisecond
		c.ICEServers = []string{"stun:stun.example.com:3478", "turn:turn.example.com|joe|secret"}
	})
	s := newSource(t, r, "../a b", g711.CodecPCMA, nil)
	s.st.SetReady()
	s.play(t)
	newSource(t, r, "reserved", nil, nil)
	base := r.web.URL + "/whep/"

	offer := newPlayer(t, aud).offer(t)
	resp := do(t, http.MethodPost, base+"..%2Fa%20b", "application/sdp", offer)
	location := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusCreated || !strings.HasPrefix(location, "/whep/..%2Fa%20b/") || resp.Header.Get("ETag") == "" ||
		resp.Header.Get("Content-Type") != "application/sdp" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	links := resp.Header.Values("Link")
	if len(links) != 2 || links[0] != `<stun:stun.example.com:3478>; rel="ice-server"` ||
		links[1] != `<turn:turn.example.com>; rel="ice-server"; username="joe"; credential="secret"; credential-type="password"` {
		t.Errorf("Link is %q", links)
	}
	expose := resp.Header.Get("Access-Control-Expose-Headers")
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(expose, "Location") || !strings.Contains(expose, "Link") {
		t.Errorf("CORS headers are %v", resp.Header)
	}

	const frag = "application/trickle-ice-sdpfrag"
	for name, x := range map[string]struct {
		method, url, contentType, body string
		header                         []string
		status                         int
	}{
		"unknown stream":       {"POST", base + "none", "application/sdp", offer, nil, 404},
		"traversing name":      {"POST", base + "..%2F..%2Fetc", "application/sdp", "v=0", nil, 404},
		"not answered yet":     {"POST", base + "reserved", "application/sdp", offer, nil, 409},
		"wrong type":           {"POST", base + "reserved", "text/plain", "v=0", nil, 415},
		"no SDP":               {"POST", base + "..%2Fa%20b", "application/sdp", "hello", nil, 400},
		"too large":            {"POST", base + "reserved", "application/sdp", strings.Repeat("x", maxOffer+1), nil, 413},
		"GET":                  {"GET", base + "reserved", "", "", nil, 405},
		"preflight":            {"OPTIONS", base + "any", "", "", nil, 204},
		"session preflight":    {"OPTIONS", base + "any/id", "", "", nil, 204},
		"trickle":              {"PATCH", r.web.URL + location, frag, "a=ice-ufrag:" + r.svc.viewer(r.svc.Viewers()[0].ID).ufrag + "\r\n", nil, 204},
		"trickle, right ETag":  {"PATCH", r.web.URL + location, frag, "", []string{"If-Match", resp.Header.Get("ETag")}, 204},
		"trickle, wrong ETag":  {"PATCH", r.web.URL + location, frag, "", []string{"If-Match", `"x"`}, 412},
		"ICE restart":          {"PATCH", r.web.URL + location, frag, "a=ice-ufrag:other\r\na=ice-pwd:x\r\n", nil, 422},
		"PATCH, wrong type":    {"PATCH", r.web.URL + location, "application/sdp", "", nil, 415},
		"DELETE of nothing":    {"DELETE", base + "..%2Fa%20b/none", "", "", nil, 404},
		"DELETE, other stream": {"DELETE", base + "other/" + location[strings.LastIndex(location, "/")+1:], "", "", nil, 404},
	} {
		t.Run(name, func(t *testing.T) {
			resp := do(t, x.method, x.url, x.contentType, x.body, x.header...)
			if resp.StatusCode != x.status {
				t.Errorf("%d, want %d", resp.StatusCode, x.status)
			}
			if x.status == 409 && resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	if resp := do(t, http.MethodDelete, r.web.URL+location, "", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("DELETE gave %d", resp.StatusCode)
	}
	if len(r.svc.Viewers()) != 0 {
		t.Error("the viewer is still there after DELETE")
	}
	if resp := do(t, http.MethodDelete, r.web.URL+location, "", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the second DELETE gave %d", resp.StatusCode)
	}
}

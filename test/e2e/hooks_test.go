//go:build e2e

package e2e

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lineout/test/peers"
)

// backEnd is an integrator's web server that hears of calls. It can go away and come back at the same address.
type backEnd struct {
	addr string
	key  string

	mu     sync.Mutex
	srv    *httptest.Server
	events []hookEvent
	others []string // methods and bodies of what tells of no status
	wrong  []string // requests that are not as they should be
}

type hookEvent struct {
	AppKey, SessionID, CallID, Status, RTMPStreamStatus, RTMPURL string
	SIPStatus                                                    int
}

func startBackEnd(t *testing.T, key string) *backEnd {
	t.Helper()
	b := &backEnd{addr: "127.0.0.1:0", key: key}
	b.start(t)
	t.Cleanup(b.stop)
	return b
}

func (b *backEnd) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	s := httptest.NewUnstartedServer(b)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	b.mu.Lock()
	b.srv = s
	b.mu.Unlock()
}

func (b *backEnd) stop() {
	b.mu.Lock()
	s := b.srv
	b.srv = nil
	b.mu.Unlock()
	if s != nil {
		s.CloseClientConnections()
		s.Close()
	}
}

func (b *backEnd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	mac := hmac.New(md5.New, []byte(b.key))
	mac.Write(body)
	var e hookEvent
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err != nil || r.Method != http.MethodPost || path.Dir(r.URL.Path) != "/CallApp" || json.Unmarshal(body, &e) != nil || (e.Status != "") != (path.Base(r.URL.Path) == "CallStatusEvent"),
		r.Header.Get("Authorization") != "WCS "+hex.EncodeToString(mac.Sum(nil)):
		b.wrong = append(b.wrong, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")+" "+string(body))
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if e.Status == "" {
		b.others = append(b.others, path.Base(r.URL.Path)+" "+string(body))
	} else {
		b.events = append(b.events, e)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the convention is to mirror what came
}

// told says whether the back end heard by a method of something with all these words.
func (b *backEnd) told(method string, words ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.others, func(s string) bool {
		return strings.HasPrefix(s, method+" ") && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(s, w) })
	})
}

// series are the statuses of one call, "STATUS/rtmpStreamStatus".
func (b *backEnd) series(id string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.CallID == id {
			out = append(out, e.Status+"/"+e.RTMPStreamStatus)
		}
	}
	return out
}

// TestCallApp: a back end hears of every status of a call and of its push, in
// order (S2-37 to S2-39), also when it was away meanwhile and lineout was
// killed and started again in between.
func TestCallApp(t *testing.T) {
	rtmp := peers.StartRTMPServer(t)
	reg := peers.StartRegistrar(t, peers.RegistrarConfig{}) // it says 100 Trying, the phone does not
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Registrar: reg, Manual: true, Expires: 3600})
	back := startBackEnd(t, "s3cret")
	srv := peers.StartLineout(t, map[string]string{"call_app_urls": "http://" + back.addr + "/CallApp", "call_app_folder": t.TempDir(),
		"rest_hook_send_hash": "true", "rest_hook_secret_key": "s3cret"})
	call := func(id string) {
		srv.Must(t, "/rest-api/call/startup", with(viaRegistrar(id, id, reg), map[string]any{"rtmpUrl": rtmp.URL("live"), "rtmpStream": id}), nil)
		srv.WaitCall(t, id, "RING")
		phone.Accept(t)
		peers.Eventually(t, "the push", timeoutShort, func() bool {
			c := srv.FindCall(t, id)
			return c != nil && c.RTMPStreamStatus != nil && *c.RTMPStreamStatus == "RTMP_STREAM_ACTIVE"
		})
		srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
		phone.WaitEvent(t, "CALL_CLOSED")
	}
	want := []string{"TRYING/RTMP_STREAM_WAIT", "RING/RTMP_STREAM_WAIT", "ESTABLISHED/RTMP_STREAM_WAIT", "ESTABLISHED/RTMP_STREAM_ACTIVE", "FINISH/RTMP_STREAM_ACTIVE"}
	arrived := func(id string) func() bool {
		return func() bool { return len(back.series(id)) >= len(want) }
	}
	call("told")
	peers.Eventually(t, "all statuses", timeoutShort, arrived("told"))
	if got := back.series("told"); !slices.Equal(got, want) {
		t.Errorf("statuses %q, want %q", got, want)
	}

	// The back end goes away; calls do not feel it.
	back.stop()
	begin := time.Now()
	call("later")
	note(t, "a call with the back end away took %v", time.Since(begin))
	peers.Eventually(t, "the end of the call to be queued", timeoutShort, func() bool { return srv.FindCall(t, "later") == nil })
	srv.Must(t, "/rest-api/call/startup", viaRegistrar("broken", "broken", reg), nil)
	srv.WaitCall(t, "broken", "RING")
	srv.Kill9()
	back.start(t)
	srv.Start(t)
	peers.Eventually(t, "all statuses after the restart", timeoutShort, arrived("later"))
	if got := back.series("later"); !slices.Equal(got, want) {
		t.Errorf("statuses after the restart %q, want %q", got, want)
	}
	// A call that was up when the server was killed has ended, too.
	peers.Eventually(t, "the end of the call that was broken off", timeoutShort, func() bool { return len(back.series("broken")) >= 3 })
	if got := back.series("broken"); !slices.Equal(got, []string{"TRYING/", "RING/", "FINISH/"}) {
		t.Errorf("the call that was broken off: %q", got)
	}
	back.mu.Lock()
	defer back.mu.Unlock()
	if len(back.wrong) > 0 {
		t.Errorf("requests of another kind: %q", back.wrong)
	}
	for _, e := range back.events {
		if e.AppKey != "callApp" || e.SessionID == "" || e.RTMPURL != rtmp.URL("live") && e.CallID != "broken" || e.SIPStatus < 100 {
			t.Errorf("event %+v", e)
		}
	}
}

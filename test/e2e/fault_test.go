//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"lineout/test/peers"
)

// TestCalleeRefuses: what a callee can answer instead of taking the call. The
// request has got its 200 before; the call ends by itself, and one log line
// tells the cause.
func TestCalleeRefuses(t *testing.T) {
	t.Parallel()
	srv := peers.StartLineout(t, nil)
	for _, c := range []struct {
		code   int
		reason string
	}{{404, "Not Found"}, {480, "Temporarily Unavailable"}, {486, "Busy Here"}, {488, "Not Acceptable Here"}, {503, "Service Unavailable"}, {603, "Decline"}} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			t.Parallel()
			port := refusing(t, c.code, c.reason)
			id := fmt.Sprintf("refused-%d", c.code)
			srv.Must(t, "/rest-api/call/startup", refusedCall(id, port), nil)
			ended := srv.WaitEnded(t, id)
			if ended.SIPStatus == nil || *ended.SIPStatus != c.code {
				t.Errorf("sipStatus of the refused call: %+v", ended)
			}
			if want := map[int]string{486: "BUSY"}[c.code]; want != "" && ended.Status != want {
				t.Errorf("status %s, want %s", ended.Status, want)
			}
			logged(t, srv, id, fmt.Sprint(c.code))
			if s := srv.FindStream(t, "stream-"+id); s != nil {
				t.Errorf("a refused call leaves the stream %+v", s)
			}
			// The names are free again.
			srv.Must(t, "/rest-api/call/startup", refusedCall(id, port), nil)
			srv.WaitEnded(t, id)
			srv.WaitGone(t, id)
		})
	}
	t.Run("busy phone", func(t *testing.T) {
		t.Parallel()
		phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Manual: true})
		srv.Must(t, "/rest-api/call/startup", direct("busy", "busy", phone), nil)
		phone.WaitEvent(t, "CALL_INCOMING")
		srv.WaitCall(t, "busy", "RING")
		phone.Hangup(t)
		if c := srv.WaitEnded(t, "busy"); c.Status != "BUSY" {
			t.Errorf("a call to a busy phone ended as %+v", c)
		}
		logged(t, srv, "busy", "486")
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Manual: true})
		srv.Must(t, "/rest-api/call/startup", direct("cancelled", "cancelled", phone), nil)
		phone.WaitEvent(t, "CALL_INCOMING")
		srv.WaitCall(t, "cancelled", "RING")
		srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": "cancelled"}, nil)
		phone.WaitEvent(t, "CALL_CLOSED")
		srv.WaitGone(t, "cancelled")
	})
}

func refusedCall(id string, port int) map[string]any {
	return map[string]any{
		"callId": id, "callee": "10005", "toStream": "stream-" + id, "hasAudio": "true", "hasVideo": "true", "sipLogin": "10009", "sipPassword": "1234",
		"sipDomain": "127.0.0.1", "sipOutboundProxy": "127.0.0.1", "sipPort": fmt.Sprint(port), "sipRegisterRequired": "false",
	}
}

// logged fails the test unless a line of the server's log tells of both.
func logged(t *testing.T, srv *peers.Lineout, call, cause string) {
	t.Helper()
	var about []string
	for line := range strings.Lines(srv.Log()) {
		if strings.Contains(line, call) {
			about = append(about, line)
			if strings.Contains(line, cause) {
				return
			}
		}
	}
	t.Errorf("no log line about call %s names %q:\n%s", call, cause, strings.Join(about, ""))
}

var header = regexp.MustCompile(`(?mi)^(via|v|from|f|to|t|call-id|i|cseq)[ \t]*:.*$`)

// refusing is the UDP port of a SIP callee that answers every INVITE with the same refusal.
func refusing(t *testing.T, code int, reason string) (port int) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { c.Close() })
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			request := string(buf[:n])
			if !strings.HasPrefix(request, "INVITE ") {
				continue
			}
			answer := fmt.Sprintf("SIP/2.0 %d %s\r\n", code, reason)
			for _, h := range header.FindAllString(request, -1) {
				h = strings.TrimRight(h, "\r")
				if name := strings.ToLower(h); strings.HasPrefix(name, "to:") || strings.HasPrefix(name, "t:") {
					h += ";tag=refused"
				}
				answer += h + "\r\n"
			}
			c.WriteTo([]byte(answer+"Content-Length: 0\r\n\r\n"), from)
		}
	})
	return c.LocalAddr().(*net.UDPAddr).Port
}

// TestUnreachable: nobody is there, or the password is wrong.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	srv := peers.StartLineout(t, map[string]string{"sip_response_timeout": "3s"})
	t.Run("no such port", func(t *testing.T) {
		srv.Must(t, "/rest-api/call/startup", refusedCall("nobody", peers.Ports(t, 1)), nil)
		srv.WaitEnded(t, "nobody")
		logged(t, srv, "nobody", "127.0.0.1")
	})
	t.Run("no such host", func(t *testing.T) {
		srv.Must(t, "/rest-api/call/startup", with(refusedCall("nohost", 5060), map[string]any{"sipDomain": "no-such-host.invalid", "sipOutboundProxy": "no-such-host.invalid"}), nil)
		srv.WaitEnded(t, "nohost")
		logged(t, srv, "nohost", "no-such-host.invalid")
	})
	reg := peers.StartRegistrar(t, peers.RegistrarConfig{})
	t.Run("wrong password", func(t *testing.T) {
		srv.Must(t, "/rest-api/call/startup", with(viaRegistrar("wrong", "wrong", reg), map[string]any{"sipPassword": "not-this-one"}), nil)
		srv.WaitEnded(t, "wrong")
		logged(t, srv, "wrong", "401")
		if reg.Registered("10006") {
			t.Error("registered with a wrong password")
		}
	})
	t.Run("unknown callee", func(t *testing.T) {
		srv.Must(t, "/rest-api/call/startup", with(viaRegistrar("unknown", "unknown", reg), map[string]any{"callee": "20000"}), nil)
		srv.WaitEnded(t, "unknown")
		logged(t, srv, "unknown", "404")
	})
	if strings.Contains(srv.Log(), "not-this-one") {
		t.Error("a password stands in the log")
	}
}

// TestConflict: of a hundred simultaneous identical requests one is taken.
func TestConflict(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Manual: true})
	srv := peers.StartLineout(t, nil)
	body := with(direct("twice", "twice", phone), map[string]any{"rtmpUrl": "rtmp://127.0.0.1:1/live", "rtmpStream": "twice"})
	got := srv.PostAll(t, 100, "/rest-api/call/startup", body)
	if got[200] != 1 || got[409] != 99 {
		t.Errorf("answers %v, want one 200 and 99 times 409", got)
	}
	for name, body := range map[string]map[string]any{
		"same call id":     with(body, map[string]any{"toStream": "other-1", "rtmpStream": "other-1"}),
		"same stream":      with(body, map[string]any{"callId": "other-2", "rtmpStream": "other-2"}),
		"same RTMP target": with(body, map[string]any{"callId": "other-3", "toStream": "other-3"}),
	} {
		status, text := srv.Post(t, "/rest-api/call/startup", body, nil)
		if status != 409 {
			t.Errorf("%s: %d %s, want 409", name, status, text)
		}
		errorBody(t, status, text, "/rest-api/call/startup")
	}
	phone.WaitEvent(t, "CALL_INCOMING")
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": "twice"}, nil)
	srv.WaitGone(t, "twice")
}

// errorBody checks the shape of an error answer (S2-47).
func errorBody(t *testing.T, status int, text, path string) {
	t.Helper()
	var b struct {
		Error, Exception, Message, Path string
		Status                          int
		Timestamp                       int64
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Errorf("error answer %q: %v", text, err)
		return
	}
	if b.Status != status || b.Path != path || b.Error == "" || b.Exception == "" || b.Message == "" || b.Timestamp < 1e12 {
		t.Errorf("error answer %+v", b)
	}
}

// TestBadRequests: what a client can get wrong.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	srv := peers.StartLineout(t, nil)
	good := refusedCall("bad", peers.Ports(t, 1))
	for _, c := range []struct {
		name, path, body string
		status           int
	}{
		{"torn JSON", "/rest-api/call/startup", `{"callId":`, 400},
		{"a list", "/rest-api/call/startup", `[]`, 400},
		{"nothing", "/rest-api/call/startup", `{}`, 400},
		{"wrong type", "/rest-api/call/startup", `{"callId":{}}`, 400},
		{"reserved characters", "/rest-api/call/startup", jsonOf(t, with(good, map[string]any{"sipLogin": "<10009>"})), 500},
		{"unknown call", "/rest-api/call/find", `{"callId":"nobody"}`, 404},
		{"no calls", "/rest-api/call/find_all", `{}`, 404},
		{"unknown call ended", "/rest-api/call/terminate", `{"callId":"nobody"}`, 404},
		{"push without address", "/rest-api/push/startup", `{"streamName":"x"}`, 400},
		{"unknown stream recorded", "/rest-api/recorder/startup", `{"mediaSessionId":"nobody"}`, 404},
		{"unknown stream packaged", "/rest-api/hls/startup", `{"name":"nobody"}`, 404},
		{"unknown method", "/rest-api/call/nothing", `{}`, 404},
	} {
		res, err := http.Post(srv.URL(c.path), "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		text := readAll(t, res)
		if res.StatusCode != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, res.StatusCode, text, c.status)
			continue
		}
		errorBody(t, res.StatusCode, text, c.path)
		if res.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%s: no CORS header on an error", c.name)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestRefusesToStart: one line that names the setting, exit code 1.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	_, taken, _ := net.SplitHostPort(l.Addr().String())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ setting, value string }{
		{"http.port", taken},
		{"ws.port", taken},
		{"hls.port", taken},
		{"http.legacy_port", taken},
		{"webrtc.udp_port", taken},
		{"record_dir", filepath.Join(file, "records")},
		{"http.port", "many"},
		{"hls_list_size", "-1"},
	} {
		t.Run(c.setting+"="+filepath.Base(c.value), func(t *testing.T) {
			srv := peers.PrepareLineout(t, map[string]string{c.setting: c.value})
			code, out := srv.Fails(t)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if code != 1 || len(lines) != 1 || !strings.Contains(lines[0], c.setting) {
				t.Errorf("exit code %d, want 1 and one line that names %s:\n%s", code, c.setting, out)
			}
		})
	}
}

// TestSight: what an operator looks at.
func TestSight(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	srv := peers.StartLineout(t, nil)
	srv.Must(t, "/rest-api/call/startup", direct("seen", "seen", phone), nil)
	srv.WaitCall(t, "seen", "ESTABLISHED")
	if status, text := srv.Get(t, "/metrics"); status != 200 || !strings.Contains(text, "lineout_") {
		t.Errorf("/metrics: %d %.300s", status, text)
	}
	if status, text := srv.Get(t, "/debug/graph/seen"); status != 200 || !strings.Contains(text, "H264") || !strings.Contains(text, "PCMA") {
		t.Errorf("/debug/graph/seen: %d %.300s", status, text)
	}
	if status, _ := srv.Get(t, "/debug/graph/unseen"); status != 404 {
		t.Errorf("/debug/graph/unseen: %d, want 404", status)
	}
}

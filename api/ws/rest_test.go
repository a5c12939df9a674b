package ws

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"lineout/api/fault"
)

// ask calls a REST method and returns its answer as JSON.
func (r *rig) ask(t *testing.T, method, body string) (string, error) {
	t.Helper()
	v, err := r.server.Methods()[method](t.Context(), func(into any) error { return json.Unmarshal([]byte(body), into) })
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), nil
}

func TestConnections(t *testing.T) {
	r := newRig(t, nil)
	if _, err := r.ask(t, "connection/find_all", `{}`); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("no sessions: %v", err)
	}
	c := r.user(t, "")
	r.call(t, c)
	got, err := r.ask(t, "connection/find", `{"sipLogin":1000}`)
	if err != nil || strings.Contains(got, "right") || strings.Contains(got, c.token) {
		t.Fatalf("%s, %v", got, err)
	}
	var l []map[string]any
	if err := json.Unmarshal([]byte(got), &l); err != nil || len(l) != 1 || l[0]["status"] != "REGISTERED" || l[0]["calls"] != 1.0 || l[0]["sipOutboundProxy"] != nil {
		t.Fatalf("%s, %v", got, err)
	}
	if _, err := r.ask(t, "connection/find", `{"sipLogin":"2000"}`); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("another login: %v", err)
	}
	id := l[0]["sessionId"].(string)
	if _, err := r.ask(t, "data/send", `{"operationId":"o","sessionIds":["`+id+`"],"payload":{"a":1}}`); err != nil {
		t.Error(err)
	}
	c.expect("OnDataEvent", `[{"operationId":"o","sessionId":"`+id+`"}]`)
	for body, code := range map[string]fault.Code{`{}`: fault.BadRequest, `{"sessionId":"x"}`: fault.NotFound} {
		if _, err := r.ask(t, "data/send", body); fault.CodeOf(err) != code {
			t.Errorf("data/send %s: %v", body, err)
		}
	}
	if _, err := r.ask(t, "connection/terminate", `{"sessionId":"`+id+`"}`); err != nil {
		t.Error(err)
	}
	c.expect("finish", `[{"callId":"c-1","status":"FINISH"}]`)
	if code := c.closed(); code != websocket.StatusNormalClosure {
		t.Errorf("closed with %v", code)
	}
	if _, err := r.ask(t, "connection/terminate", `{"sessionId":"`+id+`"}`); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a second terminate: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	r.call(t, r.user(t, ""))
	for _, m := range r.server.Metrics() {
		want := 1.0
		if m.Name == "lineout_ws_sessions_kept" {
			want = 0
		}
		if m.Value != want {
			t.Errorf("%s is %v, want %v", m.Name, m.Value, want)
		}
	}
}

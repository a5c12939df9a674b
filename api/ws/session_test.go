package ws

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestSession(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial(t, "/some/path?x=1") // any path
	c.send(`{"message":"ping","data":[null]}`)
	c.expect("pong", `[]`)
	c.send(`{"message":"playStream","data":[{"mediaSessionId":"early","name":"x"}]}`) // before connection: no answer
	c.send(`{"message":"connection","data":[{"appKey":"myApp","sipLogin":"1000","sipPassword":"s3cret","sipPort":5060,"sipRegisterRequired":"false"}]}`)
	data := c.expect("getUserData", `[{"appKey":"myApp","sipLogin":"1000","sipRegisterRequired":false}]`)
	user := data[0].(map[string]any)
	if tok, _ := user["authToken"].(string); len(tok) < 20 {
		t.Errorf("authToken %q can be guessed", tok)
	}
	for k, v := range user {
		if s, _ := v.(string); strings.Contains(s, "s3cret") {
			t.Errorf("getUserData.%s echoes the password", k)
		}
	}
	if r.server.Sessions() != 1 {
		t.Errorf("%d sessions, want 1", r.server.Sessions())
	}
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	waitFor(t, func() bool { return r.server.Sessions() == 0 })
}

func TestBadMessagesAreNotFatal(t *testing.T) {
	r := newRig(t, nil)
	c := r.session(t)
	for _, bad := range []string{"", "x", "null", "[]", "{}", `{"message":5}`, `{"message":"nonsense","data":[1]}`, `{"message":"pong"}`,
		`{"message":"playStream","data":[[]]}`, `{"message":"playStream","data":["a"]}`, `{"message":"stopStream","data":{"mediaSessionId":{}}}`,
		`{"message":"connection","data":[{}]}`, `{"message":"pushLogs","data":[{"logs":"x"}]}`, `{"message":"sendStreamEvent","data":[{}]}`} {
		c.send(bad)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageBinary, []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	c.send(`{"message":"ping","data":[null]}`)
	c.expect("pong", `[]`)
}

func TestRefusedInProtocolShape(t *testing.T) {
	r := makeRig(t, &rig{alone: true}, nil)
	r.stream(t, "here", true)
	r.stream(t, "later", false)
	c := r.session(t)
	for _, x := range []struct{ send, name, want string }{
		{`{"message":"publishStream","data":[{"mediaSessionId":"p","name":"cam"}]}`, "notifyStreamStatusEvent", `[{"mediaSessionId":"p","status":"FAILED","published":true}]`},
		{`{"message":"unPublishStream","data":[{"mediaSessionId":"p","name":"cam"}]}`, "notifyStreamStatusEvent", `[{"mediaSessionId":"p","status":"UNPUBLISHED"}]`},
		{`{"message":"call","data":[{"callId":"c"}]}`, "finish", `[{"callId":"c","status":"FAILED"}]`},
		{`{"message":"answer","data":[{"callId":"c"}]}`, "finish", `[{"callId":"c","status":"FINISH"}]`},
		{`{"message":"hold","data":[{"callId":"c"}]}`, "finish", `[{"callId":"c","status":"FINISH"}]`},
		{`{"message":"hangup","data":[{"callId":"c"}]}`, "finish", `[{"callId":"c","status":"FINISH"}]`},
		{`{"message":"sendData","data":[{"operationId":"o","payload":{"a":1}}]}`, "DataStatusEvent", `[{"operationId":"o","status":"ACCEPTED"}]`},
		{`{"message":"sessionDebug","data":[{"command":"start"}]}`, "notifySessionDebugEvent", `[{"status":"STARTED"}]`},
		{`{"message":"snapshot","data":[{"mediaSessionId":"s","name":"here"}]}`, "notifyStreamEvent", `[{"mediaSessionId":"s","type":"snapshotFailed"}]`},
		{`{"message":"availableStream","data":[{"mediaSessionId":"a","name":"here"}]}`, "availableStream", `[{"id":"a","status":"true","info":""}]`},
		{`{"message":"availableStream","data":[{"mediaSessionId":"a","name":"later"}]}`, "availableStream", `[{"id":"a","status":"false","info":"Publish stream is not ready"}]`},
		{`{"message":"availableStream","data":[{"mediaSessionId":"a","name":"none"}]}`, "availableStream", `[{"id":"a","status":"false","info":"Stream not found"}]`},
	} {
		c.send(x.send)
		data := c.expect(x.name, x.want)
		if x.name == "notifyStreamEvent" {
			if p, _ := data[0].(map[string]any)["payload"].(map[string]any); p["info"] == "" || p["info"] == nil {
				t.Errorf("snapshotFailed has no payload.info: %v", data)
			}
		}
	}
}

func TestSocketsThatAreClosed(t *testing.T) {
	for name, first := range map[string]string{
		"media socket of MSE":        `{"message":"connectMediaTransport","data":[{"authToken":"x"}]}`,
		"resume of unknown session":  `{"message":"connection","data":[{"keepAlive":true,"authToken":"gone"}]}`,
		"SIP registration asked for": `{"message":"connection","data":[{"sipLogin":"1000","sipPassword":"x","sipRegisterRequired":true}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := makeRig(t, &rig{alone: true}, nil)
			c := r.dial(t, "/")
			c.send(first)
			if strings.HasPrefix(name, "SIP") {
				c.expect("fail", `[{"apiMethod":"RegistrationStatusEvent","status":"FAILED"}]`)
			}
			if code := c.closed(); code != websocket.StatusNormalClosure {
				t.Errorf("closed with %v, want a normal closure", code)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Run("sessions", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxSessions = 1 })
		r.session(t)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, resp, err := websocket.Dial(ctx, r.url, nil)
		if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("second session: %v", err)
		}
	})
	t.Run("message size", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxMessage = 4096 })
		c := r.session(t)
		c.send(`{"message":"pushLogs","data":["` + strings.Repeat("x", 5000) + `"]}`)
		if code := c.closed(); code != websocket.StatusMessageTooBig {
			t.Errorf("closed with %v", code)
		}
	})
	t.Run("origin", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Origins = []string{"*.example.com"} })
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		for origin, ok := range map[string]bool{"https://evil.example.org": false, "https://a.example.com": true} {
			conn, _, err := websocket.Dial(ctx, r.url, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
			if (err == nil) != ok {
				t.Errorf("%s: %v", origin, err)
			}
			if err == nil {
				_ = conn.CloseNow()
			}
		}
	})
}

func TestServerStops(t *testing.T) {
	r := newRig(t, nil)
	c := r.session(t)
	r.stop()
	if code := c.closed(); code != websocket.StatusGoingAway {
		t.Errorf("closed with %v, want going away", code)
	}
}

// A client that is connected but silent is dropped after PingLimit pings.
func TestPingsUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSocket(New(DefaultConfig(), Deps{}), "test")
		a, b := socketPair(t)
		ended := make(chan struct{})
		go func() { s.run(context.Background(), a); close(ended) }()
		s.out <- outgoing{frame: []byte(`{"message":"getUserData","data":[{}]}`)}
		start, pings := time.Now(), 0
		for {
			_, frame, err := b.Read(context.Background())
			if err != nil {
				break
			}
			if strings.Contains(string(frame), `"ping"`) {
				pings++
			}
			if pings == 1 {
				_ = b.Write(context.Background(), websocket.MessageText, []byte(`{"message":"connection","data":[{}]}`))
			}
		}
		<-ended
		if d := time.Since(start); pings != 12-1 || d < 55*time.Second || d > 66*time.Second {
			t.Errorf("dropped after %d pings and %v", pings, d)
		}
		_ = b.CloseNow()
	})
}

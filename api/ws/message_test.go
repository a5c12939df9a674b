package ws

import (
	"context"
	"encoding/json"
	"testing"

	"lineout/pipeline"
)

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"message":"pong","data":[null]}`, `{"message":"pong"}`, `{"message":"x","data":[{"a":1},2]}`, `{"message":1,"data":{"a":1}}`,
		`{"message":"playStream","data":[{"mediaSessionId":"s","name":5,"sdp":"v=0"}]}`, `{"message":"connection","data":[{"sipRegisterRequired":"true","sipPort":"5060"}]}`,
		`[`, `{"message":"x","data":[`, `null`, `"x"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		name, arg, err := decode(frame)
		if err != nil {
			if name != "" || arg != nil {
				t.Fatalf("%q: %q %q besides the error %v", frame, name, arg, err)
			}
			return
		}
		if name == "" {
			t.Fatalf("%q: no name and no error", frame)
		}
		if len(arg) > 0 && !json.Valid(arg) {
			t.Fatalf("%q: argument %q is no JSON", frame, arg)
		}
		for _, into := range []any{&connection{}, &streamMessage{}, &callMessage{}, &dataMessage{}} {
			_ = json.Unmarshal(orObject(arg), into) // may fail, must not panic
		}
	})
}

func TestDecode(t *testing.T) {
	for frame, want := range map[string]string{
		`{"message":"a","data":[{"x":1}]}`: `a {"x":1}`,
		`{"message":"a","data":[]}`:        "a ",
		`{"message":"a","data":[null]}`:    "a ",
		`{"message":"a"}`:                  "a ",
		`{"message":"a","data":{"x":1}}`:   `a {"x":1}`,
	} {
		name, arg, err := decode([]byte(frame))
		if got := name + " " + string(arg); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", frame, got, err, want)
		}
	}
}

func TestEncodeAlwaysHasData(t *testing.T) {
	b, err := encode("ping")
	if err != nil || string(b) != `{"message":"ping","data":[]}` {
		t.Errorf("%s %v", b, err)
	}
}

// No message, whatever its argument, may panic or end the socket.
func FuzzHandle(f *testing.F) {
	for name := range handlers {
		f.Add(name, []byte(`{"mediaSessionId":"s","callId":"c","callee":"1","name":"call","sdp":"v=0","payload":{"command":"join","options":{"name":"r"}}}`))
		f.Add(name, []byte(`[]`))
		f.Add(name, []byte(`{"callId":{},"payload":5,"type":[],"command":1}`))
		f.Add(name, []byte{})
	}
	f.Add("connection", []byte(`{"sipLogin":"1","sipPort":"x","custom":"no object","authToken":1}`))
	f.Fuzz(func(t *testing.T, name string, arg []byte) {
		if len(arg) > 0 && !json.Valid(arg) {
			return
		}
		p := newPhone()
		s := New(DefaultConfig(), Deps{Stream: func(string) *pipeline.Stream { return nil }, Phone: p.deps(), Hooks: p})
		k := newSocket(s, "127.0.0.1:1")
		k.life = t.Context()
		k.ctx, k.cancel = context.WithCancelCause(k.life)
		if err := k.handle("connection", []byte(`{"appKey":"roomApp","custom":{"login":"x"},"sipLogin":"1","sipDomain":"localhost","sipPassword":"right","sipRegisterRequired":true}`)); err != nil {
			t.Fatal(err)
		}
		if err := k.handle(name, arg); err != nil && name != "connectMediaTransport" {
			t.Errorf("%s %s: %v", name, arg, err)
		}
		k.cancel(nil)
		k.work.wait()
		k.session.detach(k, nil)
		s.wg.Wait()
	})
}

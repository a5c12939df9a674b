package ws

import (
	"encoding/json"
	"testing"
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

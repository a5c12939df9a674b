package ws

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSendData(t *testing.T) {
	r := newRig(t, nil)
	c := r.session(t)
	c.send(`{"message":"sendData","data":[{"operationId":"o1","payload":{"a":[1,"x"]}}]}`)
	c.expect("DataStatusEvent", `[{"operationId":"o1","status":"ACCEPTED"}]`)
	if got := r.phone.told(); !strings.Contains(got, `"payload":{"a":[1,"x"]}`) {
		t.Errorf("the application was told %s", got)
	}
	r.phone.mu.Lock()
	r.phone.hookErr["sendData"] = errors.New("403 Forbidden")
	r.phone.mu.Unlock()
	c.send(`{"message":"sendData","data":[{"operationId":"o2"}]}`)
	c.expect("DataStatusEvent", `[{"operationId":"o2","status":"FAILED","info":"403 Forbidden"}]`)
}

// The program behind an application hears what a page does and what comes of it, in order,
// and never its password.
func TestProgramIsTold(t *testing.T) {
	r := newRig(t, nil)
	c := r.user(t, "")
	r.call(t, c)
	c.send(`{"message":"sendDtmf","data":[{"callId":"c-1","dtmf":"5","type":"RFC2833"}]}`)
	waitFor(t, func() bool { return strings.Contains(r.phone.told(), `sendDtmf`) })
	c.send(`{"message":"stopStream","data":[{"mediaSessionId":"s-1","name":"n"}]}`)
	c.send(`{"message":"hangup","data":[{"callId":"c-1"}]}`)
	waitFor(t, func() bool { return strings.Contains(r.phone.told(), `hangup`) })
	var methods []string
	for line := range strings.SplitSeq(r.phone.told(), "\n") {
		methods = append(methods, strings.Fields(line)[1])
	}
	want := []string{"connect", "ConnectionStatusEvent", "RegistrationStatusEvent", "call", "sendDtmf", "stopStream", "StreamStatusEvent", "hangup"}
	if !slices.Equal(methods, want) {
		t.Errorf("told %v, want %v", methods, want)
	}
	for _, w := range []string{`"callId":"c-1","dtmf":"5","keepAlive"`, `"status":"STOPPED"`, `"sipLogin":"1000"`} {
		if !strings.Contains(r.phone.told(), w) {
			t.Errorf("%s is not told:\n%s", w, r.phone.told())
		}
	}
	if strings.Contains(r.phone.told(), "assword") {
		t.Errorf("a password is told:\n%s", r.phone.told())
	}
}

// A publisher's events go to those who play its stream, with their own ids.
func TestStreamEvents(t *testing.T) {
	r := newRig(t, nil)
	r.stream(t, "call", true)
	pub, player := r.session(t), r.session(t)
	player.send(playS1)
	player.expect("setRemoteSDP", `["s-1","answer to offer"]`)
	var se *session
	for _, s := range r.server.list() {
		if len(s.playing("call")) == 0 {
			se = s
		}
	}
	se.began("p-1", "call", nil)
	player.send(`{"message":"sendStreamEvent","data":[{"mediaSessionId":"s-1","type":"data","payload":{"x":1}}]}`) // no publisher
	pub.send(`{"message":"sendStreamEvent","data":[{"mediaSessionId":"p-1","type":"nonsense"}]}`)
	pub.send(`{"message":"sendStreamEvent","data":[{"mediaSessionId":"p-1","type":"data","payload":{"count":23}}]}`)
	pub.send(`{"message":"sendStreamEvent","data":[{"mediaSessionId":"p-1","type":"audioMuted"}]}`)
	for _, want := range []struct{ kind, payload string }{{"data", `{"count":23}`}, {"audioMuted", `{"streamName":"call"}`}} {
		data := player.expect("notifyStreamEvent", `[{"mediaSessionId":"s-1","type":"`+want.kind+`"}]`)
		b, err := json.Marshal(data[0].(map[string]any)["payload"])
		if err != nil || string(b) != want.payload {
			t.Errorf("%s came with %s", want.kind, b)
		}
	}
}

func (r *rig) guest(t *testing.T, login string) *client {
	t.Helper()
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{"appKey":"roomApp","custom":{"login":"` + login + `","token":"t"}}]}`)
	c.expect("getUserData", `[{"appKey":"roomApp"}]`)
	return c
}

func (c *client) room(command, options, status string) {
	c.t.Helper()
	c.send(`{"message":"sendData","data":[{"operationId":"o","payload":{"command":"` + command + `","options":` + options + `}}]}`)
	if status != "" {
		c.expect("DataStatusEvent", `[{"operationId":"o","status":"`+status+`"}]`)
	}
}

func (c *client) event(want string) {
	c.t.Helper()
	name, data := c.next()
	if b, err := json.Marshal(data); err != nil || name != "OnDataEvent" || string(b) != `[{"payload":`+want+`}]` {
		c.t.Fatalf("got %s %s, want %s", name, b, want)
	}
}

func TestRooms(t *testing.T) {
	r := newRig(t, nil)
	bob := r.guest(t, "bob")
	bob.room("join", `{"name":"r"}`, "")
	bob.event(`{"info":[],"name":"STATE","roomName":"r"}`)
	bob.expect("DataStatusEvent", `[{"status":"ACCEPTED"}]`)
	for _, s := range r.server.list() {
		s.began("p", "r-bob-1", json.RawMessage(`{"name":"r"}`))
	}
	amy := r.guest(t, "amy")
	amy.room("join", `{"name":"r"}`, "")
	amy.event(`{"info":[{"login":"bob","name":"r-bob-1"}],"name":"STATE","roomName":"r"}`)
	amy.expect("DataStatusEvent", `[{"status":"ACCEPTED"}]`)
	bob.event(`{"info":"amy","name":"JOINED","roomName":"r"}`)
	for _, s := range r.server.list() {
		s.ceased("p", "UNPUBLISHED")
	}
	amy.event(`{"info":{"login":"bob","name":"r-bob-1"},"name":"UNPUBLISHED","roomName":"r"}`)
	amy.room("sendMessage", `{"roomConfig":{"name":"r"},"to":"bob","text":"hi"}`, "ACCEPTED")
	bob.event(`{"info":{"from":"amy","text":"hi"},"name":"MESSAGE","roomName":"r"}`)
	amy.room("sendMessage", `{"roomConfig":{"name":"r"},"to":"zoe","text":"hi"}`, "FAILED")
	amy.room("sendMessage", `{"roomConfig":{"name":"other"},"to":"bob","text":"hi"}`, "FAILED")
	amy.room("leave", `{"name":"other"}`, "FAILED")
	amy.room("join", `{"name":"r"}`, "FAILED") // she is there
	amy.room("join", `{}`, "FAILED")
	r.guest(t, "bob").room("join", `{"name":"r"}`, "FAILED")
	_ = amy.conn.CloseNow()
	bob.event(`{"info":"amy","name":"LEFT","roomName":"r"}`)
	bob.room("leave", `{"name":"r"}`, "ACCEPTED")
	r.server.rooms.mu.Lock()
	defer r.server.rooms.mu.Unlock()
	if len(r.server.rooms.by) != 0 {
		t.Errorf("rooms are left: %v", r.server.rooms.by)
	}
}

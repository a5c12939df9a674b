package ws

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"lineout/media"
)

// describe is what hooks are told of a session (hooks 6), without its
// password; more are pairs of keys and values. Unset keys are left out.
func (s *session) describe(more ...any) map[string]any {
	m := map[string]any{"sessionId": s.id, "appKey": s.app, "sipRegisterRequired": s.registers, "keepAlive": s.keep}
	set := func(k string, v string) {
		if v != "" {
			m[k] = v
		}
	}
	set("clientVersion", s.version)
	a := s.account
	set("sipLogin", a.Login)
	set("sipAuthenticationName", a.AuthName)
	set("sipDomain", a.Domain)
	set("sipOutboundProxy", a.Proxy)
	if a.Port != 0 {
		m["sipPort"] = a.Port
	}
	if len(s.custom) > 0 {
		m["custom"] = s.custom
	}
	for i := 0; i+1 < len(more); i += 2 {
		if k, ok := more[i].(string); ok && more[i+1] != nil && more[i+1] != "" {
			m[k] = more[i+1]
		}
	}
	return m
}

// ask asks the application's program for something; nil if it has none.
func (s *session) ask(method string, body map[string]any) error {
	if s.server.deps.Hooks == nil {
		return nil
	}
	return s.server.deps.Hooks.Ask(s.ctx, s.id, method, body)
}

// inform tells the application's program of something.
func (s *session) inform(method string, body map[string]any) {
	if s.server.deps.Hooks != nil {
		s.server.deps.Hooks.Tell(s.id, method, body)
	}
}

// sendData takes an application's data: what is for a room goes there, the
// rest to the application's program.
func sendData(s *session, arg json.RawMessage) error {
	var m dataMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	s.work.run(func() {
		status := dataStatus{OperationID: string(m.OperationID), Status: "ACCEPTED"}
		handled, err := s.roomCommand(m.Payload)
		if !handled {
			err = s.ask("sendData", s.describe("operationId", string(m.OperationID), "payload", m.Payload))
		}
		if err != nil {
			status.Status, status.Info = "FAILED", err.Error()
		}
		s.send("DataStatusEvent", status)
	})
	return nil
}

// sendStreamEvent passes an event of a publisher on to those who play its stream.
func sendStreamEvent(s *session, arg json.RawMessage) error {
	var m struct {
		streamMessage
		Type    string          `json:"type"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	s.mu.Lock()
	p, ok := s.live[string(m.MediaSessionID)]
	s.mu.Unlock()
	name := p.name
	if !ok {
		return nil // of a player: its own affair
	}
	mute := func(k media.Kind, on bool) {
		if st := s.server.deps.Stream(name); st != nil {
			st.SetMuted(k, on)
		}
	}
	switch m.Type {
	case "data":
	case "audioMuted", "audioUnmuted":
		mute(media.Audio, m.Type == "audioMuted")
	case "videoMuted", "videoUnmuted":
		mute(media.Video, m.Type == "videoMuted")
	default:
		return nil
	}
	if data := bytes.TrimSpace(m.Payload); len(data) == 0 || bytes.Equal(data, []byte("null")) {
		m.Payload, _ = json.Marshal(map[string]string{"streamName": name}) // the SDK's pages show it
	}
	for _, other := range s.server.list() {
		for _, id := range other.playing(name) {
			other.send("notifyStreamEvent", streamEvent{MediaSessionID: id, Type: m.Type, Payload: m.Payload})
		}
	}
	return nil
}

// playing lists the mediaSessionIds of those who play a stream.
func (s *session) playing(name string) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.plays {
		if p.name == name {
			ids = append(ids, id)
		}
	}
	return ids
}

// publication is a stream the page publishes; room is the one it is for, if any.
type publication struct{ name, room string }

// began remembers a stream the page publishes now, and tells its room.
func (s *session) began(id, name string, custom json.RawMessage) {
	var c struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(custom, &c) // other applications have other objects there
	s.mu.Lock()
	s.live[id] = publication{name, c.Name}
	s.mu.Unlock()
	s.roomStream(c.Name, name, "PUBLISHED")
}

// ceased forgets a stream the page does not publish any more; status is UNPUBLISHED or FAILED.
func (s *session) ceased(id, status string) {
	s.mu.Lock()
	p, ok := s.live[id]
	delete(s.live, id)
	s.mu.Unlock()
	if ok {
		s.roomStream(p.room, p.name, status)
	}
}

// snapshot answers with a picture of a stream, or says why there is none.
func snapshot(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	id, st := string(m.MediaSessionID), s.server.deps.Stream(string(m.Name))
	s.inform("snapshot", s.describe("mediaSessionId", id, "name", string(m.Name)))
	reply := func(kind, key, text string) {
		payload, _ := json.Marshal(map[string]string{key: text})
		s.send("notifyStreamEvent", streamEvent{MediaSessionID: id, Type: kind, Payload: payload})
	}
	switch {
	case st == nil:
		reply("snapshotFailed", "info", infoNotFound)
	case s.server.deps.Snapshot == nil:
		reply("snapshotFailed", "info", "Snapshots are not available on this server")
	default:
		s.work.run(func() {
			png, err := s.server.deps.Snapshot(s.ctx, st)
			if err != nil {
				s.log.Info("snapshot failed", "stream", st.Name(), "err", err)
				reply("snapshotFailed", "info", err.Error())
				return
			}
			reply("snapshotCompleted", "snapshot", base64.StdEncoding.EncodeToString(png))
		})
	}
	return nil
}

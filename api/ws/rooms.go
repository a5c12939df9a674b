package ws

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// maxRooms bounds the rooms of a session.
const maxRooms = 16

// rooms are those of the SDK's room API, which travels in sendData
// (websdk-protocol 10). A room is there as long as somebody is in it.
type rooms struct {
	mu sync.Mutex
	by map[string][]*member // by appKey and name, in the order of joining
}

type member struct {
	s     *session
	login string
}

// roomEvent is the payload of OnDataEvent.
type roomEvent struct {
	RoomName string `json:"roomName"`
	Name     string `json:"name"`
	Info     any    `json:"info,omitempty"`
}

// roomCommand acts on a room's command; handled is false for other data.
func (s *session) roomCommand(payload json.RawMessage) (handled bool, err error) {
	var p struct {
		Command string `json:"command"`
		Options struct {
			Name       string `json:"name"`
			To         string `json:"to"`
			Text       string `json:"text"`
			RoomConfig struct {
				Name string `json:"name"`
			} `json:"roomConfig"`
		} `json:"options"`
	}
	if s.app != "roomApp" || json.Unmarshal(payload, &p) != nil {
		return false, nil
	}
	r := &s.server.rooms
	switch p.Command {
	case "join":
		return true, r.join(s, p.Options.Name)
	case "leave":
		return true, r.leave(s, p.Options.Name)
	case "sendMessage":
		return true, r.message(s, p.Options.RoomConfig.Name, p.Options.To, p.Options.Text)
	}
	return false, nil
}

// roomLogin is who the page says it is.
func (s *session) roomLogin() string {
	var c struct {
		Login string `json:"login"`
	}
	_ = json.Unmarshal(s.custom, &c) // no object: nobody
	return c.Login
}

// roomStreams are the streams the page publishes for a room.
func (s *session) roomStreams(room string) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.live {
		if p.room == room {
			names = append(names, p.name)
		}
	}
	return names
}

func (s *session) roomKey(name string) string { return s.app + "\x00" + name }

func (s *session) tellRoom(e roomEvent) { s.send("OnDataEvent", map[string]any{"payload": e}) }

func (r *rooms) join(s *session, name string) error {
	login := s.roomLogin()
	if name == "" || login == "" {
		return errors.New("a room needs a name, and who joins it a login")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key, mine := s.roomKey(name), 0
	for _, l := range r.by {
		for _, m := range l {
			if m.s == s {
				mine++
			}
		}
	}
	for _, m := range r.by[key] {
		if m.login == login {
			return fmt.Errorf("%q is in the room %q already", login, name)
		}
	}
	if mine >= maxRooms {
		return fmt.Errorf("this session is in %d rooms already", mine)
	}
	state := []any{}
	for _, m := range r.by[key] {
		streams := m.s.roomStreams(name)
		if len(streams) == 0 {
			state = append(state, m.login)
		}
		for _, st := range streams {
			state = append(state, map[string]string{"login": m.login, "name": st})
		}
		m.s.tellRoom(roomEvent{name, "JOINED", login})
	}
	if r.by == nil {
		r.by = map[string][]*member{}
	}
	r.by[key] = append(r.by[key], &member{s, login})
	s.tellRoom(roomEvent{name, "STATE", state})
	return nil
}

func (r *rooms) leave(s *session, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaveLocked(s, s.roomKey(name))
}

func (r *rooms) leaveLocked(s *session, key string) error {
	l := r.by[key]
	_, name, _ := strings.Cut(key, "\x00")
	i := slices.IndexFunc(l, func(m *member) bool { return m.s == s })
	if i < 0 {
		return fmt.Errorf("you are not in the room %q", name)
	}
	login := l[i].login
	if l = slices.Delete(l, i, i+1); len(l) == 0 {
		delete(r.by, key)
		return nil
	}
	r.by[key] = l
	for _, m := range l {
		m.s.tellRoom(roomEvent{name, "LEFT", login})
	}
	return nil
}

// leaveAll is for a session that ends.
func (r *rooms) leaveAll(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.by {
		_ = r.leaveLocked(s, key) // it is in few of them
	}
}

// message goes to one participant, or to all others without a name.
func (r *rooms) message(s *session, name, to, text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.by[s.roomKey(name)]
	i := slices.IndexFunc(l, func(m *member) bool { return m.s == s })
	if i < 0 {
		return fmt.Errorf("you are not in the room %q", name)
	}
	sent := false
	for _, m := range l {
		if m.s != s && (to == "" || m.login == to) {
			m.s.tellRoom(roomEvent{name, "MESSAGE", map[string]string{"from": l[i].login, "text": text}})
			sent = true
		}
	}
	if !sent && to != "" {
		return fmt.Errorf("%q is not in the room %q", to, name)
	}
	return nil
}

// roomStream tells a room of a stream of one of its participants: event is
// PUBLISHED, UNPUBLISHED or FAILED.
func (s *session) roomStream(room, stream, event string) {
	if s.app != "roomApp" || room == "" {
		return
	}
	r := &s.server.rooms
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.by[s.roomKey(room)]
	i := slices.IndexFunc(l, func(m *member) bool { return m.s == s })
	if i < 0 {
		return
	}
	for _, m := range l {
		if m.s != s {
			m.s.tellRoom(roomEvent{room, event, map[string]string{"login": l[i].login, "name": stream}})
		}
	}
}

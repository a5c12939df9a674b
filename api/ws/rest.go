package ws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/outputs"
)

var errTerminated = errors.New("terminated by REST")

// connectionItem is a session as the REST API shows it (rest-api 10). Unset
// keys are null; a password is never shown.
type connectionItem struct {
	AppKey              string          `json:"appKey"`
	SessionID           string          `json:"sessionId"`
	Status              string          `json:"status"`
	SIPRegisterRequired bool            `json:"sipRegisterRequired"`
	SIPLogin            *string         `json:"sipLogin"`
	SIPAuthName         *string         `json:"sipAuthenticationName"`
	SIPDomain           *string         `json:"sipDomain"`
	SIPOutboundProxy    *string         `json:"sipOutboundProxy"`
	SIPPort             int             `json:"sipPort"`
	ClientVersion       *string         `json:"clientVersion"`
	KeepAlive           bool            `json:"keepAlive"`
	Remote              string          `json:"remote"`
	CreateDate          int64           `json:"createDate"` // milliseconds since 1970
	Calls               int             `json:"calls"`
	Streams             int             `json:"streams"`
	Custom              json.RawMessage `json:"custom"`
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// item is a snapshot of the session.
func (s *session) item() connectionItem {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := "ESTABLISHED"
	switch {
	case s.socket == nil:
		status = "DISCONNECTED" // kept
	case s.registered:
		status = "REGISTERED"
	}
	a := s.account
	return connectionItem{AppKey: s.app, SessionID: s.id, Status: status, SIPRegisterRequired: s.registers, SIPLogin: text(a.Login),
		SIPAuthName: text(a.AuthName), SIPDomain: text(a.Domain), SIPOutboundProxy: text(a.Proxy), SIPPort: a.Port, ClientVersion: text(s.version),
		KeepAlive: s.keep, Remote: s.remote, CreateDate: s.started.UnixMilli(), Calls: len(s.calls), Streams: len(s.plays) + len(s.publishes), Custom: s.custom}
}

// Methods are served below /rest-api/.
func (s *Server) Methods() map[string]outputs.Method {
	return map[string]outputs.Method{
		"connection/find": s.find,
		"connection/find_all": func(context.Context, func(any) error) (any, error) {
			return s.items(func(*session) bool { return true })
		},
		"connection/terminate": s.terminate,
		"data/send":            s.sendTo,
	}
}

func (s *Server) items(match func(*session) bool) (any, error) {
	l := s.list()
	slices.SortFunc(l, func(a, b *session) int { return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.id, b.id)) })
	out := []connectionItem{}
	for _, se := range l {
		if match(se) {
			out = append(out, se.item())
		}
	}
	if len(out) == 0 {
		return nil, fault.New(fault.NotFound, "there is no such browser session")
	}
	return out, nil
}

func (s *Server) find(_ context.Context, decode func(any) error) (any, error) {
	var q struct {
		SessionID     loose.String `json:"sessionId"`
		AppKey        loose.String `json:"appKey"`
		SIPLogin      loose.String `json:"sipLogin"`
		ClientVersion loose.String `json:"clientVersion"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	fits := func(want loose.String, is string) bool { return want == "" || string(want) == is }
	return s.items(func(se *session) bool {
		return fits(q.SessionID, se.id) && fits(q.AppKey, se.app) && fits(q.SIPLogin, se.account.Login) && fits(q.ClientVersion, se.version)
	})
}

func (s *Server) byID(id string) (*session, error) {
	for _, se := range s.list() {
		if se.id == id {
			return se, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no browser session with sessionId %q", id)
}

// terminate ends a session with all it has, and waits for that.
func (s *Server) terminate(ctx context.Context, decode func(any) error) (any, error) {
	var q struct {
		SessionID loose.String `json:"sessionId"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	se, err := s.byID(string(q.SessionID))
	if err != nil {
		return nil, err
	}
	se.cancel(errTerminated)
	t := time.NewTimer(hangupTime)
	defer t.Stop()
	select {
	case <-se.done:
	case <-t.C:
	case <-ctx.Done():
	}
	return nil, nil
}

// sendTo brings an application's data to its pages.
func (s *Server) sendTo(_ context.Context, decode func(any) error) (any, error) {
	var q struct {
		OperationID loose.String    `json:"operationId"`
		SessionID   loose.String    `json:"sessionId"`
		SessionIDs  []loose.String  `json:"sessionIds"`
		Payload     json.RawMessage `json:"payload"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	if q.SessionID != "" {
		q.SessionIDs = append(q.SessionIDs, q.SessionID)
	}
	if len(q.SessionIDs) == 0 {
		return nil, fault.New(fault.BadRequest, "one of the keys sessionId and sessionIds is needed")
	}
	var to []*session
	for _, id := range q.SessionIDs {
		se, err := s.byID(string(id))
		if err != nil {
			return nil, err
		}
		to = append(to, se)
	}
	for _, se := range to {
		se.send("OnDataEvent", map[string]any{"operationId": q.OperationID, "sessionId": se.id, "payload": q.Payload})
	}
	return nil, nil
}

// Metrics are those of the sessions.
func (s *Server) Metrics() []outputs.Metric {
	s.mu.Lock()
	opened, sockets, away := s.opened, len(s.sockets), s.awayLocked(nil)
	s.mu.Unlock()
	registered, talking := 0, 0
	for _, se := range s.list() {
		se.mu.Lock()
		if se.registered {
			registered++
		}
		talking += len(se.calls)
		se.mu.Unlock()
	}
	return []outputs.Metric{
		{Name: "lineout_ws_sessions_total", Help: "Browser sessions that were opened.", Value: float64(opened)},
		{Name: "lineout_ws_sockets", Help: "WebSockets of browsers now.", Value: float64(sockets)},
		{Name: "lineout_ws_sessions_kept", Help: "Sessions that wait for their browser to come back.", Value: float64(away)},
		{Name: "lineout_ws_sessions_registered", Help: "Sessions whose account can be called.", Value: float64(registered)},
		{Name: "lineout_ws_calls", Help: "Calls of browser sessions now, those that ring included.", Value: float64(talking)},
	}
}

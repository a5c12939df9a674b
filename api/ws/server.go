// Package ws speaks the WebSocket protocol of the browser SDK
// (@flashphoner/websdk 2.0): sessions and playing streams. It holds no state
// but the sessions.
package ws

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/coder/websocket"

	"lineout/pipeline"
)

// The texts of STREAM_STATUS_INFO the server sends itself. Pages compare them.
const (
	infoStoppedByUser       = "Stopped by user"
	infoStoppedByDisconnect = "Stopped by session disconnect"
	infoStoppedByTerminate  = "Stopped by rest /terminate"
	infoFailedByError       = "Failed by error"
	infoNotFound            = "Stream not found"
	infoNotReady            = "Publish stream is not ready"
	infoNoCommonCodecs      = "No common codecs"
	infoNoID                = "MediaSessionId is null"
	infoIDInUse             = "MediaSessionId is already in use"
)

// PlayRequest is one playStream.
type PlayRequest struct {
	Stream *pipeline.Stream
	// Offer is the player's SDP.
	Offer string
	// ID is the player's mediaSessionId, SessionID the WebSocket session's.
	ID, SessionID string
}

// Playback is a player that was answered.
type Playback interface {
	// Connected is closed when ICE and DTLS are up; media waits for Start.
	Connected() <-chan struct{}
	Start()
	// Stop ends it with one of the info texts, the first of which stays.
	Stop(reason string)
	// Ended is closed when it ends, for whatever reason; then Reason is its
	// info text. Done is closed when everything is freed.
	Ended() <-chan struct{}
	Reason() string
	Done() <-chan struct{}
}

// Deps are the parts of the server a session acts on.
type Deps struct {
	// Stream finds a stream by name, nil if there is none.
	Stream func(name string) *pipeline.Stream
	// Play answers a player; it waits for the stream to be ready. An error
	// with a method StreamInfo() string brings its own info text.
	Play func(ctx context.Context, r PlayRequest) (p Playback, answer string, err error)
	Log  *slog.Logger
}

// Server accepts browser sessions on every path.
type Server struct {
	config Config
	deps   Deps
	log    *slog.Logger

	mu       sync.Mutex
	ctx      context.Context // nil: not running
	sessions map[*session]struct{}
	wg       sync.WaitGroup
}

// New makes a server; it starts nothing.
func New(c Config, d Deps) *Server {
	log := d.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{config: c, deps: d, log: log, sessions: map[*session]struct{}{}}
}

// Run lets sessions in until ctx ends, then closes them all and waits.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Sessions is the number of open sessions.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// ServeHTTP upgrades a request and serves the session until it ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	se := newSession(s, r.RemoteAddr)
	run := s.admit(se)
	if run == nil {
		http.Error(w, "no more browser sessions now (ws.max_sessions), or the server is stopping", http.StatusServiceUnavailable)
		return
	}
	defer s.leave(se)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// Pages come from any host unless the operator says otherwise: a
		// session has no cookie another site could borrow.
		InsecureSkipVerify: len(s.config.Origins) == 0,
		OriginPatterns:     s.config.Origins,
	})
	if err != nil {
		s.log.Debug("WebSocket upgrade refused", "remote", r.RemoteAddr, "err", err)
		return
	}
	conn.SetReadLimit(int64(s.config.MaxMessage))
	se.run(run, conn)
}

func (s *Server) admit(se *session) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil || len(s.sessions) >= s.config.MaxSessions {
		return nil
	}
	s.sessions[se] = struct{}{}
	s.wg.Add(1)
	return s.ctx
}

func (s *Server) leave(se *session) {
	s.mu.Lock()
	delete(s.sessions, se)
	s.mu.Unlock()
	s.wg.Done()
}

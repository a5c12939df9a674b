// Package ws speaks the WebSocket protocol of the browser SDK
// (@flashphoner/websdk 2.0): sessions, players, and calls. It holds no state
// but that of the sessions.
package ws

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"

	"github.com/coder/websocket"

	"lineout/calls/limit"
)

// Server accepts browser sessions on every path.
type Server struct {
	config Config
	deps   Deps
	log    *slog.Logger
	// guesses are the wrong tokens and passwords an address has left.
	guesses *limit.Buckets[netip.Addr]

	mu       sync.Mutex
	ctx      context.Context // nil: not running
	sockets  map[*socket]struct{}
	sessions map[string]*session // by token
	opened   uint64
	wg       sync.WaitGroup // sockets and sessions
	rooms    rooms
}

// New makes a server; it starts nothing.
func New(c Config, d Deps) *Server {
	log := d.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{config: c, deps: d, log: log, guesses: limit.New[netip.Addr](float64(c.LoginFailures)/60, float64(c.LoginFailures)),
		sockets: map[*socket]struct{}{}, sessions: map[string]*session{}}
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

// Sessions is the number of open sockets.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets)
}

// ServeHTTP upgrades a request and serves the session until it ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k := newSocket(s, r.RemoteAddr)
	run := s.admit(k)
	if run == nil {
		http.Error(w, "no more browser sessions now (ws.max_sessions), or the server is stopping", http.StatusServiceUnavailable)
		return
	}
	defer s.leave(k)
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
	k.run(run, conn)
}

// admit counts a socket in. Sessions that wait for their browser count as
// well, but make room, the one that has waited longest first.
func (s *Server) admit(k *socket) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil || len(s.sockets) >= s.config.MaxSessions {
		return nil
	}
	if len(s.sockets)+s.awayLocked(nil) >= s.config.MaxSessions {
		var oldest *session
		s.awayLocked(func(se *session) {
			if oldest == nil || se.started.Before(oldest.started) {
				oldest = se
			}
		})
		oldest.cancel(errCrowded)
	}
	s.sockets[k] = struct{}{}
	s.wg.Add(1)
	return s.ctx
}

// awayLocked counts the sessions that wait for their browser and shows each to see.
func (s *Server) awayLocked(see func(*session)) int {
	n := 0
	for _, se := range s.sessions {
		if se.ctx.Err() != nil || se.current() != nil {
			continue
		}
		n++
		if see != nil {
			see(se)
		}
	}
	return n
}

func (s *Server) leave(k *socket) {
	s.mu.Lock()
	delete(s.sockets, k)
	s.mu.Unlock()
	s.wg.Done()
}

// open counts a session in. Its socket is counted already, so Run waits.
func (s *Server) open(se *session) {
	s.mu.Lock()
	s.sessions[se.token] = se
	s.opened++
	s.mu.Unlock()
	s.wg.Go(func() {
		se.run()
		s.mu.Lock()
		delete(s.sessions, se.token)
		s.mu.Unlock()
	})
}

// kept finds a session by its token.
func (s *Server) kept(token string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if se := s.sessions[token]; se != nil && se.keep {
		return se
	}
	return nil
}

// list is every session.
func (s *Server) list() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*session, 0, len(s.sessions))
	for _, se := range s.sessions {
		if se.ctx.Err() == nil { // else it is about to go
			out = append(out, se)
		}
	}
	return out
}

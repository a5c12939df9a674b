package ws

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"lineout/calls"
)

// session is what a page has here after its "connection": an account, players
// and calls. It lives as long as its socket or, with keepAlive, for a while
// longer, so that a page that comes back with its token goes on with it
// (websdk-protocol 6.3). Players end with the socket, since the SDK has given
// them up by then; the calls of a socket that was lost go on.
type session struct {
	server    *Server
	id, token string
	app       string
	custom    json.RawMessage // of the page, may be nil
	version   string          // clientVersion
	remote    string          // of the first socket
	keep      bool
	account   calls.Account
	registers bool // the page wants its account to be callable
	started   time.Time
	log       *slog.Logger

	ctx    context.Context
	cancel context.CancelCauseFunc
	work   group         // what ends with the session
	signed chan struct{} // closed when the account may be used, or there is none
	done   chan struct{} // closed when everything is freed
	debug  atomic.Bool   // messages are logged by name

	mu         sync.Mutex
	socket     *socket // nil: away
	away       *time.Timer
	registered bool
	plays      map[string]*play
	publishes  map[string]*publishing // by mediaSessionId
	live       map[string]publication // by mediaSessionId: those of them that have media
	calls      map[string]*call
	reports    int // bug reports so far
}

func newSession(s *Server, run context.Context, remote string) *session {
	id := uuid.NewString()
	se := &session{server: s, id: id, token: rand.Text(), remote: remote, started: time.Now(), log: s.log.With("session", id),
		signed: make(chan struct{}), done: make(chan struct{}), plays: map[string]*play{}, publishes: map[string]*publishing{}, live: map[string]publication{}, calls: map[string]*call{}}
	se.ctx, se.cancel = context.WithCancelCause(run)
	return se
}

// run waits for the session's end and frees what it held.
func (s *session) run() {
	defer close(s.done)
	<-s.ctx.Done()
	s.mu.Lock()
	k := s.socket
	if s.away != nil {
		s.away.Stop()
	}
	s.mu.Unlock()
	s.dropCalls("the browser's session has ended", func(*call) bool { return true })
	s.server.rooms.leaveAll(s)
	s.work.wait()
	if k != nil {
		k.cancel(errEnd)
	}
	s.inform("ConnectionStatusEvent", s.describe("status", "DISCONNECTED"))
	s.log.Info("browser session closed", "remote", s.remote, "cause", context.Cause(s.ctx))
}

// attach makes a socket the session's; one it has already is closed, since
// that is one the browser has lost without our knowing.
func (s *session) attach(k *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	if s.away != nil {
		s.away.Stop()
		s.away = nil
	}
	if old := s.socket; old != nil {
		old.cancel(errReplaced)
	}
	s.socket, k.session, k.log = k, s, s.log
	return true
}

// detach is told of the end of a socket. It returns when the session has
// ended, too, unless that is kept.
func (s *session) detach(k *socket, cause error) {
	s.mu.Lock()
	if s.socket != k {
		s.mu.Unlock()
		return
	}
	s.socket = nil
	kept := s.keep && s.server.config.Keep > 0 && !errors.Is(cause, errEnd) && !signedOut(cause) && s.ctx.Err() == nil
	if kept {
		s.away = time.AfterFunc(s.server.config.Keep, func() { s.cancel(errors.New("the browser did not come back within ws.keep")) })
	}
	s.mu.Unlock()
	if !kept {
		s.cancel(cause)
		<-s.done
		return
	}
	s.server.rooms.leaveAll(s)
	s.log.Info("browser session waits for its browser", "cause", cause, "for", s.server.config.Keep)
	if websocket.CloseStatus(cause) != -1 {
		// The page said goodbye, so its side of the calls is gone as well (S1-15).
		s.dropCalls("the browser has left", func(c *call) bool { return !c.ringing() })
	}
}

// signedOut says that a page closed its socket with status 1000, for which it
// has to ask: the purpose is fulfilled (RFC 6455 section 7.4.1), nobody comes back.
// The SDK's disconnect gives no status (1005), a page that is left gives 1001.
func signedOut(cause error) bool {
	return websocket.CloseStatus(cause) == websocket.StatusNormalClosure
}

// send queues a message; while the browser is away it is lost.
func (s *session) send(name string, args ...any) {
	if k := s.current(); k != nil {
		k.send(name, args...)
	}
}

// sendNow queues a message and waits until it is on the wire.
func (s *session) sendNow(name string, args ...any) {
	if k := s.current(); k != nil {
		k.sendNow(name, args...)
	}
}

func (s *session) current() *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.socket
}

// end closes the session in good order: what was sent before arrives.
func (s *session) end() { s.cancel(errEnd) }

func orObject(arg json.RawMessage) json.RawMessage {
	if len(arg) == 0 {
		return json.RawMessage("{}")
	}
	return arg
}

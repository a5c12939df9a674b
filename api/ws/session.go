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
)

const (
	// A client that has not said "connection" by then is no SDK.
	helloTimeout = 15 * time.Second
	writeTimeout = 10 * time.Second
	// Messages that may wait for a slow client before it is dropped.
	outQueue = 128
)

// errEnd ends a session in good order.
var errEnd = errors.New("session ended by the server")

// session is one browser's WebSocket. Its reader is the HTTP request's
// goroutine; a second one writes and pings; each player has one more.
type session struct {
	server *Server
	id     string
	token  string
	remote string
	log    *slog.Logger
	out    chan outgoing

	ctx        context.Context
	cancel     context.CancelCauseFunc
	wg         sync.WaitGroup
	unanswered atomic.Int32
	hello      bool // reader's goroutine only

	mu    sync.Mutex
	plays map[string]*play
}

type outgoing struct {
	frame   []byte
	written chan<- struct{} // closed after the write, may be nil
}

func newSession(s *Server, remote string) *session {
	id := uuid.NewString()
	return &session{server: s, id: id, token: rand.Text(), remote: remote, log: s.log.With("session", id),
		out: make(chan outgoing, outQueue), plays: map[string]*play{}}
}

// run serves the session until the socket closes or run's context ends, and
// frees everything it held.
func (s *session) run(run context.Context, conn *websocket.Conn) {
	s.ctx, s.cancel = context.WithCancelCause(run)
	defer s.cancel(nil)
	var writer sync.WaitGroup
	writer.Go(func() { s.write(conn) })
	hello := time.AfterFunc(helloTimeout, func() { s.cancel(errors.New("no connection message")) })
	err := s.read(conn, hello)
	hello.Stop()
	s.cancel(err)
	s.wg.Wait()
	writer.Wait()
	_ = conn.CloseNow()
	if s.hello {
		s.log.Info("browser session closed", "remote", s.remote, "cause", context.Cause(s.ctx))
	}
}

// read handles messages until the socket fails. A bad message is never fatal.
func (s *session) read(conn *websocket.Conn, hello *time.Timer) error {
	window, count := time.Now(), 0
	for {
		// Not the session's context: its end would cut the socket before the
		// writer has said goodbye. The writer closes it.
		kind, frame, err := conn.Read(context.Background())
		if err != nil {
			return err
		}
		s.unanswered.Store(0)
		if count++; count > s.server.config.MessageRate {
			// Not reading makes a flooding client wait in its own buffers.
			if !s.sleep(time.Until(window.Add(time.Second))) {
				return context.Cause(s.ctx)
			}
		}
		if now := time.Now(); now.Sub(window) >= time.Second {
			window, count = now, 1
		}
		if kind != websocket.MessageText {
			continue
		}
		name, arg, err := decode(frame)
		if err != nil {
			s.log.Debug("unreadable message", "err", err)
			continue
		}
		if err := s.handle(name, arg); err != nil {
			return err
		}
		if s.hello {
			hello.Stop()
		}
	}
}

func (s *session) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// write sends what is queued and pings. When the session ends it closes the
// socket, which also ends the reader: with a goodbye if the end is ours.
func (s *session) write(conn *websocket.Conn) {
	ping := time.NewTicker(s.server.config.PingInterval)
	defer ping.Stop()
	for {
		var o outgoing
		select {
		case o = <-s.out:
		case <-ping.C:
			if int(s.unanswered.Add(1)) > s.server.config.PingLimit {
				s.cancel(errors.New("pings are not answered"))
				continue
			}
			o.frame, _ = encode("ping")
		case <-s.ctx.Done():
			s.goodbye(conn)
			return
		}
		if err := s.put(conn, o); err != nil {
			s.cancel(err)
			_ = conn.CloseNow()
			return
		}
	}
}

// goodbye closes the socket; what was queued before the server ended the
// session is written first.
func (s *session) goodbye(conn *websocket.Conn) {
	switch cause := context.Cause(s.ctx); {
	case errors.Is(cause, errEnd):
		for len(s.out) > 0 {
			if s.put(conn, <-s.out) != nil {
				break
			}
		}
		_ = conn.Close(websocket.StatusNormalClosure, "")
	case errors.Is(cause, context.Canceled):
		_ = conn.Close(websocket.StatusGoingAway, "the server is stopping")
	}
	_ = conn.CloseNow()
}

func (s *session) put(conn *websocket.Conn, o outgoing) error {
	// Not the session's context: its end would tear a frame in two.
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	err := conn.Write(ctx, websocket.MessageText, o.frame)
	if o.written != nil {
		close(o.written)
	}
	return err
}

// send queues a message. A client that lets its queue run full is dropped.
func (s *session) send(name string, args ...any) { s.queue(nil, name, args) }

// sendNow queues a message and waits until it is on the wire.
func (s *session) sendNow(name string, args ...any) {
	written := make(chan struct{})
	if s.queue(written, name, args) {
		select {
		case <-written:
		case <-s.ctx.Done():
		}
	}
}

func (s *session) queue(written chan<- struct{}, name string, args []any) bool {
	frame, err := encode(name, args...)
	if err != nil {
		s.log.Error("message cannot be encoded", "message", name, "err", err)
		return false
	}
	select {
	case s.out <- outgoing{frame, written}:
		return true
	default:
		s.cancel(errors.New("the client does not read what it is sent"))
		return false
	}
}

// handle acts on one message. An error ends the session.
func (s *session) handle(name string, arg json.RawMessage) error {
	switch name {
	case "pong":
		return nil
	case "ping":
		s.send("pong")
		return nil
	case "connectMediaTransport":
		// The second socket of the MSE and WSPlayer providers.
		return errEnd
	case "connection":
		return s.connect(arg)
	}
	if !s.hello {
		s.log.Debug("message before connection", "message", name)
		return nil
	}
	if f := handlers[name]; f != nil {
		if err := f(s, arg); err != nil {
			s.log.Debug("message cannot be used", "message", name, "err", err)
		}
		return nil
	}
	s.log.Debug("unknown message", "message", name)
	return nil
}

// connect answers the first message. Sessions are not kept after their socket
// closes, so a token to resume one is always unknown: the socket is closed.
func (s *session) connect(arg json.RawMessage) error {
	var c connection
	if err := json.Unmarshal(orObject(arg), &c); err != nil {
		s.log.Debug("message cannot be used", "message", "connection", "err", err)
	}
	if s.hello {
		return nil
	}
	if c.AuthToken != "" && c.SIPLogin == "" {
		s.log.Info("browser session to resume is unknown", "remote", s.remote)
		return errEnd
	}
	s.hello = true
	app := string(c.AppKey)
	if app == "" {
		app = "defaultApp"
	}
	s.log.Info("browser session", "remote", s.remote, "app", app)
	register := c.SIPRegisterRequired.Value
	s.send("getUserData", userData{AuthToken: s.token, AppKey: app, SIPLogin: string(c.SIPLogin),
		SIPDomain: string(c.SIPDomain), SIPRegisterRequired: register})
	if register && c.SIPLogin != "" {
		// Pages have no other way back than a closed socket (P14).
		s.send("fail", failure{APIMethod: "RegistrationStatusEvent", Status: "FAILED", Info: "Browser sessions cannot register SIP accounts on this server"})
		return errEnd
	}
	return nil
}

func orObject(arg json.RawMessage) json.RawMessage {
	if len(arg) == 0 {
		return json.RawMessage("{}")
	}
	return arg
}

package ws

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	// A client that has not said "connection" by then is no SDK.
	helloTimeout = 15 * time.Second
	writeTimeout = 10 * time.Second
	// Messages that may wait for a slow client before it is dropped.
	outQueue = 128
)

var (
	// errEnd ends a session in good order.
	errEnd = errors.New("session ended by the server")
	// errReplaced ends a socket whose session goes on with another one.
	errReplaced = errors.New("the session goes on with another socket")
)

// socket is one browser's WebSocket. Its reader is the HTTP request's
// goroutine; a second one writes and pings; each player has one more.
type socket struct {
	server *Server
	remote string
	log    *slog.Logger
	out    chan outgoing

	life       context.Context // of the server
	ctx        context.Context // of the socket
	cancel     context.CancelCauseFunc
	work       group // what ends with the socket
	unanswered atomic.Int32
	session    *session // nil before "connection"; reader's goroutine only
}

type outgoing struct {
	frame   []byte
	written chan<- struct{} // closed after the write, may be nil
}

func newSocket(s *Server, remote string) *socket {
	return &socket{server: s, remote: remote, log: s.log, out: make(chan outgoing, outQueue)}
}

// run serves the socket until it closes or run's context ends, and frees
// everything that lives no longer than it.
func (k *socket) run(run context.Context, conn *websocket.Conn) {
	k.life = run
	k.ctx, k.cancel = context.WithCancelCause(run)
	defer k.cancel(nil)
	var writer sync.WaitGroup
	writer.Go(func() { k.write(conn) })
	hello := time.AfterFunc(helloTimeout, func() { k.cancel(errors.New("no connection message")) })
	err := k.read(conn, hello)
	hello.Stop()
	k.cancel(err)
	k.work.wait()
	writer.Wait()
	_ = conn.CloseNow()
	if k.session != nil {
		k.session.detach(k, endOf(context.Cause(k.ctx), err))
	}
}

// endOf is why a socket ended: a page's goodbye counts, even when a message on
// its way to the page met the closed socket before the reader could tell.
func endOf(cause, read error) error {
	if websocket.CloseStatus(read) != -1 && !errors.Is(cause, errEnd) {
		return read
	}
	return cause
}

// read handles messages until the socket fails. A bad message is never fatal.
func (k *socket) read(conn *websocket.Conn, hello *time.Timer) error {
	window, count := time.Now(), 0
	for {
		// Not the socket's context: its end would cut the socket before the
		// writer has said goodbye. The writer closes it.
		kind, frame, err := conn.Read(context.Background())
		if err != nil {
			return err
		}
		k.unanswered.Store(0)
		if count++; count > k.server.config.MessageRate {
			// Not reading makes a flooding client wait in its own buffers.
			if !sleep(k.ctx, time.Until(window.Add(time.Second))) {
				return context.Cause(k.ctx)
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
			k.log.Debug("unreadable message", "err", err)
			continue
		}
		if err := k.handle(name, arg); err != nil {
			return err
		}
		if k.session != nil {
			hello.Stop()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// write sends what is queued and pings. When the socket is to end it closes
// it, which also ends the reader: with a goodbye if the end is ours.
func (k *socket) write(conn *websocket.Conn) {
	ping := time.NewTicker(k.server.config.PingInterval)
	defer ping.Stop()
	for {
		var o outgoing
		select {
		case o = <-k.out:
		case <-ping.C:
			if int(k.unanswered.Add(1)) > k.server.config.PingLimit {
				k.cancel(errors.New("pings are not answered"))
				continue
			}
			o.frame, _ = encode("ping")
		case <-k.ctx.Done():
			k.goodbye(conn)
			return
		}
		if err := k.put(conn, o); err != nil {
			k.cancel(err)
			_ = conn.CloseNow()
			return
		}
	}
}

// goodbye closes the socket; what was queued before the server ended the
// session is written first.
func (k *socket) goodbye(conn *websocket.Conn) {
	switch cause := context.Cause(k.ctx); {
	case errors.Is(cause, errEnd), errors.Is(cause, errReplaced):
		for len(k.out) > 0 {
			if k.put(conn, <-k.out) != nil {
				break
			}
		}
		_ = conn.Close(websocket.StatusNormalClosure, "")
	case errors.Is(cause, context.Canceled):
		_ = conn.Close(websocket.StatusGoingAway, "the server is stopping")
	}
	_ = conn.CloseNow()
}

func (k *socket) put(conn *websocket.Conn, o outgoing) error {
	// Not the socket's context: its end would tear a frame in two.
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	err := conn.Write(ctx, websocket.MessageText, o.frame)
	if o.written != nil {
		close(o.written)
	}
	return err
}

// send queues a message. A client that lets its queue run full is dropped.
func (k *socket) send(name string, args ...any) { k.queue(nil, name, args) }

// sendNow queues a message and waits until it is on the wire.
func (k *socket) sendNow(name string, args ...any) {
	written := make(chan struct{})
	if k.queue(written, name, args) {
		select {
		case <-written:
		case <-k.ctx.Done():
		}
	}
}

func (k *socket) queue(written chan<- struct{}, name string, args []any) bool {
	frame, err := encode(name, args...)
	if err != nil {
		k.log.Error("message cannot be encoded", "message", name, "err", err)
		return false
	}
	select {
	case k.out <- outgoing{frame, written}:
		return true
	default:
		k.cancel(errors.New("the client does not read what it is sent"))
		return false
	}
}

// handle acts on one message. An error ends the socket.
func (k *socket) handle(name string, arg json.RawMessage) error {
	switch name {
	case "pong":
		return nil
	case "ping":
		k.send("pong")
		return nil
	case "connectMediaTransport":
		// The second socket of the MSE and WSPlayer providers.
		return errEnd
	case "connection":
		return k.connect(arg)
	}
	if k.session == nil {
		k.log.Debug("message before connection", "message", name)
		return nil
	}
	f := handlers[name]
	if f == nil {
		k.log.Debug("unknown message", "message", name)
		return nil
	}
	if k.session.debug.Load() {
		k.log.Info("message of a session that debugs", "message", name, "bytes", len(arg))
	}
	if err := f(k.session, arg); err != nil {
		k.log.Debug("message cannot be used", "message", name, "err", err)
	}
	return nil
}

// group is a set of goroutines that can be waited for while others still try
// to add to it.
type group struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// run starts f unless the group has been waited for.
func (g *group) run(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

func (g *group) wait() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}

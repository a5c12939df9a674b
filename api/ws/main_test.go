package ws

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"lineout/codecs"
	"lineout/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running server on loopback with a hub and a scripted player.
type rig struct {
	hub    *pipeline.Hub
	phone  *phone
	alone  bool // without telephones
	server *Server
	url    string
	stop   func() // ends the server; also done at the test's end

	mu    sync.Mutex
	plays []*fakePlayback
	err   error         // what Play returns
	hold  chan struct{} // Play waits for it when not nil
}

func newRig(t *testing.T, edit func(*Config)) *rig {
	t.Helper()
	return makeRig(t, &rig{}, edit)
}

func makeRig(t *testing.T, r *rig, edit func(*Config)) *rig {
	t.Helper()
	c := DefaultConfig()
	if edit != nil {
		edit(&c)
	}
	r.hub = pipeline.NewHub(pipeline.HubConfig{Codecs: codecs.NewTable(nil, nil), Log: slog.New(slog.DiscardHandler), FlushTimeout: time.Second})
	r.phone = newPhone()
	d := Deps{Stream: r.hub.Get, Play: r.play, Phone: r.phone.deps(), Hooks: r.phone}
	if r.alone {
		d.Phone, d.Hooks = nil, nil
	}
	r.server = New(c, d)
	ctx, cancel := context.WithCancel(context.Background())
	hubCtx, stopHub := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.hub.Run(hubCtx) })
	wg.Go(func() { _ = r.server.Run(ctx) })
	waitFor(t, func() bool { r.server.mu.Lock(); defer r.server.mu.Unlock(); return r.server.ctx != nil })
	web := httptest.NewServer(r.server)
	r.url = web.URL
	r.stop = cancel
	t.Cleanup(func() {
		cancel()
		stopHub()
		wg.Wait()
		web.Close()
	})
	return r
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("gave up waiting")
		}
	}
}

// stream makes a stream that is ready.
func (r *rig) stream(t *testing.T, name string, ready bool) *pipeline.Stream {
	t.Helper()
	var st *pipeline.Stream
	waitFor(t, func() bool {
		var err error
		st, err = r.hub.Create(name, pipeline.Meta{})
		return err == nil
	})
	if ready {
		st.SetReady()
	}
	return st
}

func (r *rig) play(ctx context.Context, q PlayRequest) (Playback, string, error) {
	r.mu.Lock()
	err, hold := r.err, r.hold
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
	if err != nil {
		return nil, "", err
	}
	p := &fakePlayback{request: q, connected: make(chan struct{}), ended: make(chan struct{}), started: make(chan struct{})}
	r.mu.Lock()
	r.plays = append(r.plays, p)
	r.mu.Unlock()
	return p, "answer to " + q.Offer, nil
}

func (r *rig) playback(t *testing.T, i int) *fakePlayback {
	t.Helper()
	var p *fakePlayback
	waitFor(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if i < len(r.plays) {
			p = r.plays[i]
		}
		return p != nil
	})
	return p
}

type infoError string

func (e infoError) Error() string      { return "refused: " + string(e) }
func (e infoError) StreamInfo() string { return string(e) }

// fakePlayback does what the test says.
type fakePlayback struct {
	request                   PlayRequest
	connected, ended, started chan struct{}
	once, startOnce           sync.Once
	reason                    string
}

func (p *fakePlayback) Connected() <-chan struct{} { return p.connected }
func (p *fakePlayback) Start()                     { p.startOnce.Do(func() { close(p.started) }) }
func (p *fakePlayback) Ended() <-chan struct{}     { return p.ended }
func (p *fakePlayback) Done() <-chan struct{}      { return p.ended }
func (p *fakePlayback) Reason() string             { return p.reason }
func (p *fakePlayback) Stop(reason string) {
	p.once.Do(func() { p.reason = reason; close(p.ended) })
}

// client is a scripted SDK.
type client struct {
	t     *testing.T
	conn  *websocket.Conn
	token string
}

func (r *rig) dial(t *testing.T, path string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{t: t, conn: conn}
}

// session dials and says connection.
func (r *rig) session(t *testing.T) *client {
	t.Helper()
	c := r.dial(t, "/")
	c.send(`{"message":"connection","data":[{"appKey":"defaultApp","mediaProviders":["WebRTC","MSE"],"clientVersion":"2.0","clientInfo":{}}]}`)
	c.expect("getUserData", `[{"appKey":"defaultApp","sipRegisterRequired":false}]`)
	return c
}

func (c *client) send(frame string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		c.t.Fatal(err)
	}
}

// next is the next message that is no ping.
func (c *client) next() (name string, data []any) {
	c.t.Helper()
	for {
		m, err := c.read()
		if err != nil {
			c.t.Fatalf("no message: %v", err)
		}
		if m.Message != "ping" {
			return m.Message, m.Data
		}
	}
}

type message struct {
	Message string `json:"message"`
	Data    []any  `json:"data"`
}

func (c *client) read() (message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, b, err := c.conn.Read(ctx)
	if err != nil {
		return message{}, err
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		c.t.Fatalf("%q: %v", b, err)
	}
	if m.Data == nil {
		c.t.Fatalf("%q has no data list, which the SDK needs", b)
	}
	return m, nil
}

// expect reads a message and compares the fields named in want.
func (c *client) expect(name, want string) []any {
	c.t.Helper()
	got, data := c.next()
	if got != name {
		c.t.Fatalf("got %s %v, want %s", got, data, name)
	}
	var w []any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		c.t.Fatal(err)
	}
	if len(data) != len(w) {
		c.t.Fatalf("%s has %d arguments, want %d: %v", name, len(data), len(w), data)
	}
	for i := range w {
		fields, ok := w[i].(map[string]any)
		if !ok {
			if data[i] != w[i] {
				c.t.Fatalf("%s: argument %d is %v, want %v", name, i, data[i], w[i])
			}
			continue
		}
		g, _ := data[i].(map[string]any)
		for k, v := range fields {
			if g[k] != v {
				c.t.Fatalf("%s: %s is %#v, want %#v in %v", name, k, g[k], v, g)
			}
		}
	}
	return data
}

// closed reads until the server has closed the socket and returns its code.
func (c *client) closed() websocket.StatusCode {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				c.t.Fatal("the socket stays open")
			}
			return websocket.CloseStatus(err)
		}
	}
}

// socketPair is a server's and a client's end joined in memory, so that fake
// time can run.
func socketPair(t *testing.T) (server, client *websocket.Conn) {
	t.Helper()
	near, far := net.Pipe()
	accepted := make(chan *websocket.Conn, 1)
	w := &hijack{ResponseRecorder: httptest.NewRecorder(), conn: near}
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return nil, err
		}
		accepted <- conn
		resp := w.Result()
		resp.StatusCode = http.StatusSwitchingProtocols
		resp.Body = struct {
			io.Reader
			io.WriteCloser
		}{far, far}
		return resp, nil
	})
	client, _, err := websocket.Dial(context.Background(), "ws://x", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return <-accepted, client
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hijack is a response whose connection can be taken over.
type hijack struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h *hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

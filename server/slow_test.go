package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener that accepts one connection.
type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newOneConn(c net.Conn) *oneConn {
	l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- c
	return l
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// serveOne serves h to the other end of the returned connection.
func serveOne(t *testing.T, h http.Handler) net.Conn {
	client, conn := net.Pipe()
	l := newOneConn(conn)
	srv := httpServer(h, nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(patientListener{l}) }()
	t.Cleanup(func() { client.Close(); srv.Close(); <-done })
	return client
}

func TestARequestWhoseBodyDoesNotComeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		begun := time.Now()
		client := serveOne(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading half a body: %v", err)
			}
			ended <- time.Since(begun)
		}))
		if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(client); err != nil { // to the end: the connection is closed too
			t.Fatal(err)
		}
		if d := <-ended; d != bodyTime {
			t.Fatalf("given up after %v, want %v", d, bodyTime)
		}
	})
}

// A held request (a playlist, a WHEP offer) may take longer than a body.
func TestAnAnswerMayTakeLongerThanABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serveOne(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			select {
			case <-time.After(4 * bodyTime):
			case <-r.Context().Done():
				t.Error("the request was cancelled although its client waits")
			}
			_, _ = io.WriteString(w, "late")
		}))
		go func() {
			_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
		}()
		b, err := io.ReadAll(client)
		if err != nil || !strings.HasSuffix(string(b), "late") {
			t.Fatalf("got %q, %v", b, err)
		}
	})
}

func TestAClientThatDoesNotReadIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		begun := time.Now()
		client := serveOne(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, 4*writeChunk))
			ended <- err
		}))
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, writeChunk)); err != nil { // and then nothing
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("write ended with %v", err)
		}
		if d := time.Since(begun); d != writeTime {
			t.Fatalf("given up after %v, want %v", d, writeTime)
		}
	})
}

package server

import (
	"io"
	"net"
	"net/http"
	"time"
)

// Clients that are slow on purpose, or gone without a word, must not hold a
// goroutine and a socket for ever. Neither http.Server.ReadTimeout nor
// WriteTimeout will do: both count the time a request is held (a playlist, a
// WHEP offer, a profile), so these count the network's part only.
const (
	bodyTime   = 30 * time.Second // for a request's whole body
	writeTime  = 30 * time.Second // for each writeChunk of an answer
	writeChunk = 64 << 10         // bytes
)

// limitBodies gives up on requests whose body does not come within bodyTime.
func limitBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			rc := http.NewResponseController(w)
			if rc.SetReadDeadline(time.Now().Add(bodyTime)) == nil {
				r.Body = &timedBody{r.Body, rc}
			}
		}
		h.ServeHTTP(w, r)
	})
}

// timedBody lifts the deadline once all is read: net/http goes on reading to
// notice that the client left, and would take it for that.
type timedBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.rc.SetReadDeadline(time.Time{}) // fails on a dead connection only
	}
	return n, err
}

// patientListener makes connections whose writes do not wait for ever.
type patientListener struct{ net.Listener }

func (l patientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &patientConn{c}, nil
}

type patientConn struct{ net.Conn }

// Write fails when the client takes less than writeChunk within writeTime.
func (c *patientConn) Write(b []byte) (n int, err error) {
	for {
		part := b[n:min(len(b), n+writeChunk)]
		if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(part)
		if n += m; err != nil || n == len(b) {
			return n, err
		}
	}
}

// CloseWrite lets net/http end a connection without a reset, which would take
// the end of an answer away from the client.
func (c *patientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

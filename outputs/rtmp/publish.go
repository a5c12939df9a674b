package rtmp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/bluenviron/gortmplib/pkg/handshake"
)

// dialer opens publishing connections.
type dialer struct {
	tls            *tls.Config
	connectTimeout time.Duration
	writeTimeout   time.Duration
}

// dial connects, shakes hands, and returns once the server has agreed to the
// publishing of a.name. It is bounded by ctx and connectTimeout. A refusal is
// an ordinary error: servers refuse a name for as long as they have not
// noticed that its last publisher is gone, and authentication services come
// back too, so every refusal is worth another try later.
func (d *dialer) dial(ctx context.Context, a *address, flashVer string) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.connectTimeout,
		fmt.Errorf("the server did not answer within %v", d.connectTimeout))
	defer cancel()
	auth := adobeAuth{user: a.user, pass: a.pass}
	params := ""
	// Two refusals belong to the authentication; a third is meant.
	for range 3 {
		c, err := d.attempt(ctx, a, flashVer, params)
		var refused *refusedError
		if !errors.As(err, &refused) {
			return c, err
		}
		next, aerr := auth.next(refused.raw)
		if errors.Is(aerr, errNotAuth) {
			return nil, err
		}
		if aerr != nil {
			return nil, aerr
		}
		params = next
	}
	return nil, errors.New("the server keeps asking for authentication")
}

// attempt makes one connection. params are those of the authentication.
func (d *dialer) attempt(ctx context.Context, a *address, flashVer, params string) (*conn, error) {
	nc, err := d.open(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", a.dial, cause(ctx, err))
	}
	c := newConn(nc, a, 0)
	stop := context.AfterFunc(ctx, c.abort)
	err = c.negotiate(flashVer, params)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, cause(ctx, err)
	}
	c.timeout = d.writeTimeout
	c.run()
	if err := c.settle(ctx); err != nil {
		c.close(ctx)
		return nil, err
	}
	return c, nil
}

// settleTime is how long a server gets to take its consent back. Some (nginx
// with "deny publish") say Publish.Start and hang up at once; without this
// such a push would be ACTIVE and LOST by turns instead of FAILED. The refusal
// follows the consent directly, so this need not cover the way to the server.
const settleTime = 200 * time.Millisecond

// settle returns an error if the server ends the connection within settleTime.
func (c *conn) settle(ctx context.Context) error {
	t := time.NewTimer(settleTime)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return fmt.Errorf("the server consented to the publishing and ended it: %w", c.failed())
	}
}

// cause prefers the reason of an ended ctx to the I/O error that followed from it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// open makes the TCP or TLS connection.
func (d *dialer) open(ctx context.Context, a *address) (net.Conn, error) {
	nd := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			if cerr := raw.Control(func(fd uintptr) { err = limitSilence(fd, d.writeTimeout) }); cerr != nil {
				return cerr
			}
			return err
		},
	}
	nc, err := nd.DialContext(ctx, "tcp", a.dial)
	if err != nil {
		return nil, err
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetWriteBuffer(sendBuffer)
	}
	if !a.tls {
		return nc, nil
	}
	conf := d.tls.Clone()
	conf.ServerName = a.hostname
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return tc, nil
}

// refusedError is a refused connect. raw is the server's own description.
type refusedError struct{ text, raw string }

func (e *refusedError) Error() string { return e.text }

// negotiate does the RTMP side of a new connection up to the server's consent
// to publish (RTMP 1.0 sections 5.2, 7.2.1.1 and 7.2.2.6).
func (c *conn) negotiate(flashVer, params string) error {
	if _, _, err := handshake.DoClient(c.nc, false, false); err != nil {
		if isEnd(err) {
			err = errClosedByServer
		}
		return fmt.Errorf("RTMP handshake: %w", err)
	}
	if err := c.control(typeSetChunkSize, outChunkSize); err != nil {
		return fmt.Errorf("RTMP connect: %w", err)
	}
	c.w.size = outChunkSize
	if err := c.connect(flashVer, params); err != nil {
		return err
	}
	return c.publish()
}

// connect sends connect and waits for its result.
func (c *conn) connect(flashVer, params string) error {
	id, err := c.command(outHeader{chunkStream: chunkCommand}, "connect", amf0.Object{
		{Key: "app", Value: withQuery(c.addr.app, params)},
		{Key: "type", Value: "nonprivate"},
		{Key: "flashVer", Value: flashVer},
		{Key: "swfUrl", Value: withQuery(c.addr.tcURL, params)},
		{Key: "tcUrl", Value: withQuery(c.addr.tcURL, params)},
	})
	if err != nil {
		return fmt.Errorf("RTMP connect: %w", err)
	}
	for {
		cmd, err := c.nextCommand()
		if err != nil {
			return fmt.Errorf("RTMP connect: %w", err)
		}
		if cmd.id != id || (cmd.name != "_result" && cmd.name != "_error") {
			continue
		}
		if cmd.name == "_result" {
			return c.control(typeWindowAckSize, windowAckSize)
		}
		_, code, desc := cmd.info()
		return &refusedError{raw: desc, text: "the server refused the RTMP connect: " + c.addr.clean(code+" "+desc)}
	}
}

// publish makes a stream and publishes on it.
func (c *conn) publish() error {
	h := outHeader{chunkStream: chunkCommand}
	// Answers to the first two are not waited for: many servers give none.
	if _, err := c.command(h, "releaseStream", nil, c.addr.name); err != nil {
		return fmt.Errorf("RTMP releaseStream: %w", err)
	}
	if _, err := c.command(h, "FCPublish", nil, c.addr.name); err != nil {
		return fmt.Errorf("RTMP FCPublish: %w", err)
	}
	id, err := c.command(h, "createStream", nil)
	if err != nil {
		return fmt.Errorf("RTMP createStream: %w", err)
	}
	for {
		cmd, err := c.nextCommand()
		if err != nil {
			return fmt.Errorf("RTMP createStream: %w", err)
		}
		if err := c.refusal(cmd); err != nil {
			return err
		}
		if cmd.id != id || cmd.name != "_result" {
			continue
		}
		n, ok := cmd.number()
		if !ok || n < 0 || n > 0xffffffff || n != float64(uint32(n)) {
			return errors.New("RTMP createStream: the server's answer has no stream id")
		}
		c.streamID = uint32(n)
		break
	}
	h.stream = c.streamID
	if _, err := c.command(h, "publish", nil, c.addr.name, "live"); err != nil {
		return fmt.Errorf("RTMP publish: %w", err)
	}
	for {
		cmd, err := c.nextCommand()
		if err != nil {
			return fmt.Errorf("RTMP publish: %w (servers do this to refuse a stream name, a key or an address)", err)
		}
		if err := c.refusal(cmd); err != nil {
			return err
		}
		if _, code, _ := cmd.info(); cmd.name == "onStatus" && code == "NetStream.Publish.Start" {
			return nil
		}
	}
}

// refusal is the error a command of the server amounts to while publishing
// is being agreed on, nil if it does not refuse. _error answers to releaseStream and
// FCPublish mean nothing: servers without these commands send them.
func (c *conn) refusal(cmd command) error {
	level, code, desc := cmd.info()
	switch {
	case cmd.name == "onStatus" && level == "error",
		cmd.name == "_error" && cmd.id >= c.nextID:
		return fmt.Errorf("the server refused to publish: %s", c.addr.clean(code+" "+desc))
	case cmd.name == "close":
		return errClosedByServer
	}
	return nil
}

// isEnd says that the other side has closed.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

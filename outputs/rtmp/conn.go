package rtmp

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
)

// windowAckSize is after how many bytes the server is asked to acknowledge.
const windowAckSize = 2_500_000

// sendBuffer bounds what the kernel takes before Write blocks: more would only
// delay the moment a server that stopped reading is noticed.
const sendBuffer = 256 << 10

var errClosedByServer = errors.New("the server closed the connection")

// conn is a publishing RTMP connection. write… may be called from any
// goroutine; a goroutine of its own, started by run and awaited by close,
// reads, answers pings and acknowledgements and notices the end.
type conn struct {
	nc      net.Conn
	addr    *address
	timeout time.Duration // longest time one write may take
	r       *chunkReader
	ackWin  uint32
	acked   uint64

	// mu is held across the write to the socket, because media, pings and
	// acknowledgements share one byte stream. The write deadline bounds it.
	mu sync.Mutex
	w  *chunkWriter

	streamID uint32
	done     chan struct{} // closed when the reader has ended
	cause    atomic.Pointer[error]
	nextID   float64
}

func newConn(nc net.Conn, a *address, timeout time.Duration) *conn {
	return &conn{
		nc: nc, addr: a, timeout: timeout,
		r: newChunkReader(nc), w: newChunkWriter(nc), done: make(chan struct{}),
	}
}

// run starts the reader once publishing has begun.
func (c *conn) run() {
	go func() {
		defer close(c.done)
		for {
			cmd, err := c.nextCommand()
			if err == nil {
				err = c.serverStatus(cmd)
			}
			if err != nil {
				c.fail(err)
				return
			}
		}
	}()
}

// serverStatus turns a status that ends publishing into an error.
func (c *conn) serverStatus(cmd command) error {
	level, code, desc := cmd.info()
	if cmd.name == "onStatus" && (level == "error" || code == "NetStream.Unpublish.Success") {
		return fmt.Errorf("the server ended the publishing: %s", c.addr.clean(code+" "+desc))
	}
	if cmd.name == "close" || code == "NetConnection.Connect.Closed" {
		return errClosedByServer
	}
	return nil
}

// fail records why the connection ended, once, and ends it. It does not say
// goodbye: TLS would wait up to 5 s to write its own to a server that does not read.
func (c *conn) fail(err error) {
	c.cause.CompareAndSwap(nil, &err)
	if t, ok := c.nc.(*tls.Conn); ok {
		t.NetConn().Close()
		return
	}
	c.nc.Close()
}

// failed returns why the connection ended, nil while it lives.
func (c *conn) failed() error {
	if p := c.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// nextCommand reads until a command arrives and does on the way what the
// protocol asks for. Commands that cannot be parsed are passed over.
func (c *conn) nextCommand() (command, error) {
	for {
		m, err := c.r.read()
		if err != nil {
			return command{}, readError(err)
		}
		if err := c.acknowledge(); err != nil {
			return command{}, err
		}
		switch m.typ {
		case typeWindowAckSize:
			if len(m.body) >= 4 {
				c.ackWin = binary.BigEndian.Uint32(m.body)
			}
		case typeUserControl:
			err = c.pong(m.body)
		case typeCommandAMF0, typeCommandAMF3:
			if cmd, perr := parseCommand(m); perr == nil {
				return cmd, nil
			}
		}
		if err != nil {
			return command{}, err
		}
	}
}

// acknowledge reports the bytes received when the server's window is used up
// (RTMP 1.0 section 5.4.3).
func (c *conn) acknowledge() error {
	if c.ackWin == 0 || c.r.received-c.acked < uint64(c.ackWin) {
		return nil
	}
	c.acked = c.r.received
	return c.control(typeAck, uint32(c.acked))
}

// User control events (RTMP 1.0 section 7.1.7).
const (
	eventPingRequest  = 6
	eventPingResponse = 7
)

// pong answers a ping request with its timestamp.
func (c *conn) pong(body []byte) error {
	if len(body) < 6 || binary.BigEndian.Uint16(body) != eventPingRequest {
		return nil
	}
	answer := [6]byte{0, eventPingResponse}
	copy(answer[2:], body[2:6])
	return c.write(outHeader{chunkStream: chunkControl, typ: typeUserControl}, answer[:])
}

// control writes a protocol control message of one 32-bit value.
func (c *conn) control(typ uint8, v uint32) error {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return c.write(outHeader{chunkStream: chunkControl, typ: typ}, b[:])
}

// command writes a command and returns its transaction id.
func (c *conn) command(h outHeader, name string, args ...any) (float64, error) {
	c.nextID++
	body, err := append(amf0.Data{name, c.nextID}, args...).Marshal()
	if err != nil {
		return 0, fmt.Errorf("encode the RTMP command %s: %w", name, err)
	}
	h.typ = typeCommandAMF0
	return c.nextID, c.write(h, body)
}

// data writes a data message of the stream, like onMetaData.
func (c *conn) data(stamp uint32, values ...any) error {
	body, err := amf0.Data(values).Marshal()
	if err != nil {
		return fmt.Errorf("encode RTMP metadata: %w", err)
	}
	return c.write(outHeader{chunkStream: chunkData, typ: typeDataAMF0, stream: c.streamID, stamp: stamp}, body)
}

// write sends one message.
func (c *conn) write(h outHeader, body []byte) error { return c.writeTag(h, body, nil, false) }

// writeTag sends one message whose body is head and then the units: one after
// the other, or, with avcc, as NAL units that each have their length in 4 bytes
// in front (ISO/IEC 14496-15 section 5.3.3) and without those that strip
// names. It does not allocate.
func (c *conn) writeTag(h outHeader, head []byte, units [][]byte, avcc bool) error {
	n := len(head)
	if avcc {
		n += avccSize(units)
	} else {
		for _, u := range units {
			n += len(u)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.failed(); err != nil {
		return err
	}
	if c.timeout > 0 {
		c.nc.SetWriteDeadline(time.Now().Add(c.timeout))
	}
	err := c.w.begin(h, n)
	if err != nil {
		return err
	}
	c.w.add(head)
	for _, u := range units {
		if avcc {
			if strip(u) {
				continue
			}
			var size [4]byte
			binary.BigEndian.PutUint32(size[:], uint32(len(u)))
			c.w.add(size[:])
		}
		c.w.add(u)
	}
	if err = c.w.end(); err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the server took no data for %v", c.timeout)
	} else if isEnd(err) {
		err = errClosedByServer
	}
	// Half a message may be on its way: nothing can follow it. What the reader
	// found out first says more than a broken pipe.
	c.fail(err)
	return c.failed()
}

// abort makes every read and write return at once.
func (c *conn) abort() { c.nc.SetDeadline(time.Unix(1, 0)) }

// close says goodbye, lets the server take what was sent, and waits for the
// reader. It is bounded by ctx and by goodbyeTime.
func (c *conn) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, c.abort)
	defer stop()
	h := outHeader{chunkStream: chunkCommand}
	if _, err := c.command(h, "FCUnpublish", nil, c.addr.name); err == nil {
		c.command(h, "deleteStream", nil, float64(c.streamID))
	}
	// To close at once would make the kernel reset the connection if the
	// server still answers, and a reset throws away what it has not read.
	if hc, ok := c.nc.(interface{ CloseWrite() error }); ok && c.failed() == nil && hc.CloseWrite() == nil {
		select {
		case <-c.done:
		case <-ctx.Done():
		}
	}
	c.fail(net.ErrClosed)
	<-c.done
}

// goodbyeTime is how long the server gets to read the end of a push.
const goodbyeTime = time.Second

// readError says what an error of the reader means for people.
func readError(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, net.ErrClosed):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("the server does not answer: %w", err)
	case isEnd(err):
		return errClosedByServer
	}
	return fmt.Errorf("read from the server: %w", err)
}

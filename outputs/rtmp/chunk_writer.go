package rtmp

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// outChunkSize is the size of our chunks: a whole frame fits in one in
	// nearly all cases, and it is the largest that all servers take.
	outChunkSize = 65536
	// maxOutMessage is the most that the 24-bit length field can say.
	maxOutMessage = 0xffffff
	// keepBuffer bounds the buffer that is kept for the next message.
	keepBuffer = 1 << 20
)

// Chunk streams used for sending; 2 is reserved for control (section 5.4).
const (
	chunkControl = 2
	chunkCommand = 3
	chunkAudio   = 4
	chunkData    = 5
	chunkVideo   = 6
)

// outHeader describes a message to be sent.
type outHeader struct {
	chunkStream byte
	typ         uint8
	stream      uint32
	// stamp is in milliseconds and wraps after 49.7 days (section 4).
	stamp uint32
}

// chunkWriter splits messages into chunks (RTMP 1.0 section 5.3) in a buffer
// of its own, so that each message is one Write and costs no allocation. Each
// message has a full header with an absolute timestamp: that is 4 bytes more
// than a delta, and no rounding or reordering can ever add up.
type chunkWriter struct {
	w    io.Writer
	size int
	buf  []byte

	head   outHeader
	left   int // body bytes announced but not yet added
	inside int // body bytes that still fit in the current chunk
}

func newChunkWriter(w io.Writer) *chunkWriter { return &chunkWriter{w: w, size: 128} }

// begin starts a message with a body of n bytes, which add brings.
func (c *chunkWriter) begin(h outHeader, n int) error {
	if n > maxOutMessage {
		return fmt.Errorf("an RTMP message of %d bytes is more than the format can carry (%d)", n, maxOutMessage)
	}
	stamp := min(h.stamp, 0xffffff)
	c.buf = append(c.buf[:0], h.chunkStream,
		byte(stamp>>16), byte(stamp>>8), byte(stamp),
		byte(n>>16), byte(n>>8), byte(n), h.typ)
	c.buf = binary.LittleEndian.AppendUint32(c.buf, h.stream)
	c.head, c.left, c.inside = h, n, c.size
	c.extended()
	return nil
}

// extended appends the timestamp that does not fit in 24 bits. It follows
// continuation chunks too, as in all servers (section 5.3.1.3).
func (c *chunkWriter) extended() {
	if c.head.stamp >= 0xffffff {
		c.buf = binary.BigEndian.AppendUint32(c.buf, c.head.stamp)
	}
}

// add appends a part of the body.
func (c *chunkWriter) add(p []byte) {
	for len(p) > 0 {
		if c.inside == 0 {
			c.buf = append(c.buf, 0xc0|c.head.chunkStream)
			c.extended()
			c.inside = c.size
		}
		n := min(len(p), c.inside)
		c.buf = append(c.buf, p[:n]...)
		p = p[n:]
		c.inside -= n
		c.left -= n
	}
}

// end sends the message.
func (c *chunkWriter) end() error {
	if c.left != 0 {
		return fmt.Errorf("internal error: an RTMP message is %d bytes shorter than its header says", c.left)
	}
	_, err := c.w.Write(c.buf)
	if cap(c.buf) > keepBuffer {
		c.buf = nil
	}
	return err
}

// message sends a whole message.
func (c *chunkWriter) message(h outHeader, body []byte) error {
	if err := c.begin(h, len(body)); err != nil {
		return err
	}
	c.add(body)
	return c.end()
}

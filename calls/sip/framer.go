package sip

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Bounds on what a peer may send over a stream.
const (
	maxMessageBytes = 64 << 10 // as large as a datagram can be
	maxHeadBytes    = 32 << 10 // start line and headers
)

// framer cuts a stream into SIP messages (RFC 3261 section 18.3) before anything
// is parsed, so that what a peer may make us hold is bounded. One goroutine
// uses it; it holds maxMessageBytes at the most.
type framer struct {
	buf  []byte
	read int // of buf, belongs to messages that were handed out
	seen int // of the pending message, searched for the end of its head
}

// room is where the next bytes are read to.
func (f *framer) room() []byte {
	if f.read > 0 {
		f.buf = f.buf[:copy(f.buf, f.buf[f.read:])]
		f.read = 0
	}
	if cap(f.buf)-len(f.buf) < 4<<10 {
		f.buf = append(make([]byte, 0, min(max(2*cap(f.buf), 8<<10), maxMessageBytes+4<<10)), f.buf...)
	}
	return f.buf[len(f.buf):cap(f.buf)]
}

// took says that n bytes of room were filled.
func (f *framer) took(n int) { f.buf = f.buf[:len(f.buf)+n] }

// partial says that the beginning of a message is there, but not its end.
func (f *framer) partial() bool { return len(f.buf) > f.read }

// next is the next whole message, which is valid until room is called; nil when
// more has to be read. ping says that the peer asks for a sign of life, pong
// that it gives one (RFC 5626 section 4.4.1). After an error there is no way to
// tell where the next message begins.
func (f *framer) next() (message []byte, ping, pong bool, err error) {
	b := f.buf[f.read:]
	for f.seen == 0 {
		if bytes.HasPrefix(b, []byte("\r\n\r\n")) {
			b, ping = b[4:], true
			f.read += 4
		} else if bytes.HasPrefix(b, []byte("\r\n")) {
			b, pong = b[2:], true
			f.read += 2
		} else {
			break
		}
	}
	if len(b) == 0 || len(b) == 1 && b[0] == '\r' {
		return nil, ping, pong, nil
	}
	end := bytes.Index(b[max(f.seen-3, 0):], []byte("\r\n\r\n"))
	if end < 0 {
		if f.seen = len(b); f.seen > maxHeadBytes {
			return nil, ping, pong, fmt.Errorf("the headers of a message are longer than %d bytes", maxHeadBytes)
		}
		return nil, ping, pong, nil
	}
	end += max(f.seen-3, 0)
	head := b[:end+2]
	if len(head) > maxHeadBytes || bytes.Count(head, []byte("\n")) > maxHeaders {
		return nil, ping, pong, fmt.Errorf("a message has more than %d header lines or %d bytes of them", maxHeaders, maxHeadBytes)
	}
	body, err := contentLength(head)
	if err != nil {
		return nil, ping, pong, err
	}
	size := end + 4 + body
	if size > maxMessageBytes {
		return nil, ping, pong, fmt.Errorf("a message is %d bytes long, the limit is %d", size, maxMessageBytes)
	}
	if len(b) < size {
		f.seen = end + 3 // found again at once
		return nil, ping, pong, nil
	}
	f.seen = 0
	f.read += size
	return b[:size:size], ping, pong, nil
}

// contentLength finds how long the body is. A stream needs it (RFC 3261 section
// 18.3), and two that differ are an attempt to hide one message in another.
func contentLength(head []byte) (int, error) {
	length := -1
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimSpace(name)
		if !ok || !bytes.EqualFold(name, []byte("Content-Length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil {
			return 0, errors.New("the Content-Length of a message cannot be read")
		}
		if length >= 0 && int(n) != length {
			return 0, errors.New("a message has two Content-Length headers that differ")
		}
		length = int(n)
	}
	if length < 0 {
		return 0, errors.New("a message over a stream has no Content-Length")
	}
	return min(length, maxMessageBytes+1), nil
}

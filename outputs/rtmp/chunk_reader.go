package rtmp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Message types (RTMP 1.0 sections 5.4 and 7.1).
const (
	typeSetChunkSize  = 1
	typeAbort         = 2
	typeAck           = 3
	typeUserControl   = 4
	typeWindowAckSize = 5
	typePeerBandwidth = 6
	typeAudio         = 8
	typeVideo         = 9
	typeCommandAMF3   = 17
	typeDataAMF0      = 18
	typeCommandAMF0   = 20
)

// Bounds on what a server may make us hold. What a server says to a publisher
// is a few hundred bytes.
const (
	maxInMessage = 64 << 10
	maxInStreams = 32
)

// message is one RTMP message from the server. body is valid until the next read.
type message struct {
	typ  uint8
	body []byte
}

// chunkReader reassembles messages from chunks (RTMP 1.0 section 5.3). Any
// error it returns means that the byte stream is lost or out of step: nothing
// after it can be understood. Memory is bounded by maxInStreams*maxInMessage;
// the body of a larger message is skipped and the message not delivered.
//
// The reader of gortmplib is not used here because it allows each of 62 chunk
// streams 10 MiB and reports an unknown message like a lost byte stream.
type chunkReader struct {
	br       *bufio.Reader
	size     uint32
	streams  map[uint32]*inStream
	received uint64
}

// inStream is the header state and the message being assembled of one chunk stream.
type inStream struct {
	length   uint32
	typ      uint8
	extended bool   // the last header carried an extended timestamp,
	stamp    uint32 // which was this one
	got      uint32 // body bytes so far
	active   bool   // a message is being assembled
	body     []byte
}

func newChunkReader(r io.Reader) *chunkReader {
	return &chunkReader{br: bufio.NewReaderSize(r, 4096), size: 128, streams: make(map[uint32]*inStream)}
}

// read returns the next message. Chunk size and abort are acted on here, for
// they change how the following bytes are read, and delivered as well.
func (r *chunkReader) read() (message, error) {
	for {
		s, err := r.readChunk()
		if err != nil {
			return message{}, err
		}
		if s == nil || s.length > maxInMessage {
			continue
		}
		m := message{typ: s.typ, body: s.body}
		if err := r.control(m); err != nil {
			return message{}, err
		}
		return m, nil
	}
}

// readChunk reads one chunk and returns its stream when a message is complete.
func (r *chunkReader) readChunk() (*inStream, error) {
	format, id, err := r.basicHeader()
	if err != nil {
		return nil, err
	}
	s := r.streams[id]
	if s == nil {
		if format != 0 {
			// Some servers begin a chunk stream with format 1; without a
			// length (2, 3) nothing can be done.
			if format != 1 {
				return nil, fmt.Errorf("RTMP chunk stream %d begins with a chunk of format %d", id, format)
			}
		}
		if len(r.streams) >= maxInStreams {
			return nil, fmt.Errorf("the server uses more than %d RTMP chunk streams", maxInStreams)
		}
		s = &inStream{}
		r.streams[id] = s
	}
	if err := r.messageHeader(s, format); err != nil {
		return nil, err
	}
	n := min(s.length-s.got, r.size)
	if err := r.readBody(s, n); err != nil {
		return nil, err
	}
	s.got += n
	if s.got < s.length {
		return nil, nil
	}
	s.active = false
	return s, nil
}

// basicHeader reads the format and the chunk stream id (section 5.3.1.1).
func (r *chunkReader) basicHeader() (format byte, id uint32, err error) {
	b, err := r.byte()
	if err != nil {
		return 0, 0, err
	}
	format, id = b>>6, uint32(b&0x3f)
	if id > 1 {
		return format, id, nil
	}
	lo, err := r.byte()
	if err != nil {
		return 0, 0, noEOF(err)
	}
	if id == 0 {
		return format, uint32(lo) + 64, nil
	}
	hi, err := r.byte()
	if err != nil {
		return 0, 0, noEOF(err)
	}
	return format, uint32(hi)<<8 + uint32(lo) + 64, nil
}

// messageHeader reads the rest of a chunk's header (section 5.3.1.2) and
// begins a new message unless the chunk continues one.
func (r *chunkReader) messageHeader(s *inStream, format byte) error {
	var h [11]byte
	n := [4]int{11, 7, 3, 0}[format]
	if err := r.full(h[:n]); err != nil {
		return err
	}
	if format < 3 {
		s.stamp = uint32(h[0])<<16 | uint32(h[1])<<8 | uint32(h[2])
		s.extended = s.stamp == 0xffffff
		if format < 2 {
			s.length = uint32(h[3])<<16 | uint32(h[4])<<8 | uint32(h[5])
			s.typ = h[6]
		}
	}
	if s.extended {
		if err := r.extendedStamp(s, format); err != nil {
			return err
		}
	}
	if format < 3 || !s.active {
		// A new header in the middle of a message gives that message up.
		s.active, s.got, s.body = true, 0, s.body[:0]
	}
	return nil
}

// extendedStamp reads the 4 bytes that follow a timestamp of 0xffffff (section
// 5.3.1.3). Chunks of format 3 repeat them with most servers, but not with
// all, so there they are only taken when they are what they must be.
func (r *chunkReader) extendedStamp(s *inStream, format byte) error {
	if format == 3 {
		b, err := r.br.Peek(4)
		if err != nil || binary.BigEndian.Uint32(b) != s.stamp {
			return nil
		}
	}
	var b [4]byte
	if err := r.full(b[:]); err != nil {
		return err
	}
	s.stamp = binary.BigEndian.Uint32(b[:])
	return nil
}

// readBody takes n bytes of a message's body, or skips them if the message is
// too large to be kept.
func (r *chunkReader) readBody(s *inStream, n uint32) error {
	if s.length > maxInMessage {
		d, err := r.br.Discard(int(n))
		r.received += uint64(d)
		return noEOF(err)
	}
	have := len(s.body)
	if cap(s.body) < int(s.length) {
		grown := make([]byte, have, s.length)
		copy(grown, s.body)
		s.body = grown
	}
	s.body = s.body[:have+int(n)]
	return r.full(s.body[have:])
}

// control applies what changes the reading of later chunks.
func (r *chunkReader) control(m message) error {
	if (m.typ != typeSetChunkSize && m.typ != typeAbort) || len(m.body) < 4 {
		return nil
	}
	v := binary.BigEndian.Uint32(m.body)
	if m.typ == typeAbort {
		if s := r.streams[v]; s != nil {
			s.active = false
		}
		return nil
	}
	if v &= 0x7fffffff; v == 0 {
		return errors.New("the server set an RTMP chunk size of 0")
	}
	r.size = v
	return nil
}

func (r *chunkReader) byte() (byte, error) {
	b, err := r.br.ReadByte()
	if err == nil {
		r.received++
	}
	return b, err
}

func (r *chunkReader) full(b []byte) error {
	n, err := io.ReadFull(r.br, b)
	r.received += uint64(n)
	return noEOF(err)
}

// noEOF marks an end in the middle of a chunk.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

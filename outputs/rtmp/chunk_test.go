package rtmp

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/bytecounter"
	"github.com/bluenviron/gortmplib/pkg/rawmessage"
	"pgregory.net/rapid"
)

// What the writer sends, an independent reader understands: every size and
// timestamp, also those that need the extended form.
func TestWriterAgainstOtherReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire bytes.Buffer
		w := newChunkWriter(&wire)
		w.size = rapid.SampledFrom([]int{128, 4096, outChunkSize}).Draw(t, "chunk size")
		counter := bytecounter.NewReader(&wire)
		r := rawmessage.NewReader(counter, counter, func(uint32) error { return nil })
		if err := r.SetChunkSize(uint32(w.size)); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(t, "messages") {
			h := outHeader{
				chunkStream: rapid.SampledFrom([]byte{chunkCommand, chunkAudio, chunkVideo}).Draw(t, "chunk stream"),
				typ:         rapid.SampledFrom([]uint8{typeAudio, typeVideo, typeCommandAMF0}).Draw(t, "type"),
				stream:      rapid.Uint32().Draw(t, "stream"),
				stamp:       rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0xfffffe, 0x1000001)).Draw(t, "stamp"),
			}
			body := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(0, 150_000).Draw(t, "size"))
			if err := w.message(h, body); err != nil {
				t.Fatal(err)
			}
			m, err := r.Read()
			if err != nil {
				t.Fatalf("read %+v of %d bytes: %v", h, len(body), err)
			}
			if m.ChunkStreamID != h.chunkStream || m.Type != h.typ || bits.ReverseBytes32(m.MessageStreamID) != h.stream || // it reads the id in the wrong byte order

				m.Timestamp != time.Duration(h.stamp)*time.Millisecond || !bytes.Equal(m.Body, body) {
				t.Fatalf("sent %+v and %d bytes, got %d %d %d %v and %d bytes", h, len(body),
					m.ChunkStreamID, m.Type, m.MessageStreamID, m.Timestamp, len(m.Body))
			}
		}
		if wire.Len() != 0 {
			t.Fatalf("%d bytes too many", wire.Len())
		}
	})
}

// What another writer sends, with its delta and continuation headers, our
// reader understands.
func TestReaderAgainstOtherWriter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire bytes.Buffer
		counter := bytecounter.NewWriter(&wire)
		w := rawmessage.NewWriter(counter, counter, false)
		type sent struct {
			typ  uint8
			body []byte
		}
		var want []sent
		// Short of extended timestamps: in continuations it writes zeros for them.
		stamp := time.Duration(rapid.Uint32Range(0, 0xfffe00).Draw(t, "start")) * time.Millisecond
		for range rapid.IntRange(1, 12).Draw(t, "messages") {
			m := &rawmessage.Message{
				ChunkStreamID: rapid.SampledFrom([]byte{3, 5, 63}).Draw(t, "chunk stream"), Timestamp: stamp,
				Type: rapid.SampledFrom([]uint8{typeCommandAMF0, typeAck, typeUserControl}).Draw(t, "type"), MessageStreamID: 1,
				Body: bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(0, 70_000).Draw(t, "size")),
			}
			stamp += time.Duration(rapid.Uint32Range(0, 40).Draw(t, "step")) * time.Millisecond
			if err := w.Write(m); err != nil {
				t.Fatal(err)
			}
			if len(m.Body) <= maxInMessage {
				want = append(want, sent{m.Type, m.Body})
			}
		}
		size := uint64(wire.Len())
		r := newChunkReader(&wire)
		for i, m := range want {
			got, err := r.read()
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if got.typ != m.typ || !bytes.Equal(got.body, m.body) {
				t.Fatalf("message %d: got type %d and %d bytes, want %d and %d", i, got.typ, len(got.body), m.typ, len(m.body))
			}
		}
		if _, err := r.read(); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
		if r.received != size {
			t.Fatalf("counted %d bytes of %d", r.received, size)
		}
	})
}

func TestReaderDetails(t *testing.T) {
	message := func(b ...byte) []byte { return b }
	for name, c := range map[string]struct {
		wire []byte
		want []byte // body of the last message
		fail bool
	}{
		"two byte chunk stream id":   {wire: message(0x00, 10, 0, 0, 0, 0, 0, 1, 20, 0, 0, 0, 0, 'x'), want: []byte("x")},
		"three byte chunk stream id": {wire: message(0x01, 10, 1, 0, 0, 0, 0, 0, 1, 20, 0, 0, 0, 0, 'x'), want: []byte("x")},
		"empty message":              {wire: message(0x03, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0), want: []byte{}},
		"extended stamp not repeated in format 3": {
			wire: append(append(message(0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 1), // chunks of one byte
				message(0x03, 0xff, 0xff, 0xff, 0, 0, 5, 20, 0, 0, 0, 0, 1, 0, 0, 0, 'a')...),
				message(0xc3, 'b', 0xc3, 'c', 0xc3, 'd', 0xc3, 'e')...), want: []byte("abcde")},
		"extended stamp repeated": {
			wire: append(append(message(0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 1),
				message(0x03, 0xff, 0xff, 0xff, 0, 0, 2, 20, 0, 0, 0, 0, 1, 0, 0, 0, 'a')...),
				message(0xc3, 1, 0, 0, 0, 'b')...), want: []byte("ab")},
		"abort drops what was begun": {
			wire: append(append(append(message(0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 4),
				message(0x03, 0, 0, 0, 0, 0, 6, 20, 0, 0, 0, 0, 'l', 'o', 's', 't')...),
				message(0x02, 0, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 3)...),
				message(0x03, 0, 0, 0, 0, 0, 2, 20, 0, 0, 0, 0, 'o', 'k')...), want: []byte("ok")},
		"chunk size 0":          {wire: message(0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0), fail: true},
		"begins with a delta":   {wire: message(0x83, 0, 0, 1, 'x'), fail: true},
		"begins with format 3":  {wire: message(0xc3, 'x'), fail: true},
		"ends inside a message": {wire: message(0x03, 0, 0, 0, 0, 0, 9, 20, 0, 0, 0, 0, 'x'), fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newChunkReader(bytes.NewReader(c.wire))
			var last []byte
			for {
				m, err := r.read()
				if err == io.EOF && !c.fail {
					break
				}
				if err != nil {
					if !c.fail || err == io.EOF {
						t.Errorf("got error %v", err)
					}
					return
				}
				last = append([]byte{}, m.body...)
			}
			if !bytes.Equal(last, c.want) || c.fail {
				t.Errorf("got %q, want %q", last, c.want)
			}
		})
	}
}

// A server cannot make the reader hold more than its bound.
func TestReaderIsBounded(t *testing.T) {
	var wire bytes.Buffer
	w := newChunkWriter(&wire)
	if err := w.message(outHeader{chunkStream: 3, typ: typeCommandAMF0}, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.message(outHeader{chunkStream: 3, typ: typeAck}, []byte{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	r := newChunkReader(&wire)
	m, err := r.read()
	if err != nil || m.typ != typeAck {
		t.Fatalf("after a message that is too large: %+v, %v", m, err)
	}
	if n := cap(r.streams[3].body); n > maxInMessage {
		t.Errorf("the reader holds %d bytes", n)
	}
	for id := byte(2); ; id++ {
		err := w.message(outHeader{chunkStream: id, typ: typeAck}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = r.read(); err != nil {
			if int(id) < maxInStreams {
				t.Errorf("chunk stream %d: %v", id, err)
			}
			return
		}
	}
}

func TestWriterRefusesTooMuch(t *testing.T) {
	w := newChunkWriter(io.Discard)
	if err := w.begin(outHeader{}, maxOutMessage+1); err == nil {
		t.Error("a message that the length field cannot say is begun")
	}
	if err := w.begin(outHeader{}, 3); err != nil {
		t.Fatal(err)
	}
	w.add([]byte{1})
	if err := w.end(); err == nil {
		t.Error("a short message is sent")
	}
}

// FuzzServerBytes feeds what a server may send to all that reads it.
func FuzzServerBytes(f *testing.F) {
	var wire bytes.Buffer
	w := newChunkWriter(&wire)
	body := []byte("\x02\x00\x07_result\x00\x3f\xf0\x00\x00\x00\x00\x00\x00\x05\x03\x00\x04code\x02\x00\x01x\x00\x00\x09")
	for _, typ := range []uint8{typeCommandAMF0, typeCommandAMF3, typeUserControl, typeWindowAckSize} {
		if err := w.message(outHeader{chunkStream: 3, typ: typ, stamp: 1 << 25}, body); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(wire.Bytes())
	f.Add([]byte{0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xc3})
	f.Add([]byte{0x00, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newChunkReader(bytes.NewReader(b))
		for {
			m, err := r.read()
			if err != nil {
				if errors.Is(err, io.ErrNoProgress) {
					t.Error("the reader stands still")
				}
				break
			}
			cmd, err := parseCommand(m)
			if err == nil {
				cmd.info()
				cmd.number()
			}
		}
		held := 0
		for _, s := range r.streams {
			held += cap(s.body)
		}
		if held > maxInStreams*maxInMessage || len(r.streams) > maxInStreams {
			t.Errorf("the reader holds %d bytes in %d streams", held, len(r.streams))
		}
		_, _ = (&adobeAuth{user: "u"}).next("authmod=adobe : ?reason=needauth" + string(b))
	})
}

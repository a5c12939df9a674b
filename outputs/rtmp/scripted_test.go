package rtmp

import (
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/bluenviron/gortmplib/pkg/handshake"
)

// scripted is a server that answers commands as a test says.
type scripted struct {
	*chunkWriter
	acks chan uint32
}

func (s *scripted) say(values ...any) {
	body, err := amf0.Data(values).Marshal()
	if err != nil {
		panic(err)
	}
	_ = s.message(outHeader{chunkStream: chunkCommand, typ: typeCommandAMF0}, body)
}

// info answers with an information object.
func (s *scripted) info(name string, id float64, level, code, description string) {
	s.say(name, id, nil, object("level", level, "code", code, "description", description))
}

// agree is what a server says that agrees to everything.
func (s *scripted) agree(c command) {
	switch c.name {
	case "connect":
		s.info("_result", c.id, "status", "NetConnection.Connect.Success", "")
	case "createStream":
		s.say("_result", c.id, nil, 7.0)
	case "publish":
		s.info("onStatus", 0, "status", "NetStream.Publish.Start", "")
	}
}

// startScripted starts a server; answer is called with each command, and ends
// the connection by returning false.
func startScripted(t *testing.T, answer func(*scripted, command) bool) (addr string, s *scripted) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = &scripted{acks: make(chan uint32, 100)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(nc, answer)
			nc.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String(), s
}

func (s *scripted) serve(nc net.Conn, answer func(*scripted, command) bool) {
	if _, _, err := handshake.DoServer(nc, false); err != nil {
		return
	}
	s.chunkWriter = newChunkWriter(nc)
	r := newChunkReader(nc)
	for {
		m, err := r.read()
		if err != nil {
			return
		}
		switch m.typ {
		case typeAck:
			select {
			case s.acks <- binary.BigEndian.Uint32(m.body):
			default:
			}
		case typeCommandAMF0:
			c, err := parseCommand(m)
			if err != nil || !answer(s, c) {
				return
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*scripted, command) bool
		says   string
	}{
		"connect is refused": {func(s *scripted, c command) bool {
			s.info("_error", c.id, "error", "NetConnection.Connect.Rejected", "no application KEY-1234 here\r\n")
			return true
		}, "Connect.Rejected no application *** here"},
		"connection closed after connect": {func(*scripted, command) bool { return false }, "RTMP connect: the server closed the connection"},
		"no answer after the handshake":   {func(*scripted, command) bool { return true }, "did not answer within 300ms"},
		"createStream is refused": {func(s *scripted, c command) bool {
			if c.name == "createStream" {
				s.say("_error", c.id, nil, object("code", "NetConnection.Call.Failed"))
				return true
			}
			s.agree(c)
			return true
		}, "Call.Failed"},
		"createStream without a number": {func(s *scripted, c command) bool {
			if c.name == "createStream" {
				s.say("_result", c.id, nil, "seven")
				return true
			}
			s.agree(c)
			return true
		}, "no stream id"},
		"the name is taken": {func(s *scripted, c command) bool {
			if c.name == "publish" {
				s.info("onStatus", 0, "error", "NetStream.Publish.BadName", "KEY-1234 is already published")
				return true
			}
			s.agree(c)
			return true
		}, "Publish.BadName *** is already published"},
		"close command": {func(s *scripted, c command) bool {
			if c.name == "publish" {
				s.say("close", 0.0, nil)
				return true
			}
			s.agree(c)
			return true
		}, "closed"},
		"silence after createStream": {func(s *scripted, c command) bool {
			if c.name != "publish" {
				s.agree(c)
			}
			return true
		}, "did not answer within 300ms"},
		"asks for another authentication": {func(s *scripted, c command) bool {
			s.info("_error", c.id, "error", "NetConnection.Connect.Rejected", "[ code=403 need auth; authmod=llnw ]")
			return true
		}, "other than authmod=adobe"},
		"never content": {func(s *scripted, c command) bool {
			s.info("_error", c.id, "error", "NetConnection.Connect.Rejected", "[ code=403 need auth; authmod=adobe ]")
			return true
		}, "keeps asking"},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := startScripted(t, c.answer)
			a, err := parseAddress("rtmp://user:pw123@"+addr+"/live/KEY-1234", "", true)
			if err != nil {
				t.Fatal(err)
			}
			d := &dialer{connectTimeout: 30 * time.Second, writeTimeout: time.Second}
			if strings.Contains(c.says, "300ms") {
				d.connectTimeout = 300 * time.Millisecond
			}
			conn, err := d.dial(t.Context(), a, "test")
			if err == nil {
				conn.close(t.Context())
				t.Fatal("publishing was agreed on")
			}
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "KEY-1234") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want %q in it", err, c.says)
			}
		})
	}
}

// Noise from the server that says nothing about the publishing is passed over,
// and its window is acknowledged.
func TestNoiseAndAcknowledgement(t *testing.T) {
	addr, s := startScripted(t, func(s *scripted, c command) bool {
		control := outHeader{chunkStream: chunkControl}
		switch c.name {
		case "connect":
			control.typ = typeWindowAckSize
			_ = s.message(control, []byte{0, 0, 0, 50})
			control.typ = typePeerBandwidth
			_ = s.message(control, []byte{0, 0, 0, 50, 2})
			control.typ = typeUserControl
			_ = s.message(control, []byte{0, 0})                                                                 // too short
			_ = s.message(outHeader{chunkStream: 9, typ: 99}, []byte("unknown"))                                 // no such type
			_ = s.message(outHeader{chunkStream: 9, typ: typeCommandAMF0}, nil)                                  // empty
			_ = s.message(outHeader{chunkStream: 9, typ: typeCommandAMF0}, []byte{0x0b, 1, 2})                   // a date, cut off
			_ = s.message(outHeader{chunkStream: 9, typ: typeCommandAMF0}, []byte{0x00, 0, 0, 0, 0, 0, 0, 0, 0}) // a number for a name
			_ = s.message(outHeader{chunkStream: 9, typ: typeCommandAMF3}, []byte{0, 0x02, 0, 4, 'n', 'o', 'n', 'e'})
			s.say("onBWDone", 0.0, nil, 8192.0)
		case "releaseStream", "FCPublish": // servers without these commands say so
			s.say("_error", c.id, nil, object("level", "error", "code", "NetConnection.Call.Failed"))
		}
		s.agree(c)
		return true
	})
	a, err := parseAddress("rtmp://"+addr+"/live", "s", false)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialer{connectTimeout: 5 * time.Second, writeTimeout: time.Second}
	c, err := d.dial(t.Context(), a, "test")
	if err != nil {
		t.Fatal(err)
	}
	if c.streamID != 7 {
		t.Errorf("stream id %d", c.streamID)
	}
	if n := <-s.acks; n < 50 {
		t.Errorf("acknowledged %d bytes", n)
	}
	c.close(t.Context())
}

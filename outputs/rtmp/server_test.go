package rtmp

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/sirupsen/logrus"
	gortmp "github.com/yutopp/go-rtmp"
	rtmpmsg "github.com/yutopp/go-rtmp/message"

	"lineout/test/peers"
)

// tag is a media message as the server got it; typ 0 is onMetaData.
type tag struct {
	typ   byte
	stamp uint32
	body  []byte
	meta  amf0.ECMAArray
}

// session is one connection to a goServer.
type session struct {
	gortmp.DefaultHandler
	conn net.Conn

	mu      sync.Mutex
	connect rtmpmsg.NetConnectionConnectCommand
	publish rtmpmsg.NetStreamPublish
	tags    []tag
}

func (s *session) OnConnect(_ uint32, c *rtmpmsg.NetConnectionConnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connect = c.Command
	return nil
}

func (s *session) OnPublish(_ *gortmp.StreamContext, _ uint32, c *rtmpmsg.NetStreamPublish) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish = *c
	return nil
}

func (s *session) OnSetDataFrame(stamp uint32, d *rtmpmsg.NetStreamSetDataFrame) error {
	values, err := amf0.Unmarshal(d.Payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags = append(s.tags, tag{stamp: stamp, meta: values[len(values)-1].(amf0.ECMAArray)})
	return nil
}

func (s *session) OnAudio(stamp uint32, r io.Reader) error { return s.media(typeAudio, stamp, r) }
func (s *session) OnVideo(stamp uint32, r io.Reader) error { return s.media(typeVideo, stamp, r) }

func (s *session) media(typ byte, stamp uint32, r io.Reader) error {
	body, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags = append(s.tags, tag{typ: typ, stamp: stamp, body: body})
	return err
}

func (s *session) got() []tag {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tag(nil), s.tags...)
}

// goServer is an RTMP server made with another library than the client.
type goServer struct {
	url string

	mu       sync.Mutex
	sessions []*session
}

func startGoServer(t testing.TB) *goServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	s := &goServer{url: "rtmp://" + l.Addr().String() + "/live"}
	srv := gortmp.NewServer(&gortmp.ServerConfig{OnConnect: func(c net.Conn) (io.ReadWriteCloser, *gortmp.ConnConfig) {
		h := &session{conn: c}
		s.mu.Lock()
		s.sessions = append(s.sessions, h)
		s.mu.Unlock()
		return c, &gortmp.ConnConfig{Handler: h, Logger: quiet, ControlState: gortmp.StreamControlStateConfig{DefaultBandwidthWindowSize: 1 << 20}}
	}})
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
		for _, h := range s.all() {
			h.conn.Close()
		}
	})
	return s
}

func (s *goServer) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*session(nil), s.sessions...)
}

// session waits for the n-th connection to have got this many tags.
func (s *goServer) session(t *testing.T, n, tags int) *session {
	t.Helper()
	peers.Eventually(t, "tags", eventually, func() bool {
		all := s.all()
		return len(all) > n && len(all[n].got()) >= tags
	})
	return s.all()[n]
}

func TestWhatTheServerSees(t *testing.T) {
	server := startGoServer(t)
	cfg := testConfig()
	cfg.QueueDelay = time.Minute
	r := newRig(t, cfg)
	stream := r.stream(t, "s")
	src := newSource(t, stream)
	src.answer()
	p, err := r.Start(stream, Target{URL: server.url + "/_definst_?a=b&c=d", Name: "s", FlashVersion: "LNX 76.219.189.0"})
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, p, StatusActive)
	src.feed(5 * time.Second)
	stream.Close("test")
	<-stream.Done()
	// 125 pictures, 235 access units, metadata, two headers, the end of the sequence
	s := server.session(t, 0, 125+235+4)
	if c := s.connect; c.App != "live/_definst_?a=b&c=d" || c.TCURL != server.url+"/_definst_?a=b&c=d" || c.FlashVer != "LNX 76.219.189.0" || c.Type != "nonprivate" {
		t.Errorf("connect %+v", c)
	}
	if s.publish.PublishingName != "rtmp_s" || s.publish.PublishingType != "live" {
		t.Errorf("publish %+v", s.publish)
	}
	tags := s.got()
	checkMeta(t, tags[0].meta, map[string]any{"width": 640.0, "height": 360.0, "videocodecid": 7.0,
		"audiocodecid": 10.0, "audiosamplerate": 48000.0, "audiochannels": 1.0, "stereo": false, "encoder": "lineout"})
	if v := tags[1]; v.typ != typeVideo || v.body[1] != packetHeader {
		t.Errorf("second message is not the AVC sequence header: %v", v)
	}
	if a := tags[2]; a.typ != typeAudio || !bytes.Equal(a.body, append([]byte{0xaf, packetHeader}, src.clip.audioParams.Sets[0]...)) {
		t.Errorf("third message is not the AAC sequence header: %v", a)
	}
	if end := tags[len(tags)-1]; end.typ != typeVideo || end.body[1] != packetAVCEnd {
		t.Errorf("last message is not the end of the sequence: %v", end)
	}
	checkTags(t, tags[3:len(tags)-1], src.clip)
}

func checkMeta(t *testing.T, meta amf0.ECMAArray, want map[string]any) {
	t.Helper()
	for k, v := range want {
		if got, ok := amf0.Object(meta).Get(k); !ok || got != v {
			t.Errorf("onMetaData %s is %v, want %v", k, got, v)
		}
	}
}

// checkTags compares media with the clip: bytes, timestamps, key frames.
func checkTags(t *testing.T, tags []tag, c *clip) {
	t.Helper()
	var v, a int
	for _, g := range tags {
		var want unit
		var body []byte
		if g.typ == typeVideo {
			want = c.video[v]
			v++
			head := byte(tagInter)
			if want.key {
				head = tagKeyframe
			}
			body = []byte{head, packetMedia, 0, 0, 0}
			for _, nalu := range want.data {
				if n := nalu[0] & 0x1f; n == 7 || n == 8 || n == 9 {
					continue
				}
				body = append(binary.BigEndian.AppendUint32(body, uint32(len(nalu))), nalu...)
			}
		} else {
			want = c.audio[a]
			a++
			body = append([]byte{0xaf, packetMedia}, want.data[0]...)
		}
		if !bytes.Equal(g.body, body) {
			t.Fatalf("type %d at %v: the server got %d other bytes than were sent (%d)", g.typ, want.at, len(g.body), len(body))
		}
		if ms := uint32(want.at.Milliseconds()); g.stamp != ms {
			t.Fatalf("type %d: timestamp %d, want %d", g.typ, g.stamp, ms)
		}
	}
	if v == 0 || a == 0 {
		t.Errorf("%d pictures and %d access units", v, a)
	}
}

// Timestamps of a second connection continue where the first ended.
func TestTimestampsAcrossReconnect(t *testing.T) {
	server := startGoServer(t)
	r := newRig(t, testConfig())
	stream := r.stream(t, "s")
	src := newSource(t, stream)
	src.answer()
	src.play(t)
	if _, err := r.Start(stream, Target{URL: server.url, Name: "s"}); err != nil {
		t.Fatal(err)
	}
	first := server.session(t, 0, 60)
	first.conn.Close()
	second := server.session(t, 1, 60)
	last := map[byte]uint32{}
	for _, g := range append(first.got(), second.got()...) {
		if g.stamp < last[g.typ] {
			t.Errorf("type %d goes back from %d to %d", g.typ, last[g.typ], g.stamp)
		}
		last[g.typ] = g.stamp
	}
	tags := second.got()
	if tags[0].meta == nil || tags[1].body[1] != packetHeader || tags[2].body[1] != packetHeader {
		t.Error("the second connection does not begin with metadata and headers")
	}
	if tags[0].stamp == 0 || first.got()[0].stamp != 0 {
		t.Errorf("connections begin at %d and %d ms, want 0 and later", first.got()[0].stamp, tags[0].stamp)
	}
}

// A second of silence: mute replaces access units and nothing else.
func TestMute(t *testing.T) {
	server := startGoServer(t)
	cfg := testConfig()
	cfg.QueueDelay = time.Minute
	r := newRig(t, cfg)
	stream := r.stream(t, "s")
	src := newSource(t, stream)
	src.answer()
	p, err := r.Start(stream, Target{URL: server.url, Name: "s", Muted: true})
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, p, StatusActive)
	src.feed(time.Second)
	peers.Eventually(t, "first second", eventually, func() bool { return p.stats().Frames == 25+47 })
	p.SetMuted(false)
	src.feed(2 * time.Second)
	stream.Close("test")
	<-stream.Done()
	s := server.session(t, 0, 50+94+4)
	n := 0
	for _, g := range s.got() {
		if g.typ != typeAudio || g.body[1] != packetMedia {
			continue
		}
		want := src.clip.audio[n].data[0]
		if n < 47 {
			want = silentMono
		}
		if !bytes.Equal(g.body[2:], want) {
			t.Fatalf("access unit %d of %d bytes, want %d", n, len(g.body)-2, len(want))
		}
		n++
	}
	if n != 94 {
		t.Errorf("%d access units, want 94", n)
	}
}

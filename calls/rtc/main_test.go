package rtc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"lineout/calls/leg"
	"lineout/calls/rtc/transport"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func table() *codecs.Table {
	return codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMU, g711.CodecPCMA, g722.Codec}, nil)
}

// newService runs a service on loopback until the test ends.
func newService(t testing.TB, edit func(*Config)) *Service {
	t.Helper()
	c := DefaultConfig()
	if edit != nil {
		edit(&c)
	}
	log := slog.New(slog.DiscardHandler)
	tr, err := transport.Listen(transport.Config{IPLocal: "127.0.0.1"}, log)
	if err != nil {
		t.Fatal(err)
	}
	tr.Start()
	s := New(c, tr, table(), log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	waitFor(t, "the service to run", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ctx != nil
	})
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := s.Peers(); n != 0 {
			t.Errorf("%d peers are left", n)
		}
		if err := tr.Close(); err != nil {
			t.Errorf("closing the sockets: %v", err)
		}
	})
	return s
}

// waitFor polls a condition that some other goroutine will make true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// nextEvent is the next event of a peer.
func nextEvent(t testing.TB, p *Peer) leg.Event {
	t.Helper()
	select {
	case e, ok := <-p.Events():
		if !ok {
			t.Fatal("no event comes any more")
		}
		return e
	case <-time.After(15 * time.Second):
		t.Fatal("no event within 15 s")
	}
	return leg.Event{}
}

func wantEvent(t testing.TB, p *Peer, want leg.EventType) leg.Event {
	t.Helper()
	e := nextEvent(t, p)
	if e.Type != want {
		t.Fatalf("event %d (%+v), want %d", e.Type, e, want)
	}
	return e
}

// browser is a pion client that behaves as the SDK does: SDP as created,
// without candidates.
type browser struct {
	pc      *webrtc.PeerConnection
	packets chan *rtp.Packet
	tracks  chan *webrtc.TrackRemote
	out     map[media.Kind]*rawTrack
	senders map[media.Kind]*webrtc.RTPSender
}

// identityOfBrowsers is one for all, because making one takes long.
var identityOfBrowsers = sync.OnceValue(func() webrtc.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c, err := webrtc.GenerateCertificate(key)
	if err != nil {
		panic(err)
	}
	return *c
})

type browserOption func(*webrtc.SettingEngine, *webrtc.MediaEngine)

func newBrowser(t testing.TB, kinds []media.Kind, options ...browserOption) *browser {
	t.Helper()
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	event := webrtc.RTPCodecParameters{PayloadType: 126, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "audio/telephone-event", ClockRate: 8000, SDPFmtpLine: "0-16"}}
	event48 := webrtc.RTPCodecParameters{PayloadType: 110, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "audio/telephone-event", ClockRate: 48000, SDPFmtpLine: "0-16"}}
	for _, c := range []webrtc.RTPCodecParameters{event, event48} {
		if err := me.RegisterCodec(c, webrtc.RTPCodecTypeAudio); err != nil {
			t.Fatal(err)
		}
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.DisableSRTPReplayProtection(true) // to see what is sent again
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	for _, o := range options {
		o(&se, &me)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&me), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{Certificates: []webrtc.Certificate{identityOfBrowsers()}})
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{pc: pc, packets: make(chan *rtp.Packet, 4096), tracks: make(chan *webrtc.TrackRemote, 4),
		out: map[media.Kind]*rawTrack{}, senders: map[media.Kind]*webrtc.RTPSender{}}
	pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		b.tracks <- tr
		for {
			k, _, err := tr.ReadRTP()
			if err != nil {
				return
			}
			select {
			case b.packets <- k:
			default:
			}
		}
	})
	for _, k := range kinds {
		tr := &rawTrack{kind: k}
		s, err := pc.AddTrack(tr)
		if err != nil {
			t.Fatal(err)
		}
		b.out[k], b.senders[k] = tr, s
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return b
}

// rawTrack sends packets with whatever numbers and payload type they have; 0
// means those that were agreed on. It implements webrtc.TrackLocal.
type rawTrack struct {
	kind  media.Kind
	mu    sync.Mutex
	write webrtc.TrackLocalWriter
	ssrc  uint32
	pt    uint8
}

func (r *rawTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write, r.ssrc = c.WriteStream(), uint32(c.SSRC())
	codec := c.CodecParameters()[0]
	r.pt = uint8(codec.PayloadType)
	return codec, nil
}
func (r *rawTrack) Unbind(webrtc.TrackLocalContext) error { return nil }
func (r *rawTrack) ID() string                            { return r.kind.String() }
func (r *rawTrack) RID() string                           { return "" }
func (r *rawTrack) StreamID() string                      { return "s" }
func (r *rawTrack) Kind() webrtc.RTPCodecType {
	if r.kind == media.Video {
		return webrtc.RTPCodecTypeVideo
	}
	return webrtc.RTPCodecTypeAudio
}

// WriteRTP sends a packet, with a while of grace for pion to start its sender.
func (r *rawTrack) WriteRTP(p *rtp.Packet) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		r.mu.Lock()
		w, h := r.write, p.Header
		if h.SSRC == 0 {
			h.SSRC = r.ssrc
		}
		if h.PayloadType == 0 {
			h.PayloadType = r.pt
		}
		r.mu.Unlock()
		h.Version = 2
		if w != nil {
			if _, err := w.WriteRTP(&h, p.Payload); err == nil || time.Now().After(deadline) {
				return err
			}
		} else if time.Now().After(deadline) {
			return errors.New("the browser never got ready to send")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// offer is sent before gathering, without candidates, as the SDK does.
func (b *browser) offer(t testing.TB) string {
	t.Helper()
	o, err := b.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.pc.SetLocalDescription(o); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(o.SDP, "a=candidate") {
		t.Fatal("the test's offer must have no candidates")
	}
	return o.SDP
}

func (b *browser) take(t testing.TB, kind webrtc.SDPType, sdp string) {
	t.Helper()
	if err := b.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: sdp}); err != nil {
		t.Fatalf("our SDP is refused: %v\n%s", err, sdp)
	}
}

// up waits until the browser's own side of the connection is.
func (b *browser) up(t testing.TB) {
	t.Helper()
	waitFor(t, "the browser to be connected", func() bool { return b.pc.ConnectionState() == webrtc.PeerConnectionStateConnected })
}

func (b *browser) next(t testing.TB) *rtp.Packet {
	t.Helper()
	select {
	case k := <-b.packets:
		return k
	case <-time.After(15 * time.Second):
		t.Fatal("no RTP packet within 15 s")
		return nil
	}
}

// both are the terms of a usual call.
var both = leg.Terms{SendAudio: true, SendVideo: true}

// dial makes a call of a browser and answers it.
func dial(t testing.TB, s *Service, b *browser, terms leg.Terms) *Peer {
	t.Helper()
	sdp := make(chan string, 2)
	p, _, err := s.Accept(t.Context(), b.offer(t), Options{ID: "c-1", SendSDP: func(s string) { sdp <- s }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(t, p) })
	wantEvent(t, p, leg.Trying)
	p.Answer(terms)
	b.take(t, webrtc.SDPTypeAnswer, <-sdp)
	e := wantEvent(t, p, leg.Answered)
	if e.Media == nil {
		t.Fatal("Answered without media")
	}
	select {
	case <-p.Connected():
	default:
		t.Fatal("answered, but not connected")
	}
	b.up(t)
	return p
}

// hangUp ends a peer and waits for its last event.
func hangUp(t testing.TB, p *Peer) {
	t.Helper()
	if err := p.Hangup(context.Background(), leg.Cause{}); err != nil {
		t.Errorf("Hangup: %v", err)
	}
	for range p.Events() {
	}
}

// collect receives a peer's media until the test ends.
func collect(t testing.TB, p *Peer) <-chan leg.Packet {
	t.Helper()
	out := make(chan leg.Packet, 4096)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- p.Media().Run(ctx, func(k leg.Packet) {
			select {
			case out <- k:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Media.Run: %v", err)
		}
	})
	waitFor(t, "Media.Run", func() bool {
		p.media.deliver.Lock()
		defer p.media.deliver.Unlock()
		return p.media.recv != nil
	})
	return out
}

func received(t testing.TB, ch <-chan leg.Packet, ok func(leg.Packet) bool) leg.Packet {
	t.Helper()
	limit := time.After(15 * time.Second)
	for {
		select {
		case p := <-ch:
			if ok(p) {
				return p
			}
		case <-limit:
			t.Fatal("the awaited packet has not come within 15 s")
		}
	}
}

package webrtc

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

func TestMain(m *testing.M) {
	if runRole() { // a child of the load benchmark
		return
	}
	goleak.VerifyTestMain(m)
}

func table() *codecs.Table {
	return codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMU, g711.CodecPCMA}, nil)
}

// rig is a running service with a hub, on loopback and a free port.
type rig struct {
	hub *pipeline.Hub
	svc *Service
	web *httptest.Server
}

func newRig(t testing.TB, edit func(*Config)) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: table(), Log: log, FlushTimeout: 2 * time.Second})
	c := DefaultConfig()
	c.IPLocal = "127.0.0.1"
	if edit != nil {
		edit(&c)
	}
	svc, err := New(outputs.Env{Streams: hub, Codecs: table(), Log: log}, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- hub.Run(ctx) }()
	svcCtx, stopSvc := context.WithCancel(context.Background())
	go func() { ended <- svc.Run(svcCtx) }()
	mux := http.NewServeMux()
	for p, h := range svc.Routes() {
		mux.Handle(p, h)
	}
	web := httptest.NewServer(mux)
	waitFor(t, "the service to run", func() bool {
		svc.mu.Lock()
		defer svc.mu.Unlock()
		return svc.ctx != nil
	})
	t.Cleanup(func() {
		stopSvc()
		cancel()
		for range 2 {
			if err := <-ended; err != nil && err != context.Canceled {
				t.Errorf("Run: %v", err)
			}
		}
		web.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return &rig{hub: hub, svc: svc, web: web}
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

// source writes a made-up call: pictures and sound in step.
type source struct {
	st           *pipeline.Stream
	audio, video *media.Track
	keyAsked     chan struct{}
	pts          time.Duration
	seq          uint16
}

func newSource(t testing.TB, r *rig, name string, audio, video codecs.Codec) *source {
	t.Helper()
	var st *pipeline.Stream
	waitFor(t, "the hub", func() bool {
		var err error
		st, err = r.hub.Create(name, pipeline.Meta{Provider: "SIP"})
		return err == nil
	})
	s := &source{st: st, keyAsked: make(chan struct{}, 64)}
	if audio != nil {
		s.audio = &media.Track{ID: "audio", Kind: media.Audio, Codec: audio.Name(), ClockRate: audio.ClockRate(), Channels: 1}
		st.AddTrack(s.audio)
	}
	if video != nil {
		s.video = &media.Track{ID: "video", Kind: media.Video, Codec: video.Name(), ClockRate: video.ClockRate(),
			RequestKeyframe: func() {
				select {
				case s.keyAsked <- struct{}{}:
				default:
				}
			}}
		st.AddTrack(s.video)
	}
	return s
}

var (
	testSPS = []byte{0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x0c, 0x83, 0xc6, 0x0c, 0xa8}
	testPPS = []byte{0x68, 0xce, 0x0f, 0xc8}
)

// step writes one picture (split in packets) and two sounds, 40 ms of a call.
func (s *source) step(key bool) {
	if s.video != nil {
		nal := make([]byte, 2000)
		nal[0] = 0x41
		if key {
			nal[0] = 0x65
		}
		for i := 1; i < len(nal); i++ {
			nal[i] = byte(i)
		}
		f := &media.Frame{Track: s.video, PTS: s.pts, DTS: s.pts, Key: key, Arrival: time.Now(), Data: [][]byte{nal}}
		if s.video.Codec == h264.Name {
			f.Params = &media.Params{Width: 640, Height: 360, Sets: [][]byte{testSPS, testPPS}}
		} else {
			f.Data[0][0] = 0x10
		}
		s.packetize(f)
		s.st.Write(f)
	}
	if s.audio != nil {
		for i := range time.Duration(2) {
			p := s.pts + i*20*time.Millisecond
			f := &media.Frame{Track: s.audio, PTS: p, DTS: p, Key: true, Duration: 20 * time.Millisecond, Arrival: time.Now(), Data: [][]byte{make([]byte, 160)}}
			s.packetize(f)
			s.st.Write(f)
		}
	}
	s.pts += 40 * time.Millisecond
}

func (s *source) packetize(f *media.Frame) {
	ps, err := table().Get(f.Track.Codec).NewPacketizer(1100).Packetize(f.Data)
	if err != nil {
		panic(err)
	}
	for i, p := range ps {
		s.seq++
		f.Packets = append(f.Packets, &rtp.Packet{
			Header:  rtp.Header{Version: 2, PayloadType: 99, SequenceNumber: s.seq, SSRC: 1, Timestamp: 777, Marker: i == len(ps)-1},
			Payload: append([]byte(nil), p...),
		})
	}
}

// play runs the call in real time until the test ends: a key frame whenever
// one is asked for.
func (s *source) play(t testing.TB) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		for {
			key := false
			select {
			case <-stop:
				return
			case <-s.keyAsked:
				key = true
			case <-tick.C:
			}
			s.step(key)
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

// player is a pion client: what a WHEP player in a browser would be.
type player struct {
	pc       *webrtc.PeerConnection
	location string
	etag     string
	answer   string
	packets  chan *rtp.Packet
	tracks   chan *webrtc.TrackRemote
}

func newPlayer(t testing.TB, kinds ...webrtc.RTPCodecType) *player {
	t.Helper()
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.DisableSRTPReplayProtection(true) // to see retransmissions of what did arrive
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	return newPlayerWith(t, &me, se, kinds...)
}

func newPlayerWith(t testing.TB, me *webrtc.MediaEngine, se webrtc.SettingEngine, kinds ...webrtc.RTPCodecType) *player {
	t.Helper()
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	p := &player{pc: pc, packets: make(chan *rtp.Packet, 4096), tracks: make(chan *webrtc.TrackRemote, 4)}
	pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		p.tracks <- tr
		for {
			k, _, err := tr.ReadRTP()
			if err != nil {
				return
			}
			select {
			case p.packets <- k:
			default:
			}
		}
	})
	for _, k := range kinds {
		if _, err := pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return p
}

// offer is sent before gathering, without candidates, as the WebSDK does.
func (p *player) offer(t testing.TB) string {
	t.Helper()
	o, err := p.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.pc.SetLocalDescription(o); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(o.SDP, "a=candidate") {
		t.Fatal("the test's offer must have no candidates")
	}
	return o.SDP
}

// whep plays a stream over HTTP and returns the status.
func (p *player) whep(t testing.TB, r *rig, path string) int {
	t.Helper()
	resp, err := http.Post(r.web.URL+"/whep/"+path, "application/sdp", strings.NewReader(p.offer(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusCreated {
		return resp.StatusCode
	}
	p.location, p.etag, p.answer = resp.Header.Get("Location"), resp.Header.Get("ETag"), string(b)
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: p.answer}); err != nil {
		t.Fatalf("the answer is refused: %v\n%s", err, p.answer)
	}
	return resp.StatusCode
}

func (p *player) next(t testing.TB) *rtp.Packet {
	t.Helper()
	select {
	case k := <-p.packets:
		return k
	case <-time.After(15 * time.Second):
		t.Fatal("no RTP packet within 15 s")
		return nil
	}
}

func newAudio(s *source) *media.Track {
	t := &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}
	s.st.AddTrack(t)
	return t
}

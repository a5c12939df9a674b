//go:build e2e

package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// medium is the peer connection of a scripted browser's call or stream. It sends
// silence in Opus, as a muted microphone does.
type medium struct {
	pc     *webrtc.PeerConnection
	mux    io.Closer
	socket *net.UDPConn
	muted  atomic.Bool // sends nothing any more while ICE lives on
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// quiet drops what pion says of sockets that are closed under it.
var quiet = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}

func newMedium(direction webrtc.RTPTransceiverDirection) (*medium, error) {
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		return nil, fmt.Errorf("scripted browser: %w", err)
	}
	// A socket of its own can be closed before anything says goodbye.
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("scripted browser: %w", err)
	}
	mux := webrtc.NewICEUDPMux(quiet.NewLogger("ice"), socket)
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	se.SetICEUDPMux(mux)
	se.LoggerFactory = quiet
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&me), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		_ = mux.Close()
		return nil, fmt.Errorf("scripted browser: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &medium{pc: pc, mux: mux, socket: socket, cancel: cancel}
	if err := m.add(ctx, direction); err != nil {
		m.close(false)
		return nil, fmt.Errorf("scripted browser: %w", err)
	}
	return m, nil
}

func (m *medium) add(ctx context.Context, direction webrtc.RTPTransceiverDirection) error {
	if direction == webrtc.RTPTransceiverDirectionRecvonly {
		_, err := m.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: direction})
		return err
	}
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "stream")
	if err != nil {
		return err
	}
	if _, err := m.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: direction}); err != nil {
		return err
	}
	m.work.Go(func() { m.speak(ctx, track) })
	return nil
}

func (m *medium) speak(ctx context.Context, track *webrtc.TrackLocalStaticSample) {
	const packet = 20 * time.Millisecond
	tick := time.NewTicker(packet)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !m.muted.Load() {
				_ = track.WriteSample(media.Sample{Data: []byte{0xf8, 0xff, 0xfe}, Duration: packet}) // fails before it is connected
			}
		}
	}
}

// offer and answer make a local SDP without candidates, as the SDK sends it.
func (m *medium) offer() (string, error) {
	d, err := m.pc.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	return d.SDP, m.pc.SetLocalDescription(d)
}

func (m *medium) answer(offer string, connect bool) (string, error) {
	if err := m.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	d, err := m.pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	if !connect { // without a local description ICE does not begin
		return d.SDP, nil
	}
	return d.SDP, m.pc.SetLocalDescription(d)
}

func (m *medium) accept(answer string) error {
	return m.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
}

// close ends the media: with DTLS's goodbye, or with none, as when a tab is killed.
func (m *medium) close(goodbye bool) {
	m.cancel()
	m.work.Wait()
	if !goodbye {
		_ = m.socket.Close()
	}
	_ = m.pc.GracefulClose()
	_ = m.mux.Close()
	_ = m.socket.Close()
}

package webrtc

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"

	"lineout/media"
)

func newViewer(o PlayOptions) *Viewer {
	id := o.ID
	if id == "" {
		id = uuid.NewString()
	}
	provider := o.Provider
	if provider == "" {
		provider = "WebRTC"
	}
	return &Viewer{
		id: id, session: o.SessionID, provider: provider, since: time.Now(), etag: rand.Text(),
		connected: make(chan struct{}), release: make(chan struct{}), ended: make(chan struct{}),
		done: make(chan struct{}), pcUp: make(chan struct{}),
	}
}

// negotiate makes the peer connection and returns the complete answer: all
// candidates are in it, because the WebSDK cannot trickle.
func (s *Service) negotiate(v *Viewer, off *offer) (string, error) {
	role := webrtc.DTLSRoleServer
	if off.active {
		role = webrtc.DTLSRoleClient
	}
	se, err := s.transport.Settings(role, s.config.DisconnectTimeout)
	if err != nil {
		return "", err
	}
	var me webrtc.MediaEngine
	streamID := uuid.NewString()
	hold := newHoldback(off, s.config.PlayoutDelay)
	for _, sec := range off.sections {
		if sec.chosen == nil {
			continue
		}
		snd := &sender{streamID: streamID, codec: sec.chosen.parameters(sec.kind), lane: v.group.lane(sec.kind)}
		if sec.kind == media.Audio {
			snd.kind, v.audio = webrtc.RTPCodecTypeAudio, snd
		} else {
			snd.kind, snd.hold, v.video = webrtc.RTPCodecTypeVideo, hold, snd
		}
		if err := me.RegisterCodec(snd.codec, snd.kind); err != nil {
			return "", fmt.Errorf("%s: %w", snd.codec.MimeType, err)
		}
	}
	// An empty registry: RTCP is handled here, and the send path stays bare.
	api := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(&me), webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	pc, err := api.NewPeerConnection(webrtc.Configuration{Certificates: []webrtc.Certificate{s.transport.Certificate()}})
	if err != nil {
		return "", err
	}
	v.pc = pc
	answer, err := v.answer(off)
	if err != nil {
		_ = pc.GracefulClose()
		return "", err
	}
	return answer, nil
}

func (v *Viewer) answer(off *offer) (string, error) {
	v.pc.OnConnectionStateChange(v.onState)
	// In the order of the offer, so that pion pairs them with its m= lines.
	for _, sec := range off.sections {
		if sec.chosen == nil {
			continue
		}
		if _, err := v.pc.AddTransceiverFromTrack(v.sender(sec.kind), webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
			return "", err
		}
	}
	offer, err := off.reduced()
	if err != nil {
		return "", err
	}
	if err := v.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	answer, err := v.pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	// Only host candidates of sockets that exist: gathering ends at once.
	gathered := webrtc.GatheringCompletePromise(v.pc)
	if err := v.pc.SetLocalDescription(answer); err != nil {
		return "", err
	}
	select {
	case <-gathered:
	case <-time.After(5 * time.Second):
		return "", errors.New("gathering ICE candidates took more than 5 s")
	}
	for _, sec := range off.sections {
		if u, ok := sec.media.Attribute("ice-ufrag"); ok {
			v.ufrag = u
			break
		}
	}
	return off.answer(v.pc.LocalDescription().SDP)
}

// info is for listings. The caller holds Service.mu.
func (v *Viewer) info() ViewerInfo {
	i := ViewerInfo{
		ID: v.id, Stream: v.group.key.stream.Name(), StreamID: v.group.key.stream.ID(), SessionID: v.session, Provider: v.provider,
		AudioCodec: string(v.group.key.choice.audio), VideoCodec: string(v.group.key.choice.video),
		State: "PENDING", Since: v.since,
	}
	select {
	case <-v.connected:
		i.State = "PLAYING"
	default:
	}
	for _, s := range v.senders() {
		i.BytesSent += s.octets.Load()
		i.PacketsSent += s.packets.Load()
		i.NACKs += s.nacks.Load()
	}
	return i
}

package peers

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Player is a WebRTC player that connects by WHEP and keeps everything it
// receives. It takes what browsers take: Opus, G.711, G.722; VP8 and H.264.
type Player struct {
	pc        *webrtc.PeerConnection
	connected chan struct{}

	mu     sync.Mutex
	tracks map[webrtc.RTPCodecType]*received
}

// received is one track of a [Player].
type received struct {
	codec   webrtc.RTPCodecParameters
	packets []*rtp.Packet
	report  *rtcp.SenderReport // the newest
}

// StartPlayer plays a WHEP address until the test ends; it returns when media can flow.
func StartPlayer(t testing.TB, url string) *Player {
	t.Helper()
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	// With the kernel's usual buffer a player that gets no processor time for a second loses what nobody sends again: sound.
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	mux := webrtc.NewICEUDPMux(nil, conn)
	se.SetICEUDPMux(mux)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&me), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	p := &Player{pc: pc, connected: make(chan struct{}), tracks: map[webrtc.RTPCodecType]*received{}}
	t.Cleanup(func() { pc.GracefulClose(); mux.Close() })
	pc.OnTrack(p.receive)
	var once sync.Once
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(p.connected) })
		}
	})
	if err := p.connect(url); err != nil {
		t.Fatalf("play %s: %v", url, err)
	}
	select {
	case <-p.connected:
	case <-time.After(startTimeout):
		t.Fatalf("play %s: no connection", url)
	}
	return p
}

func (p *Player) connect(url string) error {
	for _, k := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := p.pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return err
		}
	}
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	c := http.Client{Timeout: startTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Post(url, "application/sdp", strings.NewReader(offer.SDP))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	if err != nil {
		return err
	}
	return p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)})
}

// receive gathers a track until its connection ends.
func (p *Player) receive(tr *webrtc.TrackRemote, rx *webrtc.RTPReceiver) {
	r := &received{codec: tr.Codec()}
	p.mu.Lock()
	p.tracks[tr.Kind()] = r
	p.mu.Unlock()
	go func() {
		for {
			pkts, _, err := rx.ReadRTCP()
			if err != nil {
				return
			}
			for _, k := range pkts {
				if sr, ok := k.(*rtcp.SenderReport); ok && sr.SSRC == uint32(tr.SSRC()) {
					p.mu.Lock()
					r.report = sr
					p.mu.Unlock()
				}
			}
		}
	}()
	for {
		k, _, err := tr.ReadRTP()
		if err != nil {
			return
		}
		p.mu.Lock()
		r.packets = append(r.packets, k)
		p.mu.Unlock()
	}
}

// Played is what a [Player] has received.
type Played struct {
	File         string // Matroska: the tracks as received, placed by their RTP timestamps and sender reports
	Audio, Video string // MIME types, empty without the track
	Lost         int    // packets of both tracks
	Holes        int    // steps between the timestamps of the sound longer than the packets
	Missing      string // which ones, by their places from the first packet
}

// Save writes what was received so far to a Matroska file, without decoding it.
func (p *Player) Save(t testing.TB, file string) *Played {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &Played{File: file}
	var m matroska
	for kind, r := range p.tracks {
		if len(r.packets) < 2 {
			continue
		}
		out.Lost += r.sort()
		out.Missing += r.missing()
		if r.report == nil {
			t.Fatalf("%s was played without a sender report", r.codec.MimeType)
		}
		if kind == webrtc.RTPCodecTypeAudio {
			out.Audio, out.Holes = r.codec.MimeType, r.holes()
		} else {
			out.Video = r.codec.MimeType
		}
		if err := r.write(&m); err != nil {
			t.Fatalf("what was played of %s: %v", r.codec.MimeType, err)
		}
	}
	if err := os.WriteFile(file, m.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// sort brings the packets into order, drops repeats, and counts those missing.
func (r *received) sort() (lost int) {
	first := r.packets[0].SequenceNumber
	at := func(p *rtp.Packet) int { return int(int16(p.SequenceNumber - first)) }
	slices.SortStableFunc(r.packets, func(a, b *rtp.Packet) int { return at(a) - at(b) })
	r.packets = slices.CompactFunc(r.packets, func(a, b *rtp.Packet) bool { return a.SequenceNumber == b.SequenceNumber })
	n := len(r.packets)
	return at(r.packets[n-1]) - at(r.packets[0]) + 1 - n
}

// missing names the packets that are, after sort.
func (r *received) missing() (list string) {
	first := r.packets[0].SequenceNumber
	for i, p := range r.packets[1:] {
		if before := r.packets[i].SequenceNumber; p.SequenceNumber != before+1 {
			list += fmt.Sprintf(" %s %d to %d of %d", r.codec.MimeType, before+1-first, p.SequenceNumber-1-first, len(r.packets))
		}
	}
	return list
}

// holes counts packets that are further from their predecessor than is usual;
// senders may err by a part of a packet.
func (r *received) holes() (n int) {
	steps := make([]uint32, 0, len(r.packets))
	for i := 1; i < len(r.packets); i++ {
		steps = append(steps, r.packets[i].Timestamp-r.packets[i-1].Timestamp)
	}
	usual := slices.Sorted(slices.Values(steps))[len(steps)/2]
	for _, step := range steps {
		if int32(step) > int32(usual*5/4) {
			n++
		}
	}
	return n
}

// at is the sender's time of a timestamp by its newest report.
func (r *received) at(timestamp uint32) time.Duration {
	ntp := time.Duration(r.report.NTPTime>>32)*time.Second + time.Duration(uint64(uint32(r.report.NTPTime))*uint64(time.Second)>>32)
	return ntp + time.Duration(int32(timestamp-r.report.RTPTime))*time.Second/time.Duration(r.codec.ClockRate)
}

// write gives the frames to a file: one for each timestamp.
func (r *received) write(m *matroska) error {
	track, d, err := m.track(r.codec)
	if err != nil {
		return err
	}
	for i := 0; i < len(r.packets); {
		var frame []byte
		stamp := r.packets[i].Timestamp
		for ; i < len(r.packets) && r.packets[i].Timestamp == stamp; i++ {
			part, err := d.Unmarshal(r.packets[i].Payload)
			if err != nil {
				return err
			}
			frame = append(frame, part...)
		}
		m.add(track, r.at(stamp), frame)
	}
	return nil
}

package webrtc

import (
	"context"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"lineout/media"
)

// A viewer whose transport takes nothing for this long (a full ICE-TCP buffer)
// is dropped.
const stuckLimit = 5 * time.Second

// NACK budget of one viewer: packets per second, so that a viewer cannot make
// us send more than a few times the stream.
const nackRate = 500

// Viewer is one player of a stream. It ends by itself when the player goes
// away, the network fails or the stream ends; Stop ends it from here.
type Viewer struct {
	id, session, provider string
	group                 *group
	pc                    *webrtc.PeerConnection
	audio, video          *sender // nil: not sent
	since                 time.Time
	ufrag                 string
	etag                  string
	listed                bool // guarded by Service.mu: set up, no longer changes

	connected  chan struct{}
	release    chan struct{} // closed by Start
	startOnce  sync.Once
	ended      chan struct{} // closed by end, reason is set
	endOnce    sync.Once
	reason     string
	done       chan struct{} // closed when all is freed
	wg         sync.WaitGroup
	pcUp       chan struct{}
	upOnce     sync.Once
	nextReport time.Time // attachment's goroutine only
	begun      bool      // a track's first report is due; attachment's goroutine only
	stuckSince time.Time // attachment's goroutine only
}

// ID is the viewer's mediaSessionId.
func (v *Viewer) ID() string { return v.id }

// Connected is closed when ICE and DTLS are up. No media flows before Start.
func (v *Viewer) Connected() <-chan struct{} { return v.connected }

// Start lets media flow once the viewer is connected. May be called early and
// more than once.
func (v *Viewer) Start() { v.startOnce.Do(func() { close(v.release) }) }

// Stop ends the viewer; the first reason given stays. It does not wait.
func (v *Viewer) Stop(reason string) { v.end(reason) }

// Done is closed when the viewer has ended and everything it held is freed.
func (v *Viewer) Done() <-chan struct{} { return v.done }

// Ended is closed as soon as the end is certain; Reason may be read from then.
func (v *Viewer) Ended() <-chan struct{} { return v.ended }

// Reason says why the viewer ended, "" while it has not.
func (v *Viewer) Reason() string {
	select {
	case <-v.ended:
		return v.reason
	default:
		return ""
	}
}

func (v *Viewer) end(reason string) {
	v.endOnce.Do(func() {
		v.reason = reason
		close(v.ended)
	})
}

func (v *Viewer) sender(k media.Kind) *sender {
	if k == media.Video {
		return v.video
	}
	return v.audio
}

func (v *Viewer) senders() []*sender {
	var out []*sender
	for _, s := range []*sender{v.audio, v.video} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// onState is pion's callback; it must not block.
func (v *Viewer) onState(s webrtc.PeerConnectionState) {
	switch s {
	case webrtc.PeerConnectionStateConnected:
		v.upOnce.Do(func() { close(v.pcUp) })
	case webrtc.PeerConnectionStateFailed:
		v.end(v.failure())
	case webrtc.PeerConnectionStateClosed:
		v.end(ByUser) // the player said goodbye (DTLS close_notify)
	}
}

// failure tells apart what did not come up, or broke.
func (v *Viewer) failure() string {
	select {
	case <-v.pcUp:
		return ByKeepAlive
	default:
	}
	switch v.pc.ICEConnectionState() {
	case webrtc.ICEConnectionStateConnected, webrtc.ICEConnectionStateCompleted:
		return ByDTLS
	}
	return ByICETimeout
}

// run is the viewer's goroutine: it waits for the connection, lets it receive,
// and waits for its end.
func (v *Viewer) run(ctx context.Context, connectTimeout time.Duration) {
	timeout := time.NewTimer(connectTimeout)
	defer timeout.Stop()
	closing := v.group.key.stream.Closing()
	up, release, gone := v.pcUp, (chan struct{})(nil), timeout.C
	var fed <-chan struct{} // closed when the group gets no more frames
	for {
		select {
		case <-up:
			close(v.connected)
			up, gone, release = nil, nil, v.release
		case <-release:
			release = nil
			if err := v.group.start(); err != nil {
				v.end(ByPublisher) // the only reason not to take a sink
				continue
			}
			fed = v.group.attachment.Done()
			for _, s := range v.senders() {
				v.wg.Go(func() { v.readRTCP(s) })
			}
			v.group.add(v)
		case <-gone:
			v.end(v.failure())
		case <-closing:
			v.end(ByPublisher)
		case <-fed:
			v.end(v.sinkEnd())
		case <-ctx.Done():
			v.end(ByPublisher)
		case <-v.ended:
			v.group.remove(v)
			_ = v.pc.GracefulClose()
			v.wg.Wait()
			return
		}
	}
}

// sinkEnd is the reason when the attachment ended before the viewer did.
func (v *Viewer) sinkEnd() string {
	select {
	case <-v.group.key.stream.Closing():
		return ByPublisher
	default:
		return ByError // a conversion broke for good
	}
}

// readRTCP answers a player's feedback until the connection closes.
func (v *Viewer) readRTCP(s *sender) {
	buf := make([]byte, 1500)
	budget, refill := nackRate, time.Now()
	for {
		n, _, err := s.rtcp.Read(buf, nil)
		if err != nil {
			return
		}
		ps, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			continue
		}
		if now := time.Now(); now.Sub(refill) >= time.Second {
			budget, refill = nackRate, now
		}
		for _, p := range ps {
			switch p := p.(type) {
			case *rtcp.TransportLayerNack:
				if p.MediaSSRC == s.ssrc {
					before := s.nacks.Load()
					budget = s.resend(p, budget)
					v.group.counters.nacks.Add(s.nacks.Load() - before)
				}
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				if s == v.video {
					v.group.counters.plis.Add(1)
					v.group.video.askKeyframe()
				}
			}
		}
	}
}

// report sends sender reports for all kinds in one compound packet. Both map
// the same point of the stream's timeline to the same wall clock, which is
// what a browser's lip-sync rests on (RFC 3550 section 6.4.1); taking the
// timeline rather than our clock keeps the pair exact when the source's clock
// drifts.
func (v *Viewer) report(epoch time.Time, at time.Duration) {
	ntp := ntpTime(epoch.Add(at))
	var ps []rtcp.Packet
	sdes := &rtcp.SourceDescription{}
	for _, s := range v.senders() {
		o := s.from.Load()
		if o == nil {
			continue
		}
		ps = append(ps, &rtcp.SenderReport{
			SSRC: s.ssrc, NTPTime: ntp, RTPTime: timestamp(at, s.lane.codec.ClockRate()) + o.ts,
			PacketCount: uint32(s.packets.Load()), OctetCount: uint32(s.octets.Load()),
		})
		sdes.Chunks = append(sdes.Chunks, rtcp.SourceDescriptionChunk{
			Source: s.ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: s.streamID}},
		})
	}
	if len(ps) > 0 {
		_ = v.pc.WriteRTCP(append(ps, sdes))
	}
}

// wrote watches for a transport that takes nothing any more.
func (v *Viewer) wrote(now time.Time, sent int, err error) {
	switch {
	case err == nil || sent > 0:
		v.stuckSince = time.Time{}
	case v.stuckSince.IsZero():
		v.stuckSince = now
	case now.Sub(v.stuckSince) > stuckLimit:
		v.end(ByKeepAlive)
	}
}

// ntpTime is a wall clock in NTP's 32.32 format (RFC 5905 section 6).
func ntpTime(t time.Time) uint64 {
	const epoch = 2208988800 // 1900 to 1970 in seconds
	return uint64(t.Unix()+epoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

package bridge

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"lineout/calls/leg"
	"lineout/codecs"
	conversions "lineout/codecs/convert"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

var table = codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMA, g711.CodecPCMU, g722.Codec}, conversions.All())

// party is a leg that keeps what it is sent.
type party struct {
	mu      sync.Mutex
	tracks  []leg.TrackInfo
	sent    []sent
	reports []report
	asked   []time.Time // for key frames
	came    int
	err     error
}

type sent struct {
	kind media.Kind
	pt   uint8
	p    rtp.Packet
	now  time.Time
}

type report struct {
	kind media.Kind
	ssrc uint32
	ntp  uint64
	ts   uint32
}

func (p *party) Tracks() []leg.TrackInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracks
}
func (p *party) Run(ctx context.Context, _ func(leg.Packet)) error { <-ctx.Done(); return nil }
func (p *party) RequestKeyframe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, time.Now())
}
func (p *party) KeyframeCame() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.came++
}
func (p *party) WriteRTP(media.Kind, leg.Outgoing) error { panic("a bridge forwards") }
func (p *party) Stats() []leg.Stats                      { return nil }
func (p *party) ForwardRTP(k media.Kind, pt uint8, pkt *rtp.Packet, _ time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := *pkt
	c.Payload = slices.Clone(pkt.Payload)
	p.sent = append(p.sent, sent{k, pt, c, time.Now()})
	return p.err
}
func (p *party) ForwardReport(k media.Kind, ssrc uint32, ntp uint64, ts uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports = append(p.reports, report{k, ssrc, ntp, ts})
}

func (p *party) got() []sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sent)
}

func (p *party) requests() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func (p *party) set(tracks ...leg.TrackInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracks = tracks
}

func format(pt uint8, c media.Codec, hz, channels int, fmtp string) leg.Format {
	return leg.Format{PayloadType: pt, Codec: c, ClockRate: hz, Channels: channels, Fmtp: fmtp}
}

var (
	pcma = format(8, g711.PCMA, 8000, 1, "")
	pcmu = format(0, g711.PCMU, 8000, 1, "")
	wide = format(9, g722.Name, 8000, 1, "")
	op   = format(111, opus.Name, 48000, 2, "")
	avc0 = format(113, h264.Name, 90000, 0, "packetization-mode=0;profile-level-id=42801f")
	avc1 = format(112, h264.Name, 90000, 0, "profile-level-id=42801f; packetization-mode=1")
	vp   = format(114, vp8.Name, 90000, 0, "")

	ev8  = format(101, codecs.TelephoneEvent, 8000, 1, "0-15")
	ev48 = format(110, codecs.TelephoneEvent, 48000, 1, "")
)

func renumbered(f leg.Format, pt uint8) leg.Format { f.PayloadType = pt; return f }

func audio(fs ...leg.Format) leg.TrackInfo {
	return leg.TrackInfo{Kind: media.Audio, Send: true, Receive: true, Formats: fs}
}

func pictures(fs ...leg.Format) leg.TrackInfo {
	return leg.TrackInfo{Kind: media.Video, Send: true, Receive: true, Formats: fs}
}

func with(t leg.TrackInfo, noise []uint8, events ...leg.Format) leg.TrackInfo {
	t.Noise, t.Events = noise, events
	return t
}

func join(a, b []leg.TrackInfo) (*Bridge, *party, *party) {
	x, y := &party{tracks: a}, &party{tracks: b}
	return New(x, y, table, Options{}), x, y
}

// running runs the bridge for the length of a test, or of its synctest bubble.
func running(t *testing.T, b *Bridge) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func media1(k media.Kind, pt uint8, ssrc uint32, seq uint16, ts uint32, payload ...byte) leg.Packet {
	return leg.Packet{Kind: k, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SSRC: ssrc, SequenceNumber: seq, Timestamp: ts}, Payload: payload}}
}

func control(k media.Kind, ps ...rtcp.Packet) leg.Packet {
	return leg.Packet{Kind: k, At: time.Now(), RTCP: ps}
}

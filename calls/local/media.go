package local

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/calls/forward"
	"lineout/calls/leg"
	"lineout/calls/receive"
	"lineout/calls/transmit"
	"lineout/media"
)

var errNotAgreed = errors.New("this was not agreed on with the other user")

// endMedia is the media of one end: leg.Forwarder. What it is sent the other end
// receives, on the goroutine that brought it.
type endMedia struct {
	end     *end
	source  forward.Clock // of those whose packets are forwarded
	lanes   [3]lane       // by kind: what goes to the other end
	recv    atomic.Pointer[func(leg.Packet)]
	running atomic.Bool
	keys    atomic.Uint64
}

// lane carries one kind from its end to the other one.
type lane struct {
	mu     sync.Mutex // arithmetic, and one packet after the other for the receiver
	active bool
	a      agreement
	open   bool // may be sent to the other end
	deaf   bool // the other end has put this one on hold
	known  [128]int
	tx     transmit.Transmitter
	memory memory
	told   time.Time // of a sender report

	packets, octets uint64
	last            time.Time
}

// reportEvery is between the sender reports of media of our own.
const reportEvery = 5 * time.Second

// configure takes over what was agreed; called says which end this is.
func (m *endMedia) configure(as []agreement, called bool) {
	now := time.Now()
	for _, a := range as {
		l := &m.lanes[a.kind]
		l.mu.Lock()
		l.active, l.a = true, a
		l.open = a.toUser
		if called {
			l.open = a.toCaller
		}
		for _, f := range a.formats {
			l.known[f.PayloadType&0x7f] = f.ClockRate
		}
		for _, pt := range a.noise {
			l.known[pt&0x7f] = -1
		}
		l.tx.SSRC, l.tx.Seq, l.tx.Base = rand.Uint32(), uint16(rand.Uint32()), rand.Uint32()
		l.set(now)
		l.mu.Unlock()
	}
}

// set says whether the lane may be used. Its lock is held.
func (l *lane) set(now time.Time) {
	l.tx.Configure(l.a.formats[0].PayloadType, l.a.formats[0].ClockRate, nil, l.open && !l.deaf, now)
}

// listen says whether this end wants to receive: hold and resume.
func (m *endMedia) listen(on bool) {
	from := &m.end.other.media
	for i := range from.lanes {
		l := &from.lanes[i]
		l.mu.Lock()
		if l.active {
			l.deaf = !on
			l.set(time.Now())
		}
		l.mu.Unlock()
	}
}

// Tracks implements leg.Media.
func (m *endMedia) Tracks() []leg.TrackInfo {
	var out []leg.TrackInfo
	for _, k := range []media.Kind{media.Audio, media.Video} {
		l, back := &m.lanes[k], &m.end.other.media.lanes[k]
		l.mu.Lock()
		active, a, send := l.active, l.a, l.tx.Sending()
		l.mu.Unlock()
		if !active {
			continue
		}
		back.mu.Lock()
		receive := back.tx.Sending()
		back.mu.Unlock()
		remote := a.caller
		if m.end == m.end.pair.caller {
			remote = a.user
		}
		out = append(out, leg.TrackInfo{Kind: k, Formats: a.formats, Noise: a.noise, PacketTime: remote.PacketTime, Receive: receive, Send: send})
	}
	return out
}

// Run implements leg.Media: recv is called by those who send at the other end.
func (m *endMedia) Run(ctx context.Context, recv func(leg.Packet)) error {
	if !m.running.CompareAndSwap(false, true) {
		return errors.New("the call's media is being received already")
	}
	defer m.running.Store(false)
	m.recv.Store(&recv)
	select {
	case <-ctx.Done():
	case <-m.end.pair.done:
	}
	m.recv.Store(nil)
	from := &m.end.other.media
	for i := range from.lanes { // nobody is in recv any more when Run returns
		from.lanes[i].mu.Lock()
		from.lanes[i].mu.Unlock() //nolint:staticcheck // waits for the one who is
	}
	return nil
}

func (m *endMedia) lane(k media.Kind) (*lane, error) {
	if m.end.pair.over.Load() {
		return nil, leg.ErrEnded
	}
	if k != media.Audio && k != media.Video || !m.lanes[k].active {
		return nil, errNotAgreed
	}
	return &m.lanes[k], nil
}

// ForwardRTP implements leg.Forwarder.
func (m *endMedia) ForwardRTP(k media.Kind, payloadType uint8, p *rtp.Packet, at time.Time) error {
	l, err := m.lane(k)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	clock := l.known[payloadType&0x7f]
	if clock == 0 {
		return errNotAgreed
	}
	h, ok := l.tx.Forward(payloadType, max(clock, 0), k == media.Audio, p, at, at)
	if ok {
		m.deliver(k, l, &h, p.Payload, at)
	}
	return nil
}

// WriteRTP implements leg.Media.
func (m *endMedia) WriteRTP(k media.Kind, o leg.Outgoing) error {
	l, err := m.lane(k)
	if err != nil {
		return err
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[o.PayloadType&0x7f] == 0 {
		return errNotAgreed
	}
	h, ok := l.tx.Write(&o, now)
	if !ok {
		return nil
	}
	m.deliver(k, l, &h, o.Payload, now)
	if now.Sub(l.told) >= reportEvery {
		m.report(k, l, now)
	}
	return nil
}

// deliver gives the other end a packet of its own.
func (m *endMedia) deliver(k media.Kind, l *lane, h *rtp.Header, payload []byte, at time.Time) {
	l.packets++
	l.octets += uint64(len(payload))
	l.last = at
	recv := m.end.other.media.recv.Load()
	if recv == nil {
		return
	}
	p := l.memory.packet(payload)
	p.Header = *h
	(*recv)(leg.Packet{Kind: k, RTP: p, At: at})
}

// ForwardReport implements leg.Forwarder.
func (m *endMedia) ForwardReport(k media.Kind, ssrc uint32, ntp uint64, timestamp uint32) {
	l, err := m.lane(k)
	if err != nil {
		return
	}
	now := time.Now()
	at := m.source.Ours(ntp, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tx.Report(ssrc, timestamp, at)
	m.report(k, l, now)
}

// report is a sender report to the other end.
func (m *endMedia) report(k media.Kind, l *lane, now time.Time) {
	recv := m.end.other.media.recv.Load()
	if recv == nil || l.tx.Packets == 0 {
		return
	}
	l.told = now
	ts, at := l.tx.Relation(now)
	(*recv)(leg.Packet{Kind: k, At: now, RTCP: []rtcp.Packet{&rtcp.SenderReport{SSRC: l.tx.SSRC, NTPTime: receive.NTP(at), RTPTime: ts,
		PacketCount: uint32(l.tx.Packets), OctetCount: uint32(l.tx.Octets)}}})
}

// RequestKeyframe implements leg.Media.
func (m *endMedia) RequestKeyframe() {
	if _, err := m.lane(media.Video); err == nil {
		m.keys.Add(1)
		m.end.other.events.Put(leg.Event{Type: leg.KeyframeWanted})
	}
}

// KeyframeCame implements leg.Media. There is nothing to learn from it.
func (m *endMedia) KeyframeCame() {}

// Stats implements leg.Media.
func (m *endMedia) Stats() []leg.Stats {
	var out []leg.Stats
	for _, k := range []media.Kind{media.Audio, media.Video} {
		l, back := &m.lanes[k], &m.end.other.media.lanes[k]
		l.mu.Lock()
		s := leg.Stats{Kind: k, Local: m.end.name, Remote: m.end.other.name, PacketsSent: l.packets, BytesSent: l.octets}
		active := l.active
		l.mu.Unlock()
		if !active {
			continue
		}
		back.mu.Lock()
		s.PacketsReceived, s.BytesReceived, s.LastPacket = back.packets, back.octets, back.last
		back.mu.Unlock()
		if k == media.Video {
			s.KeyframeRequests = m.keys.Load()
		}
		out = append(out, s)
	}
	return out
}

// memory hands out packets from larger pieces, which are never reused: whoever
// has a packet has it for good.
type memory struct {
	bytes   []byte
	packets []rtp.Packet
}

func (m *memory) packet(payload []byte) *rtp.Packet {
	const size, batch = 32 << 10, 64
	n := len(payload)
	if len(m.bytes) < n {
		m.bytes = make([]byte, max(size, n))
	}
	if len(m.packets) == 0 {
		m.packets = make([]rtp.Packet, batch)
	}
	p := &m.packets[0]
	m.packets = m.packets[1:]
	p.Payload = m.bytes[:n:n]
	m.bytes = m.bytes[n:]
	copy(p.Payload, payload)
	return p
}

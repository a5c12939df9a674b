package webrtc

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/h264"
	"lineout/media"
)

// Packets kept per audio lane: half a second is all a player can still use.
const audioRing = 32

// lane turns the frames of one kind into RTP packets, once for all viewers of
// a group. Only the attachment's goroutine uses it, except ring and track.
type lane struct {
	kind  media.Kind
	codec codecs.Codec
	mtu   int
	ring  *ring
	track atomic.Pointer[media.Track]

	packetizer codecs.Packetizer
	seq        uint16
	batch      []packet
}

func newLane(k media.Kind, c codecs.Codec, conf Config) *lane {
	size := conf.NackBuffer
	if k == media.Audio {
		size = min(size, audioRing)
	}
	return &lane{kind: k, codec: c, mtu: conf.MTU, ring: newRing(size), batch: make([]packet, 0, 64)}
}

// pack returns f's packets in sending order, valid until the next call. The
// caller's own packets are passed on with their payloads untouched whenever
// they fit the MTU; otherwise the frame is cut anew.
func (l *lane) pack(f *media.Frame) ([]packet, error) {
	l.batch = l.batch[:0]
	ts := timestamp(f.PTS, l.codec.ClockRate())
	sets := l.missingSets(f)
	if len(f.Packets) > 0 && l.fits(f.Packets, sets) {
		for _, set := range sets {
			l.batch = append(l.batch, packet{payload: set, ts: ts})
		}
		for _, p := range f.Packets {
			if len(p.Payload) > 0 {
				l.batch = append(l.batch, packet{payload: p.Payload, ts: ts, marker: p.Marker})
			}
		}
	} else if err := l.cut(f, sets, ts); err != nil {
		return nil, err
	}
	for i := range l.batch {
		l.batch[i].seq, l.batch[i].key = l.seq, f.Key && l.kind == media.Video
		l.seq++
	}
	if n := len(l.batch); n > 0 && l.kind == media.Video {
		l.batch[n-1].marker = true // RFC 6184 section 5.1, RFC 7741 section 4.1
	}
	l.ring.put(l.batch)
	return l.batch, nil
}

// missingSets returns the parameter sets a new viewer's decoder needs in front
// of an H.264 key frame whose source only told them in its SDP.
func (l *lane) missingSets(f *media.Frame) [][]byte {
	if !f.Key || l.codec.Name() != h264.Name || h264.HasParameterSets(f.Data) {
		return nil
	}
	p := f.Params
	if p == nil {
		p = f.Track.Params()
	}
	if p == nil {
		return nil
	}
	return p.Sets
}

func (l *lane) fits(ps []*rtp.Packet, sets [][]byte) bool {
	for _, p := range ps {
		if len(p.Payload) > l.mtu {
			return false
		}
	}
	for _, s := range sets {
		if len(s) == 0 || len(s) > l.mtu {
			return false
		}
	}
	return true
}

// cut packetizes a frame that came without packets or in too large ones.
func (l *lane) cut(f *media.Frame, sets [][]byte, ts uint32) error {
	if l.packetizer == nil {
		l.packetizer = l.codec.NewPacketizer(l.mtu)
	}
	data := f.Data
	if len(sets) > 0 {
		data = append(append(make([][]byte, 0, len(sets)+len(f.Data)), sets...), f.Data...)
	}
	payloads, err := l.packetizer.Packetize(data)
	if err != nil {
		return fmt.Errorf("cannot pack %d bytes of %s as RTP: %w", f.Size(), l.codec.Name(), err)
	}
	total := 0
	for _, p := range payloads {
		total += len(p)
	}
	// The packetizer will reuse its memory, the ring keeps the packets.
	slab := make([]byte, 0, total)
	for i, p := range payloads {
		at := len(slab)
		slab = append(slab, p...)
		l.batch = append(l.batch, packet{payload: slab[at:len(slab):len(slab)], ts: ts, marker: i == len(payloads)-1})
	}
	return nil
}

// askKeyframe asks the source for a picture to start from.
func (l *lane) askKeyframe() {
	if l != nil {
		l.track.Load().AskKeyframe()
	}
}

// timestamp is a point of the stream's timeline in RTP clock units, modulo
// 2^32. Seconds and rest apart, because the plain product overflows after 28 h.
func timestamp(pts time.Duration, clock int) uint32 {
	sec, rest := pts/time.Second, pts%time.Second
	ticks := (int64(rest)*int64(clock) + int64(time.Second)/2) / int64(time.Second)
	return uint32(int64(sec)*int64(clock) + ticks)
}

package vp8

import (
	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/internal/slab"
)

// Limits of one frame. What goes beyond is cut off and the frame damaged.
const (
	maxFrameSize    = 4 << 20
	maxFramePackets = 8192
)

// depacketizer implements codecs.Depacketizer. A frame in one packet aliases
// it, others are copied together. Data and Packets of its units are never
// reused. A frame ends at the marker or at a new timestamp, whichever comes
// first; packets that belong to a frame already ended by a marker show that
// this sender sets it too early, and from then on only timestamps end frames.
type depacketizer struct {
	parts   [][]byte
	packets []*rtp.Packet
	size    int

	ts      uint32
	started bool
	damaged bool

	closed       bool
	closedTS     uint32
	ignoreMarker bool
	lost         bool

	bytes    slab.Bytes
	dataSlab slab.Of[[]byte]
	pktSlab  slab.Of[*rtp.Packet]
	out      []codecs.AccessUnit
}

// Push implements codecs.Depacketizer. A damaged unit may have no Data at all.
func (d *depacketizer) Push(p *rtp.Packet, lost bool) []codecs.AccessUnit {
	d.out = d.out[:0]
	lost = lost || d.lost
	if d.lost = lost; len(p.Payload) == 0 {
		return nil
	}
	d.lost = false
	if d.started && p.Timestamp != d.ts {
		// Whether this frame's tail was lost or packets after it cannot be told.
		d.damaged = d.damaged || lost
		d.flush()
	}
	desc, ok := parseDescriptor(p.Payload)
	first := ok && desc.start && desc.partition == 0
	switch {
	case d.started:
		// In a frame, nothing may be missing, and nothing may start it again.
		d.damaged = d.damaged || lost || first
	default:
		d.started, d.ts = true, p.Timestamp
		d.damaged = !first
		if d.closed && p.Timestamp == d.closedTS && !first {
			d.ignoreMarker = true
		}
		d.closed = false
	}
	d.add(p, desc, ok)
	if p.Marker && !d.ignoreMarker {
		d.flush()
		d.closed, d.closedTS = true, p.Timestamp
	}
	return d.out
}

func (d *depacketizer) add(p *rtp.Packet, desc descriptor, ok bool) {
	if !ok || len(d.packets) >= maxFramePackets {
		d.damaged = true
		return
	}
	d.packets = append(d.packets, p)
	part := p.Payload[desc.length:]
	if d.size += len(part); d.size > maxFrameSize {
		clear(d.parts)
		d.parts, d.size, d.damaged = d.parts[:0], 0, true
		return
	}
	d.parts = append(d.parts, part)
}

func (d *depacketizer) flush() {
	u := codecs.AccessUnit{Timestamp: d.ts, Packets: d.pktSlab.Copy(d.packets), Damaged: d.damaged}
	switch {
	case len(d.parts) == 1:
		u.Data = d.dataSlab.Copy(d.parts)
	case len(d.parts) > 1:
		frame := d.bytes.Make(d.size)[:0]
		for _, p := range d.parts {
			frame = append(frame, p...)
		}
		u.Data = d.dataSlab.Make(1)
		u.Data[0] = frame
	}
	d.out = append(d.out, u)
	clear(d.parts)
	clear(d.packets)
	d.parts, d.packets, d.size = d.parts[:0], d.packets[:0], 0
	d.started, d.damaged = false, false
}

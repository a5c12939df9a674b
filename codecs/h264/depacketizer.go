package h264

import (
	"encoding/binary"

	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/internal/slab"
)

// Limits of one access unit. What goes beyond is cut off and the unit damaged.
const (
	maxUnitSize    = 4 << 20
	maxUnitNALs    = 1024
	maxUnitPackets = 8192
)

// depacketizer implements codecs.Depacketizer for packetization modes 0 and 1.
// Data and Packets of its units are never reused; NAL units alias the packets
// they came in, only fragmented ones are copied. Access unit delimiters,
// filler, and the end-of markers are left out of Data: containers must not have
// them, and no decoder needs them.
//
// Where a unit ends. RFC 6184 section 5.1 puts the marker on its last packet,
// and waiting for the next timestamp instead would cost a frame of delay. But
// some phones never set the marker, and some set it on every slice. So:
//   - a new timestamp always ends a unit;
//   - the marker ends a unit too, if it holds part of a picture: parameter sets
//     that come before their picture, with or without a marker or in a
//     timestamp of their own, belong to that picture (H.264 section 7.4.1.2.3);
//   - when more of a picture arrives after its marker, this sender's marker
//     means nothing: the remainder is handed out as damaged (its head is gone
//     already), and from then on only timestamps end units.
type depacketizer struct {
	nals    [][]byte
	packets []*rtp.Packet
	frags   [][]byte // payloads of a fragmented NAL unit in progress
	fragHdr byte
	size    int // bytes in nals and frags

	ts       uint32
	started  bool // a packet of the unit has been taken
	vcl      bool // nals hold part of a picture
	damaged  bool
	headLost bool // packets before the unit's first were lost

	closedTS     uint32 // timestamp of the unit last closed by its marker
	closed       bool
	ignoreMarker bool
	lost         bool // a loss not yet accounted for

	bytes    slab.Bytes
	dataSlab slab.Of[[]byte]
	pktSlab  slab.Of[*rtp.Packet]
	out      []codecs.AccessUnit
}

// Push implements codecs.Depacketizer. A damaged unit may have no Data at all;
// it is handed out so that the caller knows to ask for a key frame.
func (d *depacketizer) Push(p *rtp.Packet, lost bool) []codecs.AccessUnit {
	d.out = d.out[:0]
	lost = lost || d.lost
	if d.lost = lost; len(p.Payload) == 0 {
		return nil // padding for probing or keeping a port open
	}
	d.lost = false
	if d.started && p.Timestamp != d.ts {
		d.newTimestamp(p.Timestamp, lost)
	}
	if !d.started {
		d.begin(p.Timestamp, lost)
	} else if lost {
		d.damaged = true
		d.dropFragments()
	}
	d.add(p)
	if p.Marker && !d.ignoreMarker && (d.vcl || d.damaged) {
		d.flush()
		d.closed, d.closedTS = true, p.Timestamp
	}
	return d.out
}

func (d *depacketizer) begin(ts uint32, lost bool) {
	d.started, d.ts, d.headLost = true, ts, lost
	if d.closed && ts == d.closedTS {
		d.ignoreMarker, d.damaged = true, true
	}
	d.closed = false
}

// newTimestamp ends the unit in progress, or takes parameter sets over to the
// picture that follows them.
func (d *depacketizer) newTimestamp(ts uint32, lost bool) {
	if lost {
		// Whether the tail of this unit was lost or packets after it cannot be told.
		d.damaged = true
	}
	if len(d.frags) > 0 {
		d.dropFragments()
		d.damaged = true
	}
	if !d.vcl && !d.damaged {
		d.ts = ts
		return
	}
	d.flush()
}

// add takes a packet's NAL units into the unit.
func (d *depacketizer) add(p *rtp.Packet) {
	if len(d.packets) >= maxUnitPackets {
		d.damaged = true
		return
	}
	d.packets = append(d.packets, p)
	b := p.Payload
	switch t := b[0] & 0x1f; {
	case b[0]&0x80 != 0: // forbidden_zero_bit: the sender or a gateway saw an error
		d.bad()
	case t == nalFUA:
		d.addFragment(b)
	case len(d.frags) > 0: // the fragments before never ended
		d.bad()
		d.addWhole(b, t)
	default:
		d.addWhole(b, t)
	}
}

func (d *depacketizer) addWhole(b []byte, t byte) {
	switch {
	case t >= nalSlice && t <= nalMaxSingle:
		d.addNAL(b)
	case t == nalSTAPA:
		d.addAggregate(b[1:])
	default: // 0, 30, 31: undefined; STAP-B, MTAP, FU-B: only in mode 2, never offered
		d.bad()
	}
}

func (d *depacketizer) addAggregate(b []byte) {
	if len(b) == 0 {
		d.bad()
	}
	for len(b) > 0 {
		if len(b) < 2 {
			d.bad()
			return
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; n == 0 || n > len(b) {
			d.bad()
			return
		}
		if t := b[0] & 0x1f; b[0]&0x80 != 0 || t == 0 || t > nalMaxSingle {
			d.bad() // aggregates do not nest
			return
		}
		d.addNAL(b[:n])
		b = b[n:]
	}
}

// addFragment takes an FU-A (RFC 6184 section 5.8).
func (d *depacketizer) addFragment(b []byte) {
	if len(b) < 3 {
		d.bad()
		return
	}
	start, end := b[1]&0x80 != 0, b[1]&0x40 != 0
	hdr := b[0]&0xe0 | b[1]&0x1f
	t := hdr & 0x1f
	switch {
	case t == 0 || t > nalMaxSingle:
		d.bad()
		return
	case start:
		if len(d.frags) > 0 {
			d.bad()
		}
		d.fragHdr = hdr
	case len(d.frags) == 0 || t != d.fragHdr&0x1f:
		d.bad()
		return
	}
	if d.size += len(b) - 2; d.size > maxUnitSize {
		d.overflow()
		return
	}
	d.frags = append(d.frags, b[2:])
	if end {
		d.joinFragments()
	}
}

func (d *depacketizer) joinFragments() {
	n := 1
	for _, f := range d.frags {
		n += len(f)
	}
	nal := d.bytes.Make(n)[:0]
	nal = append(nal, d.fragHdr)
	for _, f := range d.frags {
		nal = append(nal, f...)
	}
	d.size -= n - 1 // addNAL counts it again
	clear(d.frags)
	d.frags = d.frags[:0]
	d.addNAL(nal)
}

func (d *depacketizer) addNAL(n []byte) {
	t := n[0] & 0x1f
	switch t {
	case nalAUD, nalFiller, nalEndSeq, nalEndStream:
		return
	}
	if d.size += len(n); d.size > maxUnitSize || len(d.nals) >= maxUnitNALs {
		d.overflow()
		return
	}
	if isVCL(t) && !d.vcl {
		d.vcl = true
		// After a loss the unit is whole only if it starts with its first
		// macroblock: first_mb_in_slice = 0, a single 1 bit.
		if d.headLost && (t > nalSliceA && t < nalIDR || len(n) < 2 || n[1]&0x80 == 0) {
			d.damaged = true
		}
	}
	d.nals = append(d.nals, n)
}

// bad marks the unit and forgets a fragmented NAL unit that can no longer end.
func (d *depacketizer) bad() {
	d.damaged = true
	d.dropFragments()
}

func (d *depacketizer) dropFragments() {
	for _, f := range d.frags {
		d.size -= len(f)
	}
	clear(d.frags)
	d.frags = d.frags[:0]
}

// overflow frees what a unit that is too large has gathered; the rest of it is
// bounded by the same limits.
func (d *depacketizer) overflow() {
	clear(d.nals)
	clear(d.frags)
	d.nals, d.frags, d.size, d.damaged = d.nals[:0], d.frags[:0], 0, true
}

// flush hands out the unit and makes ready for the next.
func (d *depacketizer) flush() {
	if len(d.frags) > 0 {
		d.bad()
	}
	d.out = append(d.out, codecs.AccessUnit{
		Timestamp: d.ts,
		Data:      d.dataSlab.Copy(d.nals),
		Packets:   d.pktSlab.Copy(d.packets),
		Damaged:   d.damaged,
	})
	clear(d.nals)
	clear(d.packets)
	d.nals, d.packets, d.size = d.nals[:0], d.packets[:0], 0
	d.started, d.vcl, d.damaged, d.headLost = false, false, false, false
}

package aac

import (
	"encoding/binary"
	"fmt"

	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/internal/slab"
)

// AAC-hbr (RFC 3640 section 3.3.6): AU headers of 13 bits size and 3 bits
// index, no interleaving. A packet holds whole access units or one fragment.

const (
	maxUnit  = 8191 // the 13-bit size field
	maxUnits = 64   // per packet; a real sender packs a handful
)

type depacketizer struct {
	data  slab.Of[[]byte]
	pkts  slab.Of[*rtp.Packet]
	bytes slab.Bytes
	units [][]byte
	out   [1]codecs.AccessUnit

	// A fragmented access unit in progress.
	frag     []byte
	fragPkts []*rtp.Packet
	fragSize int
	fragTS   uint32
}

// Push implements codecs.Depacketizer.
func (d *depacketizer) Push(p *rtp.Packet, lost bool) []codecs.AccessUnit {
	if len(p.Payload) == 0 {
		return nil
	}
	if d.fragSize > 0 && (lost || p.Timestamp != d.fragTS) {
		d.dropFragment()
	}
	units, size, ok := parse(p.Payload, d.units[:0])
	if !ok {
		d.dropFragment()
		return d.emit(p, nil, true)
	}
	d.units = units
	if size > 0 {
		return d.pushFragment(p, units[0], size)
	}
	d.dropFragment()
	return d.emit(p, units, false)
}

func (d *depacketizer) dropFragment() {
	d.frag, d.fragPkts, d.fragSize = d.frag[:0], d.fragPkts[:0], 0
}

func (d *depacketizer) pushFragment(p *rtp.Packet, part []byte, size int) []codecs.AccessUnit {
	if d.fragSize == 0 {
		d.fragSize, d.fragTS = size, p.Timestamp
	}
	if size != d.fragSize || len(d.frag)+len(part) > size {
		d.dropFragment()
		return d.emit(p, nil, true)
	}
	d.frag = append(d.frag, part...)
	d.fragPkts = append(d.fragPkts, p)
	if len(d.frag) < size {
		return nil
	}
	data := d.data.Make(1)
	data[0] = d.bytes.Copy(d.frag)
	d.out[0] = codecs.AccessUnit{Timestamp: p.Timestamp, Data: data, Packets: d.pkts.Copy(d.fragPkts)}
	d.dropFragment()
	return d.out[:]
}

func (d *depacketizer) emit(p *rtp.Packet, units [][]byte, damaged bool) []codecs.AccessUnit {
	pkts := d.pkts.Make(1)
	pkts[0] = p
	d.out[0] = codecs.AccessUnit{Timestamp: p.Timestamp, Data: d.data.Copy(units), Packets: pkts, Damaged: damaged}
	return d.out[:]
}

// parse returns the access units of a payload; or, when its only one is
// fragmented, that part and the whole's size.
func parse(b []byte, units [][]byte) (_ [][]byte, fragmentOf int, ok bool) {
	if len(b) < 4 {
		return nil, 0, false
	}
	headerBits := int(binary.BigEndian.Uint16(b))
	n := headerBits / 16
	if headerBits%16 != 0 || n == 0 || n > maxUnits || len(b) < 2+2*n {
		return nil, 0, false
	}
	body := b[2+2*n:]
	for i := range n {
		h := binary.BigEndian.Uint16(b[2+2*i:])
		size := int(h >> 3)
		switch {
		case size == 0 || h&7 != 0: // index 0, or delta 0: not interleaved
			return nil, 0, false
		case size > len(body):
			if n == 1 && len(body) > 0 {
				return append(units, body), size, true
			}
			return nil, 0, false
		}
		units, body = append(units, body[:size]), body[size:]
	}
	return units, 0, true
}

type packetizer struct {
	max int
	buf []byte
	out [][]byte
}

func newPacketizer(mtu int) *packetizer {
	if mtu <= 0 {
		mtu = 1200
	}
	return &packetizer{max: max(mtu, 16) - 4}
}

// Packetize implements codecs.Packetizer: one access unit, cut into fragments
// when it is larger than the limit.
func (z *packetizer) Packetize(data [][]byte) ([][]byte, error) {
	if len(data) != 1 || len(data[0]) == 0 || len(data[0]) > maxUnit {
		return nil, fmt.Errorf("packing AAC for RTP: need one access unit of 1 to %d bytes, got %d parts", maxUnit, len(data))
	}
	au := data[0]
	pieces := (len(au) + z.max - 1) / z.max
	if need := len(au) + 4*pieces; cap(z.buf) < need {
		z.buf = make([]byte, 0, need)
	}
	z.buf, z.out = z.buf[:0], z.out[:0]
	for rest := au; len(rest) > 0; {
		n, from := min(len(rest), z.max), len(z.buf)
		z.buf = binary.BigEndian.AppendUint16(z.buf, 16)
		z.buf = binary.BigEndian.AppendUint16(z.buf, uint16(len(au))<<3)
		z.buf = append(z.buf, rest[:n]...)
		z.out = append(z.out, z.buf[from:])
		rest = rest[n:]
	}
	return z.out, nil
}

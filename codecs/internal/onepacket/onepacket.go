// Package onepacket is the RTP packing of codecs where a packet is an access
// unit: G.711 and G.722 (RFC 3551 section 4.5) and Opus (RFC 7587 section 4.2).
package onepacket

import (
	"fmt"

	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/internal/slab"
)

// Depacketizer implements codecs.Depacketizer. A lost packet damages no other,
// so Damaged is never set. Data and Packets of a unit are never reused.
type Depacketizer struct {
	data slab.Of[[]byte]
	pkts slab.Of[*rtp.Packet]
	out  [1]codecs.AccessUnit
}

// Push implements codecs.Depacketizer. Packets without payload (keep-alives)
// give no unit.
func (d *Depacketizer) Push(p *rtp.Packet, _ bool) []codecs.AccessUnit {
	if len(p.Payload) == 0 {
		return nil
	}
	data, pkts := d.data.Make(1), d.pkts.Make(1)
	data[0], pkts[0] = p.Payload, p
	d.out[0] = codecs.AccessUnit{Timestamp: p.Timestamp, Data: data, Packets: pkts}
	return d.out[:]
}

// Packetizer implements codecs.Packetizer.
type Packetizer struct {
	mtu int
	out [1][]byte
}

// NewPacketizer returns a packetizer for payloads of at most mtu bytes; 0 or
// less means no limit.
func NewPacketizer(mtu int) *Packetizer { return &Packetizer{mtu: mtu} }

// Packetize implements codecs.Packetizer. It fails for an access unit that is
// not exactly one packet, and for one larger than the limit, because these
// codecs have no fragmentation.
func (z *Packetizer) Packetize(data [][]byte) ([][]byte, error) {
	if len(data) != 1 || len(data[0]) == 0 {
		return nil, fmt.Errorf("packing audio for RTP: an access unit must be one packet that is not empty, got %d parts", len(data))
	}
	if z.mtu > 0 && len(data[0]) > z.mtu {
		return nil, fmt.Errorf("packing audio for RTP: %d bytes do not fit in the limit of %d; use shorter frames", len(data[0]), z.mtu)
	}
	z.out[0] = data[0]
	return z.out[:], nil
}

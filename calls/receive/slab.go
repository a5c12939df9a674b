package receive

import "github.com/pion/rtp"

const (
	slabSize = 64 << 10
	batch    = 64 // rtp.Packet structs allocated at once

	// MaxPacket is the room for a datagram. No sender of RTP makes one that fills it.
	MaxPacket = 4 << 10
)

// Slab hands out memory for packets: pieces of a large buffer, never reused, so
// that whoever holds a packet holds it for good and the collector frees a slab
// when its last packet goes. One goroutine uses it.
type Slab struct {
	buf     []byte
	packets []rtp.Packet
}

// Room is where the next datagram is read to; it stays the same until taken.
func (b *Slab) Room() []byte {
	if len(b.buf) < MaxPacket {
		b.buf = make([]byte, slabSize)
	}
	return b.buf[:MaxPacket]
}

// Take marks the first n bytes of Room as used.
func (b *Slab) Take(n int) []byte {
	p := b.buf[:n:n]
	b.buf = b.buf[n:]
	return p
}

// Packet is where the next packet is described; it stays the same until taken.
func (b *Slab) Packet() *rtp.Packet {
	if len(b.packets) == 0 {
		b.packets = make([]rtp.Packet, batch)
	}
	return &b.packets[0]
}

// TakePacket marks Packet as used.
func (b *Slab) TakePacket() { b.packets = b.packets[1:] }

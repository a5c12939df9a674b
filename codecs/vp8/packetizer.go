package vp8

import "fmt"

const (
	defaultPayload = 1200
	minPayload     = 16
	// descriptorSize is that of the descriptors made here: with the 15-bit
	// PictureID, by which receivers tell lost frames from lost packets.
	descriptorSize = 4
)

type packetizer struct {
	max       int
	pictureID uint16
	buf       []byte
	out       [][]byte
}

func newPacketizer(mtu int) *packetizer {
	if mtu <= 0 {
		mtu = defaultPayload
	}
	return &packetizer{max: max(mtu, minPayload) - descriptorSize}
}

// Packetize implements codecs.Packetizer for one frame, which must be the only
// element and not empty.
func (z *packetizer) Packetize(data [][]byte) ([][]byte, error) {
	if len(data) != 1 || len(data[0]) == 0 {
		return nil, fmt.Errorf("packing VP8 for RTP: need one frame that is not empty, got %d parts", len(data))
	}
	frame := data[0]
	pieces := (len(frame) + z.max - 1) / z.max
	if need := len(frame) + pieces*descriptorSize; cap(z.buf) < need {
		z.buf = make([]byte, 0, need+need/4)
	}
	z.buf, z.out = z.buf[:0], z.out[:0]
	first := byte(0x90) // X, S
	for rest := frame; len(rest) > 0; first = 0x80 {
		n, from := min(len(rest), z.max), len(z.buf)
		z.buf = append(z.buf, first, 0x80, 0x80|byte(z.pictureID>>8), byte(z.pictureID))
		z.buf = append(z.buf, rest[:n]...)
		z.out = append(z.out, z.buf[from:])
		rest = rest[n:]
	}
	z.pictureID = (z.pictureID + 1) & 0x7fff
	return z.out, nil
}

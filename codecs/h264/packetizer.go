package h264

import (
	"encoding/binary"
	"errors"

	"lineout/codecs"
)

const (
	defaultPayload = 1200
	minPayload     = 16
)

// packetizer implements codecs.Packetizer in mode 1 (RFC 6184 section 6.3).
type packetizer struct {
	max    int
	single bool // no aggregates
	buf    []byte
	out    [][]byte
}

func newPacketizer(mtu int) *packetizer {
	if mtu <= 0 {
		mtu = defaultPayload
	}
	return &packetizer{max: max(mtu, minPayload)}
}

// NewSinglePacketizer packs for a receiver that agreed to mode 0 only: no
// aggregates, and FU-A for nothing but what no packet can hold, which in that
// mode could not be sent at all. mtu is as for NewPacketizer.
func NewSinglePacketizer(mtu int) codecs.Packetizer {
	z := newPacketizer(mtu)
	z.single = true
	return z
}

var errEmpty = errors.New("packing H.264 for RTP: the access unit has no NAL units")

// Packetize implements codecs.Packetizer: a NAL unit that fits is a packet of
// its own and not copied, a larger one becomes FU-A, and small ones that stand
// together before the picture (SPS, PPS, SEI) share a STAP-A. Empty NAL units
// are left out.
func (z *packetizer) Packetize(data [][]byte) ([][]byte, error) {
	z.reserve(data)
	z.out, z.buf = z.out[:0], z.buf[:0]
	for i := 0; i < len(data); {
		if !z.single {
			if n := z.aggregate(data[i:]); n > 1 {
				i += n
				continue
			}
		}
		switch nal := data[i]; {
		case len(nal) == 0:
		case len(nal) <= z.max:
			z.out = append(z.out, nal)
		default:
			z.fragment(nal)
		}
		i++
	}
	if len(z.out) == 0 {
		return nil, errEmpty
	}
	return z.out, nil
}

// reserve makes the buffer large enough beforehand: payloads alias it, so it
// must not move while they are made.
func (z *packetizer) reserve(data [][]byte) {
	need := 0
	for _, n := range data {
		need += len(n) + 3
		if len(n) > z.max {
			need += 2 * (len(n)/(z.max-2) + 1)
		}
	}
	if cap(z.buf) < need {
		z.buf = make([]byte, 0, need+need/4)
	}
}

// aggregate packs the leading NAL units that are no part of a picture into one
// STAP-A and returns how many there were; nothing is done for fewer than two.
func (z *packetizer) aggregate(data [][]byte) int {
	n, size := 0, 1
	for _, nal := range data {
		if t := nalType(nal); t < nalSEI || t > nalPPS || size+2+len(nal) > z.max {
			break
		}
		size += 2 + len(nal)
		n++
	}
	if n < 2 {
		return n
	}
	from := len(z.buf)
	z.buf = append(z.buf, nalSTAPA)
	for _, nal := range data[:n] {
		// The aggregate's NRI is the highest inside it (RFC 6184 section 5.7.1).
		z.buf[from] = max(z.buf[from], nal[0]&0x60|nalSTAPA)
		z.buf = binary.BigEndian.AppendUint16(z.buf, uint16(len(nal)))
		z.buf = append(z.buf, nal...)
	}
	z.out = append(z.out, z.buf[from:])
	return n
}

func (z *packetizer) fragment(nal []byte) {
	start := byte(0x80)
	for rest := nal[1:]; len(rest) > 0; start = 0 {
		n, from := min(len(rest), z.max-2), len(z.buf)
		end := byte(0)
		if n == len(rest) {
			end = 0x40
		}
		z.buf = append(z.buf, nal[0]&0xe0|nalFUA, start|end|nal[0]&0x1f)
		z.buf = append(z.buf, rest[:n]...)
		z.out = append(z.out, z.buf[from:])
		rest = rest[n:]
	}
}

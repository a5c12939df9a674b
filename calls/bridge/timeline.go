package bridge

import (
	"math/rand/v2"
	"time"

	"github.com/pion/rtp"
)

// unwrapper turns timestamps into times since the first one.
type unwrapper struct {
	begun bool
	wire  uint32
	units int64
}

// at is the time of a packet's timestamp.
func (u *unwrapper) at(ts uint32, hz int) time.Duration {
	if !u.begun {
		u.begun, u.wire = true, ts
	}
	at := u.peek(ts, hz)
	u.units, u.wire = u.units+int64(int32(ts-u.wire)), ts
	return at
}

// peek is the time of any timestamp near the newest packet's.
func (u *unwrapper) peek(ts uint32, hz int) time.Duration {
	n := u.units + int64(int32(ts-u.wire))
	r := int64(hz)
	return time.Duration(n/r)*time.Second + time.Duration(n%r)*time.Second/time.Duration(r)
}

// stream is the RTP stream that a worker makes: numbers without holes.
type stream struct {
	packet rtp.Packet
	seq    uint16
	base   uint32
}

func newStream() stream {
	s := stream{seq: uint16(rand.Uint32()), base: rand.Uint32()}
	s.packet.Version, s.packet.SSRC = 2, rand.Uint32()
	return s
}

// stamp is the timestamp of a time, to the nearest unit.
func (s *stream) stamp(at time.Duration, hz int) uint32 {
	whole, part := int64(at/time.Second), int64(at%time.Second)
	n := part*int64(hz) + int64(time.Second)/2
	if n < 0 {
		n -= int64(time.Second) - 1 // round down
	}
	return s.base + uint32(whole*int64(hz)+n/int64(time.Second))
}

// next makes the next packet, valid until the one after.
func (s *stream) next(pt uint8, ts uint32, marker bool, payload []byte) *rtp.Packet {
	p := &s.packet
	p.PayloadType, p.SequenceNumber, p.Timestamp, p.Marker, p.Payload = pt, s.seq, ts, marker, payload
	s.seq++
	return p
}

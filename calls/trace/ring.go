package trace

import (
	"encoding/binary"
	"time"
)

const (
	// slotHead is what a slot holds before a packet's bytes: the time in
	// nanoseconds since 1970, the packet's length, how much of it is kept, its flow.
	slotHead = 8 + 2 + 2 + 1
	// headerSlot holds RTP headers with extensions, and nearly every RTCP packet.
	headerSlot = 120
	// mediaSlot holds what fits into an Ethernet frame.
	mediaSlot = 1520
)

// ring keeps the first packets of a call, a quarter of the room, and the
// newest in the rest. Its memory is taken once. The owner holds the lock.
type ring struct {
	buf   []byte
	slot  int // bytes of each
	first int // slots that are never written again
	total int
	seen  int
}

func (r *ring) init(room int, media bool) {
	r.slot = headerSlot
	if media {
		r.slot = mediaSlot
	}
	r.total = room / r.slot
	r.first = r.total / 4
	r.buf = make([]byte, r.total*r.slot)
}

func (r *ring) add(flow uint8, at time.Time, length int, b []byte) {
	r.seen++
	if r.total == 0 {
		return
	}
	i := r.seen - 1
	if i >= r.total {
		i = r.first + (i-r.first)%(r.total-r.first)
	}
	s := r.buf[i*r.slot : (i+1)*r.slot]
	n := copy(s[slotHead:], b)
	binary.LittleEndian.PutUint64(s, uint64(at.UnixNano()))
	binary.LittleEndian.PutUint16(s[8:], uint16(min(length, 65535)))
	binary.LittleEndian.PutUint16(s[10:], uint16(n))
	s[12] = flow
}

func (r *ring) len() int { return min(r.seen, r.total) }

// packet is one that was kept; its bytes belong to the ring.
type packet struct {
	at     time.Time
	length int
	flow   uint8
	bytes  []byte
}

// each calls f for all packets in the order they came.
func (r *ring) each(f func(packet)) {
	for k := range r.len() {
		i := k
		if tail := r.total - r.first; r.seen > r.total && k >= r.first {
			i = r.first + (k-r.first+(r.seen-r.first)%tail)%tail
		}
		s := r.buf[i*r.slot : (i+1)*r.slot]
		n := binary.LittleEndian.Uint16(s[10:])
		f(packet{at: time.Unix(0, int64(binary.LittleEndian.Uint64(s))), length: int(binary.LittleEndian.Uint16(s[8:])),
			flow: s[12], bytes: s[slotHead : slotHead+int(n)]})
	}
}

// headerLen is the length of an RTP packet's header (RFC 3550 section 5.1), at
// most that of the packet.
func headerLen(b []byte) int {
	if len(b) < 12 {
		return len(b)
	}
	n := 12 + 4*int(b[0]&15)
	if b[0]&0x10 != 0 && len(b) >= n+4 {
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	return min(n, len(b))
}

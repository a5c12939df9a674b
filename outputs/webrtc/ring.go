package webrtc

import "sync"

// packet is one RTP packet as every viewer of a lane gets it. Sequence number
// and timestamp are the lane's; each viewer adds its own offsets.
type packet struct {
	payload []byte
	ts      uint32
	seq     uint16
	marker  bool
	key     bool // of a picture to start from
}

// ring keeps a lane's newest packets to answer NACKs of all its viewers. It
// holds references to payloads, not copies.
type ring struct {
	mu   sync.Mutex
	buf  []packet
	next uint16 // sequence number that comes next
	n    int
}

// newRing makes a ring of at least size packets; a power of two, so that slots
// stay in step when sequence numbers wrap. Size 0 keeps nothing.
func newRing(size int) *ring {
	n := 0
	if size > 0 {
		n = 1
		for n < size {
			n <<= 1
		}
	}
	return &ring{buf: make([]packet, n)}
}

// put adds packets with consecutive sequence numbers.
func (r *ring) put(ps []packet) {
	if len(r.buf) == 0 || len(ps) == 0 {
		return
	}
	r.mu.Lock()
	for _, p := range ps {
		r.buf[int(p.seq)%len(r.buf)] = p
	}
	r.next = ps[len(ps)-1].seq + 1
	r.n = min(r.n+len(ps), len(r.buf))
	r.mu.Unlock()
}

// get returns the packet with this sequence number if it is still kept.
func (r *ring) get(seq uint16) (packet, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buf) == 0 || int(r.next-1-seq) >= r.n {
		return packet{}, false
	}
	p := r.buf[int(seq)%len(r.buf)]
	return p, p.seq == seq
}

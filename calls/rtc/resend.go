package rtc

import (
	"time"

	"github.com/pion/rtcp"
)

const (
	// ringSize is how many packets of video are kept for a browser that has lost
	// some: more than a second of what a call has.
	ringSize = 512
	// resendRate bounds what a browser can make us send again, in packets a second.
	resendRate = 500
)

// ring keeps the newest packets as they were sent: under AES-GCM, one that is
// sent again must not differ by a bit. Its memory grows to what the packets
// need and stays.
type ring struct {
	slots []slot
}

type slot struct {
	seq  uint16
	used bool
	data []byte
}

func (r *ring) put(seq uint16, packet []byte) {
	if r.slots == nil {
		r.slots = make([]slot, ringSize)
	}
	s := &r.slots[seq%ringSize]
	s.seq, s.used = seq, true
	s.data = append(s.data[:0], packet...)
}

// get is the packet of a number, nil if it is not there any more.
func (r *ring) get(seq uint16) []byte {
	if r.slots == nil {
		return nil
	}
	if s := &r.slots[seq%ringSize]; s.used && s.seq == seq {
		return s.data
	}
	return nil
}

// budget lets so many things happen in a second.
type budget struct {
	since time.Time
	left  int
}

func (b *budget) take(now time.Time) bool {
	if now.Sub(b.since) >= time.Second || b.since.IsZero() {
		b.since, b.left = now, resendRate
	}
	b.left--
	return b.left >= 0
}

// resend answers a NACK (RFC 4585 section 6.2.1).
func (m *session) resend(s *section, n *rtcp.TransportLayerNack, now time.Time) {
	buf := m.buffer()
	defer m.buffers.Put(buf)
	for _, pair := range n.Nacks {
		pair.Range(func(seq uint16) bool {
			s.mu.Lock()
			n, ok := 0, s.nacks.take(now)
			if ok {
				n = copy(buf[:], s.sent.get(seq))
			}
			s.mu.Unlock()
			_ = m.write(buf[:n], nil)
			return ok
		})
	}
}

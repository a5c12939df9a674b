package bridge

// shim closes up sequence numbers where a packet is not sent on: a number left
// out would be a loss to whoever counts them.
type shim struct {
	set    bool
	ssrc   uint32
	top    uint16 // highest number so far
	gone   uint16 // how many were left out
	newest [shimSize]uint16
	n      int // of newest
}

const (
	// shimSize is how many of the newest left out are remembered, to give the right
	// number to a packet that comes late; shimReach is how late it may be.
	shimSize  = 32
	shimReach = 2000
)

func (s *shim) begin(ssrc uint32, seq uint16) {
	if !s.set || ssrc != s.ssrc {
		*s = shim{set: true, ssrc: ssrc, top: seq - 1}
	}
}

// place is the number a packet is sent under.
func (s *shim) place(ssrc uint32, seq uint16) uint16 {
	s.begin(ssrc, seq)
	if int16(seq-s.top) > 0 {
		s.top = seq
	}
	if s.n > 0 && s.top-s.newest[(s.n-1)%shimSize] > shimReach {
		s.n = 0
	}
	out := seq - s.gone
	for i := max(0, s.n-shimSize); i < s.n; i++ {
		d := s.newest[i%shimSize]
		if s.top-d <= shimReach && int16(d-seq) > 0 {
			out++ // left out only after this one
		}
	}
	return out
}

// drop leaves a packet out.
func (s *shim) drop(ssrc uint32, seq uint16) {
	s.begin(ssrc, seq)
	if int16(seq-s.top) > 0 {
		s.top = seq
	}
	for i := max(0, s.n-shimSize); i < s.n; i++ {
		if s.newest[i%shimSize] == seq {
			return // seen twice
		}
	}
	s.newest[s.n%shimSize] = seq
	s.n++
	s.gone++
}

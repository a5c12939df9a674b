// Package slab hands out pieces of larger allocations, so that a packet costs
// no allocation of its own. Pieces are never taken back: the collector frees a
// slab when its last piece is gone, which suits frames that sinks share for
// seconds and nobody counts references to. Not safe for concurrent use.
package slab

// Bytes hands out byte slices.
type Bytes struct{ free []byte }

// bytesSize holds about a second of coded speech, or a few video packets.
const bytesSize = 16 << 10

// Make returns a zeroed slice of length and capacity n.
func (s *Bytes) Make(n int) []byte {
	if n > bytesSize/4 {
		return make([]byte, n)
	}
	if len(s.free) < n {
		s.free = make([]byte, bytesSize)
	}
	p := s.free[:n:n]
	s.free = s.free[n:]
	return p
}

// Copy returns a copy of b.
func (s *Bytes) Copy(b []byte) []byte {
	p := s.Make(len(b))
	copy(p, b)
	return p
}

// Of hands out slices of T.
type Of[T any] struct{ free []T }

// ofSize is how many elements are allocated at once.
const ofSize = 64

// Make returns a zeroed slice of length and capacity n.
func (s *Of[T]) Make(n int) []T {
	if n > ofSize/2 {
		return make([]T, n)
	}
	if len(s.free) < n {
		s.free = make([]T, ofSize)
	}
	p := s.free[:n:n]
	s.free = s.free[n:]
	return p
}

// Copy returns a copy of v.
func (s *Of[T]) Copy(v []T) []T {
	p := s.Make(len(v))
	copy(p, v)
	return p
}

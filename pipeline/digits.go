package pipeline

import "time"

// maxDigits bounds what a stream remembers of keys pressed.
const maxDigits = 1000

// Digit is a key that the party whose media is in the stream has pressed.
type Digit struct {
	// At is the moment it was received.
	At time.Time
	// Key is 0-9, *, #, A-D, or "" when it is not to be written down.
	Key string
	// By is the way it came.
	By string
}

// AddDigit is called by the source.
func (s *Stream) AddDigit(d Digit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.digitCount++; len(s.digits) < maxDigits {
		s.digits = append(s.digits, d)
	}
}

// Digits are the first thousand that came, in order, and how many came in all.
func (s *Stream) Digits() (list []Digit, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.digits[:len(s.digits):len(s.digits)], s.digitCount
}

package rtpin

import "time"

// seqUnwrapper extends 16-bit sequence numbers to 64 bits. The extended
// numbers go on counting over restarts of the sender, so they are not the wire
// number plus a multiple of 65536.
type seqUnwrapper struct {
	wire uint16 // highest so far, as on the wire
	ext  int64  // the same, extended
}

// distance is how far ahead of the highest number seq is, at most 32768 either way.
func (u *seqUnwrapper) distance(seq uint16) int64 { return int64(int16(seq - u.wire)) }

// at extends seq and moves on if it is the highest.
func (u *seqUnwrapper) at(seq uint16) int64 {
	d := u.distance(seq)
	if d > 0 {
		u.wire, u.ext = seq, u.ext+d
		return u.ext
	}
	return u.ext + d
}

// restart continues with seq, leaving room for packets that it overtook.
func (u *seqUnwrapper) restart(seq uint16) { u.wire, u.ext = seq, u.ext+1+maxMisorder }

// tsUnwrapper extends 32-bit RTP timestamps to 64 bits, relative to the
// highest so far: right for jumps below 2^31 units (6.6 hours at 90 kHz).
type tsUnwrapper struct {
	wire uint32
	ext  int64
}

// peek extends ts without moving on.
func (u *tsUnwrapper) peek(ts uint32) int64 { return u.ext + int64(int32(ts-u.wire)) }

// at extends ts and moves on if it is the highest.
func (u *tsUnwrapper) at(ts uint32) int64 {
	e := u.peek(ts)
	if e > u.ext {
		u.wire, u.ext = ts, e
	}
	return e
}

// rtpTime converts RTP units to time, exact over any span an int64 of units at
// 64 bits of nanoseconds can hold (292 years).
func rtpTime(units int64, rate int) time.Duration {
	r := int64(rate)
	return time.Duration(units/r)*time.Second + time.Duration(units%r)*time.Second/time.Duration(r)
}

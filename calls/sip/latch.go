package sip

import (
	"net/netip"
	"time"
)

// latchPackets is how many packets of one SSRC, in order and with an agreed
// payload type, another address must send before it is believed.
const latchPackets = 5

// latch decides whose media a section takes. The address in the SDP always
// wins while nothing is latched; a peer behind NAT may replace it once, in a
// short window after the answer. After that everything else is refused, so that
// nobody can take over a call by sending to its port. Passive: time is an
// argument.
type latch struct {
	expected netip.AddrPort // from the SDP
	source   netip.AddrPort // latched; the zero value means not yet
	until    time.Time      // end of the window for another address

	candidate netip.AddrPort
	ssrc      uint32
	seq       uint16
	count     int
}

// arm starts anew with an address from an answer or a re-INVITE.
func (l *latch) arm(expected netip.AddrPort, now time.Time, window time.Duration) {
	*l = latch{expected: expected, until: now.Add(window)}
}

// admit says whether a packet with an agreed payload type is taken.
func (l *latch) admit(src netip.AddrPort, ssrc uint32, seq uint16, now time.Time) bool {
	if l.source.IsValid() {
		return src == l.source
	}
	if src == l.expected {
		l.source = src
		return true
	}
	if now.After(l.until) {
		return false
	}
	if src != l.candidate || ssrc != l.ssrc || seq != l.seq+1 {
		l.candidate, l.ssrc, l.seq, l.count = src, ssrc, seq, 1
		return false
	}
	l.seq = seq
	if l.count++; l.count < latchPackets {
		return false
	}
	l.source = src
	return true
}

// remote is where media goes: symmetric once latched (RFC 4961).
func (l *latch) remote() netip.AddrPort {
	if l.source.IsValid() {
		return l.source
	}
	return l.expected
}

// moved says that the peer sends from elsewhere than it announced.
func (l *latch) moved() bool { return l.source.IsValid() && l.source != l.expected }

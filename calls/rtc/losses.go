package rtc

import (
	"time"

	"github.com/pion/rtcp"
)

const (
	// A packet that is overtaken comes a little later; only then it counts as lost.
	reorderTime = 10 * time.Millisecond
	// retryTime is between requests for the same packet, maxRequests how many there
	// are: what is older than a second is of no use to a call.
	retryTime   = 100 * time.Millisecond
	maxRequests = 8
	// maxGap is a gap that no request could fill, maxMissing bounds the list.
	maxGap     = 256
	maxMissing = 512
)

// losses is the list of packets to be asked for again (RFC 4585 section 6.2.1).
// Passive: time is an argument, the owner holds its lock.
type losses struct {
	started bool
	ssrc    uint32
	top     uint16
	missing []missing // by number
	gaveUp  bool      // something is lost for good
}

type missing struct {
	seq  uint16
	at   time.Time // when to ask
	asks int
}

// push takes note of a packet; it says whether something new is missing.
func (l *losses) push(ssrc uint32, seq uint16, now time.Time) bool {
	d := int16(seq - l.top)
	switch {
	case !l.started || ssrc != l.ssrc:
		*l = losses{started: true, ssrc: ssrc, top: seq}
		return false
	case d <= 0:
		for i := range l.missing {
			if l.missing[i].seq == seq {
				l.missing = append(l.missing[:i], l.missing[i+1:]...)
				break
			}
		}
		return false
	}
	from := l.top + 1
	l.top = seq
	if d > maxGap || len(l.missing)+int(d)-1 > maxMissing {
		l.missing, l.gaveUp = l.missing[:0], true
		return true
	}
	for n := from; n != seq; n++ {
		l.missing = append(l.missing, missing{seq: n, at: now.Add(reorderTime)})
	}
	return d > 1
}

// due is when ask has something to say; zero for never.
func (l *losses) due() time.Time {
	var at time.Time
	for i := range l.missing {
		if at.IsZero() || l.missing[i].at.Before(at) {
			at = l.missing[i].at
		}
	}
	return at
}

// ask is what to ask for now; nil for nothing.
func (l *losses) ask(now time.Time) []rtcp.NackPair {
	var seqs []uint16
	keep := l.missing[:0]
	for _, m := range l.missing {
		if !m.at.After(now) {
			if m.asks == maxRequests {
				l.gaveUp = true
				continue
			}
			seqs = append(seqs, m.seq)
			m.asks++
			m.at = now.Add(retryTime)
		}
		keep = append(keep, m)
	}
	l.missing = keep
	if seqs == nil {
		return nil
	}
	return rtcp.NackPairsFromSequenceNumbers(seqs)
}

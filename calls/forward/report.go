package forward

import (
	"sync"
	"time"
)

const (
	// leapMax is how far a source's clock may go wrong against ours before it is
	// taken to have been set.
	leapMax = 2 * time.Second
	// relationMax is how far from its arrival a report may place the newest packet.
	// One that is further off is wrong (soft phones have been seen to be off by a
	// second in their first): arrival tells more about lip sync.
	relationMax = 500 * time.Millisecond
)

// Clock tells the time of a source's wall clock by ours. Both kinds of a leg use
// the same one, so that what the source says about lip sync is kept although
// its clock may be years off. Safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	known  bool
	offset time.Duration // ours - theirs
}

// ntpEpoch is 1900 in seconds before 1970.
const ntpEpoch = 2208988800

// Ours is the moment that an NTP timestamp of a report which has just come
// stands for.
func (c *Clock) Ours(ntp uint64, now time.Time) time.Time {
	theirs := time.Unix(int64(ntp>>32)-ntpEpoch, int64((ntp&0xffffffff)*1e9>>32))
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := theirs.Add(c.offset); !c.known || now.Sub(at).Abs() > leapMax {
		c.known, c.offset = true, now.Sub(theirs)
	}
	return theirs.Add(c.offset)
}

// relation ties a timestamp of the source to a moment.
type relation struct {
	set  bool
	ssrc uint32
	ts   uint32
	at   time.Time
}

// Report takes what a sender report of the source says: its timestamp ts stands
// for the moment at, by our clock (see Clock).
func (m *Mapper) Report(ssrc, ts uint32, at time.Time) {
	m.rel = relation{set: true, ssrc: ssrc, ts: ts, at: at}
}

// Relation is what a sender report of ours has to say now: a timestamp of ours
// about now and the moment it stands for. ok is false while the source of the
// row has not said anything that can be true.
func (m *Mapper) Relation(now time.Time, hz int) (ts uint32, at time.Time, ok bool) {
	if !m.live || !m.rel.set || m.rel.ssrc != m.ssrc || hz <= 0 {
		return 0, time.Time{}, false
	}
	newest := m.rel.at.Add(span(int64(int32(m.topTS-m.ts-m.rel.ts)), hz))
	since := Units(now.Sub(m.topAt), hz)
	return m.topTS + since, newest.Add(span(int64(int32(since)), hz)), newest.Sub(m.topAt).Abs() < relationMax
}

// Units is how many units of an RTP clock there are in d.
func Units(d time.Duration, hz int) uint32 {
	whole, part := int64(d/time.Second), int64(d%time.Second) // apart: the product of both overflows after a day
	return uint32(whole*int64(hz) + part*int64(hz)/int64(time.Second))
}

func span(units int64, hz int) time.Duration {
	r := int64(hz)
	return time.Duration(units/r)*time.Second + time.Duration(units%r)*time.Second/time.Duration(r)
}

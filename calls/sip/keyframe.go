package sip

import (
	"sync"
	"time"

	"lineout/media"
)

// way is a means to ask a phone for a key frame, the cheapest first.
type way uint8

const (
	byPLI      way = iota + 1 // RTCP, RFC 4585 section 6.3.1
	byFIR                     // RTCP, RFC 5104 section 4.3.1
	byINFO                    // SIP INFO picture_fast_update, RFC 5168
	byReINVITE                // an unchanged offer: devices begin their pictures anew
	ways
)

func (w way) String() string {
	return [...]string{"none", "PLI", "FIR", "INFO", "re-INVITE"}[w]
}

const (
	// keyAnswer is how soon after a request a key frame counts as its answer.
	keyAnswer = 1500 * time.Millisecond
	// keyForget ends a row of requests that nothing came of.
	keyForget = 10 * time.Second
	// A re-INVITE is a last resort, unless this kind of phone is known to want
	// one: all other ways were tried reinviteTries times and reinviteAfter has
	// passed; and never twice within reinviteRest.
	reinviteTries = 2
	reinviteAfter = 5 * time.Second
	reinviteRest  = 30 * time.Second
)

// keyAsker chooses the way of each request for a key frame and learns from
// what the phone does. The caller sets the pace. Safe for concurrent use; time
// is an argument.
type keyAsker struct {
	memory *keyMemory

	mu         sync.Mutex
	agent      string     // the peer's product, "" if it does not say
	barred     [ways]bool // refused by the peer, or not among what it lists
	tries      [ways]int  // since the last key frame
	began      time.Time  // of these
	last       way
	lastAt     time.Time
	reinviteAt time.Time
}

// meet says who answered the call.
func (k *keyAsker) meet(agent string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.agent = agent
}

// bar takes a way out, or back in.
func (k *keyAsker) bar(w way, barred bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.barred[w] = barred
}

// next is the way of the request that is to be made now; 0 means to wait.
// offerFree says that a re-INVITE could be sent.
func (k *keyAsker) next(now time.Time, offerFree bool) way {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.began.IsZero() || now.Sub(k.lastAt) > keyForget {
		k.tries, k.began, k.last = [ways]int{}, now, 0
	}
	k.lastAt = now
	known := k.memory.get(k.agent)
	w := k.choose(now, known, offerFree)
	if w == 0 {
		return 0
	}
	k.tries[w]++
	k.last = w
	if w == byReINVITE {
		k.reinviteAt = now
	}
	return w
}

// choose takes the way tried least, in order; the first of the order is tried
// twice before another, since single requests get lost in healthy calls.
func (k *keyAsker) choose(now time.Time, known way, offerFree bool) way {
	reinvite := offerFree && !k.barred[byReINVITE] && k.tries[byReINVITE] == 0 &&
		(k.reinviteAt.IsZero() || now.Sub(k.reinviteAt) >= reinviteRest)
	if reinvite && known == byReINVITE {
		return byReINVITE
	}
	var best way
	least, all := 0, true
	for i, w := range [...]way{known, byPLI, byFIR, byINFO} {
		if w == 0 || w == byReINVITE || k.barred[w] || i > 0 && w == known {
			continue
		}
		n := k.tries[w]
		all = all && n >= reinviteTries
		if best == 0 {
			best, least = w, n-1
		} else if n < least {
			best, least = w, n
		}
	}
	if reinvite && all && now.Sub(k.began) >= reinviteAfter {
		return byReINVITE
	}
	return best
}

// came takes note of a key frame. What it followed on the heel of works with
// this kind of phone.
func (k *keyAsker) came(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != 0 && now.Sub(k.lastAt) <= keyAnswer {
		k.memory.put(k.agent, k.last)
	}
	k.began, k.last = time.Time{}, 0
}

// maxAgents bounds the memory of what phones obey.
const maxAgents = 256

// keyMemory remembers by the phones' User-Agent what they obey. Of more than
// maxAgents the one not met for longest is forgotten. Safe for concurrent use.
type keyMemory struct {
	mu    sync.Mutex
	clock uint64
	known map[string]keyMemo
}

type keyMemo struct {
	way  way
	used uint64
}

func newKeyMemory() *keyMemory { return &keyMemory{known: map[string]keyMemo{}} }

// get is what an agent obeys, 0 if that is not known.
func (m *keyMemory) get(agent string) way {
	m.mu.Lock()
	defer m.mu.Unlock()
	memo, ok := m.known[agent]
	if ok {
		m.clock++
		memo.used = m.clock
		m.known[agent] = memo
	}
	return memo.way
}

func (m *keyMemory) put(agent string, w way) {
	if agent == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known[agent]; !ok && len(m.known) >= maxAgents {
		oldest, used := "", m.clock+1
		for a, memo := range m.known {
			if memo.used < used {
				oldest, used = a, memo.used
			}
		}
		delete(m.known, oldest)
	}
	m.clock++
	m.known[agent] = keyMemo{w, m.clock}
}

// RequestKeyframe implements leg.Media: one request, in the way that keyAsker
// finds best now.
func (m *session) RequestKeyframe() {
	s := m.section(media.Video)
	if s == nil || m.ended.Load() || !s.isActive() {
		return
	}
	now := time.Now()
	s.countKeyframe()
	switch w := m.keys.next(now, m.signal.offerFree()); w {
	case byPLI, byFIR:
		if b, to := s.keyframeRequest(w, now); b != nil {
			m.sendRTCP(s, b, to)
		}
	case byINFO:
		m.signal.infoKeyframe()
	case byReINVITE:
		m.signal.reinviteKeyframe()
	}
}

// KeyframeCame implements leg.Media.
func (m *session) KeyframeCame() { m.keys.came(time.Now()) }

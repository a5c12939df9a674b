package bridge

import (
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"lineout/codecs"
)

const (
	// askGap is the shortest time between two requests for a key frame, and what
	// is waited before one is repeated at first; askMost is the longest such wait,
	// askTries how often one is sent. Requests do get lost in healthy calls.
	askGap   = 300 * time.Millisecond
	askMost  = time.Second
	askTries = 10
	// mildGap is the shortest time between requests because of single packets that
	// were lost: pictures mend by themselves, or are asked for with more urgency.
	mildGap = 3 * time.Second
	// pauseMin is how long no picture came before what follows is a new beginning.
	pauseMin = time.Second
)

// urgency is that of a request for a key frame.
type urgency uint8

const (
	urgent urgency = iota
	mild
)

// keyAsker holds what is known of the key frames of a source.
type keyAsker struct {
	wanted atomic.Bool
	mild   atomic.Bool
	flows  atomic.Int64  // unix nanoseconds of the newest packet
	came   atomic.Uint64 // key frames that were seen while one was wanted

	// Of Run's goroutine.
	askedAt time.Time
	tries   int
	seen    uint64
	deaf    bool // it was said that the source does not obey
}

// wantKeyframe asks the source of the flow for a key frame, soon. Safe from any
// goroutine.
func (f *flow) wantKeyframe(u urgency) {
	if pl := f.plan.Load(); pl == nil || !pl.open {
		return
	}
	set := &f.key.wanted
	if u == mild {
		set = &f.key.mild
	}
	if set.CompareAndSwap(false, true) {
		f.b.wake()
	}
}

// watch sees key frames pass, and where one is needed: at the beginning, after
// a pause, when the other side takes pictures again.
func (f *flow) watch(pl *plan, p *rtp.Packet, at time.Time) {
	f.key.flows.Store(at.UnixNano())
	begins := f.ssrc != p.SSRC || at.Sub(f.last) > pauseMin || f.opened != pl
	if !begins && !f.key.wanted.Load() && !f.key.mild.Load() {
		return
	}
	if codec, ok := f.b.table.Get(pl.routes[p.PayloadType&0x7f].codec).(codecs.Peeker); ok && codec.KeyframeBegins(p.Payload) {
		f.from.KeyframeCame()
		f.key.came.Add(1)
		f.key.wanted.Store(false)
		f.key.mild.Store(false)
		return
	}
	if begins && pl.open {
		f.wantKeyframe(urgent)
	}
}

// askKeyframe sends the request that is due, and says when to look again.
func (f *flow) askKeyframe(now time.Time) (next time.Time, again bool) {
	k := &f.key
	if n := k.came.Load(); n != k.seen {
		k.seen, k.tries, k.deaf = n, 0, false
	}
	wanted := k.wanted.Load()
	if !wanted && !k.mild.Load() {
		k.tries = 0
		return next, false
	}
	if at := k.askedAt.Add(k.wait(wanted)); now.Before(at) {
		return at, true
	}
	flowing := now.Sub(time.Unix(0, k.flows.Load())) < pauseMin
	if k.tries == askTries || k.tries > 0 && !flowing { // there is nothing to ask for while nothing comes
		if flowing && !k.deaf {
			k.deaf = true // said once
			f.b.log.Warn("a party of joined calls sends no key frame although asked", "way", f.name, "times", askTries)
		}
		k.wanted.Store(false)
		k.mild.Store(false)
		k.tries = 0
		return next, false
	}
	k.tries++
	k.askedAt = now
	f.counters.keyframes.Add(1)
	f.from.RequestKeyframe()
	if !wanted {
		k.mild.Store(false) // once
		k.tries = 0
		return next, false
	}
	return now.Add(k.wait(true)), true
}

// wait is the time from the newest request to the next. Repeats follow each
// other ever more slowly: a large picture on a thin line must not be asked for
// again while it is coming.
func (k *keyAsker) wait(wanted bool) time.Duration {
	if !wanted {
		return mildGap
	}
	return min(askGap<<max(0, k.tries-1), askMost)
}

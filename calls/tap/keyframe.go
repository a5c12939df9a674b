package tap

import "time"

const (
	// keyframeGap is the shortest time between two requests for a key frame,
	// and what is waited at first before one is repeated; keyframeMost is the
	// longest such wait, and keyframeTries how often a request is sent.
	//
	// Requests do get lost in healthy calls: baresip forgets one that comes while
	// it encodes a picture, which on a busy machine is most of the time.
	keyframeGap   = 300 * time.Millisecond
	keyframeMost  = time.Second
	keyframeTries = 10
)

// keyframe ends a request. What one took counts from its first sending, so that
// a party that needs longer than the first wait is found to be slow, not deaf.
func (t *Tap) keyframe(now time.Time) {
	t.md.KeyframeCame()
	if t.tries > 0 {
		took := now.Sub(t.firstAt)
		if t.answer == 0 {
			t.answer = took
		}
		t.answer += (took - t.answer) / 4
	}
	t.wantKey.Store(false)
	t.tries = 0
}

// keyframeWait is the time from the newest request to the next. Repeats follow
// each other ever more slowly: a large picture on a thin line must not be asked
// for again while it is coming.
func (t *Tap) keyframeWait() time.Duration {
	if t.tries == 0 {
		return keyframeGap
	}
	wait := min(max(2*t.answer, keyframeGap), keyframeMost)
	for i := 1; i < t.tries && wait < keyframeMost; i++ {
		wait *= 2
	}
	return min(wait, keyframeMost)
}

// askKeyframe sends the request that is due and returns when to look again.
func (t *Tap) askKeyframe(now, next time.Time) time.Time {
	if !t.wantKey.Load() {
		return next
	}
	at := t.askedAt.Add(t.keyframeWait())
	if !now.Before(at) {
		if t.tries++; t.tries > keyframeTries {
			t.log.Warn("the other party sends no key frame although asked", "times", keyframeTries)
			t.wantKey.Store(false)
			t.tries = 0
			return next
		}
		if t.tries == 1 {
			t.firstAt = now
		}
		t.askedAt = now
		t.md.RequestKeyframe()
		at = now.Add(t.keyframeWait())
	}
	if next.IsZero() || at.Before(next) {
		return at
	}
	return next
}

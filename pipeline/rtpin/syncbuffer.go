package rtpin

import (
	"time"

	"lineout/media"
)

const (
	// Bounds of one track's queue; what is over is handed on out of turn.
	queueFrames = 1024
	queueBytes  = 8 << 20
	// asleepAfter is the silence after which a track is not waited for.
	asleepAfter = 2 * time.Second
	// leastStep keeps DTS strictly increasing, also in containers that count
	// milliseconds (FLV).
	leastStep = time.Millisecond
)

// frameQueue is a ring of frames in decoding order.
type frameQueue struct {
	ring  []pending
	first int
	n     int
	bytes int
}

func (q *frameQueue) init() {
	if q.ring == nil {
		q.ring = make([]pending, 16)
	}
}

func (q *frameQueue) push(p pending) {
	if q.n == len(q.ring) {
		ring := make([]pending, 2*q.n)
		for i := range q.n {
			ring[i] = *q.at(i)
		}
		q.ring, q.first = ring, 0
	}
	q.n++
	*q.at(q.n - 1) = p
	q.bytes += p.size
}

func (q *frameQueue) at(i int) *pending { return &q.ring[(q.first+i)&(len(q.ring)-1)] }

func (q *frameQueue) pop() pending {
	p := *q.at(0)
	*q.at(0) = pending{}
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.n--
	q.bytes -= p.size
	return p
}

func (q *frameQueue) dropLast() {
	q.bytes -= q.at(q.n - 1).size
	*q.at(q.n - 1) = pending{}
	q.n--
}

func (q *frameQueue) over() bool { return q.n > queueFrames || q.bytes > queueBytes }

// release hands on the frames whose turn has come: the one with the least DTS,
// if no earlier one of the other track can still come or the hold limit is
// over. It returns when the next one is due at the latest (0: not before a push).
func (in *Input) release(local time.Duration, emit func(*media.Frame), flush bool) time.Duration {
	for {
		t, o := in.first()
		if t == nil {
			return 0
		}
		head := t.queue.at(0)
		if !flush && in.hold > 0 && !t.queue.over() {
			due := min(in.awaits(t, o, local), head.since+in.hold)
			if o != nil && o.queue.n > 0 {
				due = min(due, o.queue.at(0).since+in.hold)
			}
			if local < due {
				return due
			}
		}
		if !in.sync.started && o != nil && o.queue.n > 0 && in.hold > 0 && t.kind == media.Audio && in.trim(t, o) {
			continue
		}
		in.hand(t, t.queue.pop(), local, emit)
	}
}

// first returns the track whose frame comes next, and the other one.
func (in *Input) first() (t, o *trackInput) {
	a, v := in.tracks[media.Audio], in.tracks[media.Video]
	switch {
	case (a == nil || a.queue.n == 0) && (v == nil || v.queue.n == 0):
		return nil, nil
	case a == nil || a.queue.n == 0:
		return v, a
	case v == nil || v.queue.n == 0:
		return a, v
	case in.time(v, v.queue.at(0)) < in.time(a, a.queue.at(0)):
		return v, a
	}
	return a, v
}

// awaits says until when t's first frame waits for what may still belong
// before it: noOffset without end, 0 not at all.
func (in *Input) awaits(t, o *trackInput, local time.Duration) time.Duration {
	settled := max(in.settled(t), in.settled(o))
	switch {
	case o == nil || !o.clock(in).heard():
		// A track that never came is waited for only where the stream begins.
		if !in.sync.started && in.expected[other(t.kind)] {
			return noOffset
		}
		return settled
	case o.queue.n > 0:
		return settled
	case o.kind == media.Audio && in.gen.active:
	case o.ended || local-o.src.clock.last > asleepAfter:
		return settled
	}
	if !in.sync.started && !o.hasFrame {
		return noOffset // pictures are coming, the key frame is not here yet
	}
	if in.reached(o) < in.time(t, t.queue.at(0)) {
		return noOffset
	}
	return settled
}

// settled is when a track that starts may be placed: not while a burst keeps
// showing that its packets have been under way for longer than it seemed.
func (in *Input) settled(t *trackInput) time.Duration {
	if t == nil || t.clock(in).out || !t.clock(in).heard() {
		return 0
	}
	return t.src.clock.improved + settleTime
}

// trim drops the first audio frame of a stream if it ends before the first
// picture, so that the stream starts where both exist.
func (in *Input) trim(a, v *trackInput) bool {
	p := a.queue.at(0)
	if in.time(a, p)+p.f.Duration > in.time(v, v.queue.at(0)) {
		return false
	}
	a.queue.pop()
	a.stats.Trimmed++
	return true
}

// time is where a waiting frame lies on the timeline as things are.
func (in *Input) time(t *trackInput, p *pending) time.Duration {
	if p.f.Filler {
		return p.media
	}
	return p.media + t.clock(in).offset + in.step(t, p)
}

// step is by how much a picture is moved when it is handed on.
func (in *Input) step(t *trackInput, p *pending) time.Duration {
	if t.kind == media.Audio {
		return 0
	}
	return in.sync.step(p.media - t.lastMedia)
}

// reached is the time on the timeline before which no frame of t comes any more.
// The next picture comes no sooner after the newest than pictures lately did,
// less what slewing takes and something: sound from before it need not wait for it. Where the
// rate rises, the first picture of the faster ones may come after such sound.
func (in *Input) reached(t *trackInput) time.Duration {
	r := t.reached + t.clock(in).offset
	if t.kind == media.Video {
		r += t.freezes.shortest*7/8 + min(in.sync.step(t.freezes.shortest), 0)
	}
	if t.kind == media.Audio && in.gen.active {
		r = max(r, in.gen.next)
	}
	return r
}

// hand stamps a frame and gives it away.
func (in *Input) hand(t *trackInput, p pending, local time.Duration, emit func(*media.Frame)) {
	dts := in.time(t, &p)
	in.sync.move(in.step(t, &p))
	if !in.sync.started {
		zero := in.zero(t, dts)
		in.sync.startAt(zero)
		dts -= zero
	}
	f := p.f
	if t.hasDTS && t.filler && !f.Filler && dts < t.lastEnd {
		t.stats.Late++ // generated sound is out already where this one belongs
		return
	}
	if t.kind == media.Audio && !t.hasDTS && dts < 0 {
		t.stats.Trimmed++ // from before the stream's start
		return
	}
	c := t.clock(in)
	pts, least := dts+p.ahead, time.Duration(0)
	if t.hasDTS {
		least = t.lastDTS + leastStep
	}
	if dts < least {
		dts = least
		t.stats.Restamped++
	}
	if t.kind == media.Video && in.sync.jumped {
		f.Gap, in.sync.jumped = true, false
	}
	f.PTS, f.DTS = max(pts, dts), dts
	in.measure(t, f, dts)
	if !f.Filler {
		f.NTP = in.ntp(t, p.media+p.ahead, local)
	}
	t.lastMedia = p.media
	t.lastDTS, t.lastEnd, t.hasDTS, t.filler, c.out = dts, dts+f.Duration, true, f.Filler, c.out || !f.Filler
	t.stats.Frames++
	switch {
	case f.Filler:
		t.stats.Filler++
	case f.Gap:
		t.stats.Gaps++
	}
	if f.Params != nil {
		f.Track.SetParams(f.Params)
	}
	emit(f)
}

// zero is where the timeline begins when t's first frame is handed on at dts:
// there, or where the next frame of the other track may lie if that is before.
func (in *Input) zero(t *trackInput, dts time.Duration) time.Duration {
	o := in.tracks[other(t.kind)]
	if o == nil || o.ended || !o.clock(in).set {
		return dts
	}
	next := max(o.reached, 0)
	if o.queue.n > 0 {
		next = o.queue.at(0).media
	}
	return min(dts, max(next+o.clock(in).offset, dts-time.Second))
}

// ntp is the sender's wall clock at capture. Clocks from before 2000 are not
// set; such reports serve to align the tracks, but tell no time of day.
func (in *Input) ntp(t *trackInput, m, local time.Duration) time.Time {
	if !t.snd.sound() {
		return time.Time{}
	}
	at := in.start.Add(m + t.clock(in).reported(local))
	if at.Year() < 2000 {
		return time.Time{}
	}
	return at
}

package rtpin

import (
	"time"

	"lineout/codecs"
	"lineout/media"
)

const (
	fillerDuration = 20 * time.Millisecond
	// fillerMargin is how far filler stays behind the present, so that sound
	// that comes with the network's usual delay finds its place free.
	fillerMargin = 200 * time.Millisecond
)

// generator fills an audio track that is expected but silent with ready-made
// silence (S4-15). It writes only where real sound can no longer come, gives
// way to real sound that is still waiting with it, and never moves real sound.
type generator struct {
	delay  time.Duration
	active bool
	next   time.Duration // timeline position of the next filler frame
	since  time.Duration // local time from which a track that never came is silent
}

// fill appends due filler to the audio queue and returns when more is due (0: never).
func (in *Input) fill(local time.Duration) time.Duration {
	g, t := &in.gen, in.tracks[media.Audio]
	if g.delay <= 0 || t == nil || !in.expected[media.Audio] {
		return 0
	}
	if _, ok := t.codec.(codecs.Silencer); !ok {
		return 0
	}
	last := g.since
	if t.src.segments > 0 {
		last = t.src.clock.last
	}
	if local-last < g.delay {
		g.active = false
		return last + g.delay
	}
	horizon := in.fillTo(local)
	from := t.lastEnd
	if t.queue.n > 0 {
		p := t.queue.at(t.queue.n - 1)
		from = max(from, in.time(t, p)+p.f.Duration)
	}
	if !g.active {
		// After a silence longer than the delay (a hold without polls) only the delay is filled.
		g.active, g.next = true, max(from, horizon-max(g.delay, time.Second))
	}
	g.next = max(g.next, from)
	in.fillUpTo(t, horizon, local)
	return local + g.next + fillerDuration - horizon
}

// fillUpTo appends filler from where it ended up to a position on the timeline.
func (in *Input) fillUpTo(t *trackInput, end, local time.Duration) {
	s, ok := t.codec.(codecs.Silencer)
	if !ok {
		return
	}
	for g := &in.gen; g.next+fillerDuration <= end; g.next += fillerDuration {
		data := [][]byte{s.Silence()}
		t.queue.push(pending{media: g.next, since: local, f: &media.Frame{
			Track: t.track, Params: t.codec.Params(t.params, data), Key: true, Filler: true,
			Duration: fillerDuration, Data: data, Arrival: in.start.Add(local),
		}})
	}
}

// fillTo is the timeline position up to which filler may lie. With nothing
// heard yet it starts the timeline.
func (in *Input) fillTo(local time.Duration) time.Duration {
	margin := max(fillerMargin, in.cfg.JitterMax)
	now, ok := in.sync.now(local)
	switch {
	case !ok:
		in.sync.started, in.sync.origin = true, local-margin
		return 0
	case !in.sync.started:
		in.sync.startAt(now - margin)
		return 0
	}
	return now - margin
}

// realSound makes room for a frame of media time m that is about to be queued:
// waiting filler gives way to it, and fills what is left up to it.
func (in *Input) realSound(t *trackInput, m, local time.Duration) {
	in.sync.update(local) // a first packet has no place on the timeline yet
	at := m + in.sync.audio.offset
	if g := &in.gen; g.active {
		in.fillUpTo(t, min(at, g.next+time.Second), local)
		g.active = false
	}
	for q := &t.queue; q.n > 0; q.dropLast() {
		if p := q.at(q.n - 1); !p.f.Filler || p.media+fillerDuration <= at {
			return
		}
	}
}

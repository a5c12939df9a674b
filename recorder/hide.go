package recorder

import (
	"time"

	"lineout/media"
)

// coderReach is how long sound that was received can still be in frames that
// come out of a conversion: what resampler and encoder hold, and the overlap
// of AAC frames or the redundancy of Opus packets. So long after an unmute
// sound stays silent.
const coderReach = 150 * time.Millisecond

// curtain says what a recording must not hold now. It is never changed, only
// replaced.
type curtain struct {
	paused, muted bool
	// sound and picture received before these times stay hidden.
	soundFrom, pictureFrom time.Time
}

// hides says what a kind is hidden by, "" if nothing.
func (c *curtain) hides(k media.Kind) string {
	switch {
	case c.paused:
		return gapPause
	case c.muted && k == media.Audio:
		return gapMute
	}
	return ""
}

// draw changes what is hidden from now on.
func (r *recording) draw(now time.Time, change func(c *curtain)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var old curtain
	if c := r.curtain.Load(); c != nil {
		old = *c
	}
	c := old
	change(&c)
	if old.hides(media.Audio) != "" && c.hides(media.Audio) == "" {
		c.soundFrom = now.Add(coderReach)
	}
	if old.hides(media.Video) != "" && c.hides(media.Video) == "" {
		c.pictureFrom = now
	}
	r.curtain.Store(&c)
}

// hiding is one kind's state in the sink.
type hiding struct {
	what  string        // what hides it, "" if nothing does
	from  time.Duration // where the picture that is shown meanwhile ends
	asked bool          // for the key frame to go on with
}

// hide decides about a frame: it returns the frame to record, which is f, or
// silence in its place, or nil.
func (s *sink) hide(f *media.Frame, p *media.Params) *media.Frame {
	c := s.r.curtain.Load()
	if c == nil {
		return f
	}
	k := f.Track.Kind
	h := &s.hidden[k]
	switch what := c.hides(k); {
	case what != "":
		if h.what == "" {
			h.from = s.cont.end[k]
			if !s.cont.seen[k] {
				h.from = f.DTS
			}
		}
		h.what, h.asked = what, false
	case h.what != "" && s.released(c, f):
		if k == media.Video {
			if s.cur != nil {
				s.gaps.note(span{k, h.what, h.from, f.DTS})
			}
			s.cont.end[k] = f.DTS
		}
		*h = hiding{}
	}
	if h.what == "" {
		return f
	}
	if k == media.Video {
		return nil
	}
	g := *f
	g.Data, g.Packets, g.Gap, g.Filler = silence(f, p), nil, false, false
	if g.Data == nil { // there is no silence in this form: nothing then
		if s.cur != nil {
			s.gaps.note(span{k, h.what, f.DTS, f.DTS + f.Duration})
		}
		s.cont.passed(f)
		return nil
	}
	return &g
}

// released says that a frame holds nothing from the time that was hidden.
func (s *sink) released(c *curtain, f *media.Frame) bool {
	at := f.Arrival
	if at.IsZero() {
		if f.Filler {
			return false // it may go on with what was heard before
		}
		at = time.Now().Add(-2 * time.Second) // later than any source holds a frame
	}
	if f.Track.Kind == media.Audio {
		return !at.Before(c.soundFrom)
	}
	if at.Before(c.pictureFrom) {
		return false
	}
	if h := &s.hidden[media.Video]; !f.Key && !h.asked {
		h.asked = true
		f.Track.AskKeyframe()
	}
	return f.Key
}

// noteHidden notes what is hidden where the open file ends.
func (s *sink) noteHidden() {
	if h := &s.hidden[media.Video]; h.what != "" {
		end := s.cont.end[media.Audio]
		if end > h.from {
			s.gaps.note(span{media.Video, h.what, h.from, end})
			h.from = end
		}
	}
}

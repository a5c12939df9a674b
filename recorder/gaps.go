package recorder

import (
	"time"

	"lineout/media"
)

// maxGaps bounds how many gaps are noted for one file.
const maxGaps = 256

// What a gap is made of.
const (
	gapLoss   = "loss"   // packets were lost before this frame
	gapNone   = "none"   // nothing was sent: hold, or a sender that pauses
	gapFiller = "filler" // generated media stands in for what did not come
	gapPause  = "pause"  // paused by REST: silence, and no picture
	gapMute   = "mute"   // muted by REST: silence
	gapDisk   = "disk"   // could not be written, or not as fast as it came
)

// Gap is a span of a track that holds no media or not what was sent.
type Gap struct {
	Track string `json:"track"`
	What  string `json:"what"`
	// AtMS counts from the file's begin; negative lies before it, between the
	// file before this one and this one.
	AtMS     int64 `json:"atMs"`
	LengthMS int64 `json:"lengthMs"`
}

// span is a Gap on the stream's timeline.
type span struct {
	kind     media.Kind
	what     string
	from, to time.Duration
}

// gapLog notes the gaps of one file.
type gapLog struct {
	spans   []span
	newest  [3]int // by kind: index in spans plus one
	omitted int
}

// note adds a span, or makes the newest of its kind longer if it goes on.
func (g *gapLog) note(s span) {
	if i := g.newest[s.kind]; i > 0 && g.spans[i-1].what == s.what && s.from <= g.spans[i-1].to+time.Millisecond {
		g.spans[i-1].to = max(g.spans[i-1].to, s.to)
		return
	}
	if len(g.spans) >= maxGaps {
		g.omitted++
		g.newest[s.kind] = 0
		return
	}
	g.spans = append(g.spans, s)
	g.newest[s.kind] = len(g.spans)
}

// list is what the sidecar says, with zero at the file's begin.
func (g *gapLog) list(zero time.Duration) []Gap {
	l := make([]Gap, 0, len(g.spans))
	for _, s := range g.spans {
		at := (s.from - zero).Round(time.Millisecond)
		l = append(l, Gap{Track: s.kind.String(), What: s.what, AtMS: at.Milliseconds(),
			LengthMS: (s.to - zero).Round(time.Millisecond).Milliseconds() - at.Milliseconds()})
	}
	return l
}

const (
	// audioSlack is how far sound may begin after the end of what was before it
	// without being a gap: timestamps jitter.
	audioSlack = 10 * time.Millisecond
	// videoPause is how long pictures may be missing without being a gap;
	// screens and slow cameras send few.
	videoPause = time.Second
)

// continuity finds gaps between a recording's frames, across its files.
type continuity struct {
	end  [3]time.Duration // by kind: where the newest frame ends; for video, begins
	seen [3]bool
	// broken says that a fault lies between the newest frame and the next.
	broken [3]bool
}

// fault marks that frames may be missing before the next ones.
func (c *continuity) fault() { c.broken = [3]bool{true, true, true} }

// next takes the next frame and notes in g what is missing before it or stood
// in for by it.
func (c *continuity) next(f *media.Frame, g *gapLog) {
	k := f.Track.Kind
	slack := audioSlack
	if k == media.Video {
		slack = videoPause
	}
	from := c.end[k]
	missing := f.DTS - from
	switch {
	case !c.seen[k]:
	case c.broken[k]:
		if missing > 0 {
			g.note(span{k, gapDisk, from, f.DTS})
		}
	case f.Gap:
		g.note(span{k, gapLoss, from, max(f.DTS, from)})
	case missing > slack:
		g.note(span{k, gapNone, from, f.DTS})
	}
	if f.Filler {
		g.note(span{k, gapFiller, f.DTS, f.DTS + f.Duration})
	}
	c.passed(f)
}

// passed takes a frame whose absence is noted elsewhere.
func (c *continuity) passed(f *media.Frame) {
	k := f.Track.Kind
	c.seen[k], c.broken[k] = true, false
	c.end[k] = f.DTS + f.Duration
}

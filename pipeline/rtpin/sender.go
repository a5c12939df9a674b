package rtpin

import (
	"math"
	"time"
)

const (
	senderSamples = 64 // 5 minutes and more at one report each 5 s
	// A report further from the line than this is not used, unless
	// senderAgree of them in a row say the same: then the sender set its clock.
	senderOutlier = 100 * time.Millisecond
	senderAgree   = 3
	// One fresh start is forgiven (phones that learn the time in the middle of
	// a call), a clock that keeps jumping is not.
	senderStrikes = 3
	// A clock whose rate is wrong by more than maxRate is no clock. Reports of
	// a sound sender may be off by 40 ms each, so that alone must not show it.
	maxRate     = 1e-3
	rateNoise   = 120 * time.Millisecond
	senderMin   = 2
	senderStale = 30 * time.Second
	bandFew     = 90 * time.Millisecond // divided by the number of reports
	// repeatLeast is the spread of frame ages that can tell the two meanings
	// of a repeated timestamp apart.
	repeatLeast    = 8 * time.Millisecond
	bandLeast      = 5 * time.Millisecond
	bandMost       = 45 * time.Millisecond
	slopePriorSec2 = 1e4
)

// senderClock estimates how a track's media time lies in sender time: a line
// fitted through y = NTP - media time of its sender reports, over local time.
//
// Reports are believed only as far as they agree with each other. band is that
// measure: some phones (baresip, oRTP) put the last frame's timestamp beside the
// time of day, which is wrong by up to a frame interval, always in the same
// direction; see choose.
type senderClock struct {
	samples [senderSamples]srSample
	head, n int // ring
	pending [senderAgree]srSample
	npend   int
	strikes int
	broken  bool // not believed any more

	line, plain fitLine
	sendTime    bool // line tells when frames were sent
	refused     uint64

	// shift sums up how far the sender's wall clock was set. It must be the
	// same for both tracks, or one of them lies.
	shift time.Duration
}

type srSample struct {
	at  time.Duration // local
	y   time.Duration // NTP since the Input's start - media time
	arr time.Duration // arrival clock's offset at that time
	// repeats says that the report's timestamp is that of the newest frame,
	// stuck is how long ago that frame came.
	repeats bool
	stuck   time.Duration
}

// fitLine is y0 + slope*(t - t0).
type fitLine struct {
	t0, y0 time.Duration
	slope  float64
	dev    time.Duration // standard deviation of the points from it
}

func (l fitLine) at(t time.Duration) time.Duration {
	return l.y0 + time.Duration(l.slope*float64(t-l.t0))
}

// reset forgets all reports, for a sender that started anew. shift is that of
// the other track, with which it is in agreement again.
func (c *senderClock) reset(shift time.Duration) { *c = senderClock{refused: c.refused, shift: shift} }

// add takes a report.
func (c *senderClock) add(s srSample) {
	if c.broken {
		c.refused++
		return
	}
	if c.n > 0 {
		limit := max(senderOutlier, 4*c.plain.dev)
		if d := s.y - c.plain.at(s.at); d > limit || d < -limit {
			c.outlier(s)
			return
		}
	}
	c.npend = 0
	c.take(s)
}

func (c *senderClock) outlier(s srSample) {
	c.refused++
	if c.npend == senderAgree {
		copy(c.pending[:], c.pending[1:])
		c.npend--
	}
	c.pending[c.npend] = s
	c.npend++
	if c.npend < senderAgree {
		return
	}
	for _, p := range c.pending[1:] {
		if d := p.y - c.pending[0].y; d > senderOutlier || d < -senderOutlier {
			c.strike()
			return
		}
	}
	pend, old := c.pending, *c.newest()
	last := pend[senderAgree-1]
	c.strike()
	// What arrival shows too was no change of the wall clock but of timestamps.
	c.shift += (last.y - last.arr) - (old.y - old.arr)
	for _, p := range pend {
		c.take(p)
	}
}

// strike starts anew, or gives the sender up.
func (c *senderClock) strike() {
	strikes := c.strikes + 1
	c.reset(c.shift)
	c.strikes, c.broken = strikes, strikes >= senderStrikes
}

func (c *senderClock) take(s srSample) {
	if c.broken {
		return
	}
	c.samples[c.head] = s
	c.head = (c.head + 1) % senderSamples
	c.n = min(c.n+1, senderSamples)
	c.plain = c.fit(false)
	c.line = c.plain
	if c.n < senderAgree {
		return
	}
	if moved := c.freeSlope() * float64(c.span()); math.Abs(moved) > float64(rateNoise) &&
		math.Abs(moved) > maxRate*float64(c.span()) {
		c.reset(c.shift)
		c.broken = true
		return
	}
	c.choose()
}

// choose looks whether the reports repeat the newest frame's timestamp. If the points lie clearly better as they are, the sender puts that
// frame's capture time beside it, and all is well. Otherwise the time is that
// of the report, and with the frame's age taken off it is when the frame was
// sent, not captured: worth little more than arrival, so the band is wide.
func (c *senderClock) choose() {
	c.sendTime = false
	repeats := 0
	for i := range c.n {
		if c.sample(i).repeats {
			repeats++
		}
	}
	if 3*repeats < 2*c.n { // some may have overtaken the frame they repeat
		return
	}
	if l := c.fit(true); c.plain.dev >= l.dev/2 || l.dev < repeatLeast {
		c.line, c.sendTime = l, true
	}
}

// ready says whether the line may be used at local.
func (c *senderClock) ready(local time.Duration) bool {
	return !c.broken && c.n >= senderMin && local-c.newest().at < senderStale
}

// offset is NTP - media time at local.
func (c *senderClock) offset(local time.Duration) time.Duration { return c.line.at(local) }

// band is how far the truth may be from offset: 1.75 standard deviations, which
// is the whole range of an evenly spread error, so that even errors all in one
// direction stay inside. Few reports may agree by chance.
func (c *senderClock) band() time.Duration {
	if c.n < senderAgree || c.sendTime {
		return bandMost
	}
	return min(max(c.line.dev*7/4, bandLeast, bandFew/time.Duration(c.n)), bandMost)
}

func (c *senderClock) newest() *srSample {
	return &c.samples[(c.head+senderSamples-1)%senderSamples]
}

func (c *senderClock) sample(i int) *srSample {
	return &c.samples[(c.head+senderSamples-c.n+i)%senderSamples]
}

func (c *senderClock) span() time.Duration { return c.newest().at - c.sample(0).at }

// sums returns the means and centred second moments in seconds, relative to
// the newest sample (float64 would not hold 126 years to the microsecond).
func (c *senderClock) sums(unstick bool) (mt, my, stt, sty, syy float64) {
	ref, n := c.newest(), float64(c.n)
	val := func(i int) (t, y float64) {
		s := c.sample(i)
		d := s.y - ref.y
		if unstick {
			d -= s.stuck
		}
		return (s.at - ref.at).Seconds(), d.Seconds()
	}
	for i := range c.n {
		t, y := val(i)
		mt, my = mt+t/n, my+y/n
	}
	for i := range c.n {
		t, y := val(i)
		stt, sty, syy = stt+(t-mt)*(t-mt), sty+(t-mt)*(y-my), syy+(y-my)*(y-my)
	}
	return mt, my, stt, sty, syy
}

// freeSlope is the plain least squares slope.
func (c *senderClock) freeSlope() float64 {
	_, _, stt, sty, _ := c.sums(false)
	if stt == 0 {
		return 0
	}
	return sty / stt
}

// fit is a least squares line whose slope is pulled towards 0 as long as few
// reports are there: true slopes are below some 150 ppm, a report's error is
// some 15 ms, and the square of their ratio is the weight of that knowledge.
func (c *senderClock) fit(unstick bool) fitLine {
	mt, my, stt, sty, syy := c.sums(unstick)
	k := sty / (stt + slopePriorSec2)
	rss := max(syy-2*k*sty+k*k*stt, 0)
	ref := c.newest()
	return fitLine{
		t0:    ref.at,
		y0:    ref.y + time.Duration((my-k*mt)*1e9),
		slope: k,
		dev:   time.Duration(math.Sqrt(rss/float64(c.n)) * 1e9),
	}
}

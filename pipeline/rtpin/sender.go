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
	// repeatLeast is the spread of frame ages that can tell the two meanings
	// of a repeated timestamp apart.
	repeatLeast = 8 * time.Millisecond
	// sendLeast is the scatter of reports that needs an explanation.
	sendLeast = time.Millisecond

	// Bounds of senderClock.band.
	bandFew   = 15 * time.Millisecond // divided by the number of reports
	bandLeast = 3 * time.Millisecond
	bandMost  = 45 * time.Millisecond

	// True slopes are some 150 ppm, reports err by noiseLeast to noiseMost.
	trueSlope  = 150e-6
	noiseLeast = 500 * time.Microsecond
	noiseMost  = 15 * time.Millisecond
)

// senderClock estimates how a track's media time lies in sender time: a line
// fitted through y = NTP - media time of its sender reports, over local time.
//
// Reports differ in what they pair with the time of day (RFC 3550 section 6.4.1
// wants the media time of the same moment):
//
//   - the media time of that moment, from the capture clock (ffmpeg, GStreamer,
//     browsers). The points lie on a line to within a millisecond.
//   - the newest frame's timestamp, as it is (oRTP) or carried on from when a
//     packet was sent (baresip: the first after the report before). The media time is then too old, so y is too
//     large: by 0 to a frame interval, and by how long the frame took to be sent.
//
// An error that only ever adds shows in the scatter, and the true line runs along
// the lower edge of the points. How far that edge is believed is band.
type senderClock struct {
	samples [senderSamples]srSample
	head, n int // ring
	pending [senderAgree]srSample
	npend   int
	strikes int
	broken  bool // not believed any more

	line, plain fitLine
	early       time.Duration // the points' lower edge is so far below line
	doubt       time.Duration // by how much the reports moved more than a clock can
	sendTime    bool          // line tells when frames were sent
	carried     bool          // the reports are carried on from when packets were sent
	refused     uint64

	// shift sums up how far the sender's wall clock was set. It must be the
	// same for both tracks, or one of them lies.
	shift time.Duration
}

type srSample struct {
	at  time.Duration // local
	y   time.Duration // NTP since the Input's start - media time
	arr time.Duration // arrival clock's offset at that time
	// sent is arrival - media time of the first packet after the report before.
	sent time.Duration
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
	c.plain = c.fit(asReported)
	c.line, c.early, c.sendTime, c.carried = c.plain, 0, false, false
	moved := time.Duration(math.Abs(c.sums(asReported).freeSlope()) * float64(c.span()))
	c.doubt = max(moved-time.Duration(maxRate*float64(c.span())), 0)
	if c.n >= senderAgree && moved > rateNoise && c.doubt > 0 {
		c.reset(c.shift)
		c.broken = true
		return
	}
	c.choose()
}

// choose looks for what the reports are made of.
//
// Those that repeat a frame's timestamp and clearly lie better as they are tell
// when that frame was captured, and all is well. Those that lie better with the
// frame's age, or the way of the packet they are carried on from, taken off tell when frames
// were sent: worth little more than arrival, so the band is wide. Too few to
// tell are read like that, too.
func (c *senderClock) choose() {
	repeats := 0
	for i := range c.n {
		if c.sample(i).repeats {
			repeats++
		}
	}
	if 3*repeats >= 2*c.n { // some may have overtaken the frame they repeat
		if l := c.fit(lessAge); c.n < senderAgree || c.plain.dev >= l.dev/2 || l.dev < repeatLeast {
			c.line, c.sendTime = l, true
		}
	} else if c.n >= senderAgree && c.plain.dev > sendLeast && c.fit(lessSent).dev < c.plain.dev/2 {
		c.sendTime, c.carried = true, true
	}
	c.early = c.edge()
}

// edge is how far the lower edge of the points lies below the line; as far as
// evenly spread errors reach at the most, so that one bad point decides nothing.
func (c *senderClock) edge() time.Duration {
	low, how := time.Duration(0), asReported
	if c.sendTime && c.newest().repeats {
		how = lessAge
	}
	for i := range c.n {
		s := c.sample(i)
		low = min(low, s.value(how)-c.line.at(s.at))
	}
	return min(-low, c.line.dev*7/4)
}

// ready says whether the line may be used at local: not while a few reports are
// contradicted by the next.
func (c *senderClock) ready(local time.Duration) bool {
	return !c.broken && c.n >= senderMin && (c.n >= senderAgree || c.npend == 0) && local-c.newest().at < senderStale
}

// offset is NTP - media time at local.
func (c *senderClock) offset(local time.Duration) time.Duration { return c.line.at(local) - c.early }

// band is how far arrival may contradict the reports and still be preferred.
//
// Reports that scatter were made of send times, and are wrong altogether by
// several times what they scatter: 2 ms and 15 ms with baresip. The fewer there
// are, the sooner they agree by chance or lie about their rate. Reports from a capture clock scatter by
// some 0.3 ms.
func (c *senderClock) band() time.Duration {
	n := time.Duration(c.n)
	if n < senderMin || c.sendTime {
		return bandMost
	}
	dev := c.line.dev
	return max(min((7+14/(n-1))*dev, max(bandMost, 2*dev)), 2*c.doubt, bandLeast, bandFew/n)
}

func (c *senderClock) newest() *srSample {
	return &c.samples[(c.head+senderSamples-1)%senderSamples]
}

func (c *senderClock) sample(i int) *srSample {
	return &c.samples[(c.head+senderSamples-c.n+i)%senderSamples]
}

func (c *senderClock) span() time.Duration { return c.newest().at - c.sample(0).at }

// Ways to read a report.
type reading int

const (
	asReported reading = iota
	lessAge            // without the age of the frame whose timestamp it repeats
	lessSent           // against the way of the packet it may be carried on from
)

func (s *srSample) value(how reading) time.Duration {
	switch how {
	case lessAge:
		return s.y - s.stuck
	case lessSent:
		return s.y - s.sent
	}
	return s.y
}

// moments are means and centred second moments in seconds.
type moments struct{ mt, my, stt, sty, syy float64 }

// sums takes moments relative to the newest sample (float64 would not hold 126
// years to the microsecond).
func (c *senderClock) sums(how reading) (m moments) {
	ref, n := c.newest(), float64(c.n)
	val := func(i int) (t, y float64) {
		s := c.sample(i)
		return (s.at - ref.at).Seconds(), (s.value(how) - ref.value(how)).Seconds()
	}
	for i := range c.n {
		t, y := val(i)
		m.mt, m.my = m.mt+t/n, m.my+y/n
	}
	for i := range c.n {
		t, y := val(i)
		m.stt, m.sty, m.syy = m.stt+(t-m.mt)*(t-m.mt), m.sty+(t-m.mt)*(y-m.my), m.syy+(y-m.my)*(y-m.my)
	}
	return m
}

// dev is the standard deviation from a line of slope k through the mean.
func (m moments) dev(k, n float64) float64 {
	return math.Sqrt(max(m.syy-2*k*m.sty+k*k*m.stt, 0) / n)
}

// freeSlope is the plain least squares slope.
func (m moments) freeSlope() float64 {
	if m.stt == 0 {
		return 0
	}
	return m.sty / m.stt
}

// fit is a least squares line whose slope is pulled towards 0 as long as few
// reports are there: the square of the ratio of a report's error to a true slope
// is the weight of that knowledge. The error is what a free line leaves over.
func (c *senderClock) fit(how reading) fitLine {
	m, n, noise := c.sums(how), float64(c.n), noiseMost.Seconds()
	if n >= senderAgree {
		noise = min(max(m.dev(m.freeSlope(), n)*math.Sqrt(n/(n-2)), noiseLeast.Seconds()), noise)
	}
	k := m.sty / (m.stt + noise*noise/(trueSlope*trueSlope))
	ref := c.newest()
	return fitLine{
		t0:    ref.at,
		y0:    ref.value(how) + time.Duration((m.my-k*m.mt)*1e9),
		slope: k,
		dev:   time.Duration(m.dev(k, n) * 1e9),
	}
}

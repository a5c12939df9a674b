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
	// senderSame is how near to each other reports lie that confirm each other
	// against an earlier one.
	senderSame = 20 * time.Millisecond

	// Bounds of senderClock.band.
	bandFew   = 15 * time.Millisecond // divided by the number of reports
	bandLeast = 3 * time.Millisecond
	bandMost  = 45 * time.Millisecond
)

// senderClock estimates how a track's media time lies in sender time: a line
// fitted through y = NTP - media time of its sender reports, over local time.
//
// Reports differ in what they pair with the time of day (RFC 3550 section 6.4.1
// wants the media time of the same moment):
//
//   - the media time of that moment, from the capture clock (ffmpeg, GStreamer,
//     browsers). The points lie on a line to within a millisecond.
//   - the newest frame's timestamp, as it is (oRTP). The media time is then too
//     old, so y is too large: by 0 to a frame interval, and by how long the frame
//     took to be sent.
//   - that of an earlier packet, carried on from when it was sent (baresip: the
//     first after the report before; its first packet at all in the first report).
//     y is too large by how late that packet was sent: 2 to 8 ms, on a busy
//     machine now and then a second.
//
// An error that only ever adds shows in the scatter, and the true line runs along
// the lower edge of the points; what the packet was late by is known from its
// arrival and can be taken off. How far the result is believed is band.
type senderClock struct {
	samples [senderSamples]srSample
	head, n int // ring
	pending [senderAgree]srSample
	npend   int
	strikes int
	broken  bool // not believed any more

	how     reading // of the reports, for line
	line    fitLine
	plain   fitLine       // of the reports as they are
	early   time.Duration // the points' lower edge is so far below line
	doubt   time.Duration // by how much the reports moved more than a clock can
	refused uint64

	// shift sums up how far the sender's wall clock was set. It must be the
	// same for both tracks, or one of them lies.
	shift time.Duration
}

type srSample struct {
	at  time.Duration // local
	y   time.Duration // NTP since the Input's start - media time
	arr time.Duration // arrival clock's offset at that time
	// sent is arrival - media time of the first packet after the report before,
	// if way; it is not known of a source's first report.
	sent time.Duration
	way  bool
	// jitter is the track's, RFC 3550 section 6.4.1.
	jitter time.Duration
	// repeats says that the report's timestamp is that of the newest frame,
	// stuck is how old that frame was when the report left.
	repeats bool
	stuck   time.Duration
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
	if c.n > 0 && !c.fits(s) {
		c.outlier(s)
		return
	}
	c.npend = 0
	c.take(s)
}

// fits says whether a report lies near the others, or is off by what the packet
// it may be carried on from was late by.
func (c *senderClock) fits(s srSample) bool {
	line, how := c.plain, asReported
	if c.how == lessLate {
		line, how = c.line, lessLate
	}
	return (s.value(how)-line.at(s.at)).Abs() <= max(senderOutlier, 4*line.dev) || s.sameWay(c.newest())
}

// sameWay says that the packets which two reports may be carried on from
// explain how the reports differ.
func (s *srSample) sameWay(o *srSample) bool {
	return s.way && o.way && (s.value(lessSent)-o.value(lessSent)).Abs() <= senderSame
}

// outlier keeps a report that contradicts the others until more of them say the
// same than the contrary: senderAgree against a line that is established, or else
// one more than those that were there (a sender's first report is often wrong).
func (c *senderClock) outlier(s srSample) {
	c.refused++
	if c.npend == senderAgree {
		copy(c.pending[:], c.pending[1:])
		c.npend--
	}
	c.pending[c.npend] = s
	c.npend++
	least, limit := senderAgree, senderOutlier
	if c.n+1 < senderAgree {
		least, limit = c.n+1, senderSame
	}
	if c.npend < least {
		return
	}
	pend := c.pending
	agreed := pend[c.npend-least : c.npend]
	for i := range agreed[1:] {
		a, b := &agreed[0], &agreed[i+1]
		if (b.y-a.y).Abs() > limit && !b.sameWay(a) {
			if c.npend == senderAgree {
				c.strike()
			}
			return
		}
	}
	if least < senderAgree {
		c.restart()
	} else {
		last, old := pend[senderAgree-1], *c.newest()
		c.strike()
		// What arrival shows too was no change of the wall clock but of timestamps.
		c.shift += (last.y - last.arr) - (old.y - old.arr)
	}
	for _, p := range agreed {
		c.take(p)
	}
}

// restart forgets the reports, but not how often that was necessary.
func (c *senderClock) restart() {
	strikes := c.strikes
	c.reset(c.shift)
	c.strikes = strikes
}

// strike starts anew, or gives the sender up.
func (c *senderClock) strike() {
	c.strikes++
	c.restart()
	c.broken = c.strikes >= senderStrikes
}

func (c *senderClock) take(s srSample) {
	if c.broken {
		return
	}
	c.samples[c.head] = s
	c.head = (c.head + 1) % senderSamples
	c.n = min(c.n+1, senderSamples)
	c.choose()
	span := float64(c.span())
	moved := time.Duration(math.Abs(c.sums(c.how).freeSlope()) * span)
	c.doubt = max(moved-time.Duration(maxRate*span), 0)
	if c.n >= senderAgree && moved > rateNoise && c.doubt > 0 {
		c.reset(c.shift)
		c.broken = true
	}
}

// choose looks for what the reports are made of.
//
// Those that repeat a frame's timestamp and clearly lie better as they are tell
// when that frame was captured, and all is well. Those that lie better with the
// frame's age taken off, or with what the packet they are carried on from was
// late by, tell when frames were sent: worth little more than arrival, so the
// band is wide. Repeats that are too few to tell are read like that, too.
func (c *senderClock) choose() {
	c.plain = c.fit(asReported)
	c.how, c.line = asReported, c.plain
	repeats := 0
	for i := range c.n {
		if c.sample(i).repeats {
			repeats++
		}
	}
	if 3*repeats >= 2*c.n { // some may have overtaken the frame they repeat
		l := c.fit(lessAge)
		if c.n < senderAgree || c.plain.dev >= l.dev/2 || l.dev < max(repeatLeast, 3*c.newest().jitter) {
			c.how, c.line = lessAge, l
		}
	} else if c.explained() {
		if !c.sample(0).way {
			c.n-- // the first report is of unknown worth
		}
		c.how, c.line = lessLate, c.fit(lessLate)
	}
	c.early = c.edge()
}

// explained says whether the reports scatter as the packets do which they may
// be carried on from.
func (c *senderClock) explained() bool {
	known := 0
	for i := range c.n {
		if c.sample(i).way {
			known++
		}
	}
	left := c.fit(lessSent).dev
	if c.n < senderAgree {
		left *= 4 // two agree by chance
	}
	return known >= max(senderMin, c.n-1) && c.plain.dev > sendLeast && left < c.plain.dev/2
}

// edge is how far the lower edge of the points lies below the line; as far as
// evenly spread errors reach at the most, so that one bad point decides nothing.
// With what packets were late by taken off, errors go both ways.
func (c *senderClock) edge() time.Duration {
	low := time.Duration(0)
	if c.how == lessLate {
		return 0
	}
	for i := range c.n {
		s := c.sample(i)
		low = min(low, s.value(c.how)-c.line.at(s.at))
	}
	return min(-low, c.line.dev*7/4)
}

// sound says whether the reports may be believed: not a single one, nor a few
// that are contradicted by the next.
func (c *senderClock) sound() bool {
	return !c.broken && c.n >= senderMin && (c.n >= senderAgree || c.npend == 0)
}

// ready says whether they also tell of the present.
func (c *senderClock) ready(local time.Duration) bool {
	return c.sound() && local-c.newest().at < senderStale
}

// offset is NTP - media time at local.
func (c *senderClock) offset(local time.Duration) time.Duration { return c.line.at(local) - c.early }

// band is how far arrival may contradict the reports and still be preferred.
//
// Reports that scatter were made of send times, and are wrong altogether by
// several times what they scatter: 2 ms and 15 ms with baresip. The fewer there
// are, the sooner they agree by chance or lie about their rate; two may both come
// from packets that were late. Reports from a capture clock scatter by some 0.3 ms.
func (c *senderClock) band() time.Duration {
	n := time.Duration(c.n)
	if n < senderMin || c.how != asReported {
		return bandMost
	}
	least := max(2*c.doubt, bandLeast, bandFew/n)
	if n < senderAgree {
		least = max(least, c.sample(0).late(), c.newest().late())
	}
	dev := c.line.dev
	return max(min((7+14/(n-1))*dev, max(bandMost, 2*dev)), least)
}

func (c *senderClock) newest() *srSample {
	return &c.samples[(c.head+senderSamples-1)%senderSamples]
}

func (c *senderClock) sample(i int) *srSample {
	return &c.samples[(c.head+senderSamples-c.n+i)%senderSamples]
}

func (c *senderClock) span() time.Duration { return c.newest().at - c.sample(0).at }

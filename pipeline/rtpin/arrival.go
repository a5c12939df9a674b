package rtpin

import "time"

const (
	// The window is long enough to meet a packet without queueing delay on a
	// busy network, and short enough that 200 ppm of clock drift move the
	// minimum by 2 ms only.
	arrivalBuckets = 20
	arrivalBucket  = 500 * time.Millisecond
	// carryBuckets is for how long the minimum from before a silence counts
	// on: a restart of the flow often begins with queued packets.
	carryBuckets = 5

	settleNoise = 5 * time.Millisecond
	settleTime  = 100 * time.Millisecond
)

// arrivalClock estimates how a track's media time lies in local time: the
// minimum of (arrival - media time) over a sliding window. Jitter only ever
// adds delay, so the minimum is what the network cannot fake.
type arrivalClock struct {
	buckets [arrivalBuckets]time.Duration
	newest  int64 // number of the newest bucket
	valid   bool
	offset  time.Duration

	// improved is when offset was last found to be better by more than
	// settleNoise: at the start of a flow that comes in a burst, again and again.
	improved time.Duration

	last    time.Duration // arrival of the newest packet
	lastOff time.Duration
	jitter  time.Duration // RFC 3550 section 6.4.1
}

const noOffset = time.Duration(1<<63 - 1)

// add takes a packet that arrived at local with arrival - media time = off.
func (c *arrivalClock) add(local, off time.Duration) {
	b := int64(local / arrivalBucket)
	switch {
	case !c.valid:
		for i := range c.buckets {
			c.buckets[i] = noOffset
		}
		c.valid, c.newest, c.offset, c.lastOff, c.improved = true, b, off, off, local
	case b > c.newest:
		c.advance(b)
	}
	slot := &c.buckets[c.newest%arrivalBuckets]
	*slot = min(*slot, off)
	if off < c.offset-settleNoise {
		c.improved = local
	}
	c.offset = min(c.offset, off)
	d := off - c.lastOff
	if d < 0 {
		d = -d
	}
	c.jitter += (d - c.jitter) / 16
	c.last, c.lastOff = local, off
}

// advance opens bucket b and forgets those that left the window.
func (c *arrivalClock) advance(b int64) {
	old, gap := c.offset, b-c.newest
	for n := b - min(gap, arrivalBuckets) + 1; n <= b; n++ {
		c.buckets[n%arrivalBuckets] = noOffset
	}
	c.newest = b
	if gap > 2 {
		// This slot is reused, and so forgotten, carryBuckets from now.
		i := (b + carryBuckets) % arrivalBuckets
		c.buckets[i] = min(c.buckets[i], old)
	}
	c.offset = noOffset
	for _, o := range c.buckets {
		c.offset = min(c.offset, o)
	}
	if c.offset == noOffset {
		c.offset = old
	}
}

package ffmpeg

import (
	"fmt"
	"log/slog"
	"time"

	"lineout/codecs"
	"lineout/media"
)

const (
	// maxUnderWay bounds the pictures, and maxBytes their size, that were given
	// to the program and have not come back: about 2 s of a call. What is more
	// waits in the queue before the conversion, which has its own rule.
	maxUnderWay = 64
	maxBytes    = 8 << 20
	// promptly is how long a conversion waits for the picture it just gave
	// away, so that it need not wait for the next one to be passed on. A
	// program that is behind is not waited for.
	promptly = 20 * time.Millisecond
	// hung is how long nothing may come back from a program that is full.
	hung = 3 * time.Second
	// flushTime bounds how long the last pictures are waited for.
	flushTime = 2 * time.Second
	// minPause and maxPause bound the wait before a program that died is
	// started again; it doubles while it dies before healthy has passed.
	minPause, maxPause = 100 * time.Millisecond, 5 * time.Second
	healthy            = 10 * time.Second
	// maxPixels is that of the largest picture converted, 4096x2304: a header
	// of a few bytes must not make the program take gigabytes.
	maxPixels = 4096 * 2304
)

// conversion implements codecs.Conversion, codecs.Late and codecs.Flusher. All methods are
// called from one goroutine.
type conversion struct {
	kind kind
	path string
	cfg  Config
	in   *media.Track
	log  *slog.Logger
	now  func() time.Time
	// patience is hung, shorter in tests.
	patience time.Duration

	child   *child
	w, h    int // what the child was started with
	started time.Time
	base    time.Duration // DTS at which the child's clock is 0
	lastMs  int64
	way     []underWay // in order
	bytes   int

	retryAt time.Time
	pause   time.Duration
	refused bool // a picture too large was logged

	gap    bool // the next picture that comes out follows a loss
	params *media.Params
	begun  bool
	last   time.Duration // DTS of the newest emitted frame
}

// underWay remembers what the program cannot carry.
type underWay struct {
	ms    int64 // its presentation time in the child's clock
	frame media.Frame
	size  int
}

func newConversion(k kind, path string, cfg Config, in *media.Track, o codecs.Options) *conversion {
	if o.Bitrate > 0 {
		cfg.Bitrate = max(o.Bitrate/1000, 1)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &conversion{kind: k, path: path, cfg: cfg, in: in, log: log, now: time.Now, patience: hung}
}

// Convert gives f to the program and emits what has come back. A program that
// fails is no error of the conversion: pictures are missing until the next.
func (c *conversion) Convert(f *media.Frame, emit func(*media.Frame)) error {
	if len(f.Data) == 0 {
		return nil
	}
	c.Collect(emit)
	c.gap = c.gap || f.Gap
	if !c.prepare(f, emit) {
		c.gap = true
		return nil
	}
	c.feed(f)
	c.await(emit)
	return nil
}

// prepare sees to it that a child runs which can take f.
func (c *conversion) prepare(f *media.Frame, emit func(*media.Frame)) bool {
	if c.child != nil && c.child.ended() {
		c.lost(c.child.err, emit)
	}
	if c.child != nil && !f.Key {
		return true
	}
	if c.child == nil && c.now().Before(c.retryAt) {
		return false
	}
	if !f.Key {
		c.in.AskKeyframe()
		return false
	}
	p := c.kind.from.Params(f.Params, f.Data)
	if p == nil || p.Width <= 0 || p.Height <= 0 {
		return c.child != nil
	}
	if c.child != nil && p.Width == c.w && p.Height == c.h {
		return true
	}
	if p.Width*p.Height > maxPixels || p.Width < 2 || p.Height < 2 {
		if !c.refused {
			c.log.Warn("picture of this size is not converted", "width", p.Width, "height", p.Height, "max_pixels", maxPixels)
		}
		c.refused = true
		c.drain(emit)
		return false
	}
	c.drain(emit) // the program would scale to the size it began with
	return c.start(f, p)
}

func (c *conversion) start(f *media.Frame, p *media.Params) bool {
	first := unit{key: true, params: p}
	child, err := start(c.kind, c.path, c.kind.args(c.kind.input(), c.cfg, p.Width, p.Height), first, p.Width, p.Height)
	if err != nil {
		c.backOff(err)
		return false
	}
	c.child, c.w, c.h, c.started = child, p.Width, p.Height, c.now()
	c.base, c.lastMs, c.way, c.bytes = f.DTS, -1, c.way[:0], 0
	c.log.Info("conversion of video started", "pid", child.cmd.Process.Pid, "width", p.Width, "height", p.Height)
	return true
}

// feed hands f over under a time in whole milliseconds of its own.
func (c *conversion) feed(f *media.Frame) {
	u := unit{ms: millis(f.DTS - c.base), key: f.Key, params: c.kind.from.Params(f.Params, f.Data), data: f.Data}
	u.ms = max(u.ms, c.lastMs+1)
	u.pts = max(millis(f.PTS-c.base), u.ms)
	w := underWay{ms: u.pts, size: f.Size(),
		frame: media.Frame{PTS: f.PTS, DTS: f.PTS, NTP: f.NTP, Arrival: f.Arrival, Gap: c.gap, Filler: f.Filler}}
	if !c.child.send(u) {
		return // cannot be: await leaves room, or ends the child
	}
	c.lastMs, c.gap = u.ms, false
	c.way, c.bytes = append(c.way, w), c.bytes+w.size
}

func millis(d time.Duration) int64 { return int64((d + time.Millisecond/2) / time.Millisecond) }

func (c *conversion) full() bool { return len(c.way) >= maxUnderWay || c.bytes >= maxBytes }

// await passes on what comes back promptly, and makes room if there is none.
func (c *conversion) await(emit func(*media.Frame)) {
	limit, full := promptly, c.full()
	switch {
	case full:
		limit = c.patience
	case len(c.way) != 1:
		c.Collect(emit)
		return
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		select {
		case <-c.child.ready:
			c.Collect(emit)
			if len(c.way) == 0 || full && !c.full() {
				return
			}
		case <-c.child.done:
			return
		case <-t.C:
			if full {
				c.lost(fmt.Errorf("it took %d pictures and gave none back in %v", len(c.way), limit), emit)
			}
			return
		}
	}
}

// Ready implements codecs.Late.
func (c *conversion) Ready() <-chan struct{} {
	if c.child == nil || len(c.way) == 0 {
		return nil
	}
	return c.child.ready
}

// Collect implements codecs.Late: it emits what has come back under the very
// times it went in with.
func (c *conversion) Collect(emit func(*media.Frame)) {
	if c.child == nil {
		return
	}
	for _, p := range c.child.take() {
		if f := c.claim(p.ms); f != nil {
			c.pass(f, p, emit)
		}
	}
}

// claim finds the picture that went in at ms, and forgets it and those before
// it: what the decoder left out does not come any more. Loss before it is not
// forgotten.
func (c *conversion) claim(ms int64) *media.Frame {
	gap := false
	for len(c.way) > 0 && c.way[0].ms <= ms {
		w := c.way[0]
		c.way, c.bytes = c.way[1:], c.bytes-w.size
		if w.ms == ms {
			f := w.frame
			f.Gap = f.Gap || gap
			return &f
		}
		gap = gap || w.frame.Gap
	}
	return nil
}

func (c *conversion) pass(f *media.Frame, p picture, emit func(*media.Frame)) {
	if len(p.data) == 0 || c.begun && f.DTS <= c.last {
		return
	}
	c.params = c.kind.to.Params(c.params, p.data)
	f.Data, f.Params, f.Key = p.data, c.params, c.kind.to.Keyframe(p.data)
	c.begun, c.last = true, f.DTS
	emit(f)
}

// lost gives a child up, after a last look at what it left.
func (c *conversion) lost(err error, emit func(*media.Frame)) {
	c.child.stop()
	c.Collect(emit)
	c.child = nil
	if err == nil {
		err = fmt.Errorf("it ended by itself")
	}
	if c.now().Sub(c.started) >= healthy {
		c.pause = 0
	}
	c.backOff(err)
	c.in.AskKeyframe()
}

func (c *conversion) backOff(err error) {
	c.gap = true
	c.pause = min(max(2*c.pause, minPause), maxPause)
	c.retryAt = c.now().Add(c.pause)
	c.log.Warn("conversion of video failed, will be started again with the next key frame", "err", err, "not_before", c.pause)
}

// drain lets the child finish what it has and ends it.
func (c *conversion) drain(emit func(*media.Frame)) {
	if c.child == nil {
		return
	}
	close(c.child.in)
	t := time.NewTimer(flushTime)
	defer t.Stop()
	select {
	case <-c.child.done:
	case <-t.C:
		c.log.Warn("conversion of video did not finish in time, its last pictures are lost", "timeout", flushTime)
	}
	c.child.stop()
	c.Collect(emit)
	c.child = nil
}

// Flush implements codecs.Flusher.
func (c *conversion) Flush(emit func(*media.Frame)) error {
	c.drain(emit)
	return nil
}

// Close kills and reaps the program if it still runs.
func (c *conversion) Close() error {
	if c.child != nil {
		c.child.stop()
		c.child = nil
	}
	return nil
}

// Package mix puts the sound of two parties of a call on one timeline, which is
// that of the clock on the wall: mixed into one channel, or one party to the
// left and the other to the right.
package mix

import (
	"encoding/binary"
	"math"
	"time"

	"lineout/codecs/l16"
	"lineout/codecs/resample"
)

const (
	// Rate of what comes out, in Hz.
	Rate = l16.SampleRate
	// Delay is how long sound is waited for: what comes later than that after its
	// moment is lost.
	Delay = 200 * time.Millisecond
	// Block is the length of what is given out at a time.
	Block = 20 * time.Millisecond

	// room is the size of a channel's buffer in samples.
	room = 2 * Rate
	// A sender's clock is not ours. How early the latest of its packets come is
	// looked at once in each window; an error of more than slackMax is taken out by
	// a sample in each block of stretchEach, one of more than jumpMin at once.
	window      = 5 * time.Second
	slackMax    = 30 * time.Millisecond
	jumpMin     = 400 * time.Millisecond
	stretchEach = Rate / 200
	// burst is within what packets have come together: what fills a hole of the
	// sender's comes with the packet that ends it, and says nothing of its clock.
	burst = 5 * time.Millisecond
	// seam is by how much two packets may differ from following each other.
	seam = time.Millisecond
)

// Stats of a channel.
type Stats struct {
	// Late samples came after their moment had gone, Stretched were added or taken
	// away to follow the sender's clock; Jumps are corrections too large for that.
	Late, Stretched, Jumps uint64
}

// Mixer joins two channels. It is passive: time is an argument. One goroutine
// uses it.
type Mixer struct {
	dual  bool
	begin time.Time
	read  int64 // samples given out
	ch    [2]channel
	pcm   []byte
}

// channel is one party's sound, by the sample of the timeline that comes out.
type channel struct {
	ring    []int16
	begun   bool
	rate    int
	res     *resample.Resampler
	next    int64         // where the next sample goes
	nextPTS time.Duration // and its moment on the sender's timeline

	slack    int64 // how early the latest packet of this window was, in samples
	held     int64 // the same of the burst that may be going on
	heldAt   time.Time
	windowAt time.Time
	owe      int64 // samples to add (or to take away, if negative)

	in, out []float32
	stats   Stats
}

// NewMixer begins a timeline at now. dual keeps the parties apart, channel 0 to the
// left; otherwise they are added up.
func NewMixer(dual bool, now time.Time) *Mixer {
	m := &Mixer{dual: dual, begin: now}
	for i := range m.ch {
		m.ch[i].ring = make([]int16, room)
	}
	return m
}

// Channels is how many come out.
func (m *Mixer) Channels() int {
	if m.dual {
		return 2
	}
	return 1
}

// at is a moment as a position.
func (m *Mixer) at(now time.Time) int64 {
	return int64(math.Round(now.Sub(m.begin).Seconds() * Rate))
}

// Write puts sound of a channel to its place: samples of rate Hz, the first of
// which has the moment pts on that party's own timeline. A rate that cannot be
// converted is as silence.
func (m *Mixer) Write(ch int, pts time.Duration, rate int, samples []int16, now time.Time) {
	c := &m.ch[ch]
	if len(samples) == 0 || !c.tune(rate) {
		return
	}
	here := m.at(now)
	switch gap := pts - c.nextPTS; {
	case !c.begun:
		c.begun, c.next, c.windowAt = true, here, now
		c.reset()
	case gap > seam || gap < -seam:
		c.drain(m.read)
		c.next += span(gap)
		if gap < -jumpMin || c.next-here > span(jumpMin) { // another timeline
			c.next = here
			c.stats.Jumps++
			c.reset()
		}
	}
	c.nextPTS = pts + time.Duration(len(samples))*time.Second/time.Duration(rate)
	c.judge(c.next-here, now)
	c.in = resample.ToFloat(c.in[:0], samples)
	if c.res != nil {
		c.out = c.res.Process(c.out[:0], c.in)
	} else {
		c.out = append(c.out[:0], c.in...)
	}
	c.place(c.out, m.read)
}

// span is a length in samples.
func span(d time.Duration) int64 { return int64(math.Round(d.Seconds() * Rate)) }

// tune sets a channel to a rate.
func (c *channel) tune(rate int) bool {
	if rate == c.rate {
		return true
	}
	c.res = nil
	if rate != Rate {
		r, err := resample.New(rate, Rate)
		if err != nil {
			return false
		}
		c.res = r
	}
	c.rate = rate
	return true
}

func (c *channel) reset() {
	c.slack, c.held, c.owe = math.MaxInt64, math.MaxInt64, 0
}

// judge looks at how early packets come, and decides what is owed to the clock.
func (c *channel) judge(early int64, now time.Time) {
	if c.held != math.MaxInt64 && now.Sub(c.heldAt) <= burst {
		c.held = max(c.held, early)
	} else {
		c.slack = min(c.slack, c.held)
		c.held = early
	}
	c.heldAt = now
	if now.Sub(c.windowAt) < window {
		return
	}
	c.windowAt = now
	switch off := c.slack; {
	case off == math.MaxInt64:
	case off > span(jumpMin) || off < -span(jumpMin):
		c.next -= off
		c.stats.Jumps++
	case off > span(slackMax) || off < -span(slackMax):
		c.owe = -off
	}
	c.slack = math.MaxInt64
}

// drain gives out what the resampler still holds.
func (c *channel) drain(read int64) {
	if c.res == nil {
		return
	}
	c.out = c.res.Process(c.out[:0], make([]float32, c.res.Latency()))
	c.place(c.out, read)
	c.res.Reset()
}

// place writes samples, as far as their moment has not gone yet.
func (c *channel) place(samples []float32, read int64) {
	for len(samples) > 0 {
		n := min(len(samples), stretchEach)
		block := samples[:n]
		samples = samples[n:]
		k := 0
		if n == stretchEach {
			switch {
			case c.owe > 0:
				k = 1
			case c.owe < 0:
				k = -1
			}
			c.owe -= int64(k)
			if k != 0 {
				c.stats.Stretched++
			}
		}
		for i := range n + k {
			v := block[min(i, n-1)]
			if k != 0 { // linear: a sample more or less in 5 ms is not heard
				x := float64(i) * float64(n-1) / float64(n+k-1)
				j := min(int(x), n-2)
				w := float32(x - float64(j))
				v = block[j]*(1-w) + block[j+1]*w
			}
			switch {
			case c.next < read:
				c.stats.Late++
			case c.next < read+room:
				c.ring[c.next%room] = sample(v)
			}
			c.next++
		}
	}
}

// sample is a value of ±1.0 as 16 bits, saturated.
func sample(v float32) int16 {
	return int16(max(math.MinInt16, min(math.MaxInt16, int32(math.RoundToEven(float64(v)*32768)))))
}

// Read gives out, in order, all whole blocks whose time has come by now: L16
// (RFC 3551 section 4.5.11), valid until the next call.
func (m *Mixer) Read(now time.Time, emit func(pts time.Duration, pcm []byte)) {
	m.upTo(m.at(now)-span(Delay), emit)
}

// Flush gives out what is left, up to now.
func (m *Mixer) Flush(now time.Time, emit func(pts time.Duration, pcm []byte)) {
	end := m.at(now)
	m.upTo(end, emit)
	if n := end - m.read; n > 0 {
		m.give(int(n), emit)
	}
}

func (m *Mixer) upTo(end int64, emit func(time.Duration, []byte)) {
	n := span(Block)
	if behind := end - m.read; behind > room { // nobody read for so long that nothing of it is left
		m.read += (behind - room) / n * n
	}
	for m.read+n <= end {
		m.give(int(n), emit)
	}
}

// give gives out n samples and forgets them.
func (m *Mixer) give(n int, emit func(time.Duration, []byte)) {
	m.pcm = m.pcm[:0]
	for i := range int64(n) {
		at := (m.read + i) % room
		a, b := m.ch[0].ring[at], m.ch[1].ring[at]
		m.ch[0].ring[at], m.ch[1].ring[at] = 0, 0
		if m.dual {
			m.pcm = binary.BigEndian.AppendUint16(m.pcm, uint16(a))
			m.pcm = binary.BigEndian.AppendUint16(m.pcm, uint16(b))
			continue
		}
		m.pcm = binary.BigEndian.AppendUint16(m.pcm, uint16(add(a, b)))
	}
	pts := time.Duration(m.read) * time.Second / Rate
	m.read += int64(n)
	emit(pts, m.pcm)
}

// add saturates.
func add(a, b int16) int16 {
	return int16(max(math.MinInt16, min(math.MaxInt16, int32(a)+int32(b))))
}

// Moment is where a moment of a channel's timeline is on that which comes out.
func (m *Mixer) Moment(ch int, pts time.Duration, now time.Time) time.Duration {
	c := &m.ch[ch]
	if !c.begun {
		return now.Sub(m.begin)
	}
	return time.Duration(c.next)*time.Second/Rate + pts - c.nextPTS
}

// Due is the moment that is given out by now.
func (m *Mixer) Due(now time.Time) time.Duration { return now.Sub(m.begin) - Delay }

// Stats of a channel.
func (m *Mixer) Stats(ch int) Stats { return m.ch[ch].stats }

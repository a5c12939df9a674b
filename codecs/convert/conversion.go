package convert

import (
	"time"

	"lineout/codecs/internal/slab"
	"lineout/codecs/resample"
	"lineout/media"
)

// conversion implements codecs.Conversion. Two clocks run through it: in counts
// samples as decoded, out counts them as encoded. Both start at the same time
// on the timeline; the resampler adds no delay to what it gives out, and an
// encoder's lookahead is made up for by leaving out that much of the very
// first sound, so an encoded frame's time is simply out's count.
type conversion struct {
	dec decoder
	enc encoder
	in  timeline
	bg  noise // while the sender is silent and said how loud

	resamplers []*resample.Resampler // per decoded channel, nil at equal rates
	tail       int                   // samples of silence that push all sound out of resampler and encoder

	pcm   [][]float32 // decoded, of one block
	mixed [][]float32 // pcm as stretched and resampled
	fifo  [][]float32 // waiting to fill a frame
	args  [][]float32 // one frame of fifo
	skip  int         // samples to leave out of fifo
	ahead int         // samples of silence before the first sound, see codecs.Options.Prompt
	outAt time.Duration
	outN  int64
	marks []mark // frames given to the encoder whose packets are not out yet
	gap   bool
	ntp   time.Time // the sender's wall clock at PTS 0, zero if unknown
	heard time.Time // arrival of the newest frame whose arrival is known

	frames slab.Of[outFrame]
	bytes  slab.Bytes
}

// mark remembers what the frame at an encoder's input stands for.
type mark struct {
	at, length time.Duration
	gap        bool
}

// outFrame is a frame with room for its one packet.
type outFrame struct {
	media.Frame
	data [1][]byte
}

// blockMax bounds how much goes through at once, and so the buffers: the
// longest packet of any codec here.
const blockMax = 120 * time.Millisecond

func assemble(dec decoder, enc encoder, prompt bool) (*conversion, error) {
	c := &conversion{dec: dec, enc: enc, in: timeline{rate: dec.rate()}, bg: newNoise(dec.rate()), ahead: -1}
	c.tail = enc.lookahead()*dec.rate()/enc.rate() + 1
	if dec.rate() != enc.rate() {
		for range dec.channels() {
			r, err := resample.New(dec.rate(), enc.rate())
			if err != nil {
				return nil, err
			}
			c.resamplers = append(c.resamplers, r)
			c.tail += r.Latency()
		}
	}
	for range dec.channels() {
		c.pcm = append(c.pcm, make([]float32, 0, count(blockMax, dec.rate())))
		c.mixed = append(c.mixed, make([]float32, 0, count(blockMax, dec.rate())))
		c.fifo = append(c.fifo, make([]float32, 0, count(2*blockMax, enc.rate())))
	}
	if prompt {
		c.ahead = 0
		if c.resamplers != nil { // as much as they hold back
			c.ahead = (c.resamplers[0].Latency()*enc.rate()+dec.rate()-1)/dec.rate() + 1
		}
	}
	c.args = make([][]float32, enc.channels())
	return c, nil
}

// Close implements codecs.Conversion.
func (c *conversion) Close() error {
	free(c.dec)
	free(c.enc)
	return nil
}

// Convert implements codecs.Conversion. A packet that cannot be decoded is
// concealed; only an encoder that fails ends the conversion.
func (c *conversion) Convert(f *media.Frame, emit func(*media.Frame)) error {
	if c.ntp = (time.Time{}); !f.NTP.IsZero() {
		c.ntp = f.NTP.Add(-f.PTS)
	}
	if f.Noise != 0 {
		return c.quiet(f, emit)
	}
	at, loss := f.PTS, f.Gap
	for _, packet := range f.Data {
		n := c.dec.samples(packet)
		if n == 0 {
			continue // leaves a hole, which the next packet shows
		}
		if err := c.packet(f, packet, at, n, loss, emit); err != nil {
			return err
		}
		at, loss = at+span(int64(n), c.dec.rate()), false
	}
	return nil
}

func (c *conversion) packet(f *media.Frame, packet []byte, at time.Duration, n int, loss bool, emit func(*media.Frame)) error {
	if !c.in.started {
		c.begin(at)
	}
	s := c.in.plan(at, n, loss, c.fillLimit(f))
	if s.drop {
		return nil
	}
	if err := c.lead(f, packet, at, s, loss, emit); err != nil {
		return err
	}
	c.reset()
	switch {
	case c.bg.on && f.Filler:
		c.bg.append(c.pcm, n) // generated silence is no end of the sender's
	case c.dec.decode(c.pcm, packet) != nil:
		c.dec.conceal(c.pcm, n, nil, true)
		fallthrough
	default:
		c.bg.on = false
	}
	for i := range c.pcm {
		c.mixed[i] = stretch(c.mixed[i][:0], c.pcm[i][s.trim:], s.stretch)
	}
	return c.feed(f, c.mixed, emit)
}

// lead brings the output up to where packet begins.
func (c *conversion) lead(f *media.Frame, packet []byte, at time.Duration, s step, loss bool, emit func(*media.Frame)) error {
	if s.jump {
		if err := c.jump(f, at, emit); err != nil {
			return err
		}
	}
	c.gap = c.gap || s.gap
	return c.fill(f, packet, s.fill, loss, emit)
}

// quiet begins a pause of the sender, or goes on with it at another level:
// until the next packet what is missing is noise, not an invented continuation.
func (c *conversion) quiet(f *media.Frame, emit func(*media.Frame)) error {
	if !c.in.started {
		return nil
	}
	limit := c.fillLimit(f)
	if f.PTS+c.in.shift-c.in.next() >= holeMin {
		if err := c.lead(f, nil, f.PTS, c.in.plan(f.PTS, 0, false, limit), false, emit); err != nil {
			return err
		}
	}
	c.bg.start(f.Noise)
	return nil
}

// fillLimit is the longest hole in front of f that can be one, see fillSlack.
func (c *conversion) fillLimit(f *media.Frame) time.Duration {
	if f.Arrival.IsZero() {
		return fillMax
	}
	before := c.heard
	if c.heard = f.Arrival; before.IsZero() {
		return fillMax
	}
	return min(fillMax, max(f.Arrival.Sub(before), 0)+fillSlack)
}

// reset empties the block that is being decoded.
func (c *conversion) reset() {
	for i := range c.pcm {
		c.pcm[i] = c.pcm[i][:0]
	}
}

// fill puts n samples in front of packet, in pieces of at most blockMax. With
// the last one the decoder can also use what packet says about the one before it.
func (c *conversion) fill(f *media.Frame, packet []byte, n int, loss bool, emit func(*media.Frame)) error {
	for n > 0 {
		k := min(n, count(blockMax, c.dec.rate()))
		c.reset()
		if c.bg.on {
			c.bg.append(c.pcm, k)
		} else {
			c.dec.conceal(c.pcm, k, packet, loss && k == n)
		}
		if err := c.feed(f, c.pcm, emit); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// feed resamples a block and encodes every frame it fills.
func (c *conversion) feed(f *media.Frame, block [][]float32, emit func(*media.Frame)) error {
	for i := range block {
		if c.resamplers != nil {
			c.fifo[i] = c.resamplers[i].Process(c.fifo[i], block[i])
		} else {
			c.fifo[i] = append(c.fifo[i], block[i]...)
		}
	}
	if c.skip > 0 {
		k := min(c.skip, len(c.fifo[0]))
		c.skip -= k
		c.consume(k)
	}
	used := 0
	size := c.enc.frame()
	for ; len(c.fifo[0])-used >= size; used += size {
		for i := range c.args {
			c.args[i] = c.fifo[min(i, len(c.fifo)-1)][used : used+size] // mono goes to both sides
		}
		if err := c.encode(f, emit); err != nil {
			return err
		}
	}
	c.consume(used)
	return nil
}

// consume removes the first n samples of the fifo.
func (c *conversion) consume(n int) {
	for i, s := range c.fifo {
		c.fifo[i] = s[:copy(s, s[n:])]
	}
}

// encode gives args to the encoder and emits what comes out.
func (c *conversion) encode(f *media.Frame, emit func(*media.Frame)) error {
	at := c.outAt + span(c.outN, c.enc.rate())
	c.outN += int64(c.enc.frame())
	end := c.outAt + span(c.outN, c.enc.rate())
	c.marks = append(c.marks, mark{at: at, length: end - at, gap: c.gap})
	c.gap = false
	packet, err := c.enc.encode(c.args)
	if err != nil || len(packet) == 0 {
		return err
	}
	m := c.marks[0]
	c.marks = c.marks[:copy(c.marks, c.marks[1:])]
	out := &c.frames.Make(1)[0]
	out.data[0] = c.bytes.Copy(packet)
	out.Frame = media.Frame{
		Params: c.enc.params(), PTS: m.at, DTS: m.at, Duration: m.length,
		Arrival: f.Arrival, Key: true, Gap: m.gap, Filler: f.Filler, Data: out.data[:],
	}
	if !c.ntp.IsZero() {
		out.NTP = c.ntp.Add(m.at)
	}
	emit(&out.Frame)
	return nil
}

// Flush implements codecs.Flusher: the sound still inside resampler and encoder
// comes out, followed by silence up to a full frame.
func (c *conversion) Flush(emit func(*media.Frame)) error {
	if !c.in.started {
		return nil
	}
	f := &media.Frame{Arrival: c.heard}
	if err := c.drain(f, emit); err != nil {
		return err
	}
	// What the encoder was given is all sound; it gives the last of it out
	// only when more follows.
	end := c.outAt + span(c.outN, c.enc.rate())
	for range flushFrames {
		if len(c.marks) == 0 || c.marks[0].at >= end {
			return nil
		}
		for i := range c.fifo {
			c.fifo[i] = grow(c.fifo[i], c.enc.frame())
		}
		for i := range c.args {
			c.args[i] = c.fifo[min(i, len(c.fifo)-1)]
		}
		if err := c.encode(f, emit); err != nil {
			return err
		}
		c.consume(len(c.fifo[0]))
	}
	return nil
}

// flushFrames is more than any encoder here works ahead.
const flushFrames = 8

// drain pushes the sound so far out, with silence up to a full frame.
func (c *conversion) drain(f *media.Frame, emit func(*media.Frame)) error {
	c.reset()
	silence(c.pcm, c.tail)
	if err := c.feed(f, c.pcm, emit); err != nil {
		return err
	}
	rest := len(c.fifo[0])
	if rest == 0 {
		return nil
	}
	for i := range c.fifo {
		c.fifo[i] = grow(c.fifo[i], c.enc.frame()-rest)
	}
	c.reset()
	for i := range c.args {
		c.args[i] = c.fifo[min(i, len(c.fifo)-1)]
	}
	if err := c.encode(f, emit); err != nil {
		return err
	}
	c.consume(len(c.fifo[0]))
	return nil
}

// jump ends the sound so far and starts again at a later time. The frame that
// starts there says that something is missing.
func (c *conversion) jump(f *media.Frame, at time.Duration, emit func(*media.Frame)) error {
	if err := c.drain(f, emit); err != nil {
		return err
	}
	for _, r := range c.resamplers {
		r.Reset()
	}
	c.begin(at)
	return nil
}

// begin puts the first sound of the output where it belongs. An encoder's
// lookahead is left out of the sound, or else, to be prompt, the output begins by
// as much earlier.
func (c *conversion) begin(at time.Duration) {
	c.outAt, c.outN, c.skip = at, 0, c.enc.lookahead()
	if c.ahead < 0 {
		return
	}
	c.outAt -= span(int64(c.ahead+c.skip), c.enc.rate())
	c.skip = 0
	for i := range c.fifo {
		c.fifo[i] = grow(c.fifo[i][:0], c.ahead)
	}
}

// stretch appends src to dst, made k samples longer (shorter if negative) by
// linear interpolation.
func stretch(dst, src []float32, k int) []float32 {
	n := len(src) + k
	if k == 0 || len(src) < 2 || n < 1 {
		return append(dst, src...)
	}
	for i := range n {
		x := float64(i) * float64(len(src)) / float64(n)
		j := min(int(x), len(src)-2)
		w := float32(x - float64(j))
		dst = append(dst, src[j]*(1-w)+src[j+1]*w)
	}
	return dst
}

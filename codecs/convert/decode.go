package convert

import (
	"encoding/binary"
	"fmt"
	"time"

	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/codecs/resample"
	"lineout/media"
)

// concealMax is how much of a loss is invented; the rest is silence.
const concealMax = 100 * time.Millisecond

// decoder turns packets into planes of samples: one slice per channel, +-1.0.
type decoder interface {
	// rate in Hz and the number of planes never change.
	rate() int
	channels() int
	// samples is how many per channel a packet holds, 0 if it is malformed.
	samples(packet []byte) int
	// decode appends exactly samples(packet) to each plane, and nothing if it fails.
	decode(planes [][]float32, packet []byte) error
	// conceal appends exactly n samples to each plane for what is missing
	// before next; of a long hole it is asked for one piece after the other.
	// loss says that packets were lost and that this piece ends where next
	// begins; otherwise the sender was silent.
	conceal(planes [][]float32, n int, next []byte, loss bool)
}

// decoder makes one for sound of has channels of which channels are wanted.
func (k kit) decoder(c media.Codec, rate, has, channels int) (decoder, error) {
	if o := k.coder(c); o != nil {
		return newLibraryDecoder(o)
	}
	switch c {
	case g711.PCMU:
		return newG711Decoder(g711.DecodePCMU), nil
	case g711.PCMA:
		return newG711Decoder(g711.DecodePCMA), nil
	case g722.Name:
		return &g722Decoder{d: g722.NewDecoder(), plc: newPLC(g722.SampleRate)}, nil
	case l16.Name:
		return newL16Decoder(rate, has, channels), nil
	case opus.Name:
		return newOpusDecoder(rate, channels)
	}
	return nil, fmt.Errorf("no decoder for %s", c)
}

// silence appends n zero samples to each plane.
func silence(planes [][]float32, n int) {
	for c := range planes {
		planes[c] = grow(planes[c], n)
	}
}

// fadeOut lets the last n samples of each plane go down to zero.
func fadeOut(planes [][]float32, n int) {
	for _, p := range planes {
		p = p[len(p)-n:]
		for i := range p {
			p[i] *= float32(n-i) / float32(n)
		}
	}
}

// grow appends n zeros.
func grow(s []float32, n int) []float32 { return append(s, make([]float32, n)...) }

type g711Decoder struct {
	table [256]float32
	plc   plc
}

func newG711Decoder(expand func([]int16, []byte) []int16) *g711Decoder {
	d := &g711Decoder{plc: newPLC(g711.SampleRate)}
	codes := make([]byte, len(d.table))
	for i := range codes {
		codes[i] = byte(i)
	}
	resample.ToFloat(d.table[:0], expand(nil, codes))
	return d
}

func (d *g711Decoder) rate() int                 { return g711.SampleRate }
func (d *g711Decoder) channels() int             { return 1 }
func (d *g711Decoder) samples(packet []byte) int { return len(packet) }

func (d *g711Decoder) decode(planes [][]float32, packet []byte) error {
	from := len(planes[0])
	planes[0] = grow(planes[0], len(packet))
	out := planes[0][from:]
	for i, c := range packet {
		out[i] = d.table[c]
	}
	d.plc.good(out)
	return nil
}

func (d *g711Decoder) conceal(planes [][]float32, n int, _ []byte, _ bool) {
	from := len(planes[0])
	planes[0] = grow(planes[0], n)
	d.plc.conceal(planes[0][from:])
}

type g722Decoder struct {
	d   *g722.Decoder
	pcm []int16
	plc plc
}

func (d *g722Decoder) rate() int                 { return g722.SampleRate }
func (d *g722Decoder) channels() int             { return 1 }
func (d *g722Decoder) samples(packet []byte) int { return 2 * len(packet) }

func (d *g722Decoder) decode(planes [][]float32, packet []byte) error {
	d.pcm = d.d.Decode(d.pcm[:0], packet)
	from := len(planes[0])
	planes[0] = resample.ToFloat(planes[0], d.pcm)
	d.plc.good(planes[0][from:])
	return nil
}

func (d *g722Decoder) conceal(planes [][]float32, n int, _ []byte, _ bool) {
	from := len(planes[0])
	planes[0] = grow(planes[0], n)
	d.plc.conceal(planes[0][from:])
}

// l16Decoder takes samples as they are; of two channels it makes one if no more
// is wanted.
type l16Decoder struct {
	hz, has int
	plc     []plc // one for each channel that is given out
}

func newL16Decoder(rate, has, channels int) *l16Decoder {
	d := &l16Decoder{hz: rate, has: has}
	for range min(has, channels) {
		d.plc = append(d.plc, newPLC(rate))
	}
	return d
}

func (d *l16Decoder) rate() int                 { return d.hz }
func (d *l16Decoder) channels() int             { return len(d.plc) }
func (d *l16Decoder) samples(packet []byte) int { return len(packet) / l16.SampleSize / d.has }

func (d *l16Decoder) decode(planes [][]float32, packet []byte) error {
	from := len(planes[0])
	for n := d.samples(packet); n > 0; n-- {
		sum := float32(0)
		for c := range d.has {
			v := float32(int16(binary.BigEndian.Uint16(packet))) / 32768
			packet = packet[l16.SampleSize:]
			if sum += v; len(d.plc) == d.has {
				planes[c] = append(planes[c], v)
			}
		}
		if len(d.plc) < d.has {
			planes[0] = append(planes[0], sum/float32(d.has))
		}
	}
	for c := range d.plc {
		d.plc[c].good(planes[c][from:])
	}
	return nil
}

func (d *l16Decoder) conceal(planes [][]float32, n int, _ []byte, _ bool) {
	for c := range d.plc {
		from := len(planes[c])
		planes[c] = grow(planes[c], n)
		d.plc[c].conceal(planes[c][from:])
	}
}

// opusStep is the granularity of Opus concealment in 1/second: 2.5 ms.
const opusStep = 400

type opusDecoder struct {
	d      opus.Decoder
	hz, ch int
	pcm    []float32 // one packet, interleaved
	faked  int       // samples invented since the last packet
}

func newOpusDecoder(rate, channels int) (*opusDecoder, error) {
	d, err := opus.NewDecoder(rate, channels)
	if err != nil {
		return nil, err
	}
	return &opusDecoder{d: d, hz: rate, ch: channels, pcm: make([]float32, count(opus.MaxDuration, rate)*channels)}, nil
}

func (d *opusDecoder) rate() int     { return d.hz }
func (d *opusDecoder) channels() int { return d.ch }

func (d *opusDecoder) samples(packet []byte) int {
	return count(opus.PacketDuration(packet), d.hz)
}

func (d *opusDecoder) decode(planes [][]float32, packet []byte) error {
	n, err := d.d.Decode(packet, d.pcm)
	if err != nil {
		return err
	}
	if want := d.samples(packet); n != want {
		return fmt.Errorf("an Opus packet gave %d samples instead of %d", n, want)
	}
	resample.Deinterleave(planes, d.pcm[:n*d.ch])
	d.faked = 0
	return nil
}

// conceal lets the decoder invent the first part of the hole, then is silent,
// and takes the last packet from the copy in next if that is there. A sender
// that stopped talking (DTX) gets the same: the decoder's invention is its
// comfort noise then.
func (d *opusDecoder) conceal(planes [][]float32, n int, next []byte, loss bool) {
	copied := 0
	if loss {
		if k := d.samples(next); k > 0 && k <= n {
			copied = k
		}
	}
	invent := min(n-copied, count(concealMax, d.hz)-d.faked)
	for done := 0; done < invent; {
		done += d.invent(planes, invent-done)
	}
	d.faked += invent
	if rest := n - copied - invent; rest > 0 {
		fadeOut(planes, min(invent, d.hz/100))
		silence(planes, rest)
	}
	if copied > 0 {
		pcm := d.pcm[:copied*d.ch]
		if d.d.Recover(next, pcm) != nil {
			clear(pcm)
		}
		resample.Deinterleave(planes, pcm)
	}
}

// invent conceals up to n samples, at most 20 ms at a time.
func (d *opusDecoder) invent(planes [][]float32, n int) int {
	n = min(n, d.hz/50)
	step := d.hz / opusStep
	pcm := d.pcm[:(n+step-1)/step*step*d.ch]
	if d.d.Conceal(pcm) != nil {
		clear(pcm)
	}
	resample.Deinterleave(planes, pcm[:n*d.ch])
	return n
}

package convert

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/g729"
	"lineout/codecs/internal/cpeer"
	"lineout/codecs/opus"
	"lineout/codecs/resample"
	"lineout/codecs/speex"
	"lineout/media"
)

// contest is one of our codecs, as a conversion uses it, beside a C library of
// the same settings.
type contest struct {
	name  string
	codec media.Codec
	rate  int
	frame int // samples
	peer  func(testing.TB) cpeer.Peer
	// only says that there is no decoder, noPLC no concealment to compare with.
	only, noPLC bool
}

// opusComplexity and the bit rates are what our encoders are made with.
const opusComplexity = 5

var contests = []contest{
	{"PCMA", g711.PCMA, 8000, 160, cpeer.PCMA, false, false},
	{"PCMU", g711.PCMU, 8000, 160, cpeer.PCMU, false, false},
	{"G722", g722.Name, 16000, 320, cpeer.G722, false, true},
	{"opus48k", opus.Name, 48000, 960, func(t testing.TB) cpeer.Peer { return cpeer.Opus(t, 48000, 32000, opusComplexity) }, false, false},
	{"opus8k", opus.Name, 8000, 160, func(t testing.TB) cpeer.Peer { return cpeer.Opus(t, 8000, 20000, opusComplexity) }, false, false},
	{"AAC", aac.Name, 48000, aac.FrameSize, func(t testing.TB) cpeer.Peer { return cpeer.AAC(t, 64000) }, true, false},
	{"speex8k", speex.Narrow, 8000, 160, func(t testing.TB) cpeer.Peer { return cpeer.Speex(t, 8000) }, false, false},
	{"speex16k", speex.Wide, 16000, 320, func(t testing.TB) cpeer.Peer { return cpeer.Speex(t, 16000) }, false, false},
	{"G729", g729.Name, 8000, 160, func(t testing.TB) cpeer.Peer { return cpeer.G729(t) }, false, false},
}

// material is a second of a voice for both sides, and packets of it. Packets
// of Opus are those of libopus, so that both decoders do the work that browsers
// and phones give them.
type material struct {
	floats  [][][]float32
	ints    [][]int16
	packets [][]byte
}

func (c *contest) material(t testing.TB) *material {
	t.Helper()
	m := &material{}
	enc, peer := c.encoder(t), c.peer(t)
	pcm := voice(c.rate, time.Second)
	for ; len(pcm) >= c.frame; pcm = pcm[c.frame:] {
		planes := [][]float32{pcm[:c.frame]}
		ints := resample.ToInt(nil, planes[0])
		packet, err := enc.encode(planes)
		if err != nil {
			t.Fatal(err)
		}
		if c.codec == opus.Name {
			packet = peer.Encode(ints)
		}
		m.floats, m.ints, m.packets = append(m.floats, planes), append(m.ints, ints), append(m.packets, bytes.Clone(packet))
	}
	return m
}

func (c *contest) encoder(t testing.TB) encoder {
	t.Helper()
	e, err := kit(coders(t)).encoder(c.codec, c.rate, codecs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { free(e) })
	return e
}

func (c *contest) decoder(t testing.TB) decoder {
	t.Helper()
	d, err := kit(coders(t)).decoder(c.codec, c.rate, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { free(d) })
	return d
}

// What spandsp makes of a voice in G.722 we make too, to the bit, and all its
// packets we decode as it does. In G.711 our codes may be others, but are never
// farther from the sample.
func TestSpandspAgrees(t *testing.T) {
	for _, c := range contests[:3] {
		m, enc, peer := c.material(t), c.encoder(t), c.peer(t)
		differ := 0
		d := c.decoder(t)
		for i, pcm := range m.ints {
			ours, err := enc.encode(m.floats[i])
			if err != nil {
				t.Fatal(err)
			}
			theirs := peer.Encode(pcm)
			planes := [][]float32{nil}
			if err := d.decode(planes, theirs); err != nil {
				t.Fatal(err)
			}
			got, want := resample.ToInt(nil, planes[0]), slices.Clone(peer.Decode(theirs))
			if !slices.Equal(got, want) {
				t.Fatalf("%s: packet %d is decoded to %v, by spandsp to %v", c.name, i, got[:8], want[:8])
			}
			if slices.Equal(ours, theirs) {
				continue
			}
			if differ++; c.codec == g722.Name {
				t.Fatalf("%s: packet %d is %x, by spandsp %x", c.name, i, ours, theirs)
			}
			for k, v := range peer.Decode(ours) {
				if mine, its := int(pcm[k])-int(v), int(pcm[k])-int(want[k]); mine*mine > its*its {
					t.Fatalf("%s: %d is coded as %d, by spandsp as %d", c.name, pcm[k], v, want[k])
				}
			}
		}
		t.Logf("%s: %d packets of %d are others than those of spandsp", c.name, differ, len(m.ints))
	}
}

// libopus hears what our encoder makes as it hears its own, and we hear what it
// makes as it does.
func TestLibopusAgrees(t *testing.T) {
	for _, c := range contests[3:5] {
		m, enc, dec, peer, own := c.material(t), c.encoder(t), c.decoder(t), c.peer(t), c.peer(t)
		var sent, ours, theirs []float32 // by libopus: of our packets, of its own
		planes := [][]float32{nil}
		for i, pcm := range m.floats {
			packet, err := enc.encode(pcm)
			if err != nil {
				t.Fatal(err)
			}
			sent = append(sent, pcm[0]...)
			ours = resample.ToFloat(ours, peer.Decode(packet))
			theirs = resample.ToFloat(theirs, own.Decode(m.packets[i]))
			if err := dec.decode(planes, m.packets[i]); err != nil {
				t.Fatal(err)
			}
		}
		late := enc.lookahead()
		a, b, same := snr(sent, ours[late:]), snr(sent, theirs[late:]), snr(theirs, planes[0])
		// Opus at these rates does not keep the waveform: what counts is that ours is no worse.
		t.Logf("%s: our encoder %.1f dB, libopus %.1f dB; our decoder is %.1f dB from libopus", c.name, a, b, same)
		if a < b-1 {
			t.Errorf("%s: libopus hears %.1f dB of our packets, %.1f dB of its own", c.name, a, b)
		}
		if same < 60 {
			t.Errorf("%s: our decoder is %.1f dB from libopus", c.name, same)
		}
	}
}

// BenchmarkAgainstC measures our codecs and the C libraries in turn, so that
// what else the machine does hits both, and compares medians: time for 20 ms of
// sound, and how many times that of C it is. Speex and G.729 are C libraries
// themselves: there it is what the way to them costs.
func BenchmarkAgainstC(b *testing.B) {
	for _, c := range contests {
		b.Run(c.name+"/encode", func(b *testing.B) {
			m, enc, peer := c.material(b), c.encoder(b), c.peer(b)
			scratch := make([]int16, c.frame) // libspeex changes its input
			c.compare(b, func(i int) {
				if _, err := enc.encode(m.floats[i%len(m.floats)]); err != nil {
					b.Fatal(err)
				}
			}, func(i int) {
				copy(scratch, m.ints[i%len(m.ints)])
				peer.Encode(scratch)
			}, nil)
		})
		if c.only {
			continue
		}
		b.Run(c.name+"/decode", func(b *testing.B) {
			m, peer := c.material(b), c.peer(b)
			ours := c.ours(b, m)
			c.compare(b, ours, func(i int) { peer.Decode(m.packets[i%len(m.packets)]) }, nil)
		})
		b.Run(c.name+"/conceal", func(b *testing.B) {
			m, peer, d := c.material(b), c.peer(b), c.decoder(b)
			planes := [][]float32{make([]float32, 0, count(blockMax, c.rate))}
			theirs := func(int) { peer.Conceal() }
			if c.noPLC {
				theirs = nil
			}
			c.compare(b, func(int) {
				planes[0] = planes[0][:0]
				d.conceal(planes, c.frame, nil, true)
			}, theirs, func(i int) {
				planes[0] = planes[0][:0]
				if err := d.decode(planes, m.packets[i%len(m.packets)]); err != nil {
					b.Fatal(err)
				}
				peer.Decode(m.packets[i%len(m.packets)])
			})
		})
	}
}

func (c *contest) ours(t testing.TB, m *material) func(i int) {
	t.Helper()
	d, planes := c.decoder(t), [][]float32{make([]float32, 0, count(blockMax, c.rate))}
	return func(i int) {
		planes[0] = planes[0][:0]
		if err := d.decode(planes, m.packets[i%len(m.packets)]); err != nil {
			t.Fatal(err)
		}
	}
}

// compare times a packet of ours and one of theirs by turns, with prepare, which
// is not timed, before each pair.
func (c *contest) compare(b *testing.B, ours, theirs, prepare func(i int)) {
	const batch = 8
	var us, them []time.Duration
	each := func(f func(int), into []time.Duration, n int) []time.Duration {
		if f == nil {
			return into
		}
		if prepare != nil { // one decode, one concealment
			start := time.Now()
			f(n)
			return append(into, time.Since(start))
		}
		start := time.Now()
		for i := range batch {
			f(n + i)
		}
		return append(into, time.Since(start)/batch)
	}
	for n := 0; b.Loop(); n += batch {
		if prepare != nil {
			prepare(n)
		}
		if n/batch%2 == 0 {
			us, them = each(ours, us, n), each(theirs, them, n)
		} else {
			them, us = each(theirs, them, n), each(ours, us, n)
		}
	}
	of := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2]) * float64(c.rate/50) / float64(c.frame)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(of(us), "ns/20ms")
	if theirs != nil {
		b.ReportMetric(of(them), "C-ns/20ms")
		b.ReportMetric(of(us)/of(them), "x-of-C")
	}
}

// Our encoders are made with what the contests say, or the comparison is none.
func TestContestsAreFair(t *testing.T) {
	for _, c := range contests {
		e := c.encoder(t)
		if e.frame() != c.frame || e.rate() != c.rate {
			t.Errorf("%s: frames of %d at %d Hz", c.name, e.frame(), e.rate())
		}
		if c.codec != opus.Name && c.codec != aac.Name {
			continue
		}
		m, peer := c.material(t), c.peer(t)
		var ours, theirs int
		for i := range m.floats {
			p, err := e.encode(m.floats[i])
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs = ours+len(p), theirs+len(peer.Encode(m.ints[i]))
		}
		t.Log(fmt.Sprintf("%s: %d bytes, by the C library %d", c.name, ours, theirs))
		if ours > theirs*3/2 || theirs > ours*3/2 {
			t.Errorf("%s: %d bytes, by the C library %d", c.name, ours, theirs)
		}
	}
}

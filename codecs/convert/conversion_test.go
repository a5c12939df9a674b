package convert

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/opus"
	"lineout/media"
)

// Whatever packets are lost, doubled or late within the rules of a stream, the
// output is continuous but for flagged jumps, and never drifts from the input.
func TestOutputTimeline(t *testing.T) {
	sources := map[media.Codec][]*media.Frame{}
	all := every(t)
	for _, c := range every(t) {
		sources[c.From] = source(t, c.From, 100*ms, 0, time.Second)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(all).Draw(t, "conversion")
		conv, err := c.New(nil, codecs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var out []*media.Frame
		emit := func(f *media.Frame) { out = append(out, f) }
		pts := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "start"))
		first, end := time.Duration(-1), pts
		events := rapid.SliceOfN(rapid.IntRange(0, 11), 4, 20).Draw(t, "events")
		// A quiet end, so that what is held back at the end is of one piece.
		for i, event := range append(events, 9, 9, 9, 9, 9, 9) {
			f := *sources[c.From][i]
			f.PTS = pts
			switch event {
			case 0: // lost packets
				f.PTS += time.Duration(rapid.IntRange(1, 8).Draw(t, "lost")) * 20 * ms
				f.Gap = true
			case 1: // a pause
				f.PTS += time.Duration(rapid.Int64Range(0, int64(400*ms)).Draw(t, "pause"))
			case 2: // the same again
				convertOne(t, conv, f, emit)
			case 3: // two packets in one frame
				f.Data = append(f.Data[:1:1], f.Data[0])
			case 4: // cannot be decoded
				f.Data = [][]byte{{}}
			case 6: // a pause the sender told of
				convertOne(t, conv, media.Frame{PTS: pts, Noise: -60}, emit)
				f.PTS += time.Duration(rapid.Int64Range(0, int64(400*ms)).Draw(t, "quiet"))
			case 5:
				if rapid.IntRange(0, 9).Draw(t, "rare") == 0 {
					f.PTS += time.Duration(rapid.Int64Range(int64(9*time.Second), int64(time.Hour)).Draw(t, "long"))
				}
			}
			convertOne(t, conv, f, emit)
			pts = f.PTS + time.Duration(len(f.Data))*20*ms
			if len(f.Data[0]) > 0 {
				if end = pts; first < 0 {
					first = f.PTS
				}
			}
		}
		checkTimeline(t, out, first, end)
	})
}

func convertOne(t *rapid.T, c codecs.Conversion, f media.Frame, emit func(*media.Frame)) {
	f.Arrival = time.Unix(1000, 0).Add(f.PTS)
	f.NTP = time.Unix(1000000, 0).Add(f.PTS)
	if err := c.Convert(&f, emit); err != nil {
		t.Fatal(err)
	}
}

func checkTimeline(t *rapid.T, out []*media.Frame, first, end time.Duration) {
	if len(out) == 0 {
		t.Fatal("nothing came out")
	}
	if out[0].PTS != first {
		t.Fatalf("the output starts at %v, the input at %v", out[0].PTS, first)
	}
	for i, f := range out {
		if f.Params != out[0].Params || f.Params == nil {
			t.Fatalf("frame %d has other parameters", i)
		}
		if !f.Key || f.PTS != f.DTS || f.Duration <= 0 || f.Packets != nil || len(f.Data) != 1 || len(f.Data[0]) == 0 || f.Arrival.IsZero() {
			t.Fatalf("frame %d: %+v", i, f)
		}
		if want := time.Unix(1000000, 0).Add(f.PTS); !f.NTP.Equal(want) {
			t.Fatalf("frame %d: NTP %v, want %v", i, f.NTP, want)
		}
		if i == 0 {
			continue
		}
		prev := out[i-1]
		if f.DTS <= prev.DTS {
			t.Fatalf("frame %d: DTS %v after %v", i, f.DTS, prev.DTS)
		}
		if !f.Gap && f.PTS != prev.PTS+prev.Duration {
			t.Fatalf("frame %d at %v does not continue the one before, which ends at %v", i, f.PTS, prev.PTS+prev.Duration)
		}
	}
	// What has not come out yet is at most what encoder and resampler hold.
	last := out[len(out)-1]
	if left := end - last.PTS - last.Duration; left > 75*ms || left < -holeMin {
		t.Fatalf("the input ends at %v, the output at %v", end, last.PTS+last.Duration)
	}
}

// Timestamps that run away from the clock on the wall are not filled up.
func TestLeapsAreNotFilled(t *testing.T) {
	frames := source(t, g711.PCMA, 0, 0, time.Second)
	start := time.Unix(1000, 0)
	for i, f := range frames {
		f.PTS += time.Duration(i) * 5 * time.Second
		f.Arrival = start.Add(time.Duration(i) * 20 * ms)
	}
	out := run(t, newTest(t, g711.PCMA, aac.Name, codecs.Options{}), frames)
	if len(out) > 4*len(frames) {
		t.Errorf("%d frames of a second of sound", len(out))
	}
	var last time.Duration
	for i, f := range out {
		if i > 0 && f.DTS <= last {
			t.Fatalf("DTS %v after %v", f.DTS, last)
		}
		last = f.DTS
	}
	// The same holes are filled when they are real.
	for i, f := range frames {
		f.Arrival = start.Add(time.Duration(i) * 5020 * ms)
	}
	out = run(t, newTest(t, g711.PCMA, aac.Name, codecs.Options{}), frames[:3])
	for i, f := range out[1:] {
		if f.PTS != out[i].PTS+out[i].Duration {
			t.Fatalf("frame %d at %v does not continue", i+1, f.PTS)
		}
	}
	if len(out) < 400 {
		t.Errorf("%d frames of 10 s", len(out))
	}
}

func TestAACFramesAreExact(t *testing.T) {
	frames := source(t, g711.PCMA, 0, 0, 10*time.Second)
	out := run(t, newTest(t, g711.PCMA, aac.Name, codecs.Options{}), frames)
	p := out[0].Params
	if p.SampleRate != 48000 || p.Channels != 1 || len(p.Sets) != 1 || len(p.Sets[0]) < 2 {
		t.Fatalf("params %+v", p)
	}
	for i, f := range out {
		want := time.Duration(i) * 1024 * time.Second / 48000
		next := time.Duration(i+1) * 1024 * time.Second / 48000
		if f.PTS != want || f.Duration != next-want {
			t.Fatalf("frame %d: PTS %v, duration %v", i, f.PTS, f.Duration)
		}
	}
}

// A lost Opus packet of which the next one carries a copy comes back better
// than by invention.
func TestOpusErrorCorrectionIsUsed(t *testing.T) {
	frames := coded(t, opus.Name, voice(48000, 4*time.Second), 0)
	play := func(lossKnown bool) []float32 {
		var sent []*media.Frame
		for i, f := range frames {
			g := *f
			if i%7 == 3 {
				continue
			}
			g.Gap = lossKnown && i%7 == 4
			sent = append(sent, &g)
		}
		pcm, _ := heard(t, g711.PCMU, run(t, newTest(t, opus.Name, g711.PCMU, codecs.Options{}), sent))
		return pcm
	}
	whole, _ := heard(t, g711.PCMU, run(t, newTest(t, opus.Name, g711.PCMU, codecs.Options{}), frames))
	with, without := snr(whole, play(true)), snr(whole, play(false))
	t.Logf("14 %% lost: %.1f dB with error correction, %.1f dB without", with, without)
	if with < without+3 {
		t.Errorf("%.1f dB with error correction, %.1f dB without", with, without)
	}
}

// voice is a voice-like sound: harmonics of a gliding pitch in syllables.
func voice(rate int, length time.Duration) []float32 {
	pcm := make([]float32, count(length, rate))
	phase := 0.0
	for i := range pcm {
		at := float64(i) / float64(rate)
		phase += 2 * math.Pi * (140 + 40*math.Sin(2*at)) / float64(rate)
		v := 0.0
		for h := 1.0; h < 12; h++ {
			v += math.Sin(h*phase) / h
		}
		pcm[i] = float32(0.15 * v * (0.6 + 0.4*math.Sin(2*math.Pi*3*at)))
	}
	return pcm
}

func snr(want, got []float32) float64 {
	var sig, noise float64
	for i := range min(len(want), len(got)) {
		d := float64(want[i] - got[i])
		sig, noise = sig+float64(want[i])*float64(want[i]), noise+d*d
	}
	return 10 * math.Log10(sig/noise)
}

// One lost G.711 packet in a steady tone must not be audible as a hole: the
// repeated pitch period keeps the tone going.
func TestConcealedToneHasNoHole(t *testing.T) {
	tone := make([]float32, 160)
	d := newG711Decoder(g711.DecodePCMU)
	planes := [][]float32{nil}
	n := 0
	for i := range 20 {
		for k := range tone {
			tone[k] = float32(0.5 * math.Sin(2*math.Pi*200*float64(n)/8000))
			n++
		}
		if i == 10 {
			d.conceal(planes, 160, nil, true)
		} else if err := d.decode(planes, g711.EncodePCMU(nil, toInt(tone))); err != nil {
			t.Fatal(err)
		}
	}
	want := make([]float32, len(planes[0]))
	for i := range want {
		want[i] = float32(0.5 * math.Sin(2*math.Pi*200*float64(i)/8000))
	}
	from, to := 1600, 1760
	if s := snr(want[from:to], planes[0][from:to]); s < 15 {
		t.Errorf("the concealed packet is %.1f dB from the tone", s)
	}
	if s := snr(want[to:], planes[0][to:]); s < 25 {
		t.Errorf("after it the tone is %.1f dB from what was sent", s)
	}
}

func toInt(f []float32) []int16 {
	out := make([]int16, len(f))
	for i, v := range f {
		out[i] = int16(v * 32767)
	}
	return out
}

func TestOptionsAreRefused(t *testing.T) {
	for _, c := range every(t) {
		if c.To != aac.Name {
			continue
		}
		if _, err := c.New(nil, codecs.Options{SampleRate: 12345}); err == nil {
			t.Errorf("%s to AAC at 12345 Hz was accepted", c.From)
		}
	}
	if _, err := kit(nil).conversion(nil, "nothing", aac.Name, codecs.Options{}); err == nil {
		t.Error("a conversion from nothing was made")
	}
	if _, err := kit(nil).conversion(nil, opus.Name, "nothing", codecs.Options{}); err == nil {
		t.Error("a conversion to nothing was made")
	}
}

// FuzzConvert feeds packets of any bytes at any times: nothing may panic, and
// the times must keep growing.
func FuzzConvert(f *testing.F) {
	f.Add(0, []byte{0xf8, 0xff, 0xfe}, []byte{0xf8, 0xff, 0xfe}, int64(20*ms), true)
	f.Add(3, []byte{0xff, 0x03, 0x00}, []byte{1}, int64(400*ms), false)
	f.Add(1, make([]byte, 160), []byte{}, int64(11*time.Second), true)
	f.Add(5, make([]byte, 3000), []byte{0x08, 0x00}, int64(-time.Second), true)
	f.Fuzz(func(t *testing.T, which int, a, b []byte, step int64, gap bool) {
		all := every(t)
		c := all[int(uint(which)%uint(len(all)))]
		conv, err := c.New(nil, codecs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		last := time.Duration(math.MinInt64)
		at := time.Duration(0)
		for i := range 6 {
			data := a
			if i%2 == 1 {
				data = b
			}
			if len(data) > 4000 {
				data = data[:4000]
			}
			in := &media.Frame{PTS: at, Gap: gap, Data: [][]byte{data}}
			if i == 2 && step%3 == 0 {
				in.Data, in.Noise = nil, int8(step>>8)
			}
			err := conv.Convert(in, func(f *media.Frame) {
				if f.DTS <= last {
					t.Fatalf("DTS %v after %v", f.DTS, last)
				}
				last = f.DTS
			})
			if err != nil {
				t.Fatal(err)
			}
			// Long fills take long; jumps do not.
			if at += time.Duration(step % int64(time.Second)); i == 3 {
				at += time.Duration(step % int64(time.Hour))
			}
		}
	})
}

func BenchmarkConvert20ms(b *testing.B) {
	for _, c := range every(b) {
		b.Run(fmt.Sprintf("%s-%s", c.From, c.To), func(b *testing.B) {
			frames := coded(b, c.From, voice(rates[c.From], 2*time.Second), 0)
			conv := newTest(b, c.From, c.To, codecs.Options{})
			b.ReportAllocs()
			i, at := 0, time.Duration(0)
			emit := func(*media.Frame) {}
			for b.Loop() {
				f := frames[i%len(frames)]
				f.PTS = at
				if err := conv.Convert(f, emit); err != nil {
					b.Fatal(err)
				}
				i, at = i+1, at+20*ms
			}
		})
	}
}

// BenchmarkNew shows what a conversion holds in memory.
func BenchmarkNew(b *testing.B) {
	for _, c := range every(b) {
		b.Run(fmt.Sprintf("%s-%s", c.From, c.To), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.New(nil, codecs.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

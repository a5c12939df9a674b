package g722

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	peer "github.com/gotranspile/g722"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"lineout/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sounds are what a coder may meet: a sweep, noise, full scale, silence.
func sounds() map[string][]int16 {
	r := rand.New(rand.NewPCG(1, 2))
	m := map[string][]int16{"silence": make([]int16, SampleRate)}
	sweep, noise, square, voice := make([]int16, 2*SampleRate), make([]int16, SampleRate), make([]int16, SampleRate), make([]int16, SampleRate)
	phase := 0.0
	for i := range sweep {
		phase += 2 * math.Pi * 7900 * float64(i) / float64(len(sweep)) / SampleRate
		sweep[i] = int16(15000 * math.Sin(phase))
	}
	for i := range noise {
		noise[i] = int16(r.IntN(65536) - 32768)
		square[i] = 32767
		if i/23%2 == 1 {
			square[i] = -32768
		}
		at := float64(i) / SampleRate
		voice[i] = int16(4000 * math.Sin(2*math.Pi*170*at) * (1 + math.Sin(2*math.Pi*700*at) + math.Sin(2*math.Pi*2900*at)) * math.Sin(2*math.Pi*2*at))
	}
	m["sweep"], m["noise"], m["square"], m["voice"] = sweep, noise, square, voice
	return m
}

// Every byte and every sample must be those of an independent implementation.
func TestBitExact(t *testing.T) {
	for name, pcm := range sounds() {
		theirs := make([]byte, len(pcm)/2)
		peer.NewEncoder(peer.Rate64000, 0).Encode(theirs, pcm)
		ours := NewEncoder().Encode(nil, pcm)
		if !bytes.Equal(ours, theirs) {
			for i := range ours {
				if ours[i] != theirs[i] {
					t.Errorf("%s: byte %d is %#x, the independent encoder's %#x", name, i, ours[i], theirs[i])
					break
				}
			}
		}
		compareDecoders(t, name, theirs)
	}
}

func compareDecoders(t interface{ Errorf(string, ...any) }, name string, code []byte) {
	want := make([]int16, 2*len(code))
	peer.NewDecoder(peer.Rate64000, 0).Decode(want, code)
	got := NewDecoder().Decode(nil, code)
	for i := range want {
		// The independent decoder wraps where the standard wants saturation.
		wrapped := (got[i] == math.MaxInt16 || got[i] == math.MinInt16) && (want[i] < 0) != (got[i] < 0)
		if got[i] != want[i] && !wrapped {
			t.Errorf("%s: sample %d is %d, the independent decoder's %d", name, i, got[i], want[i])
			return
		}
	}
}

// Any bytes decode to what the independent decoder makes of them.
func TestDecodeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		compareDecoders(t, "random bytes", rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "code"))
	})
}

func TestBlocksDoNotMatter(t *testing.T) {
	pcm := sounds()["voice"]
	whole := NewEncoder().Encode(nil, pcm)
	e, d := NewEncoder(), NewDecoder()
	var code []byte
	var back []int16
	for len(pcm) > 0 {
		n := min(320, len(pcm))
		code = e.Encode(code[:0], pcm[:n])
		back = d.Decode(back, code)
		pcm = pcm[n:]
	}
	want := NewDecoder().Decode(nil, whole)
	for i := range want {
		if back[i] != want[i] {
			t.Fatalf("sample %d differs", i)
		}
	}
}

func TestCodec(t *testing.T) {
	s := Codec.(codecs.Silencer).Silence()
	if d := Codec.Duration([][]byte{s}); d != 20*time.Millisecond {
		t.Errorf("silence lasts %v", d)
	}
	d := NewDecoder()
	d.Decode(nil, NewEncoder().Encode(nil, sounds()["sweep"])) // leaves the decoder excited
	for i := range 20 {
		for _, v := range d.Decode(nil, s) {
			if i > 1 && (v > 51 || v < -51) {
				t.Fatalf("silence holds a sample of %d", v)
			}
		}
	}
	p := Codec.Params(nil, nil)
	if p == nil || Codec.Params(p, nil) != p || p.SampleRate != 16000 || Codec.ClockRate() != 8000 {
		t.Errorf("params %+v, clock %d", p, Codec.ClockRate())
	}
}

func BenchmarkDecode20ms(b *testing.B) {
	code := NewEncoder().Encode(nil, sounds()["voice"][:320])
	b.Run("own", func(b *testing.B) {
		d, dst := NewDecoder(), make([]int16, 0, 320)
		b.ReportAllocs()
		for b.Loop() {
			d.Decode(dst, code)
		}
	})
	b.Run("gotranspile", func(b *testing.B) {
		d, dst := peer.NewDecoder(peer.Rate64000, 0), make([]int16, 320)
		b.ReportAllocs()
		for b.Loop() {
			d.Decode(dst, code)
		}
	})
}

func BenchmarkEncode20ms(b *testing.B) {
	pcm := sounds()["voice"][:320]
	b.Run("own", func(b *testing.B) {
		e, dst := NewEncoder(), make([]byte, 0, 160)
		b.ReportAllocs()
		for b.Loop() {
			e.Encode(dst, pcm)
		}
	})
	b.Run("gotranspile", func(b *testing.B) {
		e, dst := peer.NewEncoder(peer.Rate64000, 0), make([]byte, 160)
		b.ReportAllocs()
		for b.Loop() {
			e.Encode(dst, pcm)
		}
	})
}

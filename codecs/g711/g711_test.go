package g711

import (
	"math"
	"testing"
	"time"

	zaf "github.com/zaf/g711"
	"go.uber.org/goleak"

	"lineout/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An independent implementation must agree on every code's value, and our
// encoder must never choose a code that is farther from the sample than its.
func TestAgainstIndependentTables(t *testing.T) {
	for _, law := range []struct {
		name      string
		dec       func([]int16, []byte) []int16
		enc       func([]byte, []int16) []byte
		theirDec  func(byte) int16
		theirEnc  func(int16) byte
		minSNR    float64
		worstStep int
	}{
		{"PCMU", DecodePCMU, EncodePCMU, zaf.DecodeUlawFrame, zaf.EncodeUlawFrame, 36, 1024},
		{"PCMA", DecodePCMA, EncodePCMA, zaf.DecodeAlawFrame, zaf.EncodeAlawFrame, 36, 1024},
	} {
		for c := range 256 {
			if got, want := law.dec(nil, []byte{byte(c)})[0], law.theirDec(byte(c)); got != want {
				t.Errorf("%s code %#x: %d, independent %d", law.name, c, got, want)
			}
		}
		var ours, theirs float64
		differ := 0
		for s := math.MinInt16; s <= math.MaxInt16; s++ {
			a := law.enc(nil, []int16{int16(s)})[0]
			b := law.theirEnc(int16(s))
			ea := float64(s) - float64(law.theirDec(a))
			eb := float64(s) - float64(law.theirDec(b))
			ours, theirs = ours+ea*ea, theirs+eb*eb
			if a != b {
				differ++
			}
			if math.Abs(ea) > float64(law.worstStep) {
				t.Fatalf("%s: %d becomes %d", law.name, s, law.theirDec(a))
			}
		}
		t.Logf("%s: %d of 65536 codes differ, squared error %.4f of the independent coder's", law.name, differ, ours/theirs)
		if ours > theirs*1.001 {
			t.Errorf("%s: squared error %.0f, independent %.0f", law.name, ours, theirs)
		}
		sine := make([]int16, 8000)
		for i := range sine {
			sine[i] = int16(20000 * math.Sin(float64(i)*2*math.Pi*1004/8000))
		}
		back := law.dec(nil, law.enc(nil, sine))
		var sig, noise float64
		for i := range sine {
			d := float64(sine[i]) - float64(back[i])
			sig, noise = sig+float64(sine[i])*float64(sine[i]), noise+d*d
		}
		if snr := 10 * math.Log10(sig/noise); snr < law.minSNR {
			t.Errorf("%s: a sine comes back with %.1f dB", law.name, snr)
		}
	}
}

// Decoding and encoding again must give the same code, or tandem calls decay.
func TestIdempotent(t *testing.T) {
	for c := range 256 {
		if got := EncodePCMA(nil, DecodePCMA(nil, []byte{byte(c)}))[0]; got != byte(c) {
			t.Errorf("PCMA %#x comes back as %#x", c, got)
		}
		// 0x7f is mu-law's negative zero.
		if got := EncodePCMU(nil, DecodePCMU(nil, []byte{byte(c)}))[0]; got != byte(c) && c != 0x7f {
			t.Errorf("PCMU %#x comes back as %#x", c, got)
		}
	}
}

func TestCodec(t *testing.T) {
	for _, c := range []codecs.Codec{CodecPCMU, CodecPCMA} {
		s := c.(codecs.Silencer).Silence()
		if d := c.Duration([][]byte{s}); d != 20*time.Millisecond {
			t.Errorf("%s silence lasts %v", c.Name(), d)
		}
		pcm := DecodePCMU(nil, s)
		if c.Name() == PCMA {
			pcm = DecodePCMA(nil, s)
		}
		for _, v := range pcm {
			if v < -8 || v > 8 {
				t.Fatalf("%s silence holds a sample of %d", c.Name(), v)
			}
		}
		p := c.Params(nil, nil)
		if p == nil || c.Params(p, nil) != p || p.SampleRate != 8000 || p.Channels != 1 {
			t.Errorf("%s: params %+v", c.Name(), p)
		}
	}
}

func BenchmarkDecode20ms(b *testing.B) {
	in := make([]byte, 160)
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]int16, 0, 160)
		for b.Loop() {
			DecodePCMA(dst, in)
		}
	})
	b.Run("zaf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			zaf.DecodeAlaw(in)
		}
	})
}

func BenchmarkEncode20ms(b *testing.B) {
	in := make([]int16, 160)
	for i := range in {
		in[i] = int16(i * 200)
	}
	raw := make([]byte, 320)
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 160)
		for b.Loop() {
			EncodePCMA(dst, in)
		}
	})
	b.Run("zaf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			zaf.EncodeAlaw(raw)
		}
	})
}

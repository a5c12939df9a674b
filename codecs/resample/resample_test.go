package resample

import (
	"fmt"
	"math"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sine(n int, hz, rate float64) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(0.5 * math.Sin(2*math.Pi*hz*float64(i)/rate))
	}
	return s
}

// A tone must come out as the same tone at the same place in time: what differs
// from the ideal samples is distortion, images and timing error together.
func TestTonePurityAndAlignment(t *testing.T) {
	for _, tc := range []struct {
		in, out int
		hz      float64
		minSNR  float64
	}{
		{8000, 48000, 300, 60}, {8000, 48000, 1000, 60}, {8000, 48000, 3000, 50},
		{16000, 48000, 1000, 60}, {16000, 48000, 6000, 50},
		{48000, 8000, 300, 60}, {48000, 8000, 1000, 60}, {48000, 8000, 3000, 50},
		{48000, 44100, 1000, 60}, {48000, 44100, 15000, 50}, {44100, 48000, 1000, 60},
		{16000, 8000, 1000, 60}, {8000, 44100, 1000, 60}, {8000, 8000, 1000, 100},
	} {
		r, err := New(tc.in, tc.out)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Process(nil, sine(tc.in, tc.hz, float64(tc.in)))
		want := sine(len(got), tc.hz, float64(tc.out))
		var sig, noise float64
		for i := len(got) / 10; i < len(got); i++ {
			d := float64(got[i] - want[i])
			sig, noise = sig+float64(want[i])*float64(want[i]), noise+d*d
		}
		if snr := 10 * math.Log10(sig/noise); snr < tc.minSNR {
			t.Errorf("%d to %d Hz, tone of %.0f Hz: %.1f dB, want %.0f", tc.in, tc.out, tc.hz, snr, tc.minSNR)
		}
	}
}

// Tones above the new Nyquist frequency must vanish, not fold down.
func TestNoAliases(t *testing.T) {
	for _, hz := range []float64{4600, 6000, 11000, 20000} {
		r, err := New(48000, 8000)
		if err != nil {
			t.Fatal(err)
		}
		out := r.Process(nil, sine(48000, hz, 48000))
		var p float64
		for _, v := range out[800:] {
			p += float64(v) * float64(v)
		}
		if db := 10 * math.Log10(p/float64(len(out)-800)/0.125); db > -50 {
			t.Errorf("a tone of %.0f Hz is left at %.1f dB", hz, db)
		}
	}
}

// However the input is cut, the output is the same, and there is exactly as
// much of it as the ratio says, less what is held back.
func TestBlocksDoNotMatter(t *testing.T) {
	rates := []int{8000, 16000, 44100, 48000}
	rapid.Check(t, func(t *rapid.T) {
		in, out := rapid.SampledFrom(rates).Draw(t, "in"), rapid.SampledFrom(rates).Draw(t, "out")
		a, err := New(in, out)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := New(in, out)
		src := sine(rapid.IntRange(0, 3000).Draw(t, "n"), 440, float64(in))
		whole := a.Process(nil, src)
		var pieces []float32
		for rest := src; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			pieces, rest = b.Process(pieces, rest[:n]), rest[n:]
		}
		if len(whole) != len(pieces) {
			t.Fatalf("%d samples whole, %d in pieces", len(whole), len(pieces))
		}
		for i := range whole {
			if whole[i] != pieces[i] {
				t.Fatalf("sample %d differs", i)
			}
		}
		usable := len(src)
		if in != out {
			usable -= a.Latency()
		}
		if want := (max(usable, 0)*out + in - 1) / in; len(whole) != want {
			t.Fatalf("%d samples from %d, want %d", len(whole), len(src), want)
		}
		a.Reset()
		again := a.Process(nil, src)
		for i := range whole {
			if again[i] != whole[i] {
				t.Fatalf("after Reset sample %d differs", i)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	for _, c := range [][2]int{{0, 8000}, {8000, -1}, {44101, 48000}, {1 << 30, 8000}} {
		if _, err := New(c[0], c[1]); err == nil {
			t.Errorf("%v was accepted", c)
		}
	}
}

func TestChannels(t *testing.T) {
	planes := [][]float32{{1, 2}, {3, 4}}
	il := Interleave(nil, planes)
	back := [][]float32{nil, nil}
	Deinterleave(back, il)
	if fmt.Sprint(il) != "[1 3 2 4]" || fmt.Sprint(back) != fmt.Sprint(planes) {
		t.Fatal(il, back)
	}
	if got := ToInt(nil, []float32{0, 2, -2, 0.5, -1}); fmt.Sprint(got) != "[0 32767 -32768 16384 -32768]" {
		t.Fatal(got)
	}
	for v := math.MinInt16; v <= math.MaxInt16; v++ {
		if got := ToInt(nil, ToFloat(nil, []int16{int16(v)}))[0]; got != int16(v) {
			t.Fatalf("%d comes back as %d", v, got)
		}
	}
}

func BenchmarkResample20ms(b *testing.B) {
	for _, c := range [][2]int{{8000, 48000}, {48000, 8000}, {16000, 48000}, {48000, 44100}} {
		b.Run(fmt.Sprintf("%d-%d", c[0], c[1]), func(b *testing.B) {
			b.ReportAllocs()
			r, err := New(c[0], c[1])
			if err != nil {
				b.Fatal(err)
			}
			src := sine(c[0]/50, 440, float64(c[0]))
			dst := make([]float32, 0, 2000)
			for b.Loop() {
				dst = r.Process(dst[:0], src)
			}
		})
	}
}

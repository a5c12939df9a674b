package g729

import (
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// coder needs the library, which is installed for tests.
func coder(t testing.TB) codecs.Coder {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return c[0]
}

func sound(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(9000 * math.Sin(float64(i)*0.2) * math.Sin(float64(i)*0.0031))
	}
	return pcm
}

func encoded(t testing.TB, pcm []int16) [][]byte {
	t.Helper()
	e, err := coder(t).NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out [][]byte
	for ; len(pcm) >= 160; pcm = pcm[160:] {
		p, err := e.Encode(nil, pcm[:160])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	if _, err := e.Encode(nil, make([]int16, 81)); err == nil {
		t.Error("81 samples are encoded")
	}
	return out
}

func TestFrames(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 0, 2: 1, 10: 1, 11: 0, 12: 2, 20: 2, 200: 20, 202: 0, 210: 0} {
		if got := Frames(make([]byte, n)); got != want {
			t.Errorf("%d bytes are %d frames, want %d", n, got, want)
		}
	}
	if d := Codec.Duration([][]byte{make([]byte, 22)}); d != 30*time.Millisecond {
		t.Errorf("two frames and a descriptor last %v", d)
	}
}

func TestCodec(t *testing.T) {
	p := Codec.Params(nil, nil)
	if p == nil || Codec.Params(p, nil) != p || p.SampleRate != 8000 || Codec.ClockRate() != 8000 || p.Channels != 1 {
		t.Errorf("params %+v, clock %d", p, Codec.ClockRate())
	}
	s := Codec.(codecs.Silencer).Silence()
	if d := Codec.Duration([][]byte{s}); d != 20*time.Millisecond {
		t.Errorf("silence lasts %v", d)
	}
	d, err := coder(t).NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range encoded(t, sound(8000)) {
		if _, err := d.Decode(nil, p); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		pcm, err := d.Decode(nil, s)
		if err != nil || len(pcm) != 160 {
			t.Fatalf("%d samples, %v", len(pcm), err)
		}
		for _, v := range pcm {
			if i > 7 && (v > 2 || v < -2) {
				t.Fatalf("silence holds a sample of %d after %d packets", v, i)
			}
		}
	}
	d.Close()
	d.Close()
	if _, err := d.Decode(nil, s); err == nil {
		t.Error("a closed decoder decodes")
	}
	if n := len(d.Conceal(nil, 33)); n != 33 {
		t.Errorf("a closed decoder conceals %d samples of 33", n)
	}
}

func power(pcm []int16) float64 {
	s := 0.0
	for _, v := range pcm {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(len(pcm)))
}

// After sound an erased frame is concealed and fades; after a silence
// descriptor it is comfort noise that stays (annex B).
func TestErasures(t *testing.T) {
	d, err := coder(t).NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, p := range encoded(t, sound(4000)) {
		if _, err := d.Decode(nil, p); err != nil {
			t.Fatal(err)
		}
	}
	if first, later := power(d.Conceal(nil, 80)), power(d.Conceal(nil, 3200)[3040:]); first < 100 || later > first/10 {
		t.Errorf("the level after sound is %.0f, and %.0f 400 ms later", first, later)
	}
	sid := []byte{0x12, 0x35}
	if _, err := d.Decode(nil, sid); err != nil {
		t.Fatal(err)
	}
	d.Conceal(nil, 800)
	if first, later := power(d.Conceal(nil, 160)), power(d.Conceal(nil, 80000)[79840:]); first < 5 || later < first/2 || later > first*2 {
		t.Errorf("the level after a descriptor is %.0f, and %.0f ten seconds later", first, later)
	}
}

// Any bytes are decoded or refused, with as many samples as were said.
func FuzzDecode(f *testing.F) {
	for _, p := range encoded(f, sound(800)) {
		f.Add(p, append(p[:10:10], 0x12, 0x34))
	}
	f.Add([]byte{0xff, 0xff}, make([]byte, 200))
	c := coder(f)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d, err := c.NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for _, p := range [][]byte{a, b, a, b} {
			pcm, err := d.Decode(nil, p)
			if n := d.Samples(p); len(pcm) != n || (err == nil) != (n > 0) {
				t.Errorf("%x: %d samples, %d said, %v", p, len(pcm), n, err)
			}
			if pcm = d.Conceal(nil, 333); len(pcm) != 333 {
				t.Errorf("%d samples concealed", len(pcm))
			}
		}
	})
}

package speex

import (
	"bytes"
	"math"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both are the coders of both rates; the library is installed for tests.
func both(t testing.TB) []codecs.Coder {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if len(c) != 2 {
		t.Fatalf("%d coders", len(c))
	}
	return c
}

func sound(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(9000 * math.Sin(float64(i)*0.2) * math.Sin(float64(i)*0.0031))
	}
	return pcm
}

func encoded(t testing.TB, c codecs.Coder, pcm []int16) [][]byte {
	t.Helper()
	e, err := c.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out [][]byte
	for n := c.SampleRate / 50; len(pcm) >= n; pcm = pcm[n:] {
		p, err := e.Encode(nil, pcm[:n])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestCodec(t *testing.T) {
	for _, c := range both(t) {
		k := c.Codec
		p := k.Params(nil, nil)
		if p == nil || k.Params(p, nil) != p || p.SampleRate != c.SampleRate || k.ClockRate() != c.SampleRate || p.Channels != 1 {
			t.Errorf("%s: params %+v, clock %d", k.Name(), p, k.ClockRate())
		}
		s := k.(codecs.Silencer).Silence()
		if d := k.Duration([][]byte{s}); d != 20*time.Millisecond {
			t.Errorf("%s: silence lasts %v", k.Name(), d)
		}
		if z := encoded(t, c, make([]int16, c.SampleRate)); !bytes.Equal(z[len(z)-1], s) {
			t.Errorf("%s: zeros become %x", k.Name(), z[len(z)-1])
		}
		d, err := c.NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range encoded(t, c, sound(c.SampleRate)) {
			if _, err := d.Decode(nil, p); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			pcm, err := d.Decode(nil, s)
			if err != nil || len(pcm) != c.SampleRate/50 {
				t.Fatalf("%s: %d samples, %v", k.Name(), len(pcm), err)
			}
			for _, v := range pcm {
				if i > 2 && (v > 2 || v < -2) {
					t.Fatalf("%s: silence holds a sample of %d after %d packets", k.Name(), v, i)
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
}

// put writes bits given as digits, padded as RFC 5574 section 3.3 says.
func put(digits string) []byte {
	for first := true; len(digits)%8 != 0; first = false {
		if first {
			digits += "0"
		} else {
			digits += "1"
		}
	}
	out := make([]byte, len(digits)/8)
	for i, d := range digits {
		out[i/8] |= byte(d-'0') << (7 - i%8)
	}
	return out
}

func zeros(n int) string { return string(bytes.Repeat([]byte{'0'}, n)) }

func TestFrames(t *testing.T) {
	frame := "00001" + zeros(38) // mode 1, 43 bits
	layer := "1001" + zeros(32)  // wide band mode 1, 36 bits
	for _, tc := range []struct {
		name string
		p    []byte
		want int
	}{
		{"nothing", nil, 0},
		{"a frame", put(frame), 1},
		{"two frames", put(frame + frame), 2},
		{"ten frames", put(frame + frame + frame + frame + frame + frame + frame + frame + frame + frame), 10},
		{"eleven frames", put(frame + frame + frame + frame + frame + frame + frame + frame + frame + frame + frame), 0},
		{"wide band", put(frame + layer), 1},
		{"ultra-wide band", put(frame + layer + layer + frame + layer + layer), 2},
		{"three layers", put(frame + layer + layer + layer), 0},
		{"a layer of nothing", put(layer), 0},
		{"a layer of no mode", put(frame + "1101" + zeros(40)), 0},
		{"a layer cut off", put(frame + "1001" + zeros(20)), 0},
		{"a terminator", put(frame + "01111" + zeros(40)), 1},
		{"no frame before the terminator", put("01111"), 0},
		{"null mode", []byte{0x03}, 1},
		{"cut off", put(frame)[:5], 0},
		{"a mode that does not exist", put("01001" + zeros(100)), 0},
		{"a request", put("01110" + "1001" + zeros(8) + frame), 1},
		{"a request cut off", put(frame + "01110" + "1111" + zeros(60)), 0},
		{"a request without number", put(zeros(5) + "01110" + "000"), 0},
		{"a message", put("01101" + "0010" + zeros(5+16) + frame), 1},
		{"a message cut off", put(frame + "01101" + "1111" + zeros(5+8*14)), 0},
		{"wrong padding", append(put(frame)[:5], put(frame)[5]|0x1f), 0},
		{"too long", make([]byte, MaxPacket+1), 0},
	} {
		if got := Frames(tc.p); got != tc.want {
			t.Errorf("%s: %d frames, want %d", tc.name, got, tc.want)
		}
	}
}

// Several frames in a packet give what they give in packets of their own.
func TestFramesTogether(t *testing.T) {
	for _, c := range both(t) {
		packets := encoded(t, c, sound(c.SampleRate))
		one, _ := c.NewDecoder()
		two, _ := c.NewDecoder()
		for i := 0; i+1 < len(packets); i += 2 {
			a, err := one.Decode(nil, packets[i])
			if err == nil {
				a, err = one.Decode(a, packets[i+1])
			}
			if err != nil {
				t.Fatal(err)
			}
			joint := join(packets[i], packets[i+1])
			if n := two.Samples(joint); n != len(a) {
				t.Fatalf("%d samples, want %d", n, len(a))
			}
			b, err := two.Decode(nil, joint)
			if err != nil {
				t.Fatal(err)
			}
			for k := range a {
				if a[k] != b[k] {
					t.Fatalf("%s: packet %d, sample %d differs", c.Codec.Name(), i, k)
				}
			}
		}
		one.Close()
		two.Close()
	}
}

// join puts the frames of two packets, whose last bytes are padded, into one.
func join(a, b []byte) []byte {
	digits := func(p []byte) string {
		var s []byte
		for i := range 8 * len(p) {
			s = append(s, '0'+p[i/8]>>(7-i%8)&1)
		}
		end := len(s)
		for s[end-1] == '1' {
			end--
		}
		return string(s[:end-1])
	}
	return put(digits(a) + digits(b))
}

// What Frames takes the library decodes without a word, and gives as many
// samples as were said.
func FuzzDecode(f *testing.F) {
	for _, c := range both(f) {
		for _, p := range encoded(f, c, sound(1600)) {
			f.Add(p, p[:len(p)/2])
		}
	}
	f.Add([]byte{0x03}, []byte{0x73, 0xff})
	f.Add([]byte{0x04, 0x00}, []byte{0x04, 0x3f}) // null layers, which libspeex 1.2.1 cannot skip
	f.Add(put("01110"+"1001"+zeros(8)+"00001"+zeros(38)+"1001"+zeros(32)), put("01101"+"0010"+zeros(100)))
	coders := both(f)
	said := captureStderr(f)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, c := range coders {
			d, err := c.NewDecoder()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range [][]byte{a, b, a, b} {
				pcm, err := d.Decode(nil, p)
				if n := d.Samples(p); len(pcm) != n || (err == nil) != (n > 0) {
					t.Errorf("%x: %d samples, %d said, %v", p, len(pcm), n, err)
				}
				if pcm = d.Conceal(nil, 500); len(pcm) != 500 {
					t.Errorf("%d samples concealed", len(pcm))
				}
			}
			d.Close()
		}
		if s := said(); s != "" {
			t.Errorf("the library wrote: %s", s)
		}
	})
}

// captureStderr sends what is written to file descriptor 2 to a file, also by
// C code, and returns how to read what is new there.
func captureStderr(f *testing.F) func() string {
	f.Helper()
	file, err := os.CreateTemp(f.TempDir(), "stderr")
	if err != nil {
		f.Fatal(err)
	}
	old, err := syscall.Dup(2)
	if err != nil {
		f.Fatal(err)
	}
	if err := syscall.Dup3(int(file.Fd()), 2, 0); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = syscall.Dup3(old, 2, 0)
		_ = syscall.Close(old)
		_ = file.Close()
	})
	var at int64
	return func() string {
		buf := make([]byte, 4096)
		n, _ := file.ReadAt(buf, at)
		at += int64(n)
		return string(buf[:n])
	}
}

package opus

import (
	"math"
	"testing"
	"time"

	pionopus "github.com/pion/opus"
	"github.com/thesyncim/gopus"
	"go.uber.org/goleak"

	"lineout/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

func TestPacketDuration(t *testing.T) {
	for _, tc := range []struct {
		p    []byte
		want time.Duration
	}{
		{nil, 0},
		{[]byte{0 << 3}, 10 * ms},
		{[]byte{1 << 3}, 20 * ms},
		{[]byte{2 << 3}, 40 * ms},
		{[]byte{3 << 3}, 60 * ms},
		{[]byte{11 << 3}, 60 * ms},
		{[]byte{12 << 3}, 10 * ms},
		{[]byte{15 << 3}, 20 * ms},
		{[]byte{16 << 3}, 2500 * time.Microsecond},
		{[]byte{17 << 3}, 5 * ms},
		{[]byte{31 << 3}, 20 * ms},
		{[]byte{31<<3 | 1}, 40 * ms},
		{[]byte{31<<3 | 2}, 40 * ms},
		{[]byte{31<<3 | 3}, 0},
		{[]byte{31<<3 | 3, 6}, 120 * ms},
		{[]byte{31<<3 | 3, 7}, 0},
		{[]byte{31<<3 | 3, 0}, 0},
		{[]byte{16<<3 | 3, 48}, 120 * ms},
		{[]byte{3<<3 | 3, 0xc2}, 120 * ms},
	} {
		if got := PacketDuration(tc.p); got != tc.want {
			t.Errorf("%x: %v, want %v", tc.p, got, tc.want)
		}
	}
	for config := range 32 {
		for code := range 3 {
			toc := byte(config<<3 | code)
			if got, want := frameDuration(toc>>3), time.Duration(gopus.ParseTOC(toc).FrameSize)*time.Second/48000; got != want {
				t.Errorf("configuration %d: %v, an independent parser says %v", config, got, want)
			}
		}
	}
}

func TestCodec(t *testing.T) {
	p := Codec.Params(nil, nil)
	if p == nil || p.SampleRate != 48000 || Codec.Params(p, [][]byte{{4}}) != p {
		t.Errorf("params %+v", p)
	}
	if Stereo([]byte{31 << 3}) || !Stereo([]byte{31<<3 | 4}) || Stereo(nil) {
		t.Error("stereo is not what the third bit says")
	}
}

// Silence must be 20 ms that two independent decoders hear as silence.
func TestSilence(t *testing.T) {
	s := Codec.(codecs.Silencer).Silence()
	if got := Codec.Duration([][]byte{s}); got != 20*ms {
		t.Fatalf("it lasts %v", got)
	}
	d, err := NewDecoder(48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	pd, err := pionopus.NewDecoderWithOutput(48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		pcm := make([]float32, 5760*2)
		n, err := d.Decode(s, pcm)
		if err != nil || n != 960 {
			t.Fatal(n, err)
		}
		theirs := make([]float32, 5760*2)
		if n, err = pd.DecodeToFloat32(s, theirs); err != nil || n != 960 {
			t.Fatal(n, err)
		}
		for i := range pcm {
			if math.Abs(float64(pcm[i])) > 1e-4 || math.Abs(float64(theirs[i])) > 1e-4 {
				t.Fatalf("sample %d is %v, to the independent decoder %v", i, pcm[i], theirs[i])
			}
		}
	}
}

// What our encoder makes, an independent decoder must hear, at every rate.
func TestEncoderAgainstIndependentDecoder(t *testing.T) {
	for _, rate := range []int{8000, 16000, 48000} {
		for _, channels := range []int{1, 2} {
			e, err := NewEncoder(EncoderConfig{SampleRate: rate, Channels: channels, Bitrate: 32000 * channels, PacketLoss: 5})
			if err != nil {
				t.Fatal(err)
			}
			d, err := pionopus.NewDecoderWithOutput(rate, channels)
			if err != nil {
				t.Fatal(err)
			}
			n := rate / 50
			in, out := make([]float32, n*channels), make([]float32, 5760*2)
			packet := make([]byte, MaxPacket)
			var power float64
			for i := range 50 {
				for k := range n {
					v := float32(0.3 * math.Sin(2*math.Pi*440*float64(i*n+k)/float64(rate)))
					for c := range channels {
						in[k*channels+c] = v
					}
				}
				size, err := e.Encode(in, packet)
				if err != nil || PacketDuration(packet[:size]) != 20*ms {
					t.Fatalf("%d Hz: %v, packet %x", rate, err, packet[:size])
				}
				m, err := d.DecodeToFloat32(packet[:size], out)
				if err != nil || m != n {
					t.Fatalf("%d Hz, %d channels: %d samples, %v", rate, channels, m, err)
				}
				if i >= 10 {
					for _, v := range out[:n*channels] {
						power += float64(v) * float64(v)
					}
				}
			}
			if rms := math.Sqrt(power / float64(40*n*channels)); rms < 0.18 || rms > 0.24 {
				t.Errorf("%d Hz, %d channels: a tone of RMS 0.212 is heard with %.3f", rate, channels, rms)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	if _, err := NewDecoder(44100, 1); err == nil {
		t.Error("a decoder for 44100 Hz was made")
	}
	if _, err := NewEncoder(EncoderConfig{SampleRate: 44100, Channels: 1, Bitrate: 32000}); err == nil {
		t.Error("an encoder for 44100 Hz was made")
	}
	if _, err := NewEncoder(EncoderConfig{SampleRate: 48000, Channels: 1, Bitrate: 32000, PacketLoss: 101}); err == nil {
		t.Error("a loss of 101 % was accepted")
	}
	d, err := NewDecoder(48000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(nil, make([]float32, 5760)); err == nil {
		t.Error("an empty packet was decoded")
	}
}

// FuzzDecode: packets are network bytes; whatever they hold, the decoder says
// no or gives as much as the packet declares, also when concealing around it.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{0xf8, 0xff, 0xfe}, uint8(0))
	f.Add([]byte{0xff, 0x46, 0x01, 0x02}, uint8(1))
	f.Add([]byte{0x08, 0x0b, 0xe4, 0xc1, 0x36, 0xec, 0xc5, 0x80}, uint8(2))
	f.Add([]byte{0x7b, 0x02, 0x00}, uint8(3))
	f.Fuzz(func(t *testing.T, p []byte, form uint8) {
		rate, channels := [...]int{8000, 48000}[form&1], int(form>>1&1)+1
		d, err := NewDecoder(rate, channels)
		if err != nil {
			t.Fatal(err)
		}
		want := int(PacketDuration(p) * time.Duration(rate) / time.Second)
		pcm := make([]float32, rate*120/1000*channels)
		for range 2 {
			if n, err := d.Decode(p, pcm); err == nil && n != want {
				t.Fatalf("%d samples, the packet declares %d", n, want)
			}
			_ = d.Conceal(pcm[:rate/50*channels])
			if want > 0 {
				_ = d.Recover(p, pcm[:want*channels])
			}
		}
	})
}

func BenchmarkDecode20ms(b *testing.B) {
	e, err := NewEncoder(EncoderConfig{SampleRate: 48000, Channels: 1, Bitrate: 32000})
	if err != nil {
		b.Fatal(err)
	}
	in := make([]float32, 960)
	for i := range in {
		in[i] = float32(0.3 * math.Sin(2*math.Pi*440*float64(i)/48000))
	}
	packet := make([]byte, MaxPacket)
	var n int
	for range 10 {
		if n, err = e.Encode(in, packet); err != nil {
			b.Fatal(err)
		}
	}
	pcm := make([]float32, 5760)
	b.Run("own", func(b *testing.B) {
		d, err := NewDecoder(48000, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Decode(packet[:n], pcm); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pion", func(b *testing.B) {
		d, err := pionopus.NewDecoderWithOutput(48000, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.DecodeToFloat32(packet[:n], pcm); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncode20ms(b *testing.B) {
	for _, rate := range []int{8000, 48000} {
		b.Run(map[int]string{8000: "8k", 48000: "48k"}[rate], func(b *testing.B) {
			e, err := NewEncoder(EncoderConfig{SampleRate: rate, Channels: 1, Bitrate: 24000, PacketLoss: 5})
			if err != nil {
				b.Fatal(err)
			}
			in := make([]float32, rate/50)
			for i := range in {
				in[i] = float32(0.3 * math.Sin(2*math.Pi*440*float64(i)/float64(rate)))
			}
			packet := make([]byte, MaxPacket)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Encode(in, packet); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

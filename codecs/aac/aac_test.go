package aac

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEncoder(t *testing.T) {
	e, err := NewEncoder(EncoderConfig{SampleRate: 48000, Channels: 1, Bitrate: 64000})
	if err != nil {
		t.Fatal(err)
	}
	p := e.Params()
	// ISO/IEC 14496-3 section 1.6.2.1: object type 2, frequency index 3, one channel.
	if p.SampleRate != 48000 || p.Channels != 1 || len(p.Sets) != 1 || !bytes.HasPrefix(p.Sets[0], []byte{0x11, 0x88}) {
		t.Fatalf("params %+v", p)
	}
	frame := make([]float32, FrameSize)
	bytesOut := 0
	for i := range 100 {
		for k := range frame {
			frame[k] = float32(0.3 * math.Sin(2*math.Pi*440*float64(i*FrameSize+k)/48000))
		}
		au, err := e.Encode(nil, [][]float32{frame})
		if err != nil {
			t.Fatal(err)
		}
		if want := i >= 2; (len(au) > 0) != want {
			t.Fatalf("call %d gave %d bytes", i, len(au))
		}
		bytesOut += len(au)
	}
	if e.Params() != p {
		t.Error("the parameters changed their address")
	}
	if kbit := float64(bytesOut) * 8 / (98 * 1024 / 48.0); kbit < 10 || kbit > 100 {
		t.Errorf("%.0f kbit/s where 64 were asked for", kbit)
	}
	if _, err := NewEncoder(EncoderConfig{SampleRate: 8000, Channels: 1}); err == nil {
		t.Error("8000 Hz was accepted")
	}
}

func TestCodec(t *testing.T) {
	if got := Codec.Duration([][]byte{{1}, {2}}); got != 42666666*time.Nanosecond {
		t.Errorf("two access units last %v", got)
	}
	if Codec.Params(nil, [][]byte{{1}}) != nil {
		t.Error("parameters out of nothing")
	}
}

func TestSeveralUnitsInOnePacket(t *testing.T) {
	d := Codec.NewDepacketizer()
	us := d.Push(&rtp.Packet{Payload: []byte{0, 32, 0, 2 << 3, 0, 1 << 3, 7, 8, 9}}, false)
	if len(us) != 1 || us[0].Damaged || len(us[0].Data) != 2 || !bytes.Equal(us[0].Data[0], []byte{7, 8}) || !bytes.Equal(us[0].Data[1], []byte{9}) {
		t.Fatalf("%+v", us)
	}
}

// Round trip through RTP; a lost fragment never lets a wrong unit through.
func TestRTPRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, d := Codec.NewPacketizer(rapid.IntRange(16, 300).Draw(t, "mtu")), Codec.NewDepacketizer()
		lost := false
		for ts := range uint32(rapid.IntRange(1, 10).Draw(t, "units")) {
			au := rapid.SliceOfN(rapid.Byte(), 1, 1000).Draw(t, "au")
			payloads, err := z.Packetize([][]byte{au})
			if err != nil {
				t.Fatal(err)
			}
			got, whole := [][]byte(nil), true
			for i, p := range payloads {
				if rapid.IntRange(0, 19).Draw(t, "loss") == 0 {
					lost, whole = true, false
					continue
				}
				pkt := &rtp.Packet{Header: rtp.Header{Timestamp: ts, Marker: i == len(payloads)-1}, Payload: bytes.Clone(p)}
				for _, u := range d.Push(pkt, lost) {
					if !u.Damaged {
						got = append(got, u.Data...)
					}
				}
				lost = false
			}
			if whole && (len(got) != 1 || !bytes.Equal(got[0], au)) {
				t.Fatalf("unit %d came back as %x, was %x", ts, got, au)
			}
			if !whole && len(got) > 0 {
				t.Fatalf("unit %d lost a packet and came back as %x", ts, got)
			}
		}
	})
}

func FuzzDepacketizer(f *testing.F) {
	f.Add([]byte{0, 16, 0, 8, 1}, []byte{0, 16, 0xff, 0xf8, 1})
	f.Add([]byte{0, 32, 0, 8, 0, 8, 1, 2}, []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d := Codec.NewDepacketizer()
		for i, p := range [][]byte{a, b, a, b, b} {
			for _, u := range d.Push(&rtp.Packet{Header: rtp.Header{Timestamp: uint32(i / 2)}, Payload: p}, i == 3) {
				for _, au := range u.Data {
					if len(au) == 0 || len(au) > maxUnit {
						t.Fatalf("an access unit of %d bytes", len(au))
					}
				}
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	e, err := NewEncoder(EncoderConfig{SampleRate: 48000, Channels: 1, Bitrate: 64000})
	if err != nil {
		b.Fatal(err)
	}
	frame := make([]float32, FrameSize)
	for k := range frame {
		frame[k] = float32(0.3 * math.Sin(2*math.Pi*440*float64(k)/48000))
	}
	buf, planes := make([]byte, 0, 4096), [][]float32{frame}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(buf, planes); err != nil {
			b.Fatal(err)
		}
	}
}

package vp8

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/exec"
	"testing"

	"github.com/pion/rtp"
	pioncodecs "github.com/pion/rtp/codecs"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"lineout/codecs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is the smallest key frame header: 640x360.
var key = []byte{0x50, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01, 0xff}

func pkt(ts uint32, marker bool, payload ...byte) *rtp.Packet {
	return &rtp.Packet{Header: rtp.Header{Timestamp: ts, Marker: marker}, Payload: payload}
}

func TestKeyframeAndParams(t *testing.T) {
	if !Codec.Keyframe([][]byte{key}) {
		t.Error("a key frame is none")
	}
	p := Codec.Params(nil, [][]byte{key})
	if p == nil || p.Width != 640 || p.Height != 360 {
		t.Fatalf("%+v", p)
	}
	scaled := bytes.Clone(key)
	scaled[7] |= 0x40 // a wish to scale, not part of the width
	inter := bytes.Clone(key)
	inter[0] |= 1
	for _, d := range [][][]byte{{key}, {scaled}, {inter}, nil, {{}}, {key[:9]}} {
		if Codec.Params(p, d) != p {
			t.Errorf("%x gave new parameters", d)
		}
	}
	other := bytes.Clone(key)
	other[6] = 0x40
	if q := Codec.Params(p, [][]byte{other}); q == p || q.Width != 576 || p.Width != 640 {
		t.Errorf("%+v after %+v", q, p)
	}
	noStart := bytes.Clone(key)
	noStart[3] = 0
	for _, d := range [][][]byte{{inter}, nil, {{}}, {key[:9]}, {noStart}} {
		if Codec.Keyframe(d) || Codec.Params(nil, d) != nil {
			t.Errorf("%x is a key frame", d)
		}
	}
}

func TestDescriptor(t *testing.T) {
	for _, tc := range []struct {
		b    []byte
		want descriptor
		ok   bool
	}{
		{[]byte{0x10, 1}, descriptor{true, 0, -1, 1}, true},
		{[]byte{0x03, 1}, descriptor{false, 3, -1, 1}, true},
		{[]byte{0x90, 0x80, 0x11, 1}, descriptor{true, 0, 0x11, 3}, true},
		{[]byte{0x90, 0x80, 0x91, 0x22, 1}, descriptor{true, 0, 0x1122, 4}, true},
		{[]byte{0x90, 0xe0, 0x91, 0x22, 5, 6, 1}, descriptor{true, 0, 0x1122, 6}, true},
		{[]byte{0x90, 0x40, 5, 1}, descriptor{true, 0, -1, 3}, true},
		{[]byte{0x90, 0x20, 5, 1}, descriptor{true, 0, -1, 3}, true},
		{[]byte{0x90, 0x10, 5, 1}, descriptor{true, 0, -1, 3}, true},
		{[]byte{0x90, 0x30, 5, 1}, descriptor{true, 0, -1, 3}, true},
		{nil, descriptor{}, false},
		{[]byte{0x10}, descriptor{}, false},
		{[]byte{0x90, 0x80}, descriptor{}, false},
		{[]byte{0x90, 0x80, 0x91}, descriptor{}, false},
		{[]byte{0x90, 0xf0, 0x91, 0x22, 5, 6}, descriptor{}, false},
	} {
		got, ok := parseDescriptor(tc.b)
		if ok != tc.ok || ok && got != tc.want {
			t.Errorf("%x: %+v %v, want %+v %v", tc.b, got, ok, tc.want, tc.ok)
		}
	}
}

func short(us []codecs.AccessUnit) string {
	s := ""
	for _, u := range us {
		s += fmt.Sprintf("%d:%x/%d", u.Timestamp, u.Data, len(u.Packets))
		if u.Damaged {
			s += "!"
		}
		s += " "
	}
	return s
}

func TestDepacketizer(t *testing.T) {
	type push struct {
		p    *rtp.Packet
		lost bool
		want string
	}
	for _, tc := range []struct {
		name string
		in   []push
	}{
		{"one packet", []push{{pkt(1, true, 0x10, 7), false, "1:[07]/1 "}, {pkt(2, true, 0x10, 8), false, "2:[08]/1 "}}},
		{"three packets, two partitions", []push{{pkt(1, false, 0x10, 1), false, ""}, {pkt(1, false, 0x00, 2), false, ""}, {pkt(1, true, 0x11, 3), false, "1:[010203]/3 "}}},
		{"no markers", []push{{pkt(1, false, 0x10, 1), false, ""}, {pkt(2, false, 0x10, 2), false, "1:[01]/1 "}}},
		{"marker on every packet", []push{
			{pkt(1, true, 0x10, 1), false, "1:[01]/1 "}, {pkt(1, true, 0x00, 2), false, ""},
			{pkt(2, true, 0x10, 3), false, "1:[02]/1! "}, {pkt(2, true, 0x00, 4), false, ""},
			{pkt(3, true, 0x10, 5), false, "2:[0304]/2 "}}},
		{"head lost", []push{{pkt(1, true, 0x00, 1), true, "1:[01]/1! "}}},
		{"middle lost", []push{{pkt(1, false, 0x10, 1), false, ""}, {pkt(1, true, 0x00, 2), true, "1:[0102]/2! "}}},
		{"tail lost", []push{{pkt(1, false, 0x10, 1), false, ""}, {pkt(2, true, 0x10, 2), true, "1:[01]/1! 2:[02]/1 "}}},
		{"loss between frames", []push{{pkt(1, true, 0x10, 1), false, "1:[01]/1 "}, {pkt(3, true, 0x10, 2), true, "3:[02]/1 "}}},
		{"starts in the middle", []push{{pkt(1, true, 0x11, 1), false, "1:[01]/1! "}}},
		{"starts twice", []push{{pkt(1, false, 0x10, 1), false, ""}, {pkt(1, true, 0x10, 2), false, "1:[0102]/2! "}}},
		{"cut descriptor", []push{{pkt(1, true, 0x90, 0x80), false, "1:[]/0! "}}},
		{"keep-alive", []push{{pkt(1, false, 0x10, 1), false, ""}, {pkt(9, false), true, ""}, {pkt(1, true, 0x00, 2), false, "1:[0102]/2! "}}},
	} {
		d := Codec.NewDepacketizer()
		for i, in := range tc.in {
			if got := short(d.Push(in.p, in.lost)); got != in.want {
				t.Errorf("%s: packet %d: %q, want %q", tc.name, i, got, in.want)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	d := Codec.NewDepacketizer().(*depacketizer)
	big := append([]byte{0x00}, make([]byte, 60000)...)
	for i := range 10000 {
		p := []byte{0x00, 1}
		if i < 200 {
			p = big
		}
		d.Push(pkt(1, false, p...), false)
		if d.size > maxFrameSize || len(d.parts) > maxFramePackets || len(d.packets) > maxFramePackets {
			t.Fatalf("packet %d: %d bytes, %d packets", i, d.size, len(d.packets))
		}
	}
	if us := d.Push(pkt(2, true, 0x10, 1), false); len(us) != 2 || !us[0].Damaged || us[1].Damaged {
		t.Fatalf("%d units", len(us))
	}
}

// Frames come back as they were; with loss, what is not flagged is still whole.
// Pion's depacketizer must read our packets too.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mtu := rapid.IntRange(16, 300).Draw(t, "mtu")
		loss := rapid.SampledFrom([]int{0, 5, 30}).Draw(t, "loss")
		z, d := Codec.NewPacketizer(mtu), Codec.NewDepacketizer()
		lost, before := false, false
		for ts := range uint32(rapid.IntRange(1, 10).Draw(t, "frames")) {
			frame := rapid.SliceOfN(rapid.Byte(), 1, 1000).Draw(t, "frame")
			payloads, err := z.Packetize([][]byte{frame})
			if err != nil {
				t.Fatal(err)
			}
			var theirs []byte
			var got [][]byte
			touched := false
			for i, p := range payloads {
				if len(p) > mtu {
					t.Fatalf("%d bytes, the limit is %d", len(p), mtu)
				}
				var v pioncodecs.VP8Packet
				body, err := v.Unmarshal(p)
				if err != nil || uint32(v.PictureID) != ts || (v.S == 1) != (i == 0) {
					t.Fatalf("pion reads %+v, %v", v, err)
				}
				theirs = append(theirs, body...)
				if loss > 0 && rapid.IntRange(1, 100).Draw(t, "dice") <= loss {
					lost, touched = true, true
					continue
				}
				for _, u := range d.Push(pkt(ts, i == len(payloads)-1, bytes.Clone(p)...), lost) {
					if u.Timestamp == ts && !u.Damaged {
						got = u.Data
					}
				}
				lost = false
			}
			if !bytes.Equal(theirs, frame) {
				t.Fatal("pion reads another frame")
			}
			whole := len(got) == 1 && bytes.Equal(got[0], frame)
			if !touched && !before && !whole || touched && got != nil {
				t.Fatalf("frame %d, lost packets %v, came back as %x, was %x", ts, touched, got, frame)
			}
			before = touched
		}
	})
}

// A stream by libvpx: sizes, key frames, and every bit after the round trip.
func TestRealStream(t *testing.T) {
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=rate=25:duration=1:size=322x242",
		"-c:v", "libvpx", "-g", "10", "-deadline", "realtime", "-cpu-used", "8", "-f", "ivf", "pipe:1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	ivf, err := cmd.Output()
	if err != nil || len(ivf) < 32 {
		t.Fatalf("ffmpeg with libvpx must be installed: %v: %s", err, stderr.String())
	}
	z, d := Codec.NewPacketizer(500), Codec.NewDepacketizer()
	frames, keys := 0, 0
	for b := ivf[32:]; len(b) >= 12; frames++ {
		n := binary.LittleEndian.Uint32(b)
		frame := b[12 : 12+n]
		b = b[12+n:]
		payloads, err := z.Packetize([][]byte{frame})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range payloads {
			for _, u := range d.Push(pkt(uint32(frames), i == len(payloads)-1, bytes.Clone(p)...), false) {
				if u.Damaged || len(u.Data) != 1 || !bytes.Equal(u.Data[0], frame) {
					t.Fatalf("frame %d is not what it was", frames)
				}
			}
		}
		if Codec.Keyframe([][]byte{frame}) {
			keys++
			if p := Codec.Params(nil, [][]byte{frame}); p.Width != 322 || p.Height != 242 {
				t.Fatalf("%+v", p)
			}
		}
	}
	if frames != 25 || keys != 3 {
		t.Fatalf("%d frames, %d key frames", frames, keys)
	}
}

func TestPacketizerRefusals(t *testing.T) {
	for _, in := range [][][]byte{nil, {{}}, {{1}, {2}}} {
		if _, err := Codec.NewPacketizer(0).Packetize(in); err == nil {
			t.Errorf("%v was packed", in)
		}
	}
}

func FuzzDepacketizer(f *testing.F) {
	f.Add([]byte{0x90, 0x80, 0x91, 0x22, 1}, []byte{0x00, 2}, []byte{0x90, 0xf0}, uint8(0x5a))
	f.Add(append([]byte{0x10}, key...), []byte{}, []byte{0x11, 1}, uint8(0))
	f.Fuzz(func(t *testing.T, a, b, c []byte, flags uint8) {
		d := Codec.NewDepacketizer()
		ts := uint32(0)
		for i, p := range [][]byte{a, b, c, b, c, a, a, c} {
			if flags>>i&1 == 1 {
				ts++
			}
			for _, u := range d.Push(pkt(ts, i%3 == 2, p...), flags>>(7-i)&1 == 1) {
				if len(u.Data) > 1 || !u.Damaged && (len(u.Data) == 0 || len(u.Data[0]) == 0) {
					t.Fatalf("%+v", u)
				}
				Codec.Keyframe(u.Data)
				if q := Codec.Params(nil, u.Data); q != nil && (q.Width < 1 || q.Height < 1) {
					t.Fatalf("%+v", q)
				}
			}
		}
	})
}

func BenchmarkDepacketize(b *testing.B) {
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprintf("%d packets", n), func(b *testing.B) {
			ps := make([]*rtp.Packet, n)
			for i := range ps {
				ps[i] = pkt(0, i == n-1, append([]byte{0x00}, make([]byte, 999)...)...)
			}
			ps[0].Payload[0] = 0x10
			d := Codec.NewDepacketizer()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p := ps[i%n]
				p.Timestamp = uint32(i / n)
				d.Push(p, false)
			}
		})
	}
}

package h264

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/pion/rtp"
	pioncodecs "github.com/pion/rtp/codecs"
	"pgregory.net/rapid"

	"lineout/codecs"
)

func pkt(ts uint32, marker bool, payload ...byte) *rtp.Packet {
	return &rtp.Packet{Header: rtp.Header{Timestamp: ts, Marker: marker}, Payload: payload}
}

// A unit in short: its timestamp, its NAL units, its packets, damage.
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
	idr, p0, p1 := []byte{0x65, 0x88}, []byte{0x41, 0x9a}, []byte{0x41, 0x1a} // p1 is not the picture's first slice
	for _, tc := range []struct {
		name string
		in   []push
	}{
		{"single", []push{{pkt(1, true, idr...), false, "1:[6588]/1 "}, {pkt(2, true, p0...), false, "2:[419a]/1 "}}},
		{"slices", []push{{pkt(1, false, idr...), false, ""}, {pkt(1, true, p1...), false, "1:[6588 411a]/2 "}}},
		{"STAP-A", []push{{pkt(1, false, 0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2), false, ""}, {pkt(1, true, idr...), false, "1:[6701 6802 6588]/2 "}}},
		{"FU-A", []push{{pkt(1, false, 0x7c, 0x85, 0x88), false, ""}, {pkt(1, false, 0x7c, 0x05, 2), false, ""}, {pkt(1, true, 0x7c, 0x45, 3), false, "1:[65880203]/3 "}}},
		{"AUD and filler go", []push{{pkt(1, false, 0x09, 0x10), false, ""}, {pkt(1, false, idr...), false, ""}, {pkt(1, true, 0x0c, 0xff), false, "1:[6588]/3 "}}},
		{"AUD in STAP-A goes", []push{{pkt(1, true, 0x18, 0, 2, 9, 0x10, 0, 2, 0x65, 0x88), false, "1:[6588]/1 "}}},
		{"no markers at all", []push{{pkt(1, false, idr...), false, ""}, {pkt(2, false, p0...), false, "1:[6588]/1 "}, {pkt(3, false, p0...), false, "2:[419a]/1 "}}},
		{"sets with a marker of their own", []push{{pkt(1, true, 0x67, 1), false, ""}, {pkt(1, true, 0x68, 2), false, ""}, {pkt(1, true, idr...), false, "1:[6701 6802 6588]/3 "}}},
		{"sets with a timestamp of their own", []push{{pkt(1, true, 0x67, 1), false, ""}, {pkt(2, true, idr...), false, "2:[6701 6588]/2 "}}},
		{"a marker on every slice", []push{
			{pkt(1, true, idr...), false, "1:[6588]/1 "},
			{pkt(1, true, p1...), false, ""}, // the first picture is the price of finding out
			{pkt(2, true, p0...), false, "1:[411a]/1! "},
			{pkt(2, true, p1...), false, ""},
			{pkt(3, true, p0...), false, "2:[419a 411a]/2 "},
		}},
		{"loss in a unit", []push{{pkt(1, false, idr...), false, ""}, {pkt(1, true, p1...), true, "1:[6588 411a]/2! "}}},
		{"loss between units", []push{{pkt(1, true, idr...), false, "1:[6588]/1 "}, {pkt(3, true, p0...), true, "3:[419a]/1 "}}},
		{"loss of a unit's head", []push{{pkt(1, true, idr...), false, "1:[6588]/1 "}, {pkt(2, true, p1...), true, "2:[411a]/1! "}}},
		{"loss of a unit's tail", []push{{pkt(1, false, idr...), false, ""}, {pkt(2, true, p0...), true, "1:[6588]/1! 2:[419a]/1 "}}},
		{"loss before a keep-alive", []push{{pkt(1, false, idr...), false, ""}, {pkt(1, false), true, ""}, {pkt(1, true, p1...), false, "1:[6588 411a]/2! "}}},
		{"FU-A without start", []push{{pkt(1, true, 0x7c, 0x45, 1), false, "1:[]/1! "}}},
		{"FU-A without end", []push{{pkt(1, true, 0x7c, 0x85, 0x88), false, ""}, {pkt(2, true, p0...), false, "1:[]/1! 2:[419a]/1 "}}},
		{"FU-A changes type", []push{{pkt(1, false, 0x7c, 0x85, 0x88), false, ""}, {pkt(1, true, 0x7c, 0x41, 1), false, "1:[]/2! "}}},
		{"FU-A starts twice", []push{{pkt(1, false, 0x7c, 0x85, 0x88), false, ""}, {pkt(1, false, 0x7c, 0x85, 0x88), false, ""}, {pkt(1, true, 0x7c, 0x45, 9), false, "1:[658809]/3! "}}},
		{"FU-A broken by a single", []push{{pkt(1, false, 0x7c, 0x85, 0x88), false, ""}, {pkt(1, true, idr...), false, "1:[6588]/2! "}}},
		{"FU-B", []push{{pkt(1, true, 0x7d, 0x85, 0, 0, 1), false, "1:[]/1! "}}},
		{"STAP-B", []push{{pkt(1, true, 0x79, 0, 0, 0, 1, 0x65), false, "1:[]/1! "}}},
		{"MTAP", []push{{pkt(1, true, 0x7a, 0, 0), false, "1:[]/1! "}}},
		{"STAP-A too long", []push{{pkt(1, true, 0x78, 0, 9, 0x65), false, "1:[]/1! "}}},
		{"STAP-A empty", []push{{pkt(1, true, 0x78), false, "1:[]/1! "}}},
		{"STAP-A nested", []push{{pkt(1, true, 0x78, 0, 2, 0x78, 0), false, "1:[]/1! "}}},
		{"forbidden bit", []push{{pkt(1, true, 0xe5, 0x88), false, "1:[]/1! "}}},
		{"timestamps wrap", []push{{pkt(0xffffffff, true, idr...), false, "4294967295:[6588]/1 "}, {pkt(0, true, p0...), false, "0:[419a]/1 "}}},
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
	big := append([]byte{0x41}, make([]byte, 60000)...)
	frag := append([]byte{0x7c, 0x01}, make([]byte, 60000)...)
	d.Push(pkt(1, false, 0x7c, 0x81, 0x88), false)
	for i := range 20000 {
		p := big
		if i < 200 {
			p = frag
		} else if i > 400 {
			p = []byte{0x41, 1}
		}
		d.Push(pkt(1, false, p...), false)
		if d.size > maxUnitSize+len(big) || len(d.nals) > maxUnitNALs || len(d.packets) > maxUnitPackets {
			t.Fatalf("packet %d: %d bytes, %d NAL units, %d packets", i, d.size, len(d.nals), len(d.packets))
		}
	}
	us := d.Push(pkt(2, true, 0x65, 0x88), false)
	if len(us) != 2 || !us[0].Damaged || us[1].Damaged || len(us[1].Data) != 1 {
		t.Fatalf("%d units", len(us))
	}
}

// units draws pictures: some parameter sets, then slices of any size. The
// first slice starts at macroblock 0, the others do not.
func units(t *rapid.T) [][][]byte {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [][]byte {
		var au [][]byte
		if rapid.Bool().Draw(t, "sets") {
			for _, h := range []byte{0x67, 0x68, 0x06} {
				au = append(au, append([]byte{h}, rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "set")...))
			}
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "slices") {
			n := append([]byte{0x65, 0x08}, rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "slice")...)
			if i == 0 {
				n[1] |= 0x80
			}
			au = append(au, n)
		}
		return au
	}), 1, 8).Draw(t, "units")
}

func packets(t *rapid.T, z codecs.Packetizer, mtu int, ts uint32, au [][]byte) []*rtp.Packet {
	payloads, err := z.Packetize(au)
	if err != nil {
		t.Fatal(err)
	}
	var ps []*rtp.Packet
	for i, p := range payloads {
		if len(p) > mtu {
			t.Fatalf("a payload of %d bytes, the limit is %d", len(p), mtu)
		}
		ps = append(ps, pkt(ts, i == len(payloads)-1, bytes.Clone(p)...))
	}
	return ps
}

func same(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// What is packed comes back, in whatever sizes; and when packets are lost, what
// comes back undamaged is still exactly what was sent.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mtu := rapid.IntRange(16, 400).Draw(t, "mtu")
		loss := rapid.SampledFrom([]int{0, 5, 30}).Draw(t, "loss")
		z, d := Codec.NewPacketizer(mtu), Codec.NewDepacketizer()
		sent := units(t)
		lost, touched := false, map[uint32]bool{}
		got := map[uint32][][]byte{}
		push := func(p *rtp.Packet) {
			for _, u := range d.Push(p, lost) {
				if !u.Damaged {
					got[u.Timestamp] = u.Data
				}
			}
			lost = false
		}
		for ts, au := range sent {
			for _, p := range packets(t, z, mtu, uint32(ts), au) {
				if loss > 0 && rapid.IntRange(1, 100).Draw(t, "dice") <= loss {
					lost, touched[uint32(ts)] = true, true
					continue
				}
				push(p)
			}
		}
		push(pkt(uint32(len(sent)), true, 0x65, 0x88))
		for ts, au := range sent {
			u, ok := got[uint32(ts)]
			switch {
			case !touched[uint32(ts)] && !touched[uint32(ts)-1] && !(ok && same(u, au)):
				t.Fatalf("unit %d came back as %x, was %x", ts, u, au)
			case ok && touched[uint32(ts)] && !lostOnlySets(u, au):
				t.Fatalf("unit %d lost packets and came back undamaged as %x, was %x", ts, u, au)
			}
		}
	})
}

// lostOnlySets says whether u is au without some of the parameter sets in
// front: the one loss at a unit's head that cannot be seen from its packets.
func lostOnlySets(u, au [][]byte) bool {
	skipped := len(au) - len(u)
	if skipped < 0 || !same(u, au[skipped:]) {
		return false
	}
	for _, n := range au[:skipped] {
		if isVCL(nalType(n)) {
			return false
		}
	}
	return true
}

// A real stream, cut in slices, keeps every bit and its order.
func TestRealStream(t *testing.T) {
	nals := encoded(t, "640x360", "-x264-params", "slices=4:aud=1")
	z, d := Codec.NewPacketizer(500), Codec.NewDepacketizer()
	var au, want, got [][]byte
	ts, keys := uint32(0), 0
	flush := func() {
		if len(au) == 0 {
			return
		}
		payloads, err := z.Packetize(au)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range payloads {
			for _, u := range d.Push(pkt(ts, i == len(payloads)-1, bytes.Clone(p)...), false) {
				if u.Damaged {
					t.Fatal("damaged")
				}
				if got = append(got, u.Data...); Codec.Keyframe(u.Data) {
					keys++
				}
			}
		}
		au, ts = nil, ts+3600
	}
	for _, n := range nals {
		if nalType(n) == nalAUD {
			flush()
		} else {
			want = append(want, n)
		}
		au = append(au, n)
	}
	flush()
	if !same(got, want) || ts != 25*3600 || keys != 3 {
		t.Fatalf("%d of %d NAL units, %d pictures, %d key frames", len(got), len(want), ts/3600, keys)
	}
}

func TestPacketizerRefusesNothing(t *testing.T) {
	for _, in := range [][][]byte{nil, {}, {{}}} {
		if _, err := Codec.NewPacketizer(0).Packetize(in); err == nil {
			t.Errorf("%v was packed", in)
		}
	}
}

func FuzzDepacketizer(f *testing.F) {
	f.Add([]byte{0x65, 0x88}, []byte{0x7c, 0x85, 1}, []byte{0x7c, 0x45, 2}, uint8(0))
	f.Add([]byte{0x78, 0, 1, 0x67, 0, 1, 0x68}, []byte{0x41}, []byte{0x7d, 1, 2, 3}, uint8(0x5a))
	f.Fuzz(func(t *testing.T, a, b, c []byte, flags uint8) {
		d := Codec.NewDepacketizer().(*depacketizer)
		ts := uint32(0)
		for i, p := range [][]byte{a, b, c, b, c, a, a, c} {
			if flags>>i&1 == 1 {
				ts++
			}
			for _, u := range d.Push(pkt(ts, i%3 == 2, p...), flags>>(7-i)&1 == 1) {
				for _, n := range u.Data {
					if len(n) == 0 || nalType(n) == 0 || nalType(n) > nalMaxSingle {
						t.Fatalf("NAL unit %x", n)
					}
				}
				if !u.Damaged && len(u.Data) == 0 {
					t.Fatal("an empty unit that is not damaged")
				}
			}
			if d.size < 0 || len(d.nals) == 0 && len(d.frags) == 0 && d.size != 0 && !d.damaged {
				t.Fatalf("size %d of nothing", d.size)
			}
		}
	})
}

func BenchmarkDepacketize(b *testing.B) {
	slice := append([]byte{0x41, 0x9a}, make([]byte, 998)...)
	start := append([]byte{0x7c, 0x81, 0x9a}, make([]byte, 997)...)
	middle := append([]byte{0x7c, 0x01}, make([]byte, 998)...)
	end := append([]byte{0x7c, 0x41}, make([]byte, 998)...)
	for _, bc := range []struct {
		name     string
		payloads [][]byte
	}{
		{"single", [][]byte{slice, slice, slice, slice}},
		{"FU-A", [][]byte{start, middle, middle, end}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			d := Codec.NewDepacketizer()
			ps := make([]*rtp.Packet, len(bc.payloads))
			for i, p := range bc.payloads {
				ps[i] = pkt(0, i == len(ps)-1, p...)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p := ps[i%len(ps)]
				p.Timestamp = uint32(i / len(ps))
				d.Push(p, false)
			}
		})
		b.Run(bc.name+" pion", func(b *testing.B) {
			var d pioncodecs.H264Packet
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := d.Unmarshal(bc.payloads[i%len(bc.payloads)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPacketize(b *testing.B) {
	z := Codec.NewPacketizer(1200)
	au := [][]byte{append([]byte{0x41, 0x9a}, make([]byte, 10000)...)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := z.Packetize(au); err != nil {
			b.Fatal(err)
		}
	}
}

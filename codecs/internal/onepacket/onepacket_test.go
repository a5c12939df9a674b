package onepacket

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRoundTrip(t *testing.T) {
	z, d := NewPacketizer(100), &Depacketizer{}
	in := []byte{1, 2, 3}
	out, err := z.Packetize([][]byte{in})
	if err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	p := &rtp.Packet{Header: rtp.Header{Timestamp: 7}, Payload: out[0]}
	us := d.Push(p, true)
	if len(us) != 1 || us[0].Timestamp != 7 || us[0].Damaged || us[0].Packets[0] != p || !bytes.Equal(us[0].Data[0], in) {
		t.Fatalf("%+v", us)
	}
	first := us[0]
	d.Push(&rtp.Packet{Payload: []byte{9}}, false)
	if first.Data[0][0] != 1 || first.Packets[0] != p {
		t.Fatal("a later push changed an earlier unit")
	}
}

func TestRefusals(t *testing.T) {
	z := NewPacketizer(2)
	for _, in := range [][][]byte{nil, {{}}, {{1}, {2}}, {{1, 2, 3}}} {
		if _, err := z.Packetize(in); err == nil {
			t.Errorf("%v was packed", in)
		}
	}
	if us := new(Depacketizer).Push(&rtp.Packet{}, false); us != nil {
		t.Error("an empty packet gave a unit")
	}
}

func BenchmarkDepacketize(b *testing.B) {
	b.ReportAllocs()
	d := &Depacketizer{}
	p := &rtp.Packet{Payload: make([]byte, 160)}
	for b.Loop() {
		d.Push(p, false)
	}
}

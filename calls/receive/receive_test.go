package receive

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReception follows RFC 3550 appendices A.1, A.3 and A.8.
func TestReception(t *testing.T) {
	var r Reception
	start := time.Unix(1_700_000_000, 0)
	now := start
	for i := range 100 { // 20 ms apart, each tenth lost, wrap of the sequence numbers
		now = now.Add(20 * time.Millisecond)
		if i%10 == 5 {
			continue
		}
		r.Push(7, uint16(65500+i), uint32(i*160), 8000, now)
	}
	rr, ok := r.Report(now)
	if !ok || r.Lost() != 10 || rr.TotalLost != 10 || rr.FractionLost != 10*256/100 || rr.LastSequenceNumber != 65536+63 || rr.Jitter != 0 {
		t.Errorf("%+v, lost %d", rr, r.Lost())
	}
	r.SenderReport(0x1111222233334444, now)
	for i := 100; i < 1000; i++ { // every second packet 10 ms late: |D| = 80 units
		at := start.Add(time.Duration(i) * 20 * time.Millisecond)
		if i%2 == 0 {
			at = at.Add(10 * time.Millisecond)
		}
		r.Push(7, uint16(65500+i), uint32(i*160), 8000, at)
	}
	rr, _ = r.Report(now.Add(2 * time.Second))
	if rr.FractionLost != 0 || rr.Jitter < 79 || rr.Jitter > 80 || rr.LastSenderReport != 0x22223333 || rr.Delay != 2*65536 {
		t.Errorf("%+v", rr)
	}
	r.Push(8, 5, 0, 8000, now) // another source
	if r.Lost() != 10 {
		t.Errorf("lost %d after a change of the source", r.Lost())
	}
	r.Push(8, 40000, 0, 8000, now) // a jump is not believed at first
	if r.Lost() != 9 {
		t.Errorf("lost %d after a jump", r.Lost())
	}
}

// What was taken stays as it is: whoever holds a packet holds it for good.
func TestSlabNeverHandsOutTwice(t *testing.T) {
	var b Slab
	var taken [][]byte
	for i := range 200 {
		room := b.Room()
		for j := range 1200 {
			room[j] = byte(i)
		}
		taken = append(taken, b.Take(1200))
		p := b.Packet()
		p.SequenceNumber = uint16(i)
		b.TakePacket()
		if p == b.Packet() {
			t.Fatal("a packet was handed out twice")
		}
	}
	for i, p := range taken {
		if len(p) != 1200 || cap(p) != 1200 || p[0] != byte(i) || p[1199] != byte(i) {
			t.Fatalf("packet %d was written to after it was taken", i)
		}
	}
}

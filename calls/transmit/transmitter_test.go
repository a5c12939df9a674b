package transmit

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"lineout/calls/leg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sent runs a transmitter from t0 for a time, polling when it asks to be.
func sent(x *Transmitter, from, to time.Time) (out []rtp.Header, payloads [][]byte, at []time.Time) {
	var buf [4]byte
	now := from
	for n := 0; n < 100000; n++ {
		for {
			h, p, ok := x.Next(now, buf[:])
			if !ok {
				break
			}
			out, payloads, at = append(out, h), append(payloads, slices.Clone(p)), append(at, now)
		}
		due := x.Due()
		if due.IsZero() || due.After(to) {
			return out, payloads, at
		}
		now = due
	}
	panic("the transmitter never rests")
}

func audio(silence int) *Transmitter {
	x := &Transmitter{SSRC: 1, Seq: 65530, Base: math.MaxUint32 - 1000}
	x.Configure(8, 8000, make([]byte, silence), true, t0)
	x.Events(101, 8000, true)
	return x
}

func TestComfortSilence(t *testing.T) {
	x := audio(160)
	hs, _, at := sent(x, t0, t0.Add(time.Second))
	if len(hs) != 51 {
		t.Fatalf("%d packets in a second", len(hs))
	}
	for i, h := range hs {
		if h.Marker != (i == 0) || h.SequenceNumber != uint16(65530+i) || h.Timestamp != hs[0].Timestamp+uint32(160*i) || !at[i].Equal(t0.Add(time.Duration(i)*PacketTime)) {
			t.Fatalf("packet %d at %v: %+v", i, at[i].Sub(t0), h)
		}
	}
	// after a sleep of the machine: no burst, timestamps follow the clock
	late := t0.Add(time.Minute)
	hs, _, _ = sent(x, late, late)
	if len(hs) != 1 || !hs[0].Marker || hs[0].Timestamp != x.Base+60*8000 {
		t.Errorf("after a minute: %+v", hs)
	}
	x.Configure(8, 8000, nil, false, late)
	if !x.Due().IsZero() {
		t.Error("due although nothing may be sent")
	}
}

// TestTelephoneEvent: RFC 4733 section 2.5.
func TestTelephoneEvent(t *testing.T) {
	x := audio(160)
	sent(x, t0, t0.Add(100*time.Millisecond))
	start := t0.Add(110 * time.Millisecond)
	if !x.Dial([]byte{5, 11}, start) {
		t.Fatal("refused")
	}
	hs, ps, at := sent(x, start, start.Add(time.Second))
	var events [][]int
	for i, h := range hs {
		if h.PayloadType != 101 {
			continue
		}
		p := ps[i]
		d := int(binary.BigEndian.Uint16(p[2:]))
		first := len(events) == 0 || int(h.Timestamp) != events[len(events)-1][0]
		if first {
			events = append(events, []int{int(h.Timestamp), int(p[0]), 0, 0})
		}
		e := events[len(events)-1]
		if h.Marker != first {
			t.Errorf("marker %v on packet %d", h.Marker, i)
		}
		if end := p[1]&0x80 != 0; end {
			e[3]++
			if d != 1280 {
				t.Errorf("end after %d units", d)
			}
		} else if d != e[2]+160 {
			t.Errorf("duration %d after %d", d, e[2])
		}
		e[2] = d
		if i > 0 && hs[i-1].PayloadType == 101 && !first && at[i].Sub(at[i-1]) != PacketTime {
			t.Errorf("packet %d came %v after the last", i, at[i].Sub(at[i-1]))
		}
	}
	if len(events) != 2 || events[0][1] != 5 || events[1][1] != 11 || events[0][3] != endPackets || events[1][3] != endPackets {
		t.Fatalf("events %v", events)
	}
	for i := 1; i < len(hs); i++ {
		if hs[i].SequenceNumber != hs[i-1].SequenceNumber+1 || int32(hs[i].Timestamp-hs[i-1].Timestamp) < 0 {
			t.Errorf("packet %d: %+v after %+v", i, hs[i], hs[i-1])
		}
	}
	if x.Dial(make([]byte, MaxDigits+1), start) {
		t.Error("the queue has no bound")
	}
}

// TestBridged: a bridge takes over from comfort silence and gives it back.
// Timestamps say when the sound was, to the sample, and never go back.
func TestBridged(t *testing.T) {
	x := audio(160)
	before, _, _ := sent(x, t0, t0.Add(100*time.Millisecond))
	last := before[len(before)-1]
	now := t0.Add(115 * time.Millisecond)
	lead := 40 * time.Millisecond
	p := leg.Outgoing{PayloadType: 9, Length: 20 * time.Millisecond, Payload: make([]byte, 160)}
	var out []rtp.Header
	for i := range 5 {
		p.At = now.Add(lead + time.Duration(i)*p.Length - time.Duration(i%2)) // rounding is no hole
		h, ok := x.Write(&p, now.Add(time.Duration(i)*p.Length))
		if !ok {
			t.Fatal("refused")
		}
		out = append(out, h)
		if _, _, ok := x.Next(now, make([]byte, 4)); ok {
			t.Fatal("comfort silence goes on under a bridge")
		}
	}
	for i, h := range out {
		if h.SequenceNumber != last.SequenceNumber+1+uint16(i) || h.Timestamp != x.at(now.Add(lead))+uint32(160*i) || h.SSRC != 1 || h.Marker != (i == 0) || h.PayloadType != 9 {
			t.Errorf("packet %d: %+v after %+v", i, h, last)
		}
	}
	// A hole is one in the timestamps, too.
	p.At = now.Add(lead + 200*time.Millisecond)
	now = now.Add(200 * time.Millisecond)
	h, _ := x.Write(&p, now)
	if h.Timestamp != out[4].Timestamp+960 || h.Marker {
		t.Errorf("after a hole: %+v", h)
	}
	after, _, at := sent(x, now, now.Add(bridgePause+50*time.Millisecond))
	if len(after) == 0 || at[0].Sub(now) != bridgePause || after[0].SequenceNumber != h.SequenceNumber+1 || !after[0].Marker || after[0].Timestamp != x.at(at[0]) {
		t.Errorf("comfort silence after the bridge: %v %+v", at, after)
	}
	if x.Base != math.MaxUint32-1000 || !x.epoch.Equal(t0) {
		t.Error("timestamps stand for other times than before: sender reports would put sound and picture apart")
	}
}

// TestBridgedLate: sound of a time that silence was sent for is moved as a whole.
func TestBridgedLate(t *testing.T) {
	x := audio(160)
	hs, _, _ := sent(x, t0, t0.Add(100*time.Millisecond))
	end := hs[len(hs)-1].Timestamp + 160
	p := leg.Outgoing{At: t0.Add(50 * time.Millisecond), Length: 20 * time.Millisecond}
	for i := range 3 {
		h, _ := x.Write(&p, t0.Add(110*time.Millisecond))
		if h.Timestamp != end+uint32(160*i) {
			t.Errorf("packet %d at %d, want %d", i, h.Timestamp-end, 160*i)
		}
		p.At = p.At.Add(p.Length)
	}
}

// TestBridgedPicture: the packets of a picture share a timestamp that the
// order of decoding does not bind.
func TestBridgedPicture(t *testing.T) {
	x := &Transmitter{SSRC: 1, Base: 77}
	x.Configure(112, 90000, nil, true, t0)
	for _, ms := range []int{40, 40, 120, 80} {
		h, ok := x.Write(&leg.Outgoing{PayloadType: 112, At: t0.Add(time.Duration(ms) * time.Millisecond), Marker: ms == 80}, t0)
		if !ok || h.Timestamp != 77+uint32(90*ms) || h.Marker != (ms == 80) {
			t.Errorf("%d ms: %+v", ms, h)
		}
	}
	x.Configure(112, 90000, nil, false, t0)
	if _, ok := x.Write(&leg.Outgoing{}, t0); ok {
		t.Error("sent on hold")
	}
}

// TestTransmitterProperty: whatever is sent in whatever order, sequence numbers
// run on, timestamps never go back, and no two pieces of sound overlap.
func TestTransmitterProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := audio(160)
		now := t0
		p := leg.Outgoing{At: t0, Length: PacketTime}
		var last *rtp.Header
		sound := false // last was
		check := func(h rtp.Header) {
			event := h.PayloadType == 101
			if last != nil {
				d := int32(h.Timestamp - last.Timestamp)
				if h.SequenceNumber != last.SequenceNumber+1 || d < 0 || sound && d < 160 {
					t.Fatalf("%+v after %+v", h, *last)
				}
			}
			last, sound = &h, !event
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 10).Draw(t, "what") {
			case 0:
				x.Dial([]byte{1}, now)
			case 1, 2, 3:
				p.At = p.At.Add(PacketTime)
				if h, ok := x.Write(&p, now); ok {
					check(h)
				}
			case 4:
				p.At = now.Add(time.Duration(rapid.IntRange(-3000, 3000).Draw(t, "off")) * time.Millisecond)
			case 5:
				x.Configure(8, rapid.SampledFrom([]int{8000, 16000, 48000}).Draw(t, "clock"), make([]byte, 160), rapid.Bool().Draw(t, "sending"), now)
				last = nil // lengths differ in number
			default:
				var buf [4]byte
				for h, _, ok := x.Next(now, buf[:]); ok; h, _, ok = x.Next(now, buf[:]) {
					check(h)
				}
			}
		}
	})
}

package transmit

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"lineout/calls/leg"
)

func from(ssrc uint32, seq uint16, ts uint32) *rtp.Packet {
	return &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: ssrc, SequenceNumber: seq, Timestamp: ts}, Payload: make([]byte, 160)}
}

// Comfort silence gives way to packets of another leg at once, and comes back a
// second after the last of them; all numbers run on.
func TestForwardedBeforeSilence(t *testing.T) {
	x := audio(160)
	var buf [4]byte
	first, _, _ := x.Next(t0, buf[:])
	now := t0.Add(5 * time.Millisecond)
	a, ok := x.Forward(8, 8000, true, from(9, 100, 5000), now, now)
	if !ok || !a.Marker || a.SequenceNumber != first.SequenceNumber+1 || a.Timestamp != first.Timestamp+160 || a.SSRC != first.SSRC {
		t.Fatalf("%+v after %+v", a, first)
	}
	late, ok := x.Forward(8, 8000, true, from(9, 99, 4840), now, now)
	if ok {
		t.Errorf("a packet is sent under a number of silence: %+v", late)
	}
	now = now.Add(20 * time.Millisecond)
	b, _ := x.Forward(8, 8000, true, from(9, 102, 5320), now, now) // one is lost, or late
	if b.SequenceNumber != a.SequenceNumber+2 || b.Timestamp != a.Timestamp+320 || b.Marker {
		t.Fatalf("%+v after %+v", b, a)
	}
	c, _ := x.Forward(8, 8000, true, from(9, 101, 5160), now, now)
	if c.SequenceNumber != a.SequenceNumber+1 || c.Timestamp != a.Timestamp+160 {
		t.Fatalf("%+v after %+v", c, a)
	}
	if _, _, ok := x.Next(now.Add(forwardPause-1), buf[:]); ok {
		t.Error("silence too early")
	}
	if due := x.Due(); !due.Equal(now.Add(forwardPause)) {
		t.Error(due)
	}
	now = now.Add(forwardPause)
	d, _, ok := x.Next(now, buf[:])
	if gap := d.Timestamp - b.Timestamp; !ok || d.SequenceNumber != b.SequenceNumber+1 || gap < 7990 || gap > 8010 || !d.Marker {
		t.Fatalf("%+v after %+v", d, b)
	}
}

// A digit is not disturbed, and what follows it goes on by the clock.
func TestForwardedAroundADigit(t *testing.T) {
	x := audio(160)
	now, seq := t0, uint16(65530)
	var last rtp.Header
	forward := func() bool {
		seq++
		h, ok := x.Forward(8, 8000, true, from(9, seq, uint32(seq)*160), now, now)
		if ok {
			last = h
		}
		return ok
	}
	for range 10 {
		forward()
		now = now.Add(20 * time.Millisecond)
	}
	x.Dial([]byte{5}, now)
	before, events := last, 0
	var buf [4]byte
	for events < 10 {
		if forward() {
			t.Fatal("sound in a digit")
		}
		if h, _, ok := x.Next(now, buf[:]); ok {
			if events++; h.SequenceNumber != before.SequenceNumber+uint16(events) {
				t.Fatalf("event %d: %+v", events, h)
			}
		}
		now = now.Add(20 * time.Millisecond)
	}
	if !forward() || last.SequenceNumber != before.SequenceNumber+11 {
		t.Fatalf("%+v after %+v", last, before)
	}
	if gap := last.Timestamp - before.Timestamp; gap != 11*160 {
		t.Errorf("%d units for 220 ms", gap)
	}
}

// Hold, another source, and media of our own each begin a new row, which goes on
// by the clock.
func TestForwardedRows(t *testing.T) {
	x := audio(160)
	now := t0
	send := func(ssrc uint32, seq uint16, ts uint32) rtp.Header {
		t.Helper()
		h, ok := x.Forward(8, 8000, true, from(ssrc, seq, ts), now, now)
		if !ok {
			t.Fatal("not sent")
		}
		return h
	}
	a := send(1, 1, 0)
	now = now.Add(20 * time.Millisecond)
	b := send(2, 777, 1<<31)
	x.Configure(8, 8000, nil, false, now)
	if _, ok := x.Forward(8, 8000, true, from(2, 778, 1<<31+160), now, now); ok {
		t.Error("sent on hold")
	}
	now = now.Add(3 * time.Second)
	x.Configure(8, 8000, nil, true, now)
	c := send(2, 928, 1<<31+24160)
	now = now.Add(20 * time.Millisecond)
	d, ok := x.Write(&leg.Outgoing{PayloadType: 8, At: now, Length: PacketTime}, now)
	now = now.Add(20 * time.Millisecond)
	e := send(2, 929, 1<<31+24320)
	for i, h := range []rtp.Header{b, c, d, e} {
		if h.SequenceNumber != a.SequenceNumber+uint16(i+1) || !ok {
			t.Errorf("row %d: %+v", i+1, h)
		}
		if want := a.Timestamp + []uint32{160, 24160, 24320, 24480}[i]; h.Timestamp-want+8 > 16 {
			t.Errorf("row %d begins at %d, want %d", i+1, h.Timestamp, want)
		}
	}
}

// A codec with another clock rate goes on where the one before ended, in its own
// units (RFC 7160 section 4.1); silence comes back in those of its codec.
func TestForwardedClockRate(t *testing.T) {
	x := audio(160)
	now := t0
	a, _ := x.Forward(8, 8000, true, from(1, 1, 0), now, now)
	now = now.Add(20 * time.Millisecond)
	b, _ := x.Forward(111, 48000, true, from(1, 2, 160), now, now)
	if b.Timestamp-a.Timestamp != 160 || b.SequenceNumber != a.SequenceNumber+1 {
		t.Errorf("%+v after %+v", b, a)
	}
	if ts, at := x.Relation(now.Add(time.Second)); at != now.Add(time.Second) || ts-b.Timestamp != 48000 {
		t.Errorf("a second later: %d at %v", ts-b.Timestamp, at)
	}
	var buf [4]byte
	now = now.Add(forwardPause)
	c, _, _ := x.Next(now, buf[:])
	d, _, _ := x.Next(now.Add(PacketTime), buf[:])
	if d.Timestamp-c.Timestamp != 160 {
		t.Errorf("silence: %+v after %+v", d, c)
	}
}

// Reports say what the source says, else what the least delayed packets tell: a
// backlog that is sent in a burst does not count.
func TestForwardedRelation(t *testing.T) {
	x := audio(0)
	x.silence = nil
	now := t0
	var h rtp.Header
	for i := range 50 { // a second of sound at once
		h, _ = x.Forward(8, 8000, true, from(1, uint16(i), uint32(i)*160), now, now)
	}
	ts, at := x.Relation(now)
	if d := at.Sub(now) - time.Duration(int32(ts-h.Timestamp))*time.Second/8000; d.Abs() > time.Millisecond {
		t.Errorf("the newest packet is said to be of %v from now", d)
	}
	x.Report(1, 49*160, now.Add(-30*time.Millisecond)) // it took 30 ms from the microphone
	ts, at = x.Relation(now.Add(time.Second))
	if d := now.Add(-30*time.Millisecond).Sub(at) - time.Duration(int32(h.Timestamp-ts))*time.Second/8000; d.Abs() > time.Millisecond {
		t.Errorf("off by %v", d)
	}
}

// Whatever is mixed in whatever order, no number is used twice, and what is
// newest is ahead of all before.
func TestForwardedProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := audio(160)
		now := t0
		used := map[uint16]bool{}
		var top *rtp.Header
		check := func(h rtp.Header) {
			if used[h.SequenceNumber] {
				t.Fatalf("number %d is used twice", h.SequenceNumber)
			}
			used[h.SequenceNumber] = true
			if top == nil || int16(h.SequenceNumber-top.SequenceNumber) > 0 {
				if top != nil && int32(h.Timestamp-top.Timestamp) < 0 {
					t.Fatalf("%+v after %+v", h, *top)
				}
				top = &h
			}
		}
		sent := map[uint32]bool{}
		pos, ssrc := 0, uint32(1)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "ms")) * time.Millisecond)
			var buf [4]byte
			switch rapid.IntRange(0, 12).Draw(t, "what") {
			case 0:
				x.Dial([]byte{1}, now)
			case 1:
				if h, ok := x.Write(&leg.Outgoing{PayloadType: 8, At: now, Length: PacketTime}, now); ok {
					check(h)
				}
			case 2:
				ssrc, pos, sent = ssrc+1, 0, map[uint32]bool{}
			case 3:
				x.Configure(8, 8000, make([]byte, 160), rapid.Bool().Draw(t, "sending"), now)
			case 4, 5:
				for h, _, ok := x.Next(now, buf[:]); ok; h, _, ok = x.Next(now, buf[:]) {
					check(h)
				}
			default:
				at := max(0, pos+rapid.IntRange(-3, 3).Draw(t, "order"))
				if sent[uint32(at)] {
					continue
				}
				sent[uint32(at)] = true
				pos = max(pos, at)
				if h, ok := x.Forward(8, 8000, true, from(ssrc, uint16(at), uint32(at)*160), now, now); ok {
					check(h)
				}
			}
		}
	})
}

func TestForwardDoesNotAllocate(t *testing.T) {
	x := audio(160)
	p := from(1, 1, 1)
	now := t0
	if n := testing.AllocsPerRun(1000, func() {
		p.SequenceNumber++
		p.Timestamp += 160
		x.Forward(8, 8000, true, p, now, now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

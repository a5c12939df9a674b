package forward

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func packet(ssrc uint32, seq uint16, ts uint32) *rtp.Header {
	return &rtp.Header{Version: 2, SSRC: ssrc, SequenceNumber: seq, Timestamp: ts}
}

// Within a row every distance is kept, over wraps of both numbers, in any order
// and with any losses.
func TestDistancesAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq0, ts0 := rapid.Uint16().Draw(t, "seq"), rapid.Uint32().Draw(t, "ts")
		out0, outTS0 := rapid.Uint16().Draw(t, "out"), rapid.Uint32().Draw(t, "outTS")
		var m Mapper
		h := packet(7, seq0, ts0)
		if m.Look(h, start) != Begin {
			t.Fatal("the first packet begins no row")
		}
		m.Begin(h, out0, outTS0, false, start)
		m.Place(h, start)
		pos, top := 0, 0
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			pos = top + rapid.IntRange(-lateMax, aheadMax-1).Draw(t, "step")
			h := packet(7, seq0+uint16(pos), ts0+uint32(pos)*160)
			v := m.Look(h, start)
			if pos < 0 {
				if v != Drop {
					t.Fatalf("a packet from before the row is sent under a number that is taken: %d", pos)
				}
				continue
			}
			if v != Continue {
				t.Fatalf("packet %d (newest %d): verdict %d", pos, top, v)
			}
			seq, ts, newest := m.Place(h, start)
			if seq != out0+uint16(pos) || ts != outTS0+uint32(pos)*160 {
				t.Fatalf("packet %d got %d/%d", pos, seq-out0, (ts-outTS0)/160)
			}
			if newest != (pos >= top) {
				t.Fatalf("packet %d after %d: newest %v", pos, top, newest)
			}
			top = max(top, pos)
		}
	})
}

func TestPacketsOvertakenByTheVeryFirstAreSent(t *testing.T) {
	var m Mapper
	m.Begin(packet(7, 100, 0), 500, 0, true, start)
	if v := m.Look(packet(7, 98, 0), start); v != Continue {
		t.Fatalf("verdict %d", v)
	}
	if seq, _, newest := m.Place(packet(7, 98, 0), start); seq != 498 || newest {
		t.Fatalf("%d %v", seq, newest)
	}
}

func TestRowsEnd(t *testing.T) {
	var m Mapper
	look := func(ssrc uint32, seq uint16, after time.Duration) Verdict {
		return m.Look(packet(ssrc, seq, 0), start.Add(after))
	}
	begin := func(ssrc uint32, seq uint16, after time.Duration) {
		h := packet(ssrc, seq, 0)
		m.Begin(h, 1, 1, false, start.Add(after))
		m.Place(h, start.Add(after))
	}
	begin(1, 10, 0)
	for _, c := range []struct {
		name string
		ssrc uint32
		seq  uint16
		at   time.Duration
		want Verdict
	}{
		{"next", 1, 11, 0, Continue},
		{"a jump, once", 1, 11 + aheadMax, 0, Drop},
		{"something usual forgives it", 1, 12, 0, Continue},
		{"a jump again", 1, 40000, 0, Drop},
		{"and what follows it: the source has begun anew", 1, 40001, 0, Begin},
		{"another source", 2, 77, 0, Begin},
	} {
		if v := look(c.ssrc, c.seq, c.at); v != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, v, c.want)
		}
	}
	begin(2, 77, time.Second)
	if v := look(1, 11, time.Second+echoTime/2); v != Drop {
		t.Errorf("a straggler of the source before: verdict %d", v)
	}
	if v := look(1, 11, time.Second+echoTime); v != Begin {
		t.Errorf("the source before comes back: verdict %d", v)
	}
	m.End()
	if m.Live() || look(2, 78, time.Second) != Begin {
		t.Error("a row goes on after its end")
	}
}

// What the source says of two kinds keeps its meaning, although its clock is
// years off and the two are mapped differently.
func TestReportsKeepTheirRelation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		off := time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "off")) * time.Second
		skew := time.Duration(rapid.IntRange(-400, 400).Draw(t, "skew")) * time.Millisecond
		var clock Clock
		var audio, video Mapper
		a0, v0 := rapid.Uint32().Draw(t, "a0"), rapid.Uint32().Draw(t, "v0")
		// At start + skew the source took the picture that it sends as v0, and a0 is the sound of start.
		begin := func(m *Mapper, ssrc, ts uint32) {
			h := packet(ssrc, 5, ts)
			m.Begin(h, 1, rapid.Uint32().Draw(t, "to"), true, start)
			m.Place(h, start)
		}
		begin(&audio, 1, a0)
		begin(&video, 2, v0)
		audio.Report(1, a0+8000, clock.Ours(ntpOf(start.Add(off+time.Second)), start.Add(time.Second+20*time.Millisecond)))
		video.Report(2, v0+90000, clock.Ours(ntpOf(start.Add(off+skew+time.Second)), start.Add(time.Second+70*time.Millisecond)))
		now := start.Add(3 * time.Second)
		ats, aAt, ok1 := audio.Relation(now, 8000)
		vts, vAt, ok2 := video.Relation(now, 90000)
		if !ok1 || !ok2 {
			t.Fatal("the source's reports are not used")
		}
		// When, by what is told, were a0 and v0 captured?
		sound := aAt.Add(-span(int64(int32(ats-audio.ts-a0)), 8000))
		picture := vAt.Add(-span(int64(int32(vts-video.ts-v0)), 90000))
		if d := picture.Sub(sound) - skew; d.Abs() > 100*time.Microsecond {
			t.Fatalf("picture and sound were %v apart and are now %v", skew, picture.Sub(sound))
		}
	})
}

func TestRelationNeedsItsSource(t *testing.T) {
	var m Mapper
	var c Clock
	h := packet(1, 5, 0)
	m.Report(2, 0, c.Ours(ntpOf(start), start))
	m.Begin(h, 1, 0, true, start)
	m.Place(h, start)
	if _, _, ok := m.Relation(start, 8000); ok {
		t.Error("the report of another source is used")
	}
	m.Report(1, 0, c.Ours(ntpOf(start), start))
	if _, _, ok := m.Relation(start, 8000); !ok {
		t.Error("a good report is not used")
	}
	m.Report(1, 8320, c.Ours(ntpOf(start), start)) // 1.04 s
	if _, _, ok := m.Relation(start, 8000); ok {
		t.Error("a report that is a second off is used")
	}
}

// A source that sets its clock is taken at its new word.
func TestClockThatIsSet(t *testing.T) {
	var c Clock
	if got := c.Ours(ntpOf(start.Add(-5*time.Hour)), start); got.Sub(start).Abs() > time.Microsecond {
		t.Fatal(got)
	}
	now := start.Add(5 * time.Second)
	if got := c.Ours(ntpOf(now.Add(-5*time.Hour-300*time.Millisecond)), now); (now.Sub(got) - 300*time.Millisecond).Abs() > time.Microsecond {
		t.Fatalf("a late report moved the clock: %v", now.Sub(got))
	}
	if got := c.Ours(ntpOf(now), now); got.Sub(now).Abs() > time.Microsecond {
		t.Fatalf("the source set its clock, ours says %v", got)
	}
}

func ntpOf(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/1e9
}

func TestNoAllocation(t *testing.T) {
	var m Mapper
	h := packet(1, 1, 1)
	m.Begin(h, 1, 1, true, start)
	if n := testing.AllocsPerRun(1000, func() {
		h.SequenceNumber++
		if m.Look(h, start) == Continue {
			m.Place(h, start)
		}
	}); n != 0 {
		t.Fatalf("%v allocations for a packet", n)
	}
}

// Anything may come from the network; what is sent never repeats a number of a
// row before.
func FuzzMapper(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 200, 100, 0, 255, 9, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Mapper
		next, floor := uint16(0), 0
		sent := 0
		for i := 0; i+3 < len(b); i += 4 {
			h := packet(uint32(b[i]&3), uint16(b[i+1])<<8|uint16(b[i+2]), uint32(b[i+3])<<8)
			now := start.Add(time.Duration(i) * 5 * time.Millisecond)
			switch m.Look(h, now) {
			case Drop:
				continue
			case Begin:
				m.Begin(h, next, 0, sent == 0, now)
				floor = sent
			}
			seq, _, newest := m.Place(h, now)
			if newest {
				sent += int(seq - next + 1)
				next = seq + 1
			} else if back := int(next - seq); floor > 0 && back > sent-floor {
				t.Fatalf("packet %d: number %d steps back, %d were given in this row", i/4, back, sent-floor)
			}
		}
	})
}

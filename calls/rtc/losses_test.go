package rtc

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"pgregory.net/rapid"
)

func asked(pairs []rtcp.NackPair) []uint16 {
	var out []uint16
	for i := range pairs {
		out = append(out, pairs[i].PacketList()...)
	}
	return out
}

// What is missing is asked for soon, again while it does not come, and not for
// ever.
func TestLosses(t *testing.T) {
	now := time.Unix(1000, 0)
	var l losses
	for _, seq := range []uint16{65533, 65534, 2} { // 65535, 0 and 1 are missing
		l.push(1, seq, now)
	}
	if !l.due().Equal(now.Add(reorderTime)) || l.ask(now) != nil {
		t.Error("asked at once: it may only be overtaken")
	}
	now = now.Add(reorderTime)
	if got := asked(l.ask(now)); !slices.Equal(got, []uint16{65535, 0, 1}) {
		t.Errorf("%v", got)
	}
	l.push(1, 0, now)
	times := 0
	for range 100 {
		if at := l.due(); at.IsZero() {
			break
		} else {
			now = at
		}
		if got := asked(l.ask(now)); got != nil {
			if !slices.Equal(got, []uint16{65535, 1}) {
				t.Errorf("%v", got)
			}
			times++
		}
	}
	if times != maxRequests-1 || !l.gaveUp || len(l.missing) != 0 {
		t.Errorf("asked %d times more, %+v", times, l)
	}
	l.push(2, 9000, now)
	if l.push(2, 9001, now) || l.gaveUp {
		t.Error("another source begins with losses")
	}
	l.push(2, 9001+maxGap+1, now)
	if len(l.missing) != 0 || !l.gaveUp {
		t.Error("a gap that cannot be filled is asked for")
	}
}

// Whatever comes in whatever order: the list is bounded, and holds only what
// was not received.
func TestLossesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l losses
		now, top := time.Unix(1000, 0), uint16(rapid.Uint16().Draw(t, "first"))
		seen := map[uint16]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			seq := top + uint16(rapid.IntRange(-40, 40).Draw(t, "step"))
			if rapid.IntRange(0, 50).Draw(t, "jump") == 0 {
				seq = top + uint16(rapid.IntRange(-400, 400).Draw(t, "leap"))
			}
			if int16(seq-top) > 0 {
				top = seq
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "ms")) * time.Millisecond)
			l.push(7, seq, now)
			seen[seq] = true
			for _, m := range l.missing {
				if seen[m.seq] || int16(m.seq-top) >= 0 || m.asks > maxRequests {
					t.Fatalf("%+v is in the list, top %d", m, top)
				}
			}
			for _, n := range asked(l.ask(now)) {
				if seen[n] {
					t.Fatalf("%d is asked for and was received", n)
				}
			}
			if len(l.missing) > maxMissing {
				t.Fatalf("%d are waited for", len(l.missing))
			}
		}
	})
}

// A browser can make us send again only so much.
func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(1000, 0)
	n := 0
	for i := range 3 * resendRate {
		if b.take(now.Add(time.Duration(i) * time.Microsecond)) {
			n++
		}
	}
	if n != resendRate || !b.take(now.Add(time.Second)) {
		t.Errorf("%d in a second", n)
	}
}

// The ring gives back what was sent under a number, and nothing else.
func TestRing(t *testing.T) {
	var r ring
	if r.get(0) != nil {
		t.Error("an empty ring has something")
	}
	for i := range uint16(ringSize + 10) {
		r.put(65500+i, []byte{byte(i), byte(i >> 8)})
	}
	for i := range uint16(ringSize + 10) {
		got := r.get(65500 + i)
		if i < 10 && got != nil || i >= 10 && (len(got) != 2 || got[0] != byte(i) || got[1] != byte(i>>8)) {
			t.Fatalf("packet %d: %v", i, got)
		}
	}
}

package rtpin

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"
)

func packetAt(seq int64, at time.Duration) arrived {
	return arrived{p: &rtp.Packet{Payload: make([]byte, 100)}, seq: seq, at: at}
}

func newJitter() *jitterBuffer { return &jitterBuffer{lo: 40 * ms, hi: 200 * ms} }

func popAll(b *jitterBuffer, now time.Duration) (seqs []int64, lost int64, next time.Duration) {
	for {
		a, l, n, ok := b.pop(now, false)
		if !ok {
			return seqs, lost, n
		}
		seqs, lost = append(seqs, a.seq), lost+l
	}
}

func TestJitterInOrderIsNotDelayed(t *testing.T) {
	b := newJitter()
	for i := range int64(2000) {
		at := time.Duration(i) * 20 * ms
		b.push(packetAt(i, at))
		if seqs, lost, _ := popAll(b, at); len(seqs) != 1 || seqs[0] != i || lost != 0 {
			t.Fatalf("packet %d: %v, %d lost", i, seqs, lost)
		}
	}
}

func TestJitterHole(t *testing.T) {
	b := newJitter()
	b.push(packetAt(0, 0))
	popAll(b, 0)
	b.push(packetAt(2, 40*ms))
	seqs, _, next := popAll(b, 40*ms)
	if len(seqs) != 0 || next != 80*ms {
		t.Fatalf("behind a hole: %v, due %v", seqs, next)
	}
	b.push(packetAt(3, 60*ms))
	if _, _, next = popAll(b, 60*ms); next != 80*ms {
		t.Fatalf("a later packet moved the deadline to %v", next)
	}
	if seqs, lost, _ := popAll(b, 80*ms); len(seqs) != 2 || lost != 1 {
		t.Fatalf("at the deadline: %v, %d lost", seqs, lost)
	}
	b.push(packetAt(1, 90*ms))
	b.push(packetAt(2, 91*ms))
	if s := b.stats; s.late != 1 || s.duplicates != 1 || s.lost != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestJitterFillsHole(t *testing.T) {
	b := newJitter()
	for i, seq := range []int64{0, 3, 1, 1, 2} {
		b.push(packetAt(seq, time.Duration(i)*5*ms))
	}
	if seqs, lost, _ := popAll(b, 20*ms); len(seqs) != 4 || lost != 0 {
		t.Fatalf("%v, %d lost", seqs, lost)
	}
	if s := b.stats; s.duplicates != 1 || s.reordered != 2 {
		t.Fatalf("%+v", s)
	}
}

// Late packets make it wait longer, up to the limit, and it forgets.
func TestJitterAdapts(t *testing.T) {
	b := newJitter()
	b.push(packetAt(0, 0))
	popAll(b, 0)
	now, seq := time.Duration(0), int64(0)
	for range 20 {
		now += 100 * ms
		b.push(packetAt(seq+2, now))
		_, _, due := popAll(b, now)
		popAll(b, due)
		b.push(packetAt(seq+1, due+10*ms))
		seq += 2
		now = due + 10*ms
	}
	if d := b.delay(now); d != 200*ms {
		t.Fatalf("waits %v after 20 late packets", d)
	}
	if d := b.delay(now + time.Minute); d != 40*ms {
		t.Fatalf("still waits %v a minute later", d)
	}
}

func TestJitterIsBounded(t *testing.T) {
	b := newJitter()
	b.push(packetAt(0, 0))
	popAll(b, 0)
	n := int64(1)
	for b.push(packetAt(n+1, ms)) {
		n++
		if n > jitterPackets {
			t.Fatal("no bound")
		}
	}
	if b.count != jitterPackets-1 {
		t.Fatalf("%d held", b.count)
	}
	big := newJitter()
	big.push(packetAt(0, 0))
	popAll(big, 0)
	p := packetAt(2, 0)
	p.p.Payload = make([]byte, jitterBytes)
	if !big.push(p) || big.push(packetAt(3, 0)) {
		t.Fatal("bytes are not bounded")
	}
}

// Whatever comes in: order is strict, nothing comes twice, nothing that is not
// lost is missing, and no packet is held longer than the limit.
func TestJitterProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newJitter()
		n := rapid.IntRange(1, 300).Draw(t, "n")
		type ev struct {
			seq int64
			at  time.Duration
		}
		var evs []ev
		for i := range n {
			if i > 0 && rapid.IntRange(0, 9).Draw(t, "fate") == 0 {
				continue
			}
			d := time.Duration(rapid.IntRange(0, 100).Draw(t, "delay")) * ms
			if i == 0 {
				d = 0
			}
			evs = append(evs, ev{int64(i), time.Duration(i)*10*ms + d})
		}
		// Insertion sort by time: the order of arrival.
		for i := range evs {
			for k := i; k > 0 && evs[k].at < evs[k-1].at; k-- {
				evs[k], evs[k-1] = evs[k-1], evs[k]
			}
		}
		next, due := int64(0), time.Duration(0)
		accounted := int64(0)
		take := func(now time.Duration) {
			for {
				a, lost, d, ok := b.pop(now, false)
				if !ok {
					due = d
					return
				}
				if a.seq < next {
					t.Fatalf("%d after %d", a.seq, next-1)
				}
				if a.seq-next != lost {
					t.Fatalf("%d after %d, %d said lost", a.seq, next-1, lost)
				}
				if now-a.at > 200*ms {
					t.Fatalf("%d held for %v", a.seq, now-a.at)
				}
				next = a.seq + 1
				accounted++
			}
		}
		for _, e := range evs {
			for due > 0 && due <= e.at {
				take(due)
			}
			b.push(packetAt(e.seq, e.at))
			take(e.at)
		}
		for due > 0 {
			take(due)
		}
		if got := accounted + int64(b.stats.late); got != int64(len(evs)) {
			t.Fatalf("%d packets went in, %d came out or were late", len(evs), got)
		}
	})
}

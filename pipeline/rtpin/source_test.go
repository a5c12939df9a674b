package rtpin

import (
	"testing"
	"time"

	"github.com/pion/rtp"
)

func pkt(ssrc uint32, seq uint16, ts uint32) *rtp.Packet {
	return &rtp.Packet{Header: rtp.Header{SSRC: ssrc, SequenceNumber: seq, Timestamp: ts}, Payload: []byte{1}}
}

func newSource() *source { return &source{rate: 8000} }

func TestSourceWraps(t *testing.T) {
	s := newSource()
	for i := range 1000 {
		at := time.Duration(i) * 20 * ms
		got := s.accept(pkt(1, uint16(65000+i), uint32(0xffff0000+160*i)), at, true, true)
		if len(got) != 1 || got[0].seq != int64(i) || got[0].media != at || got[0].jump || got[0].epoch != 0 {
			t.Fatalf("packet %d: %+v", i, got)
		}
	}
}

// RFC 3550 appendix A.1: a jump is believed when a second packet follows.
func TestSourceProbation(t *testing.T) {
	s := newSource()
	s.accept(pkt(1, 100, 0), 0, true, true)
	if got := s.accept(pkt(2, 9, 0), 20*ms, true, true); got != nil {
		t.Fatalf("one stray packet was taken: %+v", got)
	}
	if got := s.accept(pkt(1, 101, 160), 20*ms, true, true); len(got) != 1 {
		t.Fatal("the old source was left for one stray packet")
	}
	if got := s.accept(pkt(2, 10, 160), 40*ms, true, true); got != nil {
		t.Fatal("interleaved packets of another source were taken")
	}
	got := s.accept(pkt(2, 11, 320), 60*ms, true, true)
	if len(got) != 2 || got[0].epoch != 1 || got[0].seq != 2+maxMisorder || got[1].seq != 3+maxMisorder || got[1].epoch != 1 {
		t.Fatalf("%+v", got)
	}
	if got[0].media < 39*ms || got[0].media > 41*ms {
		t.Fatalf("the new source begins at %v, it arrived at 40ms", got[0].media)
	}
	if s.ssrcChanges != 1 || s.refused != 1 || s.tsJumps != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestSourceSequenceJump(t *testing.T) {
	s := newSource()
	s.accept(pkt(1, 100, 0), 0, true, true)
	if got := s.accept(pkt(1, 20000, 160), 20*ms, true, true); got != nil {
		t.Fatal("a jump was believed at once")
	}
	got := s.accept(pkt(1, 20001, 320), 40*ms, true, true)
	if len(got) != 2 || got[0].seq != 1+maxMisorder || got[0].epoch != 1 || got[0].media != 20*ms || got[1].media != 40*ms {
		t.Fatalf("%+v", got)
	}
}

// Retransmissions and FEC have types that were not negotiated for media.
func TestSourceIgnoresForeignStreams(t *testing.T) {
	s := newSource()
	s.accept(pkt(1, 100, 0), 0, true, true)
	for i := range uint16(10) {
		if got := s.accept(pkt(2, i, 0), 20*ms, false, false); got != nil {
			t.Fatal("a foreign stream was taken for a new source")
		}
	}
	if got := s.accept(pkt(1, 101, 5), 20*ms, false, false); len(got) != 1 || got[0].media != 20*ms {
		t.Fatalf("telephone-event must keep its place in the sequence: %+v", got)
	}
}

// A packet overtaken by the first of a new timestamp base keeps its own time.
func TestSourceOvertakenAtBaseChange(t *testing.T) {
	s := newSource()
	for i := range 10 {
		s.accept(pkt(1, uint16(i), uint32(160*i)), time.Duration(i)*20*ms, true, true)
	}
	got := s.accept(pkt(1, 11, 1<<30), 220*ms, true, true)
	if !got[0].jump || got[0].media != 220*ms {
		t.Fatalf("%+v", got)
	}
	if got = s.accept(pkt(1, 10, 1600), 225*ms, true, true); got[0].jump || got[0].media != 200*ms {
		t.Fatalf("%+v", got)
	}
	if got = s.accept(pkt(1, 12, 1<<30+160), 240*ms, true, true); got[0].jump || got[0].media != 240*ms {
		t.Fatalf("%+v", got)
	}
}

// A network that stalls for 2 s and then delivers is no restart.
func TestSourceStall(t *testing.T) {
	s := newSource()
	for i := range 300 {
		at := time.Duration(i) * 20 * ms
		if i >= 100 && i < 200 {
			at = 4 * time.Second
		}
		got := s.accept(pkt(1, uint16(i), uint32(160*i)), at, true, true)
		if want := time.Duration(i) * 20 * ms; got[0].jump || got[0].media != want {
			t.Fatalf("packet %d at %v: %+v, want %v", i, at, got[0], want)
		}
	}
}

// A sender that stalls and catches up as slowly as a tenth faster than real time
// is no restart either; one that never catches up had its timestamps stand still.
func TestSourceCatchesUp(t *testing.T) {
	for _, speed := range []float64{1.1, 1.5, 3, 1} {
		for _, stall := range []time.Duration{1100 * ms, 1500 * ms, 2500 * ms} {
			s, jumps := newSource(), 0
			for i := range 2000 {
				at := time.Duration(i) * 20 * ms
				if d := at - 2*time.Second; d >= 0 {
					at = max(at, 2*time.Second+stall+time.Duration(float64(d)/speed))
				}
				got := s.accept(pkt(1, uint16(i), uint32(160*i)), at, true, true)
				if got[0].jump {
					jumps++
				}
				if want := time.Duration(i) * 20 * ms; speed > 1 && got[0].media != want {
					t.Fatalf("stall of %v, then %v times real time: packet %d at %v: %+v, want %v", stall, speed, i, at, got[0], want)
				}
			}
			if want := speed == 1; (jumps == 1) != want || jumps > 1 {
				t.Errorf("stall of %v, then %v times real time: %d jumps", stall, speed, jumps)
			}
		}
	}
}

func TestArrivalWindow(t *testing.T) {
	var c arrivalClock
	for i := range 100 {
		c.add(time.Duration(i)*20*ms, 50*ms+time.Duration(i%7)*ms)
	}
	if c.offset != 50*ms {
		t.Fatalf("%v", c.offset)
	}
	// The route becomes 30 ms longer: forgotten after the window, not before.
	for i := 100; i < 1000; i++ {
		c.add(time.Duration(i)*20*ms, 80*ms+time.Duration(i%7)*ms)
		at := time.Duration(i) * 20 * ms
		if at < 11*time.Second && c.offset != 50*ms || at > 13*time.Second && c.offset != 80*ms {
			t.Fatalf("at %v: %v", at, c.offset)
		}
	}
	// After a minute of silence the first packets may be late ones.
	for i := range 100 {
		c.add(80*time.Second+time.Duration(i)*20*ms, 80*ms+time.Duration(max(50-i, 0))*10*ms)
		if c.offset != 80*ms {
			t.Fatalf("%d packets after silence: %v", i, c.offset)
		}
	}
}

// Timestamps that go back by less than a stall may last, between two packets in
// order, are a new base at once: no network makes a packet older than the one before it.
func TestSourceBaseGoesBack(t *testing.T) {
	s := newSource()
	for i := range 500 {
		s.accept(pkt(1, uint16(i), uint32(160*i)), time.Duration(i)*20*ms, true, true)
	}
	for i := 500; i < 600; i++ {
		at := time.Duration(i) * 20 * ms
		got := s.accept(pkt(1, uint16(i), uint32(160*i-8000*6)), at, true, true)
		if len(got) != 1 || got[0].media != at || got[0].jump != (i == 500) {
			t.Fatalf("packet %d: %+v", i, got)
		}
	}
}

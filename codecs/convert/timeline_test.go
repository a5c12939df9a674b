package convert

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func TestTimelineSteps(t *testing.T) {
	type in struct {
		pts     time.Duration
		samples int
		loss    bool
	}
	for _, tc := range []struct {
		name string
		in   []in
		want []step
	}{
		{"steady", []in{{0, 160, false}, {20 * ms, 160, false}}, []step{{}, {}}},
		{"a lost packet", []in{{0, 160, false}, {40 * ms, 160, true}}, []step{{}, {fill: 160}}},
		{"a pause without loss", []in{{0, 160, false}, {400 * ms, 160, false}}, []step{{}, {fill: 3040}}},
		{"a lost packet of 2.5 ms", []in{{0, 20, false}, {5 * ms, 20, true}}, []step{{}, {fill: 20}}},
		{"wobble", []in{{0, 160, false}, {25 * ms, 160, false}, {38 * ms, 160, false}}, []step{{}, {}, {}}},
		{"a duplicate", []in{{0, 160, false}, {0, 160, false}, {20 * ms, 160, false}}, []step{{}, {drop: true}, {}}},
		{"half an overlap", []in{{0, 240, false}, {20 * ms, 240, false}}, []step{{}, {trim: 80}}},
		{"exactly the longest fill", []in{{0, 160, false}, {20*ms + fillMax, 160, false}}, []step{{}, {fill: 80000}}},
		{"longer", []in{{0, 160, false}, {21*ms + fillMax, 160, false}, {41*ms + fillMax, 160, false}}, []step{{}, {jump: true, gap: true}, {}}},
	} {
		tl := timeline{rate: 8000}
		for i, f := range tc.in {
			if got := tl.plan(f.pts, f.samples, f.loss, fillMax); got != tc.want[i] {
				t.Errorf("%s: packet %d: %+v, want %+v", tc.name, i, got, tc.want[i])
			}
		}
	}
}

// An input whose clock was set back is silenced for a second at most.
func TestTimelineClockSetBack(t *testing.T) {
	tl := timeline{rate: 8000}
	for i := range 500 {
		tl.plan(time.Duration(i)*20*ms, 160, false, fillMax)
	}
	before, dropped, gaps := tl.next(), 0, 0
	for i := range 100 {
		s := tl.plan(time.Duration(i)*20*ms, 160, false, fillMax)
		if s.drop {
			dropped++
		}
		if s.gap {
			gaps++
		}
	}
	if dropped != 50 || gaps != 1 {
		t.Errorf("%d packets dropped, %d gaps, want 50 and 1", dropped, gaps)
	}
	if got, want := tl.next()-before, 50*20*ms; got != want {
		t.Errorf("%v of sound went on, want %v", got, want)
	}
}

// A sender whose packets are a little longer or shorter than its timestamps say
// is followed without ever filling or trimming.
func TestTimelineFollowsDrift(t *testing.T) {
	for _, ppm := range []int{-3000, -100, 100, 3000} {
		tl := timeline{rate: 8000}
		var worst time.Duration
		for i := range 50 * 600 {
			pts := time.Duration(i) * 20 * ms
			pts += pts / 1000000 * time.Duration(ppm)
			s := tl.plan(pts, 160, false, fillMax)
			if s.fill != 0 || s.trim != 0 || s.drop || s.jump {
				t.Fatalf("%d ppm: packet %d: %+v", ppm, i, s)
			}
			off := pts + 20*ms - tl.next()
			worst = max(worst, off, -off)
		}
		if worst > 4*ms {
			t.Errorf("%d ppm: %v off", ppm, worst)
		}
	}
}

// Whatever the input does within its rules, the count stays within the
// tolerance of the input's timeline.
func TestTimelineNeverDrifts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom([]int{8000, 16000, 48000}).Draw(t, "rate")
		tl := timeline{rate: rate}
		pts := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "start"))
		}).Draw(t, "pts")
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			n := rate / 1000 * rapid.SampledFrom([]int{10, 20, 60}).Draw(t, "ms")
			wobble := time.Duration(rapid.Int64Range(-int64(4*ms), int64(4*ms)).Draw(t, "wobble"))
			before := tl.next()
			s := tl.plan(pts+wobble, n, rapid.Bool().Draw(t, "loss"), fillMax)
			end := pts + span(int64(n), rate)
			if off := end - tl.next(); off > 2*holeMin || off < -2*holeMin {
				t.Fatalf("the count is %v off after %+v", off, s)
			}
			if tl.next() < before {
				t.Fatalf("the count went back")
			}
			pts = end
			if rapid.IntRange(0, 9).Draw(t, "event") == 0 {
				pts += time.Duration(rapid.Int64Range(0, int64(15*time.Second)).Draw(t, "hole"))
			}
		}
	})
}

func TestSpanIsExact(t *testing.T) {
	year := int64(365 * 24 * 3600)
	if got, want := span(year*48000+1024, 48000), time.Duration(year)*time.Second+21333333; got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

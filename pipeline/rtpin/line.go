package rtpin

import (
	"math"
	"time"
)

const (
	// True slopes are some 150 ppm, reports err by noiseLeast to noiseMost.
	trueSlope  = 150e-6
	noiseLeast = 500 * time.Microsecond
	noiseMost  = 15 * time.Millisecond
)

// fitLine is y0 + slope*(t - t0).
type fitLine struct {
	t0, y0 time.Duration
	slope  float64
	dev    time.Duration // standard deviation of the points from it
}

func (l fitLine) at(t time.Duration) time.Duration {
	return l.y0 + time.Duration(l.slope*float64(t-l.t0))
}

// reading is a way to read a report.
type reading int

const (
	asReported reading = iota
	lessAge            // without the age of the frame whose timestamp it repeats
	lessLate           // without what the packet was late by that it may be carried on from
	lessSent           // against when that packet came
)

func (s *srSample) value(how reading) time.Duration {
	switch how {
	case lessAge:
		return s.y - s.stuck
	case lessLate:
		return s.y - s.late()
	case lessSent:
		return s.y - s.sent
	}
	return s.y
}

// late is by how much the packet was late that the report may be carried on from.
func (s *srSample) late() time.Duration {
	if !s.way {
		return 0
	}
	return max(s.sent-s.arr, 0)
}

// moments are means and centred second moments in seconds.
type moments struct{ n, mt, my, stt, sty, syy float64 }

// sums takes moments relative to the newest sample (float64 would not hold 126
// years to the microsecond), of the samples that can be read like that.
func (c *senderClock) sums(how reading) (m moments) {
	ref := c.newest()
	each := func(f func(t, y float64)) {
		for i := range c.n {
			if s := c.sample(i); s.way || how < lessLate {
				f((s.at - ref.at).Seconds(), (s.value(how) - ref.y).Seconds())
			}
		}
	}
	each(func(t, y float64) { m.n, m.mt, m.my = m.n+1, m.mt+t, m.my+y })
	if m.n == 0 {
		return m
	}
	m.mt, m.my = m.mt/m.n, m.my/m.n
	each(func(t, y float64) {
		m.stt, m.sty, m.syy = m.stt+(t-m.mt)*(t-m.mt), m.sty+(t-m.mt)*(y-m.my), m.syy+(y-m.my)*(y-m.my)
	})
	return m
}

// dev is the standard deviation from a line of slope k through the mean.
func (m moments) dev(k float64) float64 {
	return math.Sqrt(max(m.syy-2*k*m.sty+k*k*m.stt, 0) / max(m.n, 1))
}

// freeSlope is the plain least squares slope.
func (m moments) freeSlope() float64 {
	if m.stt == 0 {
		return 0
	}
	return m.sty / m.stt
}

// fit is a least squares line whose slope is pulled towards 0 as long as few
// reports are there: the square of the ratio of a report's error to a true slope
// is the weight of that knowledge. The error is what a free line leaves over.
func (c *senderClock) fit(how reading) fitLine {
	m, noise := c.sums(how), noiseMost.Seconds()
	if m.n >= senderAgree {
		noise = min(max(m.dev(m.freeSlope())*math.Sqrt(m.n/(m.n-2)), noiseLeast.Seconds()), noise)
	}
	k := m.sty / (m.stt + noise*noise/(trueSlope*trueSlope))
	ref := c.newest()
	return fitLine{
		t0:    ref.at,
		y0:    ref.y + time.Duration((m.my-k*m.mt)*1e9),
		slope: k,
		dev:   time.Duration(m.dev(k) * 1e9),
	}
}

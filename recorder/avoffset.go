package recorder

import (
	"time"

	"lineout/media"
)

// AVOffset says how far the picture lies from where the sender's own clock (RFC
// 3550 section 6.4.1, sender reports) puts it against the sound, in
// milliseconds over all pictures of the file; positive is a picture that is
// late.
type AVOffset struct {
	MinMS  float64 `json:"minMs"`
	MaxMS  float64 `json:"maxMs"`
	MeanMS float64 `json:"meanMs"`
	// P99MS is what 99 of 100 pictures are within, early or late.
	P99MS  float64 `json:"p99Ms"`
	Frames uint64  `json:"frames"`
}

// offsetBins is the number of steps of one millisecond an offset is counted in;
// larger ones are counted in the last.
const offsetBins = 1000

// offsetMeter measures an AVOffset while a file is written.
type offsetMeter struct {
	audio    time.Duration // PTS - NTP of the newest sound, since 1970
	known    bool
	n        uint64
	min, max time.Duration
	sum      time.Duration
	bins     [offsetBins]uint32
	sender   time.Time // the sender's clock at PTS zero, from the first frame that says it
}

// take adds a frame. Frames without the sender's time are left out.
func (m *offsetMeter) take(f *media.Frame) {
	if f.NTP.IsZero() || f.Filler {
		return
	}
	if m.sender.IsZero() {
		m.sender = f.NTP.Add(-f.PTS)
	}
	at := f.PTS - time.Duration(f.NTP.UnixNano())
	if f.Track.Kind == media.Audio {
		m.audio, m.known = at, true
		return
	}
	if !m.known {
		return
	}
	d := at - m.audio
	if m.n == 0 {
		m.min, m.max = d, d
	}
	m.min, m.max = min(m.min, d), max(m.max, d)
	m.n++
	m.sum += d
	m.bins[min(d.Abs()/time.Millisecond, offsetBins-1)]++
}

// result is nil before the first picture.
func (m *offsetMeter) result() *AVOffset {
	if m.n == 0 {
		return nil
	}
	r := &AVOffset{MinMS: ms(m.min), MaxMS: ms(m.max), MeanMS: ms(m.sum / time.Duration(m.n)), Frames: m.n}
	left := m.n / 100
	for i := offsetBins - 1; i >= 0; i-- {
		if n := uint64(m.bins[i]); n > left {
			r.P99MS = float64(i + 1)
			break
		} else {
			left -= n
		}
	}
	return r
}

// ms is d in milliseconds with three decimals.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

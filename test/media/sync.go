package media

import (
	"math"
	"slices"
)

// compare pairs each flash with its beep, nil when there is nothing to pair.
func compare(fs []flash, bs []beep) *Sync {
	// The 1500 Hz beeps come every 5 s and say which second is meant; then the nearest beep to that coarse offset is the right one.
	var coarse []float64
	for _, f := range fs {
		if f.second >= 0 && f.second%5 == 0 {
			if o, ok := nearest(bs, f.at, beepMarker, 0); ok && math.Abs(o) <= 2.5 {
				coarse = append(coarse, o)
			}
		}
	}
	about, within := 0.0, 0.5
	if len(coarse) > 0 {
		about, within = median(coarse), 0.45
	}
	var at, off []float64
	for _, f := range fs {
		hz := 0
		if f.second >= 0 {
			hz = beepHz(f.second)
		}
		if o, ok := nearest(bs, f.at, hz, about); ok && math.Abs(o-about) <= within {
			at, off = append(at, f.at), append(off, o*1000)
		}
	}
	if len(off) == 0 {
		return nil
	}
	s := &Sync{Pairs: len(off), MedianMillis: round1(median(off)), MinMillis: round1(slices.Min(off)), MaxMillis: round1(slices.Max(off))}
	for i := range at {
		if at[i] >= at[0]+3 {
			s.SettledMillis = max(s.SettledMillis, round1(math.Abs(off[i])))
		}
	}
	// Theil-Sen: one wrong beep changes nothing.
	var slopes []float64
	for i := range at {
		for j := i + 1; j < len(at); j++ {
			if at[j]-at[i] >= 2 {
				slopes = append(slopes, (off[j]-off[i])/(at[j]-at[i]))
			}
		}
	}
	s.DriftPerMinute = round1(median(slopes) * 60)
	return s
}

// nearest is the offset (seconds) of the beep of hz (0: any) nearest to at+about.
func nearest(bs []beep, at float64, hz int, about float64) (offset float64, ok bool) {
	for _, b := range bs {
		if hz != 0 && b.hz != hz {
			continue
		}
		if o := b.at - at; !ok || math.Abs(o-about) < math.Abs(offset-about) {
			offset, ok = o, true
		}
	}
	return offset, ok
}

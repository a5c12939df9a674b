package media

import (
	"math"
	"slices"
)

// heardRate is the sample rate sound is measured at.
const heardRate = 8000

// beep is the beginning of one.
type beep struct {
	at float64
	hz int
}

// clock turns the index of a sample into a time, holes in the timestamps kept.
type clock []struct {
	from int
	at   float64
}

func (c clock) time(i float64) float64 {
	k := len(c) - 1
	for k > 0 && float64(c[k].from) > i {
		k--
	}
	return c[k].at + (i-float64(c[k].from))/heardRate
}

// fill evaluates the samples and returns the beeps.
func (a *Audio) fill(x []int16, chunks []chunk) []beep {
	var c clock
	pos := 0
	for _, k := range chunks {
		if !math.IsNaN(k.at) {
			if len(c) == 0 {
				c = append(c, struct {
					from int
					at   float64
				}{pos, k.at})
			} else if miss := k.at - c.time(float64(pos)); math.Abs(miss) > 0.004 {
				a.Holes++
				a.MaxHoleMillis = max(a.MaxHoleMillis, math.Round(math.Abs(miss)*1000))
				c = append(c, struct {
					from int
					at   float64
				}{pos, k.at})
			}
		}
		pos += k.n
	}
	if len(c) == 0 {
		c = make(clock, 1)
	}
	a.Start, a.End = c.time(0), c.time(float64(len(x)))
	a.pilot(x)
	return a.beeps(x, c)
}

// beeps finds the beeps by the strength of their two tones in windows of 10 ms.
func (a *Audio) beeps(x []int16, c clock) (out []beep) {
	const hop = heardRate / 100
	low, high := make([]float64, len(x)/hop), make([]float64, len(x)/hop)
	peak := 0.0
	for k := range low {
		w := x[k*hop : (k+1)*hop]
		low[k], high[k] = tone(w, beepLow), tone(w, beepMarker)
		peak = max(peak, low[k], high[k])
	}
	on := max(peak*0.5, 0.003)
	var levels, snrs []float64
	for k := 0; k < len(low); k++ {
		if max(low[k], high[k]) <= on {
			continue
		}
		end := k
		for end < len(low) && max(low[end], high[end]) > on*0.8 {
			end++
		}
		if n := end - k; n >= 5 && n <= 16 { // 100 ms, give or take smearing
			l, h := mean(low[k+1:end-1]), mean(high[k+1:end-1])
			hz, plateau := beepLow, l
			if h > l {
				hz, plateau = beepMarker, h
			}
			out = append(out, beep{c.time(onset(x, k*hop, hz, plateau)), hz})
			level, snr := quality(x[(k+1)*hop:(end-1)*hop], hz)
			levels, snrs = append(levels, level), append(snrs, snr)
		}
		k = end
	}
	a.Beeps = len(out)
	if len(out) > 0 {
		a.LevelDB, a.SNRDB = round1(median(levels)), round1(median(snrs))
	}
	return out
}

// onset is the sample at which a beep found in the window at near begins: where
// a sliding window of 10 ms holds half the plateau's strength, it is half full.
func onset(x []int16, near, hz int, plateau float64) float64 {
	const hop, step = heardRate / 100, 4
	lastAt, lastV := -1, 0.0
	for i := max(0, near-200); i < near+120 && i+hop <= len(x); i += step {
		v := tone(x[i:i+hop], float64(hz))
		if v >= plateau/2 {
			if lastAt < 0 {
				return float64(i) // it began before the sound did
			}
			at := float64(i)
			if v > lastV {
				at = float64(lastAt) + (plateau/2-lastV)/(v-lastV)*step
			}
			return at + hop/2
		}
		lastAt, lastV = i, v
	}
	return float64(near)
}

// quality is the level of a beep in dBFS and its ratio to everything that is neither beep nor pilot, in dB.
func quality(x []int16, hz int) (level, snr float64) {
	var power float64
	for _, v := range x {
		power += float64(v) * float64(v)
	}
	power /= float64(len(x)) * 32768 * 32768
	b, p := tone(x, float64(hz)), tone(x, pilotHz)
	noise := max(1e-10, power-b*b/2-p*p/2)
	return 20 * math.Log10(max(b, 1e-6)), 10 * math.Log10(max(b*b/2, 1e-12)/noise)
}

// pilot follows strength and phase of the pilot in windows of 40 ms, one every 20 ms.
func (a *Audio) pilot(x []int16) {
	const win, hop = heardRate / 25, heardRate / 50
	var strength, phase []float64
	for i := 0; i+win <= len(x); i += hop {
		re, im := phasor(x[i:i+win], i)
		strength, phase = append(strength, math.Hypot(re, im)), append(phase, math.Atan2(im, re))
	}
	usual := median(strength)
	a.PilotDB = round1(20 * math.Log10(usual))
	if usual < 0.002 {
		a.PilotDB = math.Inf(-1)
		return
	}
	weak := 0
	gap := func(ms float64) {
		if weak > 0 {
			a.Gaps++
			a.MaxGapMillis = max(a.MaxGapMillis, ms)
		}
		weak = 0
	}
	for _, s := range strength {
		if s < usual*0.3 {
			weak++
			continue
		}
		gap(float64(weak)*20 + 20)
	}
	gap(float64(weak) * 20)
	var turns []float64
	for i := 1; i < len(phase); i++ {
		turns = append(turns, math.Remainder(phase[i]-phase[i-1], 2*math.Pi))
	}
	a.PilotHz = math.Round((pilotHz+median(turns)/(2*math.Pi)*heardRate/hop)*100) / 100
	// Windows 60 ms apart do not overlap; the slow turn of a sender's clock stays far below the limit.
	const apart = 3
	last := -10
	for i := apart; i < len(phase); i++ {
		if min(strength[i], strength[i-apart]) < usual*0.5 {
			continue
		}
		turn := math.Remainder(phase[i]-phase[i-apart], 2*math.Pi)
		if math.Abs(turn) > 0.6 && i-last > apart {
			a.Jumps++
			last = i
		}
	}
}

// tone is the amplitude of one frequency (Goertzel), 1 is full scale.
func tone(x []int16, hz float64) float64 { return toneAt(x, hz, heardRate) }

// toneAt is tone for samples of another rate.
func toneAt(x []int16, hz, rate float64) float64 {
	c := 2 * math.Cos(2*math.Pi*hz/rate)
	var s1, s2 float64
	for _, v := range x {
		s1, s2 = float64(v)+c*s1-s2, s1
	}
	return math.Sqrt(max(0, s1*s1+s2*s2-c*s1*s2)) * 2 / float64(len(x)) / 32768
}

// phasor is the pilot's amplitude and phase against a free-running one; x begins at sample n0.
func phasor(x []int16, n0 int) (re, im float64) {
	const w = 2 * math.Pi * pilotHz / heardRate
	for i, v := range x {
		s, c := math.Sincos(w * float64(n0+i))
		re += float64(v) * c
		im += float64(v) * s
	}
	k := 2 / float64(len(x)) / 32768
	return re * k, im * k
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func mean(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v
	}
	return s / float64(max(1, len(x)))
}

func round1(x float64) float64 { return math.Round(x*10) / 10 }

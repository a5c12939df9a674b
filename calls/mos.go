package calls

import (
	"time"

	"lineout/media"
)

// impairment is what ITU-T G.113 appendix I says of a codec: Ie, how much
// worse it is than G.711 without any loss, and Bpl, how well it stands losses.
type impairment struct{ ie, bpl float64 }

// impairmentOf a codec on G.107's narrow-band scale. G.711 is taken with
// concealment, which what plays it has. Wide-band codecs are at the scale's top:
// they sound better, but it does not go further. For G.722 and Opus G.113 has
// no Bpl on this scale; theirs are those of G.711 and of a codec that has
// concealment of its own. What is not listed is taken for a medium codec.
func impairmentOf(c media.Codec) impairment {
	switch c {
	case "PCMA", "PCMU", "G722":
		return impairment{0, 25.1}
	case "opus":
		return impairment{0, 20}
	case "G729":
		return impairment{11, 19}
	}
	return impairment{10, 20}
}

// mos estimates the mean opinion score of one-way sound by the E-model of
// ITU-T G.107, with all that is not measured at its default:
//
//	R   = 93.2 - Id - Ie,eff
//	Id  = 0.024 d + 0.11 max(d - 177.3, 0)      d in ms
//	Ie,eff = Ie + (95 - Ie) Ppl / (Ppl + Bpl)   Ppl in percent, losses at random
//	MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6
//
// d is what this side can know of the delay: a packet of 20 ms and a jitter
// buffer of twice the jitter. The way through the network is not in it.
func mos(c media.Codec, loss float64, jitter time.Duration) float64 {
	i := impairmentOf(c)
	d := 20 + 2*float64(jitter)/float64(time.Millisecond)
	id := 0.024*d + 0.11*max(d-177.3, 0)
	ppl := 100 * min(max(loss, 0), 1)
	r := 93.2 - id - (i.ie + (95-i.ie)*ppl/(ppl+i.bpl))
	switch {
	case r <= 0:
		return 1
	case r >= 100:
		return 4.5
	}
	// G.107's cubic falls below 1 for R under 6.5.
	return max(1+0.035*r+r*(r-60)*(100-r)*7e-6, 1)
}

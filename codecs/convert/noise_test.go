package convert

import (
	"math"
	"testing"
	"time"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/media"
)

// level is the RMS of a span of sound in dB below full scale.
func level(pcm []float32, rate int, from, to time.Duration) float64 {
	sum := 0.0
	pcm = pcm[count(from, rate):count(to, rate)]
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return 10 * math.Log10(sum/float64(len(pcm))+1e-12)
}

// pause is a second of a tone, two of comfort noise at two levels, and a second
// of the tone again, as a sender of silence suppression sends them.
func pause(t testing.TB, c media.Codec) []*media.Frame {
	t.Helper()
	before, after := coded(t, c, tone(rates[c], 440, time.Second), 0), coded(t, c, tone(rates[c], 440, time.Second), 3*time.Second)
	frames := append(before, &media.Frame{PTS: time.Second, Noise: -50}, &media.Frame{PTS: 2 * time.Second, Noise: -40})
	frames = append(frames, after...)
	for _, f := range frames {
		f.Arrival = time.Unix(1000, 0).Add(f.PTS)
	}
	return frames
}

// A pause that a sender described is heard as noise as loud as it said, without
// a hole or a shift, and ends with the first packet (RFC 3389).
func TestComfortNoiseIsHeard(t *testing.T) {
	for _, from := range []media.Codec{g711.PCMA, g711.PCMU, g722.Name} {
		for _, to := range []media.Codec{aac.Name, opus.Name, l16.Name} {
			out := run(t, newTest(t, from, to, codecs.Options{}), pause(t, from))
			for i, f := range out {
				if i > 0 && (f.PTS != out[i-1].PTS+out[i-1].Duration || f.Gap) {
					t.Errorf("%s to %s: frame %d at %v does not continue", from, to, i, f.PTS)
				}
			}
			pcm, rate := heard(t, to, out)
			first, second := level(pcm, rate, 1200*ms, 1900*ms), level(pcm, rate, 2200*ms, 2900*ms)
			t.Logf("%s to %s: %.1f dB of -50, %.1f dB of -40", from, to, first, second)
			bound := 1.0
			if to == opus.Name {
				bound = 3.5 // its mode for speech makes noise weaker
			}
			if math.Abs(first+50) > bound || math.Abs(second+40) > bound {
				t.Errorf("%s to %s: noise of %.1f and %.1f dB, want -50 and -40", from, to, first, second)
			}
			for at := 1100 * ms; at < 1900*ms; at += 50 * ms {
				if l := level(pcm, rate, at, at+50*ms); math.Abs(l-first) > 3 {
					t.Errorf("%s to %s: %.1f dB at %v: not steady", from, to, l, at)
				}
			}
			if l := level(pcm, rate, 3100*ms, 3800*ms); math.Abs(l+13.5) > 2 {
				t.Errorf("%s to %s: the tone comes back with %.1f dB", from, to, l)
			}
		}
	}
}

// Without the description the same pause is silent but for the concealment.
func TestPauseWithoutDescriptionIsSilent(t *testing.T) {
	frames := pause(t, g711.PCMA)
	pcm, rate := heard(t, l16.Name, run(t, newTest(t, g711.PCMA, l16.Name, codecs.Options{}), append(frames[:50:50], frames[52:]...)))
	if l := level(pcm, rate, 1200*ms, 2900*ms); l > -100 {
		t.Errorf("%.1f dB", l)
	}
}

// Silence that is generated in a pause does not end the noise; a description
// before any sound, or of a past moment, changes nothing.
func TestComfortNoiseAtOddTimes(t *testing.T) {
	frames := pause(t, g711.PCMA)
	in := []*media.Frame{{PTS: 0, Noise: -20}}
	in = append(in, frames[:50]...)
	in = append(in, &media.Frame{PTS: 500 * ms, Noise: -50}) // late
	for i := range 100 {
		in = append(in, &media.Frame{PTS: time.Second + time.Duration(i)*20*ms, Filler: true, Data: [][]byte{g711.CodecPCMA.(codecs.Silencer).Silence()}})
	}
	in = append(in, frames[52:]...)
	out := run(t, newTest(t, g711.PCMA, l16.Name, codecs.Options{}), in)
	pcm, rate := heard(t, l16.Name, out)
	if out[0].PTS != 0 {
		t.Errorf("the sound starts at %v", out[0].PTS)
	}
	if l := level(pcm, rate, 1200*ms, 2900*ms); math.Abs(l+50) > 2 {
		t.Errorf("noise of %.1f dB, want -50", l)
	}
	if l := level(pcm, rate, 3100*ms, 3800*ms); math.Abs(l+13.5) > 2 {
		t.Errorf("the tone comes back with %.1f dB", l)
	}
}

package convert

import (
	"testing"
	"time"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/opus"
	"lineout/media"
)

// The last word of a call is in the recording: what encoder and resampler hold
// back comes out in the end.
func TestFlushGivesOutTheEnd(t *testing.T) {
	for _, c := range every(t) {
		if c.To != aac.Name && c.To != opus.Name {
			continue
		}
		t.Run(string(c.From)+" to "+string(c.To), func(t *testing.T) {
			const length = time.Second
			in := source(t, c.From, 900*ms, 0, length) // the beep is 100 ms long
			conv := newTest(t, c.From, c.To, codecs.Options{})
			out := run(t, conv, in)
			without := len(out)
			if err := conv.(codecs.Flusher).Flush(func(f *media.Frame) { out = append(out, f) }); err != nil {
				t.Fatal(err)
			}
			last := out[len(out)-1]
			if end := last.PTS + last.Duration; end < length || end > length+2*last.Duration {
				t.Errorf("the output ends at %v, the input at %v", end, length)
			}
			if len(out) == without {
				t.Error("nothing was held back, the test shows nothing")
			}
			pcm, rate := heard(t, c.To, out)
			from := int((930*ms - out[0].PTS).Seconds() * float64(rate))
			to := int((970*ms - out[0].PTS).Seconds() * float64(rate))
			if len(pcm) < to || peak(pcm[from:to]) < 0.1 {
				t.Errorf("the beep's end is not heard")
			}
			for i := 1; i < len(out); i++ {
				if out[i].DTS <= out[i-1].DTS {
					t.Errorf("frame %d at %v follows %v", i, out[i].DTS, out[i-1].DTS)
				}
			}
		})
	}
}

package peers

import (
	"testing"

	"github.com/pion/rtp"

	"lineout/codecs/g711"
	"lineout/codecs/g729"
)

func same(b []byte) []byte { return b }

// recoder is how a [Tap] changes the RTP packets of a track.
func recoder(t testing.TB, tr *EncoderTrack) func([]byte) []byte {
	if tr.recode == nil {
		return same
	}
	recode := tr.recode(t)
	return func(b []byte) []byte {
		var p rtp.Packet
		if p.Unmarshal(b) != nil {
			return b
		}
		p.Payload = recode(p.Payload)
		out, err := p.Marshal()
		if err != nil {
			return b
		}
		return out
	}
}

// toG729 codes A-law anew, frame for frame, so that timestamps stay as they are.
func toG729(t testing.TB) func([]byte) []byte {
	t.Helper()
	coders, err := g729.Open()
	if err != nil {
		t.Fatal(err)
	}
	e, err := coders[0].NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	var pcm []int16
	return func(alaw []byte) []byte {
		pcm = g711.DecodePCMA(pcm[:0], alaw)
		out, err := e.Encode(nil, pcm)
		if err != nil {
			t.Errorf("G.729: %v", err)
		}
		return out
	}
}

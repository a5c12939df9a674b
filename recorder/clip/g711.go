package clip

import (
	"encoding/binary"
	"math"
	"testing"

	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/media"
)

// packet is 20 ms of G.711.
const packet = g711.SampleRate / 50

// LoadG711 is Load with the sound of a phone: the tone in packets of 20 ms of
// G.711 or of samples (L16).
func LoadG711(law media.Codec) (*Clip, error) {
	c, err := Load()
	if err != nil {
		return nil, err
	}
	pcm := make([]int16, int(Length.Seconds())*g711.SampleRate)
	for i := range pcm {
		pcm[i] = int16(4000 * math.Sin(2*math.Pi*440*float64(i)/g711.SampleRate))
	}
	encode := g711.EncodePCMA
	switch law {
	case g711.PCMU:
		encode = g711.EncodePCMU
	case l16.Name:
		encode = func(b []byte, pcm []int16) []byte {
			for _, s := range pcm {
				b = binary.BigEndian.AppendUint16(b, uint16(s))
			}
			return b
		}
	}
	c.sound, c.audio, c.audioStep = law, nil, opusStep
	for i := 0; i < len(pcm); i += packet {
		c.audio = append(c.audio, encode(nil, pcm[i:i+packet]))
	}
	return c.Clone(), nil
}

// NewG711 is LoadG711 for tests.
func NewG711(tb testing.TB, law media.Codec) *Clip {
	tb.Helper()
	c, err := LoadG711(law)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

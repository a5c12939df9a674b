package convert

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/media"
)

// TestTwoChannelsOfSamples: samples of two channels keep them apart where the
// codec has two, and are added up where it has one.
func TestTwoChannelsOfSamples(t *testing.T) {
	track := &media.Track{ID: "audio", Kind: media.Audio, Codec: l16.Name, ClockRate: l16.SampleRate, Channels: 2}
	track.SetParams(&media.Params{SampleRate: l16.SampleRate, Channels: 2})
	convert := func(to media.Codec) (out []*media.Frame) {
		for _, c := range All() {
			if c.From != l16.Name || c.To != to {
				continue
			}
			conv, err := c.New(track, codecs.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer conv.Close()
			for i := range 50 {
				var data []byte
				for j := range 960 {
					v := 16000 * math.Sin(2*math.Pi*440*float64(960*i+j)/48000)
					data = binary.BigEndian.AppendUint16(data, uint16(int16(v)))
					data = binary.BigEndian.AppendUint16(data, 0) // the right side is silent
				}
				at := time.Duration(i) * 20 * time.Millisecond
				f := &media.Frame{Track: track, Params: track.Params(), PTS: at, DTS: at, Duration: 20 * time.Millisecond, Key: true, Data: [][]byte{data}}
				if err := conv.Convert(f, func(f *media.Frame) { out = append(out, f) }); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(out) < 40 {
			t.Fatalf("%d frames of %s", len(out), to)
		}
		return out
	}
	rms := func(x []float32) float64 {
		sum := 0.0
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		return math.Sqrt(sum / float64(len(x)))
	}
	if p := convert(aac.Name)[0].Params; p.Channels != 2 {
		t.Errorf("AAC has %d channels", p.Channels)
	}
	d, err := newOpusDecoder(48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	planes := [][]float32{nil, nil}
	for _, f := range convert(opus.Name) {
		if err := d.decode(planes, f.Data[0]); err != nil {
			t.Fatal(err)
		}
	}
	left, right := rms(planes[0][9600:]), rms(planes[1][9600:])
	if math.Abs(left-0.345) > 0.03 || right > 0.02 {
		t.Errorf("Opus: left %.3f, right %.3f, want 0.345 and nearly nothing", left, right)
	}
	var pcm []int16
	for _, f := range convert(g711.PCMA) {
		pcm = g711.DecodePCMA(pcm, f.Data[0])
	}
	sum := 0.0
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	if x := math.Sqrt(sum/float64(len(pcm))) / 32768; math.Abs(x-0.345/2) > 0.02 {
		t.Errorf("PCMA: %.3f, want half of the left side", x)
	}
}

package convert

import (
	"bytes"
	"encoding/binary"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	g722peer "github.com/gotranspile/g722"
	pionopus "github.com/pion/opus"
	goaac "github.com/tphakala/go-aac"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/g729"
	"lineout/codecs/l16"
	"lineout/codecs/opus"
	"lineout/codecs/resample"
	"lineout/codecs/speex"
	"lineout/media"
)

// newTest returns a conversion of the public list.
func newTest(t testing.TB, from, to media.Codec, o codecs.Options) codecs.Conversion {
	t.Helper()
	for _, c := range every(t) {
		if c.From == from && c.To == to {
			conv, err := c.New(nil, o)
			if err != nil {
				t.Fatal(err)
			}
			return conv
		}
	}
	t.Fatalf("no conversion from %s to %s", from, to)
	return nil
}

// beep is a tone of 100 ms at the given time, with a hard start.
func beep(rate int, at, length time.Duration) []float32 {
	s := make([]float32, count(length, rate))
	for i := range s {
		if t := float64(i)/float64(rate) - at.Seconds(); t >= 0 && t < 0.1 {
			s[i] = float32(0.5 * math.Sin(2*math.Pi*1000*t))
		}
	}
	return s
}

// onset is when the sound first reaches half of its loudness, by the RMS of 1 ms.
func onset(pcm []float32, rate int) time.Duration {
	w := rate / 1000
	env := make([]float64, 0, len(pcm))
	sum, peak := 0.0, 0.0
	for i, v := range pcm {
		sum += float64(v) * float64(v)
		if i >= w {
			sum -= float64(pcm[i-w]) * float64(pcm[i-w])
		}
		env = append(env, sum)
		peak = max(peak, sum)
	}
	for i, e := range env {
		if e > peak/4 {
			return span(int64(i), rate)
		}
	}
	return -1
}

// rates are those at which sounds are made for each codec.
var rates = map[media.Codec]int{g711.PCMA: 8000, g711.PCMU: 8000, g722.Name: 16000, l16.Name: l16.SampleRate, opus.Name: 48000, speex.Narrow: 8000, speex.Wide: 16000, g729.Name: 8000}

// source makes the frames of a beep in a codec, the first one at start.
func source(t testing.TB, c media.Codec, at, start, length time.Duration) []*media.Frame {
	t.Helper()
	return coded(t, c, beep(rates[c], at, length), start)
}

// coded makes the frames of a sound in a codec, the first one at start.
func coded(t testing.TB, c media.Codec, pcm []float32, start time.Duration) []*media.Frame {
	t.Helper()
	rate := rates[c]
	enc722 := g722.NewEncoder()
	var enc opus.Encoder
	var other codecs.SoundEncoder
	if k := kit(coders(t)).coder(c); k != nil {
		var err error
		if other, err = k.NewEncoder(); err != nil {
			t.Fatal(err)
		}
		defer other.Close()
	}
	if c == opus.Name {
		var err error
		enc, err = opus.NewEncoder(opus.EncoderConfig{SampleRate: rate, Channels: 1, Bitrate: 32000, PacketLoss: 20})
		if err != nil {
			t.Fatal(err)
		}
	}
	var frames []*media.Frame
	for i := 0; i+rate/50 <= len(pcm); i += rate / 50 {
		var p []byte
		switch c {
		case opus.Name:
			p = make([]byte, opus.MaxPacket)
			n, err := enc.Encode(pcm[i:i+rate/50], p)
			if err != nil {
				t.Fatal(err)
			}
			p = p[:n]
		case speex.Narrow, speex.Wide, g729.Name:
			var err error
			if p, err = other.Encode(nil, resample.ToInt(nil, pcm[i:i+rate/50])); err != nil {
				t.Fatal(err)
			}
		case g722.Name:
			p = enc722.Encode(nil, resample.ToInt(nil, pcm[i:i+rate/50]))
		case l16.Name:
			for _, s := range resample.ToInt(nil, pcm[i:i+rate/50]) {
				p = binary.BigEndian.AppendUint16(p, uint16(s))
			}
		case g711.PCMU:
			p = g711.EncodePCMU(nil, resample.ToInt(nil, pcm[i:i+rate/50]))
		case g711.PCMA:
			p = g711.EncodePCMA(nil, resample.ToInt(nil, pcm[i:i+rate/50]))
		}
		pts := start + span(int64(i), rate)
		f := &media.Frame{PTS: pts, DTS: pts, Duration: 20 * ms, Key: true, Data: [][]byte{p}}
		if c == l16.Name {
			f.Params = &media.Params{SampleRate: rate, Channels: 1}
		}
		frames = append(frames, f)
	}
	return frames
}

// run converts all frames.
func run(t testing.TB, c codecs.Conversion, in []*media.Frame) []*media.Frame {
	t.Helper()
	var out []*media.Frame
	for _, f := range in {
		if err := c.Convert(f, func(f *media.Frame) { out = append(out, f) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// heard decodes frames by an implementation that is not ours.
func heard(t testing.TB, c media.Codec, frames []*media.Frame) (pcm []float32, rate int) {
	t.Helper()
	switch c {
	case aac.Name:
		return heardAAC(t, frames, 1)
	case speex.Narrow, speex.Wide, g729.Name:
		return heardElsewhere(t, c, frames)
	case opus.Name:
		d, err := pionopus.NewDecoderWithOutput(48000, 1)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]float32, 5760)
		for _, f := range frames {
			n, err := d.DecodeToFloat32(f.Data[0], buf)
			if err != nil {
				t.Fatal(err)
			}
			pcm = append(pcm, buf[:n]...)
		}
		return pcm, 48000
	case g722.Name:
		pcm16 := make([]int16, 320)
		d := g722peer.NewDecoder(g722peer.Rate64000, 0)
		for _, f := range frames {
			d.Decode(pcm16, f.Data[0])
			pcm = resample.ToFloat(pcm, pcm16)
		}
		return pcm, 16000
	case l16.Name:
		for _, f := range frames {
			pcm16 := make([]int16, len(f.Data[0])/l16.SampleSize)
			if err := binary.Read(bytes.NewReader(f.Data[0]), binary.BigEndian, pcm16); err != nil {
				t.Fatal(err)
			}
			pcm = resample.ToFloat(pcm, pcm16)
		}
		return pcm, frames[0].Params.SampleRate
	case g711.PCMU:
		for _, f := range frames {
			pcm = resample.ToFloat(pcm, g711.DecodePCMU(nil, f.Data[0]))
		}
	case g711.PCMA:
		for _, f := range frames {
			pcm = resample.ToFloat(pcm, g711.DecodePCMA(nil, f.Data[0]))
		}
	}
	return pcm, 8000
}

func heardAAC(t testing.TB, frames []*media.Frame, channels int) ([]float32, int) {
	t.Helper()
	p := frames[0].Params
	var adts []byte
	for _, f := range frames {
		var err error
		if adts, err = goaac.AppendADTSHeader(adts, p.SampleRate, p.Channels, len(f.Data[0])); err != nil {
			t.Fatal(err)
		}
		adts = append(adts, f.Data[0]...)
	}
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", "aac", "-i", "pipe:0", "-f", "f32le", "-ac", strconv.Itoa(channels), "pipe:1")
	cmd.Stdin = bytes.NewReader(adts)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg must be installed and decode our AAC: %v: %s", err, stderr.String())
	}
	pcm := make([]float32, len(raw)/4)
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, pcm); err != nil {
		t.Fatal(err)
	}
	return pcm, p.SampleRate
}

// A sound must be heard after the conversion when it was heard before.
func TestBeepKeepsItsTime(t *testing.T) {
	for _, c := range every(t) {
		if c.To == g729.Name {
			continue // see TestVoiceKeepsItsTime
		}
		for _, o := range []codecs.Options{{}, {SampleRate: 44100, Channels: 2}} {
			if o.SampleRate != 0 && c.To != aac.Name {
				continue
			}
			start := 731*ms + 123456
			in := source(t, c.From, 505*ms, start, time.Second)
			before, rate := heard(t, c.From, in)
			want := start + onset(before, rate)
			out := run(t, newTest(t, c.From, c.To, o), in)
			if len(out) < 40 {
				t.Fatalf("%s to %s: %d frames", c.From, c.To, len(out))
			}
			if out[0].PTS != start {
				t.Errorf("%s to %s: starts at %v, want %v", c.From, c.To, out[0].PTS, start)
			}
			after, rate := heard(t, c.To, out)
			got := out[0].PTS + onset(after, rate)
			t.Logf("%s to %s %+v: beep %v late", c.From, c.To, o, got-want)
			if off := got - want; off > 2*ms || off < -2*ms {
				t.Errorf("%s to %s: the beep of %v is heard at %v", c.From, c.To, want, got)
			}
		}
	}
}

// The beep stays in place when packets before it were lost, and after a hole
// that is too long to fill.
func TestBeepAfterHoles(t *testing.T) {
	onsets := map[media.Codec]time.Duration{}
	for c, rate := range rates {
		before, _ := heard(t, c, source(t, c, 505*ms, 0, time.Second))
		onsets[c] = onset(before, rate)
	}
	for _, c := range every(t) {
		if k := kit(coders(t)); k.coder(c.To) != nil || k.coder(c.From) != nil && c.To == aac.Name {
			continue // see TestVoiceKeepsItsTime; holes of these sources are shown with quicker targets
		}
		for _, tc := range []struct {
			name  string
			drop  func(i int) bool
			later time.Duration
		}{
			{"one lost", func(i int) bool { return i == 10 }, 0},
			{"five lost in a row", func(i int) bool { return i >= 8 && i < 13 }, 0},
			{"every third lost before", func(i int) bool { return i < 22 && i%3 == 1 }, 0},
			{"long silence", func(i int) bool { return i >= 2 && i < 20 }, 0},
			{"a hole of an hour", func(i int) bool { return false }, time.Hour},
		} {
			in := source(t, c.From, 505*ms, 0, time.Second)
			want := onsets[c.From] + tc.later
			var sent []*media.Frame
			for i, f := range in {
				if f.Gap = i > 0 && tc.drop(i-1); i >= 20 {
					f.PTS += tc.later
				}
				if !tc.drop(i) {
					sent = append(sent, f)
				}
			}
			out := run(t, newTest(t, c.From, c.To, codecs.Options{}), sent)
			after, rate := heard(t, c.To, out)
			// Put the decoded sound on the timeline by the frames' own times.
			on := onset(after, rate)
			var at time.Duration
			for _, f := range out {
				if on < f.Duration {
					at = f.PTS + on
					break
				}
				on -= f.Duration
			}
			if off := at - want; off > 3*ms || off < -3*ms {
				t.Errorf("%s to %s, %s: the beep of %v is heard at %v", c.From, c.To, tc.name, want, at)
			}
			gaps := 0
			for i, f := range out {
				if f.Gap {
					gaps++
				}
				if i > 0 && !f.Gap && f.PTS != out[i-1].PTS+out[i-1].Duration {
					t.Errorf("%s to %s, %s: frame %d at %v does not continue", c.From, c.To, tc.name, i, f.PTS)
				}
			}
			if want := min(int(tc.later/time.Hour), 1); gaps != want {
				t.Errorf("%s to %s, %s: %d gaps flagged, want %d", c.From, c.To, tc.name, gaps, want)
			}
		}
	}
}

// Stereo Opus is mixed for mono AAC, and keeps its sides for stereo AAC.
func TestStereo(t *testing.T) {
	enc, err := opus.NewEncoder(opus.EncoderConfig{SampleRate: 48000, Channels: 2, Bitrate: 64000})
	if err != nil {
		t.Fatal(err)
	}
	left := beep(48000, 300*ms, time.Second)
	var frames []*media.Frame
	for i := 0; i < len(left); i += 960 {
		pcm := resample.Interleave(nil, [][]float32{left[i : i+960], make([]float32, 960)})
		p := make([]byte, opus.MaxPacket)
		n, err := enc.Encode(pcm, p)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, &media.Frame{PTS: span(int64(i), 48000), Data: [][]byte{p[:n]}})
	}
	stereo := run(t, newTest(t, opus.Name, aac.Name, codecs.Options{Channels: 2}), frames)
	if p := stereo[0].Params; p.Channels != 2 {
		t.Fatalf("%+v", p)
	}
	both, _ := heardAAC(t, stereo, 2)
	planes := [][]float32{nil, nil}
	resample.Deinterleave(planes, both)
	mono, _ := heardAAC(t, run(t, newTest(t, opus.Name, aac.Name, codecs.Options{}), frames), 1)
	l, r, m := peak(planes[0]), peak(planes[1]), peak(mono)
	if l < 0.4 || r > 0.05 || m < 0.2 || m > 0.3 {
		t.Errorf("a tone of 0.5 on the left is heard with %.2f left, %.2f right, %.2f in mono", l, r, m)
	}
}

// peak is the size of the largest sample, but for the 1 % that transients make.
func peak(pcm []float32) float32 {
	s := make([]float32, len(pcm))
	for i, v := range pcm {
		s[i] = max(v, -v)
	}
	slices.Sort(s)
	return s[len(s)*99/100]
}

// The conversions as a server's table sees them.
func TestPlan(t *testing.T) {
	table := codecs.NewTable(nil, every(t))
	for _, tc := range []struct {
		have    media.Codec
		accepts []media.Codec
		want    media.Codec
	}{
		{g711.PCMU, []media.Codec{aac.Name}, aac.Name},
		{g722.Name, []media.Codec{aac.Name, opus.Name}, aac.Name},
		{g711.PCMA, []media.Codec{opus.Name, g711.PCMA}, ""},
		{g711.PCMU, []media.Codec{opus.Name, g711.PCMA}, opus.Name},
		{opus.Name, []media.Codec{g711.PCMA, g711.PCMU}, g711.PCMA},
	} {
		c, err := table.Plan(tc.have, tc.accepts, false)
		switch {
		case err != nil:
			t.Errorf("%s to %v: %v", tc.have, tc.accepts, err)
		case c == nil && tc.want != "", c != nil && c.To != tc.want:
			t.Errorf("%s to %v: %+v", tc.have, tc.accepts, c)
		}
	}
	if _, err := table.Plan(aac.Name, []media.Codec{opus.Name}, false); err == nil {
		t.Error("AAC was planned to be decoded")
	}
}

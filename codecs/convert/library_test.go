package convert

import (
	"bytes"
	"encoding/binary"
	"math"
	"os/exec"
	"testing"
	"time"

	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g729"
	"lineout/codecs/opus"
	"lineout/codecs/speex"
	"lineout/media"
)

// coders are all there are; tools/install-test-deps.sh installs their libraries.
func coders(t testing.TB) []codecs.Coder {
	t.Helper()
	s, err := speex.Open()
	if err != nil {
		t.Fatal(err)
	}
	g, err := g729.Open()
	if err != nil {
		t.Fatal(err)
	}
	return append(s, g...)
}

// every lists all conversions.
func every(t testing.TB) []codecs.Converter {
	t.Helper()
	return All(coders(t)...)
}

// heardElsewhere decodes Speex and G.729 by ffmpeg's own decoders.
func heardElsewhere(t testing.TB, c media.Codec, frames []*media.Frame) ([]float32, int) {
	t.Helper()
	rate := rates[c]
	var in bytes.Buffer
	args := []string{"-v", "error", "-f", "g729", "-i", "pipe:0"}
	if c == g729.Name {
		for _, f := range frames {
			in.Write(f.Data[0])
		}
	} else {
		args = []string{"-v", "error", "-c:a", "speex", "-i", "pipe:0"}
		writeOgg(&in, rate, frames)
	}
	cmd := exec.Command("ffmpeg", append(args, "-f", "f32le", "pipe:1")...)
	cmd.Stdin = &in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg must be installed and decode our %s: %v: %s", c, err, stderr.String())
	}
	pcm := make([]float32, len(raw)/4)
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, pcm); err != nil {
		t.Fatal(err)
	}
	return pcm, rate
}

// writeOgg writes Speex packets as a file (The Speex Codec Manual, section 7; RFC 3533).
func writeOgg(w *bytes.Buffer, rate int, frames []*media.Frame) {
	header := make([]byte, 80)
	copy(header, "Speex   1.2")
	for i, v := range []int32{1, 80, int32(rate), int32(rate / 16000), 4, 1, -1, int32(rate / 50), 0, 1, 0} {
		binary.LittleEndian.PutUint32(header[28+4*i:], uint32(v))
	}
	comment := make([]byte, 8) // no vendor, no comments
	packets := [][]byte{header, comment}
	for _, f := range frames {
		packets = append(packets, f.Data[0])
	}
	for i, p := range packets {
		flags, granule := byte(0), max(0, i-1)*rate/50
		if i == 0 {
			flags = 2
		} else if i == len(packets)-1 {
			flags = 4
		}
		page := append([]byte("OggS\x00"), flags)
		page = binary.LittleEndian.AppendUint64(page, uint64(granule))
		page = binary.LittleEndian.AppendUint32(page, 1)
		page = binary.LittleEndian.AppendUint32(page, uint32(i))
		page = append(page, 0, 0, 0, 0, 1, byte(len(p)))
		page = append(page, p...)
		sum := uint32(0)
		for _, b := range page {
			sum ^= uint32(b) << 24
			for range 8 {
				top := sum >> 31
				sum <<= 1
				sum ^= top * 0x04c11db7
			}
		}
		binary.LittleEndian.PutUint32(page[22:], sum)
		w.Write(page)
	}
}

// A tone comes through every pair of codecs with its pitch and loudness.
func TestToneThroughEveryPair(t *testing.T) {
	for _, c := range every(t) {
		in := coded(t, c.From, tone(rates[c.From], 440, 2*time.Second), 0)
		out := run(t, newTest(t, c.From, c.To, codecs.Options{}), in)
		pcm, rate := heard(t, c.To, out)
		pcm = pcm[rate/2 : 3*rate/2]
		purity, level := fit(pcm, rate, 440)
		t.Logf("%s to %s: tone to rest %.1f dB, level %.2f of 0.30", c.From, c.To, purity, level)
		least := 20.0
		if c.From == g729.Name || c.To == g729.Name {
			least = 12
		}
		if purity < least || level < 0.24 || level > 0.36 {
			t.Errorf("%s to %s: the tone is %.1f dB above the rest, want %.0f; its level is %.2f of 0.30", c.From, c.To, purity, least, level)
		}
	}
}

func tone(rate int, hz float64, length time.Duration) []float32 {
	pcm := make([]float32, count(length, rate))
	for i := range pcm {
		pcm[i] = float32(0.3 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
	}
	return pcm
}

// fit says how a sound is made up: the power of a tone to that of all else in
// dB, and the tone's amplitude.
func fit(pcm []float32, rate int, hz float64) (db, amplitude float64) {
	var re, im, all float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		re, im, all = re+float64(v)*c, im+float64(v)*s, all+float64(v)*float64(v)
	}
	n := float64(len(pcm))
	amplitude = 2 * math.Hypot(re, im) / n
	sig := amplitude * amplitude / 2
	return 10 * math.Log10(sig/max(all/n-sig, 1e-12)), amplitude
}

// A sender with annex B stops with a silence descriptor: what follows is noise
// of its level until sound comes again, and no time is lost or won.
func TestG729SilenceDescriptor(t *testing.T) {
	in := coded(t, g729.Name, beep(8000, 1505*ms, 2*time.Second), 0)
	want := onsetOf(t, g729.Name, in)
	// A descriptor with gain index 20 of 31, in the middle of the scale: some noise.
	sid := []byte{0x12, 0x34 | 1}
	var sent []*media.Frame
	for i, f := range in {
		switch {
		case i == 20:
			f.Data = [][]byte{sid}
			f.Duration = 10 * ms
		case i > 20 && i < 70:
			continue
		case i == 70:
			f.Gap = true
		}
		sent = append(sent, f)
	}
	out := run(t, newTest(t, g729.Name, g711.PCMU, codecs.Options{}), sent)
	for i, f := range out {
		if f.PTS != time.Duration(i)*20*ms || f.Gap {
			t.Fatalf("frame %d at %v, gap %v", i, f.PTS, f.Gap)
		}
	}
	pcm, rate := heard(t, g711.PCMU, out)
	// Half a frame: the attack sounds different after noise.
	if got := onset(pcm, rate); got-want > 5*ms || want-got > 5*ms {
		t.Errorf("the beep of %v is heard at %v", want, got)
	}
	for _, at := range []float64{0.45, 0.7, 1.0, 1.3} {
		i := int(at * float64(rate))
		if v := rms(pcm[i : i+rate/20]); v < 0.0005 || v > 0.1 {
			t.Errorf("the noise at %.1f s is %.5f", at, v)
		}
	}
}

func onsetOf(t *testing.T, c media.Codec, frames []*media.Frame) time.Duration {
	t.Helper()
	pcm, rate := heard(t, c, frames)
	return onset(pcm, rate)
}

func rms(pcm []float32) float64 {
	s := 0.0
	for _, v := range pcm {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(len(pcm)))
}

// Conversions use nothing of a library after they were closed, and can be
// closed twice.
func TestClosed(t *testing.T) {
	for _, c := range every(t) {
		conv := newTest(t, c.From, c.To, codecs.Options{})
		in := source(t, c.From, 100*ms, 0, 200*ms)
		run(t, conv, in) // closes
		if err := conv.Close(); err != nil {
			t.Error(err)
		}
		for _, f := range in {
			_ = conv.Convert(f, func(*media.Frame) {})
		}
	}
}

// Without the libraries all else is there.
func TestWithoutLibraries(t *testing.T) {
	if n := len(All()); n != 5+5+4+4+4+4 {
		t.Errorf("%d conversions", n)
	}
	table := codecs.NewTable(nil, All())
	if _, err := table.Plan(g729.Name, []media.Codec{aac.Name, opus.Name}, true); err == nil {
		t.Error("G.729 is converted by nothing")
	}
}

// G.729 answers a hard start slowly, so where sound lies is told by how it
// matches the original: in all of it, and behind packets that were lost.
func TestVoiceKeepsItsTime(t *testing.T) {
	pcm := voice(8000, 3*time.Second)
	in := coded(t, g711.PCMA, pcm, 0)
	for _, c := range coders(t) {
		to := c.Codec.Name()
		for _, lost := range []int{0, 1, 7} {
			var sent []*media.Frame
			for i, f := range in {
				if i >= 50 && i < 50+lost {
					continue
				}
				f.Gap = lost > 0 && i == 50+lost
				sent = append(sent, f)
			}
			got, rate := heard(t, to, run(t, newTest(t, g711.PCMA, to, codecs.Options{}), sent))
			at := lag(pcm, got, rate/8000, 12000, 20000)
			t.Logf("%s, %d lost: %v late", to, lost, span(int64(at), 8000))
			if at > 2 || at < -2 {
				t.Errorf("%s, %d lost: the voice is %v late", to, lost, span(int64(at), 8000))
			}
		}
	}
}

// lag is by how many samples of a want has to be moved so that got, which has
// step samples for each, matches best between two of its samples. Differences
// of neighbours are compared: telephone codecs turn the phase of low sounds.
func lag(want, got []float32, step, from, to int) int {
	best, at := 0.0, 0
	for l := -160; l <= 160; l++ {
		var cross, energy float64
		for i := from; i < to; i++ {
			a := float64(want[i] - want[i-1])
			b := float64(got[(i+l)*step] - got[(i+l-1)*step])
			cross, energy = cross+a*b, energy+b*b
		}
		if score := cross / math.Sqrt(energy); score > best {
			best, at = score, l
		}
	}
	return at
}

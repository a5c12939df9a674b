package peers

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// StartCaller starts a browser that has a microphone, which hears a steady tone,
// and a camera, which shows Chromium's test picture.
func StartCaller(t testing.TB, hz float64) *Browser {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tone.wav")
	if err := os.WriteFile(file, toneWAV(hz), 0o600); err != nil {
		t.Fatal(err)
	}
	return StartBrowser(t, chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-file-for-fake-audio-capture", file))
}

// toneWAV is ten seconds of a tone, which join without a click when repeated.
func toneWAV(hz float64) []byte {
	const rate, seconds = 48000, 10
	data := make([]byte, 0, 44+2*rate*seconds)
	data = append(data, "RIFF"...)
	data = binary.LittleEndian.AppendUint32(data, 36+2*rate*seconds)
	data = append(data, "WAVEfmt "...)
	data = binary.LittleEndian.AppendUint32(data, 16)
	data = binary.LittleEndian.AppendUint16(data, 1) // PCM
	data = binary.LittleEndian.AppendUint16(data, 1) // mono
	data = binary.LittleEndian.AppendUint32(data, rate)
	data = binary.LittleEndian.AppendUint32(data, 2*rate)
	data = binary.LittleEndian.AppendUint16(data, 2)
	data = binary.LittleEndian.AppendUint16(data, 16)
	data = append(data, "data"...)
	data = binary.LittleEndian.AppendUint32(data, 2*rate*seconds)
	for i := range rate * seconds {
		data = binary.LittleEndian.AppendUint16(data, uint16(int16(12000*math.Sin(2*math.Pi*hz*float64(i)/rate))))
	}
	return data
}

// Heard is what a page's element sounds for 0.4 s.
type Heard struct {
	Hz float64 `json:"hz"` // the strongest frequency
	DB float64 `json:"db"` // its level, dBFS; -200 for silence and for no sound at all
}

// String is for logs.
func (h Heard) String() string { return fmt.Sprintf("%.0f Hz at %.0f dB", h.Hz, h.DB) }

// Is says that the tone is heard.
func (h Heard) Is(hz float64) bool { return h.DB > -60 && math.Abs(h.Hz-hz) < 15 }

// Hear listens to the media elements a CSS selector finds, as WebRTC has given
// them their sound; what is loudest counts.
func (p *Page) Hear(t testing.TB, selector string) Heard {
	t.Helper()
	return Eval[Heard](t, p, fmt.Sprintf(`(async () => {
  const best = { hz: 0, db: -200 }, context = window.__hearing ??= new AudioContext();
  await context.resume();
  const ears = [...document.querySelectorAll(%q)].filter(e => e.srcObject && e.srcObject.getAudioTracks().length).map(e => {
    const ear = context.createAnalyser(), source = context.createMediaStreamSource(e.srcObject);
    ear.fftSize = 8192; ear.smoothingTimeConstant = 0;
    source.connect(ear);
    return { ear, source };
  });
  await new Promise(r => setTimeout(r, 400));
  for (const { ear, source } of ears) {
    const bins = new Float32Array(ear.frequencyBinCount);
    ear.getFloatFrequencyData(bins);
    bins.forEach((db, i) => { if (i > 2 && db > best.db) { best.db = db; best.hz = i * context.sampleRate / ear.fftSize; } });
    source.disconnect();
  }
  return best;
})()`, selector))
}

package media

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// The treble of a wide clip is heard at its level, and gone where a narrow-band codec was on the way.
func TestTreble(t *testing.T) {
	t.Parallel()
	dir, err := Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wide := filepath.Join(dir, Wide)
	if db, err := Treble(t.Context(), wide); err != nil || db < -26.5 || db > -25.5 {
		t.Errorf("%v dBFS in the clip, %v, want -26", db, err)
	}
	narrow := filepath.Join(t.TempDir(), "narrow.wav")
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", "-loglevel", "error", "-i", wide, "-vn", "-ar", "8000", "-c:a", "pcm_alaw", narrow).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if db, err := Treble(t.Context(), narrow); err != nil || db > -60 {
		t.Errorf("%v dBFS after PCMA, %v, want silence", db, err)
	}
	r, err := Measure(t.Context(), narrow, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Audio.PilotHz < pilotHz-0.5 || r.Audio.PilotHz > pilotHz+0.5 {
		t.Errorf("pilot of %v Hz, sent as %v", r.Audio.PilotHz, pilotHz)
	}
}

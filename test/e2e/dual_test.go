//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lineout/test/peers"
)

// TestDualChannelRecording: of a call between two phones that agree on no codec,
// each party is on its side of the recording, and not on the other's.
func TestDualChannelRecording(t *testing.T) {
	t.Parallel()
	srv := peers.StartLineout(t, map[string]string{"users": "login=1001 password=pw1001,login=1002 password=pw1002", "sip_digest_algorithms": "MD5",
		"sip_record_stream": "true", "record_call_audio": "dual"})
	tone := func(hz, rate int) string {
		path := filepath.Join(t.TempDir(), "tone.wav")
		out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=%d:sample_rate=%d:duration=60", hz, rate), "-af", "volume=12dB", path).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return path
	}
	at := fmt.Sprintf("127.0.0.1:%d", srv.SIPPort)
	one := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "1001", Server: at, Video: peers.None, Sound: tone(400, 8000)})
	two := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "1002", Server: at, Video: peers.None, Audio: peers.G722, Sound: tone(1000, 16000)})
	var phones []struct{ SIPLogin string }
	peers.Eventually(t, "the registrations", 10*time.Second, func() bool {
		status, _ := srv.Post(t, "/rest-api/user/find_all", map[string]any{}, &phones)
		return status == 200 && len(phones) == 2
	})
	one.Dial(t, "sip:1002@"+at)
	two.WaitEvent(t, "CALL_ESTABLISHED")
	one.WaitEvent(t, "CALL_ESTABLISHED")
	time.Sleep(5 * time.Second) // of sound
	one.Hangup(t)
	two.WaitEvent(t, "CALL_CLOSED")
	var files []string
	peers.Eventually(t, "the recording", 10*time.Second, func() bool {
		status, _ := srv.Post(t, "/rest-api/call/find_all", map[string]any{}, nil)
		files = srv.Recordings(t, "*.mp4.json") // the sidecar comes when the file is complete
		return status == 404 && len(files) > 0
	})
	if len(files) != 1 {
		t.Fatalf("the conversation was recorded as %q, want one file", files)
	}
	file := strings.TrimSuffix(files[0], ".json")
	var pcm, complaint bytes.Buffer
	cmd := exec.Command("ffmpeg", "-v", "error", "-i", file, "-f", "s16le", "-ar", "48000", "-")
	cmd.Stdout, cmd.Stderr = &pcm, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg %s: %v: %s", file, err, &complaint)
	}
	sound := pcm.Bytes()
	var side [2][]float64
	for i := 0; 2*i+1 < len(sound); i++ {
		side[i%2] = append(side[i%2], float64(int16(binary.LittleEndian.Uint16(sound[2*i:])))/32768)
	}
	n := len(side[0])
	if n < 4*48000 {
		t.Fatalf("%d samples in %s: is it of two channels?", n, file)
	}
	level := func(x []float64, hz float64) float64 {
		var re, im float64
		for i, v := range x {
			w := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(len(x)))
			s, c := math.Sincos(2 * math.Pi * hz * float64(i) / 48000)
			re, im = re+w*v*c, im+w*v*s
		}
		return 20 * math.Log10(math.Hypot(re, im)*4/float64(len(x))+1e-9)
	}
	for i, hz := range []float64{400, 1000} {
		middle := side[i][n/4 : n*3/4]
		own, other := level(middle, hz), level(middle, 1400-hz)
		note(t, "%s: %.1f s; %s: %.1f dB of its party, %.1f dB of the other", filepath.Ext(file), float64(n)/48000, []string{"left", "right"}[i], own, other)
		if own < -20 || own-other < 60 {
			t.Errorf("side %d has %.1f dB of its party and %.1f dB of the other", i, own, other)
		}
	}
}

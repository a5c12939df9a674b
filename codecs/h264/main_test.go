package h264

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// encoded is a second of video by x264, as NAL units.
func encoded(t testing.TB, size string, args ...string) [][]byte {
	t.Helper()
	a := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc=rate=25:duration=1:size=" + size,
		"-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-bf", "0"}, args...)
	cmd := exec.Command("ffmpeg", append(a, "-f", "h264", "pipe:1")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg with libx264 must be installed: %v: %s", err, stderr.String())
	}
	var nals [][]byte
	for _, part := range strings.Split(string(out), "\x00\x00\x01") {
		if n := strings.TrimRight(part, "\x00"); n != "" {
			nals = append(nals, []byte(n))
		}
	}
	return nals
}

package peers

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"lineout/test/media"
)

// StartCamera starts a browser whose camera and microphone give the first ten
// seconds of the test clip's picture and its sound, again and again.
// The picture is 320x240, which pages of the WebSDK ask for, and squeezed, so
// that nothing is cut off. Sound and picture begin when the page asks for them,
// not exactly together: what a page sends is to be compared with what it shows itself.
func StartCamera(t testing.TB) *Browser {
	t.Helper()
	picture := filepath.Join(t.TempDir(), "camera.y4m")
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-i", filepath.Join(Clips(t), media.MP4),
		"-an", "-frames:v", "250", "-vf", "scale=320:240,setsar=1", "-pix_fmt", "yuv420p", picture)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make the camera's picture: %v: %s", err, out)
	}
	return StartBrowser(t, chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-file-for-fake-video-capture", picture),
		chromedp.Flag("use-file-for-fake-audio-capture", filepath.Join(Clips(t), media.WAV48k)))
}

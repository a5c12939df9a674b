package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Recipient is an [Answerer] whose media ffmpeg receives into a file, sound and
// picture put together by the sender reports (RFC 3550 section 6.4.1): PCMA and
// H.264 in packetization mode 1. It sends nothing.
type Recipient struct {
	*Answerer
	File string // Matroska, what came unchanged; complete after Finish

	ffmpeg *Process
}

// StartRecipient starts a recipient and returns when it takes calls.
func StartRecipient(t testing.TB) *Recipient {
	t.Helper()
	dir := t.TempDir()
	port := Ports(t, 4)
	sdp := fmt.Sprintf("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n"+
		"m=audio %d RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=ptime:20\n"+
		"m=video %d RTP/AVP 112\na=rtpmap:112 H264/90000\na=fmtp:112 packetization-mode=1; profile-level-id=42e01f\n", port, port+2)
	file := filepath.Join(dir, "recipient.sdp")
	if err := os.WriteFile(file, []byte(sdp), 0o600); err != nil {
		t.Fatalf("configure the recipient: %v", err)
	}
	r := &Recipient{File: filepath.Join(dir, "received-"+strconv.Itoa(port)+".mkv")}
	cmd := exec.Command("ffmpeg", strings.Fields("-hide_banner -nostdin -loglevel warning -protocol_whitelist file,udp,rtp -analyzeduration 10000000 -i "+file+
		" -map 0 -c copy -y "+r.File)...)
	r.ffmpeg = start(t, "recipient", cmd)
	r.ffmpeg.await(t, "its ports", startTimeout, func() bool { // a key frame that comes before is lost for good
		return !portsFree(port+2, 1)
	})
	r.Answerer = StartAnswerer(t, sdp)
	return r
}

// Finish ends the reception and completes the file.
func (r *Recipient) Finish() {
	r.ffmpeg.end(syscall.SIGINT, 5*time.Second)
}

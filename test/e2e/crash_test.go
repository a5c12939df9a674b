//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

const timeoutShort = 15 * time.Second

// TestKill9: after kill -9 in the middle of a call, the recording plays and holds
// all but the last second; the next start makes an ordinary file of it.
func TestKill9(t *testing.T) {
	rtmp := peers.StartRTMPServer(t)
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}"})
	srv.Must(t, "/rest-api/call/startup", with(direct("kill-1", "kill_1", phone), map[string]any{"rtmpUrl": rtmp.URL("live"), "rtmpStream": "kill"}), nil)
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	begin := time.Now()
	peers.Eventually(t, "the push", timeoutShort, func() bool { return rtmp.Publishing(t, "rtmp_kill") })
	<-time.After(10*time.Second - time.Since(begin)) // what the file is measured against
	srv.Kill9()
	lasted := time.Since(begin)
	peers.Eventually(t, "the RTMP server to notice", timeoutShort, func() bool { return !rtmp.Publishing(t, "rtmp_kill") })
	pushed := measure(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_kill")), media.Options{})

	file := one(t, "recordings after the crash", srv.Recordings(t, "kill_1*.mp4"))
	torn := measure(t, file, media.Options{})
	checkTracks(t, torn, true)
	// The RTMP server saw the very last frames.
	if missing := pushed.Video.Last - torn.Video.Last; missing > media.FPS {
		t.Errorf("the recording ends %d frames before the push, want at most a second", missing)
	}
	if missing := lasted.Seconds() - (torn.Audio.End - torn.Audio.Start); missing > 1.5 { // 0.5 s for the phone to begin to send
		t.Errorf("%.1f s of sound are missing of a call of %v", missing, lasted)
	}

	srv.Start(t)
	var whole *media.Report
	peers.Eventually(t, "the finished file", 20*time.Second, func() bool {
		files := srv.Recordings(t, "kill_1*.mp4") // the torn one and the new one, until it is in its place
		if len(files) != 1 || strings.Contains(files[0], ".live.") {
			return false
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		return !bytes.Contains(b, []byte("moof"))
	})
	whole = measure(t, one(t, "recordings after the restart", srv.Recordings(t, "kill_1*.mp4")), media.Options{})
	checkTracks(t, whole, true)
	if whole.Video.Frames < torn.Video.Frames {
		t.Errorf("finishing the file cost frames: %d of %d left", whole.Video.Frames, torn.Video.Frames)
	}
}

// TestRTMPServerRestarts: the RTMP server goes away for 10 s; the call lives on,
// its statuses tell, and the push comes back with timestamps that go on.
func TestRTMPServerRestarts(t *testing.T) {
	t.Parallel()
	rtmp := peers.StartRTMPServer(t)
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	srv := peers.StartLineout(t, nil)
	srv.Must(t, "/rest-api/call/startup", with(direct("lost-1", "lost_1", phone), map[string]any{"rtmpUrl": rtmp.URL("live"), "rtmpStream": "lost"}), nil)
	srv.WaitCall(t, "lost-1", "ESTABLISHED")
	status := func(want string) func() bool {
		return func() bool {
			c := srv.FindCall(t, "lost-1")
			return c != nil && c.Status == "ESTABLISHED" && c.RTMPStreamStatus != nil && *c.RTMPStreamStatus == want
		}
	}
	peers.Eventually(t, "RTMP_STREAM_ACTIVE", timeoutShort, status("RTMP_STREAM_ACTIVE"))
	peers.Eventually(t, "the push", timeoutShort, func() bool { return rtmp.Publishing(t, "rtmp_lost") })
	before, at := rtmpClock(t, rtmp.URL("live")+"/rtmp_lost"), time.Now()
	rtmp.Stop()
	stopped := time.Now()
	peers.Eventually(t, "RTMP_CONNECTION_LOST", timeoutShort, status("RTMP_CONNECTION_LOST"))
	<-time.After(10*time.Second - time.Since(stopped))
	rtmp.Start(t)
	peers.Eventually(t, "RTMP_STREAM_ACTIVE again", 30*time.Second, status("RTMP_STREAM_ACTIVE"))
	peers.Eventually(t, "the push again", timeoutShort, func() bool { return rtmp.Publishing(t, "rtmp_lost") })
	after, elapsed := rtmpClock(t, rtmp.URL("live")+"/rtmp_lost"), time.Since(at)
	note(t, "RTMP timestamps: %.3f s before, %.3f s after %v", before, after, elapsed)
	if after <= before {
		t.Errorf("timestamps went back from %.3f s to %.3f s", before, after)
	}
	if jump := after - before - elapsed.Seconds(); math.Abs(jump) > 3 {
		t.Errorf("timestamps jumped by %.1f s against the clock", jump)
	}
	<-time.After(5 * time.Second) // of recording
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": "lost-1"}, nil)
	phone.WaitEvent(t, "CALL_CLOSED")
	peers.Eventually(t, "the end of the push", timeoutShort, func() bool { return !rtmp.Publishing(t, "rtmp_lost") })
	files := rtmp.Recordings(t, "rtmp_lost")
	if len(files) != 2 {
		t.Fatalf("recordings of the RTMP server: %q, want one before and one after", files)
	}
	for _, f := range files {
		r := measure(t, f, media.Options{})
		checkSync(t, r)
		if r.Video.NotForward+r.Video.Backward > 0 || r.Audio.Holes > 0 {
			t.Errorf("%s: timestamps or frames go back, or sound has holes: %v", f, r)
		}
	}
}

// rtmpClock is the timestamp in seconds of the first packet a new player of an RTMP stream gets.
func rtmpClock(t *testing.T, url string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ffprobe", "-v", "error", "-read_intervals", "%+#5", "-show_entries", "packet=dts_time", "-of", "csv=p=0", url).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe %s: %v: %s", url, err, out)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	at, err := strconv.ParseFloat(strings.Trim(first, ", \r"), 64)
	if err != nil {
		t.Fatalf("ffprobe %s: timestamps %q", url, out)
	}
	return at
}

// TestTerm: SIGTERM in the middle of a call hangs up, finishes the file, ends the push, and exits with 0.
func TestTerm(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}"})
	srv.Must(t, "/rest-api/call/startup", direct("term-1", "term_1", phone), nil)
	srv.WaitCall(t, "term-1", "ESTABLISHED")
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	<-time.After(5 * time.Second) // of recording
	srv.Stop()
	if code := srv.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	phone.WaitEvent(t, "CALL_CLOSED")
	file := one(t, "recordings", srv.Recordings(t, "*.mp4"))
	if code, out := peers.Command(t, "verify", file); code != 0 {
		t.Errorf("verify: %d: %s", code, out)
	}
	checkTracks(t, measure(t, file, media.Options{}), true)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("moof")) {
		t.Error("the file was left as it was while recording")
	}
}

//go:build e2e

package e2e

import (
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestHoldWhileRecording: the phone holds and resumes a call that is recorded, then we do;
// the stream and its one recording go on, and sound and picture stay together.
func TestHoldWhileRecording(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}"})
	srv.Must(t, "/rest-api/call/startup", direct("hold-1", "hold_1", phone), nil)
	srv.WaitCall(t, "hold-1", "ESTABLISHED")
	begin := time.Now()
	id := map[string]any{"callId": "hold-1"}
	more := func() { // three seconds of pictures
		t.Helper()
		frames := func() int {
			if v := srv.CallStats(t, "hold-1").Track("video"); v != nil {
				return v.Frames
			}
			return 0
		}
		from := frames()
		peers.Eventually(t, "pictures", 30*time.Second, func() bool { return frames() >= from+75 })
	}
	more()
	phone.Hold(t)
	srv.WaitCall(t, "hold-1", "HOLD")
	phone.Resume(t)
	srv.WaitCall(t, "hold-1", "ESTABLISHED")
	more()
	srv.Must(t, "/rest-api/call/hold", id, nil)
	srv.WaitCall(t, "hold-1", "HOLD")
	if s := srv.FindStream(t, "hold_1"); s == nil {
		t.Error("the stream ended with the hold")
	}
	srv.Must(t, "/rest-api/call/unhold", id, nil)
	srv.WaitCall(t, "hold-1", "ESTABLISHED")
	more()
	srv.Must(t, "/rest-api/call/terminate", id, nil)
	lasted := time.Since(begin)
	srv.WaitGone(t, "hold-1")
	var files []string
	peers.Eventually(t, "the finished recording", 10*time.Second, func() bool {
		files = srv.Recordings(t, "hold_1.mp4")
		return len(files) > 0
	})
	r := measure(t, one(t, "recordings", files), media.Options{})
	note(t, "%+v %+v %+v", r.Video, r.Audio, r.Sync)
	if r.DecodeErrors > 0 || r.Video == nil || r.Audio == nil || r.Video.NotForward > 0 || r.Video.Frames < 3*75 {
		t.Errorf("recording: %+v", r)
	}
	if d := lasted.Seconds() - r.Duration; d > 3 || d < -1 {
		t.Errorf("the recording has %.1f s of %v", r.Duration, lasted)
	}
	checkSync(t, r)
}

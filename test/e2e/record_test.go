//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// sidecar is what this test reads of a recording's sidecar.
type sidecar struct {
	Call struct{ CallID, Callee string }
	Gaps []struct {
		Track, What    string
		AtMS, LengthMS int
	}
	Tracks []struct {
		Kind, Codec string
		Frames      int
	}
	AVOffset *struct{ MinMS, MaxMS, MeanMS, P99MS float64 }
}

// TestRecordingIsProved: a call is muted and paused while it is recorded; the
// file verifies, is silent where it should be, and its sidecar says all that.
func TestRecordingIsProved(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}"})
	srv.Must(t, "/rest-api/call/startup", direct("proof-1", "proof_1", phone), nil)
	srv.WaitCall(t, "proof-1", "ESTABLISHED")
	target := map[string]any{"streamName": "proof_1"}
	frames := func() int {
		if v := srv.CallStats(t, "proof-1").Track("video"); v != nil {
			return v.Frames
		}
		return 0
	}
	// The steps are measured in pictures of the call, 25 in a second.
	more := func(n int) {
		from := frames()
		peers.Eventually(t, "pictures", 30*time.Second, func() bool { return frames() >= from+n })
	}
	more(75)
	// How long the phone needs for its pictures is its own business.
	type span struct{ least, most time.Duration }
	hidden := map[string]span{}
	for _, m := range [][2]string{{"mute", "unmute"}, {"pause", "resume"}} {
		asked := time.Now()
		srv.Must(t, "/rest-api/recorder/"+m[0], target, nil)
		began := time.Now()
		more(75)
		least := time.Since(began)
		srv.Must(t, "/rest-api/recorder/"+m[1], target, nil)
		hidden[m[0]] = span{least, time.Since(asked)}
		more(75)
	}
	srv.Must(t, "/rest-api/call/terminate", map[string]any{"callId": "proof-1"}, nil)
	var b []byte
	file := ""
	peers.Eventually(t, "the sidecar", 20*time.Second, func() bool {
		list := srv.Recordings(t, "proof_1.mp4.json")
		if len(list) != 1 {
			return false
		}
		file = list[0][:len(list[0])-len(".json")]
		b, _ = os.ReadFile(list[0])
		return len(b) > 0
	})
	if code, out := peers.Command(t, "verify", file); code != 0 {
		t.Fatalf("verify: %d: %s", code, out)
	}
	var s sidecar
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	note(t, "%s", b)
	if s.Call.CallID != "proof-1" || s.Call.Callee == "" || len(s.Tracks) != 2 {
		t.Errorf("the sidecar says %+v", s)
	}
	// Silence is zeros, but where the frames around it reach into it.
	sound, err := media.Hear(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, track string }{{"mute", "audio"}, {"pause", "audio"}, {"pause", "video"}} {
		// What the phone did not send meanwhile is noted, too, and divides the gap.
		at, end := time.Duration(-1), time.Duration(0)
		for _, g := range s.Gaps {
			if g.What == c.what && g.Track == c.track {
				if at < 0 {
					at = time.Duration(g.AtMS) * time.Millisecond
				}
				end = time.Duration(g.AtMS+g.LengthMS) * time.Millisecond
			}
		}
		lasted := hidden[c.what]
		if at < 0 || end-at < lasted.least-time.Second || end-at > lasted.most+3*time.Second {
			t.Errorf("%s of %s: %v to %v, should last %v to %v: the gaps are %+v", c.what, c.track, at, end, lasted.least, lasted.most, s.Gaps)
			continue
		}
		if c.track == "video" {
			continue
		}
		from, to := at+60*time.Millisecond, end-20*time.Millisecond
		if peak, heard := sound.Loudest(from, to); peak != 0 || heard < (to-from)/2 {
			t.Errorf("there is sound of up to %d within the %s of %v to %v, of which %v were heard: the gaps are %+v", peak, c.what, at, end, heard, s.Gaps)
		}
		if peak, _ := sound.Loudest(at-time.Second, at); peak < 1000 {
			t.Errorf("the sound before the %s at %v is at most %d", c.what, at, peak)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v", s.Gaps), "{Track:video What:mute") {
		t.Errorf("the picture was not muted: %+v", s.Gaps)
	}
	// One bit more or less.
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/3] ^= 1
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := peers.Command(t, "verify", file); code != 1 {
		t.Errorf("verify of a changed file: %d: %s", code, out)
	}
}

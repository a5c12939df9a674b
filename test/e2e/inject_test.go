//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestInject: what one call's party sends is heard and seen by those of other
// calls, in whatever codec they have, and so is a sound file. The others are
// programs nobody here wrote, which keep what they hear.
func TestInject(t *testing.T) {
	clips := peers.Clips(t)
	sounds := t.TempDir()
	b, err := os.ReadFile(filepath.Join(clips, media.WAV8k))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sounds, "beeps.wav"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := peers.StartLineout(t, map[string]string{"inject_sound_dir": sounds,
		"sip_record_stream": "true", "stream_record_policy_template": "{streamName}"})
	source := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10001", Video: peers.H264M})
	srv.Must(t, "/rest-api/call/startup", direct("src", "src", source), nil)
	srv.WaitCall(t, "src", "ESTABLISHED")

	type ear struct {
		codec string
		phone *peers.Softphone
	}
	var ears []ear
	for i, codec := range []string{peers.PCMA, peers.PCMU, peers.G722, peers.Opus} {
		video := peers.None
		if i == 0 {
			video = peers.H264
		}
		p := peers.StartSoftphone(t, peers.SoftphoneConfig{User: fmt.Sprint(10010 + i), Audio: codec, Video: video, KeepWAV: true})
		srv.Must(t, "/rest-api/call/startup", direct(codec, "own_"+codec, p), nil)
		srv.WaitCall(t, codec, "ESTABLISHED")
		ears = append(ears, ear{codec, p})
	}
	eye := peers.StartRecipient(t)
	srv.Must(t, "/rest-api/call/startup", direct("eye", "own_eye", &peers.Softphone{User: eye.User, Port: eye.Port}), nil)
	srv.WaitCall(t, "eye", "ESTABLISHED")

	inject := func(path, id string, more string) {
		t.Helper()
		key, value, _ := strings.Cut(more, "=")
		srv.Must(t, "/rest-api/call/inject_"+path, map[string]string{"callId": id, key: value}, nil)
	}
	if status, text := srv.Post(t, "/rest-api/call/inject_stream/startup", map[string]string{"callId": "eye", "streamName": "none"}, nil); status != 404 {
		t.Errorf("a stream there is not: %d %s", status, text)
	}
	inject("stream/startup", "eye", "streamName=src")
	for _, e := range ears {
		if e.codec == peers.PCMU {
			inject("sound", e.codec, "fileName=beeps.wav")
		} else {
			inject("stream", e.codec, "streamName=src")
		}
	}
	time.Sleep(9 * time.Second)
	for _, e := range ears {
		if e.codec == peers.PCMA {
			note(t, "the phone's own figures: %s", e.phone.Command(t, "callstat", ""))
		}
		inject("stream/terminate", e.codec, "x=")
	}
	if status, _ := srv.Post(t, "/rest-api/call/inject_stream/terminate", map[string]string{"callId": peers.PCMA}, nil); status != 404 {
		t.Errorf("to end what has ended: %d", status)
	}
	time.Sleep(500 * time.Millisecond)
	for _, e := range append(ears, ear{codec: "eye"}, ear{codec: "src"}) {
		srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": e.codec}, nil)
		srv.WaitGone(t, e.codec)
	}
	eye.Finish(t)
	for _, e := range ears {
		t.Run(e.codec, func(t *testing.T) {
			e.phone.WaitEvent(t, "CALL_CLOSED")
			// From within the injection: before and after it the phone heard silence.
			r := measure(t, one(t, "files of what the phone heard", e.phone.Received(t)), media.Options{Input: strings.Fields("-sseof -8"), Live: 6 * time.Second})
			a := r.Audio
			if a.Beeps < 5 || a.Gaps > 0 || a.Jumps > 0 || math.IsInf(a.PilotDB, -1) {
				t.Errorf("the sound is not whole: %+v", *a)
			}
			least := 25.0
			if e.codec == peers.Opus {
				least = 18 // of telephone sound at 20 kbit/s, encoded for speech
			}
			if a.SNRDB < least {
				t.Errorf("beeps are %v dB above the rest, want %v", a.SNRDB, least)
			}
		})
	}
	t.Run("picture", func(t *testing.T) {
		var sent string
		peers.Eventually(t, "the source's recording", 10*time.Second, func() bool {
			files := srv.Recordings(t, "src.mp4")
			if len(files) == 1 {
				sent = files[0]
			}
			return len(files) == 1
		})
		was, is := measure(t, sent, media.Options{}), measure(t, eye.File, media.Options{})
		// Each picture can be read, so it was decoded.
		if is.Video == nil || is.Video.Numbered < 100 || is.Video.Numbered < is.Video.Frames || is.Video.NotForward > 0 || is.Video.Backward > 0 {
			t.Fatalf("the picture is not whole: %v", is)
		}
		if was.Sync == nil || is.Sync == nil {
			t.Fatal("no offset of sound and picture could be measured")
		}
		off := is.Sync.MedianMillis - was.Sync.MedianMillis
		note(t, "injection moved sound against picture by %.1f ms", off)
		if math.Abs(off) > maxOffset {
			t.Errorf("injection moved sound against picture by %v ms, want at most %v", off, maxOffset)
		}
	})
}

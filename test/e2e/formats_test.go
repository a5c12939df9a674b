//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestRecordingFormats records calls in each container that keeps their sound as
// it comes: the files have the call's codecs, last as long as their sidecars say,
// decode without errors, are in step, and verify. With a picture ffmpeg is the other
// party, since a soft phone on a busy machine is not in step itself.
func TestRecordingFormats(t *testing.T) {
	for _, c := range []struct {
		ext, set, to  string // setting and value
		audio, video  string // of the call
		sound, vision string // ffprobe's names of what the file holds
	}{
		{"mkv", "record_formats", "h264-mkv", peers.PCMA, peers.H264, "pcm_alaw", "h264"},
		{"mkv", "record_formats", "vp8-mkv", peers.Opus, peers.VP8, "opus", "vp8"},
		{"mp4", "record_mp4_audio", "opus", peers.Opus, peers.H264, "opus", "h264"},
		{"ogg", "record_audio_format", "ogg", peers.Opus, peers.None, "opus", ""},
		{"wav", "record_audio_format", "wav", peers.PCMU, peers.None, "pcm_mulaw", ""},
	} {
		t.Run(c.to, func(t *testing.T) {
			t.Parallel()
			srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}", c.set: c.to})
			own := 0.0 // ms by which the other party's sound is behind its picture
			if c.video != peers.None {
				var out taken
				matrixCall{peers.FFmpeg, c.audio, c.video}.dial(t, srv, "formats")(&out)
				out.received(t, srv, "formats")
				own = 1000 * (out.audio.Start - out.video.Start)
			} else {
				body := direct("formats", "formats", peers.StartSoftphone(t, peers.SoftphoneConfig{Audio: c.audio, Video: c.video}))
				body["hasVideo"] = "false"
				srv.Must(t, "/rest-api/call/startup", body, nil)
				srv.WaitCall(t, "formats", "ESTABLISHED")
				peers.Eventually(t, "some seconds of the call", 30*time.Second, func() bool {
					s := srv.CallStats(t, "formats").Track("audio")
					return s != nil && s.Frames >= 175
				})
			}
			srv.Must(t, "/rest-api/call/terminate", map[string]any{"callId": "formats"}, nil)
			var file string
			peers.Eventually(t, "the sidecar", 10*time.Second, func() bool {
				list := srv.Recordings(t, "formats."+c.ext+".json")
				if len(list) == 1 {
					file = list[0][:len(list[0])-len(".json")]
				}
				return len(list) == 1
			})
			one(t, "recordings", srv.Recordings(t, "formats*."+c.ext))
			checkFormat(t, file, c.sound, c.vision, own)
			if c.ext == "mp4" {
				checkPlays(t, file)
			}
		})
	}
}

// checkFormat checks a finished recording and its sidecar. video is "" for none; own
// is the other party's own offset in ms.
func checkFormat(t *testing.T, file, audio, video string, own float64) {
	t.Helper()
	if code, out := peers.Command(t, "verify", file); code != 0 {
		t.Errorf("verify: %d: %s", code, out)
	}
	b, err := os.ReadFile(file + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		DurationMS float64
		Tracks     []struct {
			Kind           string
			StartMS, EndMS float64
		}
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	p, err := media.Probe(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Duration()*1000 - s.DurationMS; math.Abs(d) > 100 {
		t.Errorf("it lasts %v s, its sidecar says %v ms", p.Duration(), s.DurationMS)
	}
	r := measure(t, file, media.Options{})
	if r.Audio == nil || r.Audio.Codec != audio || r.Audio.Beeps < 3 || r.Audio.Jumps > 1 || r.Audio.Gaps > 0 {
		t.Errorf("sound: %+v", r.Audio)
	}
	if r.DecodeErrors > 0 {
		t.Errorf("ffmpeg complains: %q", r.FirstErrors)
	}
	for _, k := range s.Tracks {
		if k.Kind == "audio" && r.Audio != nil && math.Abs((r.Audio.End-r.Audio.Start)*1000-(k.EndMS-k.StartMS)) > 100 {
			t.Errorf("sound lasts from %v to %v s, its sidecar says %+v", r.Audio.Start, r.Audio.End, k)
		}
	}
	if video == "" {
		if r.Video != nil || len(s.Tracks) != 1 {
			t.Errorf("there are more tracks than one: %+v", s.Tracks)
		}
		return
	}
	if r.Video == nil || r.Video.Codec != video || r.Video.Backward > 0 || r.Video.NotForward > 0 || len(s.Tracks) != 2 {
		t.Fatalf("picture: %+v", r.Video)
	}
	if r.Sync != nil {
		r.Sync.MedianMillis -= own
	}
	checkSync(t, r)
}

// checkPlays lets Chromium play a file of H.264 and Opus.
func checkPlays(t *testing.T, file string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/file/", http.StripPrefix("/file/", http.FileServer(http.Dir(filepath.Dir(file)))))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<!doctype html><video id="v" src="/file/%s" autoplay></video>`, filepath.Base(file))
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	page := peers.StartBrowser(t).Open(t, site.URL)
	page.WaitFor(t, "v.ended", 20*time.Second)
	type state struct {
		Error         string
		Width, Frames int
		Sound, Length float64
	}
	got := peers.Eval[state](t, page, `({error: v.error ? v.error.message : "", width: v.videoWidth,
		frames: v.getVideoPlaybackQuality().totalVideoFrames, sound: v.webkitAudioDecodedByteCount, length: v.duration})`)
	note(t, "Chromium: %+v", got)
	if got.Error != "" || got.Width != 640 || got.Frames < 60 || got.Sound < 1000 {
		t.Errorf("Chromium played %+v", got)
	}
}

//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestRulesOfConversion is the settings that say what may be converted, seen
// from an RTMP server.
func TestRulesOfConversion(t *testing.T) {
	for name, x := range map[string]struct {
		settings   map[string]string
		conversion string // in the stream's graph
		trouble    string // of the push
		audio      string // ffprobe's name; empty: none
	}{
		"nothing is converted":    {map[string]string{"transcoding_disabled": "true"}, "", "Transcoding required, but disabled", ""},
		"everything is converted": {map[string]string{"disable_streaming_proxy": "true"}, "H264→H264", "", "aac"},
		"sound passes":            {map[string]string{"transcoding_disabled": "true", "rtmp_audio_codecs": "aac,alaw"}, "", "", "pcm_alaw"},
		"sound becomes Speex":     {map[string]string{"rtmp_audio_codecs": "speex16"}, "PCMA→SPEEX/16000", "", "speex"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := peers.StartLineout(t, x.settings)
			rtmp := peers.StartRTMPServer(t)
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
			const id, stream = "call-rules", "call_rules"
			srv.Must(t, "/rest-api/call/startup", direct(id, stream, phone), nil)
			srv.WaitCall(t, id, "ESTABLISHED")
			srv.Must(t, "/rest-api/push/startup", map[string]any{"streamName": stream, "rtmpUrl": rtmp.URL("live")}, nil)
			peers.Eventually(t, "the push at the RTMP server", 20*time.Second, func() bool { return rtmp.Publishing(t, "rtmp_"+stream) })
			time.Sleep(6 * time.Second) // of media to measure
			_, graph := srv.Get(t, "/debug/graph/"+stream)
			if x.conversion != "" && !strings.Contains(graph, x.conversion) || x.conversion == "" && strings.Contains(graph, "→") {
				t.Errorf("conversions, want %q: %s", x.conversion, graph)
			}
			var found []struct{ Error string }
			srv.Must(t, "/rest-api/push/find_all", nil, &found)
			if len(found) != 1 || x.trouble == "" && found[0].Error != "" || !strings.Contains(found[0].Error, x.trouble) {
				t.Errorf("the push says %+v, want %q", found, x.trouble)
			}
			srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
			srv.WaitGone(t, id)
			peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, "rtmp_"+stream) })
			r := measure(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_"+stream)), media.Options{})
			if r.DecodeErrors > 0 || r.Video == nil || r.Video.Frames < 100 || r.Video.Backward+r.Video.NotForward > 0 {
				t.Errorf("picture: %v", r)
			}
			if x.audio == "" {
				if r.Audio != nil {
					t.Errorf("there is sound: %v", r)
				}
				return
			}
			if r.Audio == nil || r.Audio.Codec != x.audio || r.Audio.Beeps < 4 {
				t.Errorf("sound: %v", r)
			}
			checkSync(t, r)
		})
	}
}

func TestRulesThatContradict(t *testing.T) {
	srv := peers.PrepareLineout(t, map[string]string{"transcoding_disabled": "true", "disable_streaming_proxy": "true"})
	code, text := srv.Fails(t)
	if code != 1 || !strings.Contains(text, "transcoding_disabled") || !strings.Contains(text, "disable_streaming_proxy") {
		t.Errorf("exit code %d: %s", code, text)
	}
}

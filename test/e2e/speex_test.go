//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestSpeexCall is a call in Speex by two encoders nobody here wrote: the
// recording has its sound whole, in step, and of the codec's quality (S1-4).
func TestSpeexCall(t *testing.T) {
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}"})
	for _, program := range []string{peers.FFmpeg, peers.GStreamer} {
		for _, codec := range []string{peers.Speex8, peers.Speex16} {
			name := fmt.Sprintf("%s_%s", program, codec[6:])
			t.Run(name, func(t *testing.T) {
				enc := peers.NewEncoder(t, peers.EncoderConfig{Program: program,
					Audio: peers.Encode(t, program, codec), Video: peers.Encode(t, program, peers.H264)})
				answerer := peers.StartAnswerer(t, enc.SDP(true))
				body := direct(name, name, &peers.Softphone{User: answerer.User, Port: answerer.Port})
				srv.Must(t, "/rest-api/call/startup", body, nil)
				srv.WaitCall(t, name, "ESTABLISHED")
				s := srv.CallStats(t, name)
				enc.Start(t, s.Track("audio").Port(), s.Track("video").Port())
				enc.Wait(t, time.Minute)
				s = srv.CallStats(t, name)
				note(t, "%+v", *s.Track("audio"))
				if got := s.Track("audio").Codec; got != codec {
					t.Errorf("the call's codec is %s", got)
				}
				srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": name}, nil)
				srv.WaitGone(t, name)
				var files []string
				peers.Eventually(t, "the finished recording", 10*time.Second, func() bool {
					files = srv.Recordings(t, name+".mp4")
					return len(files) == 1
				})
				r := measure(t, files[0], media.Options{})
				checkTracks(t, r, true)
				checkSync(t, r)
			})
		}
	}
}

//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"lineout/test/media"
	"lineout/test/peers"
)

// offsetLimit is how far the sound and the picture of any second may be apart
// from 3 s on, in milliseconds.
const offsetLimit = 20

// TestOffsetThroughNetworks is a real encoder whose packets a bad network
// spoils: sound and picture of the server's recording, and of what an RTMP server
// records of a push, stay within 20 ms of each other, nothing is handed on that a
// decoder complains of, and /call/stats counts exactly what was lost.
func TestOffsetThroughNetworks(t *testing.T) {
	cases := []struct {
		name string
		both bool // also without rtp_in_buffer
		net  peers.Network
	}{
		{"clean", true, peers.Network{}},
		// With this seed no beep from 3 s on loses its first packet, which would be measured as 20 ms.
		{"loss 5 %", false, peers.Network{Seed: 6, Loss: .05}},
		{"loss 10 %", true, peers.Network{Loss: .1}},
		{"jitter 150 ms", true, peers.Network{Jitter: 150 * time.Millisecond}},
		{"reorder and duplicates", false, peers.Network{Jitter: 30 * time.Millisecond, Duplicate: .1}},
		{"burst", false, peers.Network{Burst: time.Second}},
		{"no reports", false, peers.Network{NoReports: true}},
		{"picture's reports of 1970", false, peers.Network{Report: func(video bool, sr *rtcp.SenderReport) {
			if video {
				sr.NTPTime = 2208988800 << 32
			}
		}}},
		{"new source", true, peers.Network{NewSource: 9 * time.Second}},
	}
	rtmp := peers.StartRTMPServer(t)
	for _, buffered := range []bool{true, false} {
		t.Run(fmt.Sprintf("rtp_in_buffer %v", buffered), func(t *testing.T) {
			srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}",
				"rtp_in_buffer": fmt.Sprint(buffered)})
			for i, c := range cases {
				if !buffered && !c.both {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					if c.net.Seed == 0 {
						c.net.Seed = int64(i + 1)
					}
					stream := fmt.Sprintf("net%d", i)
					if c.net.Jitter < 100*time.Millisecond {
						relayed(t, srv, c.net, stream, nil)
						return
					}
					name := fmt.Sprintf("%s_%v", stream, buffered)
					relayed(t, srv, c.net, stream, map[string]any{"rtmpUrl": rtmp.URL("live"), "rtmpStream": name})
					peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, "rtmp_"+name) })
					checkOffset(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_"+name)))
				})
			}
		})
	}
}

// relayed makes a call whose media n spoils, and checks its recording.
func relayed(t *testing.T, srv *peers.Lineout, n peers.Network, stream string, more map[string]any) {
	e := peers.NewEncoder(t, peers.EncoderConfig{Program: peers.FFmpeg, Clip: media.PCMAMKV,
		Audio: peers.Encode(t, peers.FFmpeg, peers.PCMA), Video: peers.Encode(t, peers.FFmpeg, peers.H264)})
	r := peers.NewRelay(t, n)
	a := peers.StartAnswerer(t, r.SDP(e, true))
	srv.Must(t, "/rest-api/call/startup", with(direct(stream, stream, &peers.Softphone{User: a.User, Port: a.Port}), more), nil)
	srv.WaitCall(t, stream, "ESTABLISHED")
	to := srv.CallStats(t, stream)
	r.Start(t, e, to.Track("audio").Port(), to.Track("video").Port())
	peers.Eventually(t, "18 s of pictures", 30*time.Second, func() bool {
		tr := srv.CallStats(t, stream).Track("audio")
		return tr.Frames+tr.Lost > 18*50
	})
	if n.Jitter == 0 && n.Burst == 0 { // nothing else is lost than what the relay drops
		checkLost(t, srv, r, stream, n.NewSource > 0)
	}
	t.Log(jsonOf(t, srv.CallStats(t, stream)))
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": stream}, nil)
	srv.WaitGone(t, stream)
	var file string
	peers.Eventually(t, "the finished recording", 10*time.Second, func() bool {
		files := srv.Recordings(t, stream+".mp4")
		if len(files) == 1 {
			file = files[0]
		}
		return len(files) == 1
	})
	checkOffset(t, file)
}

// checkLost compares what /call/stats counts with what the relay dropped. A new
// source leaves holes without a loss.
func checkLost(t *testing.T, srv *peers.Lineout, r *peers.Relay, id string, newSource bool) {
	t.Helper()
	audio, video := r.Heal()
	var s *peers.CallStats
	seen := func() bool {
		s = srv.CallStats(t, id)
		return s.Track("audio").Lost >= audio && s.Track("video").Lost >= video
	}
	peers.Eventually(t, fmt.Sprintf("%d packets of sound and %d of the picture to be missed", audio, video), 5*time.Second, seen)
	a, v := s.Track("audio"), s.Track("video")
	if a.Lost != audio || v.Lost != video {
		t.Errorf("%d packets of sound and %d of the picture were lost, counted are %d and %d", audio, video, a.Lost, v.Lost)
	}
	if newSource {
		return
	}
	// What was lost before the first picture was not played, so it is not concealed;
	// the clip's timestamps are rounded, so that a hole may be a sample longer.
	if most := 20 * float64(audio); a.Concealed > most+float64(audio)/8 || a.Concealed < .8*most {
		t.Errorf("%d packets of 20 ms of sound were lost, %v ms concealed", audio, a.Concealed)
	}
	// The encoder does not answer requests for key frames: a loss lasts until the next one.
	if (v.Freezes > 0) != (video > 0) || v.FreezeMillis < 150*float64(v.Freezes) || v.FreezeMillis > 18000 {
		t.Errorf("%d packets of the picture were lost: %d freezes, %v ms", video, v.Freezes, v.FreezeMillis)
	}
}

// checkOffset checks that sound and picture of a recording belong together and can be decoded.
func checkOffset(t *testing.T, file string) {
	t.Helper()
	rep := measure(t, file, media.Options{})
	if rep.DecodeErrors > 0 {
		t.Errorf("%d decoding errors: %q", rep.DecodeErrors, rep.FirstErrors)
	}
	if rep.Sync == nil || rep.Sync.Pairs < 5 || rep.Sync.SettledMillis > offsetLimit {
		t.Errorf("offset of sound and picture: %+v", rep.Sync)
	}
}

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
// spoils: sound and picture of the server's recording stay within 20 ms of each
// other, and nothing is handed on that a decoder complains of.
func TestOffsetThroughNetworks(t *testing.T) {
	cases := []struct {
		name string
		both bool // also without rtp_in_buffer
		net  peers.Network
	}{
		{"clean", true, peers.Network{}},
		{"loss 2 %", false, peers.Network{Loss: .02}},
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
					c.net.Seed = int64(i + 1)
					relayed(t, srv, c.net, fmt.Sprintf("net%d", i))
				})
			}
		})
	}
}

func relayed(t *testing.T, srv *peers.Lineout, n peers.Network, stream string) {
	e := peers.NewEncoder(t, peers.EncoderConfig{Program: peers.FFmpeg, Clip: media.PCMAMKV,
		Audio: peers.Encode(t, peers.FFmpeg, peers.PCMA), Video: peers.Encode(t, peers.FFmpeg, peers.H264)})
	r := peers.NewRelay(t, n)
	a := peers.StartAnswerer(t, r.SDP(e, true))
	srv.Must(t, "/rest-api/call/startup", direct(stream, stream, &peers.Softphone{User: a.User, Port: a.Port}), nil)
	srv.WaitCall(t, stream, "ESTABLISHED")
	to := srv.CallStats(t, stream)
	r.Start(t, e, to.Track("audio").Port(), to.Track("video").Port())
	peers.Eventually(t, "18 s of pictures", 30*time.Second, func() bool {
		tr := srv.CallStats(t, stream).Track("audio")
		return tr.Frames+tr.Lost > 18*50
	})
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
	rep := measure(t, file, media.Options{})
	if rep.DecodeErrors > 0 {
		t.Errorf("%d decoding errors: %q", rep.DecodeErrors, rep.FirstErrors)
	}
	if rep.Sync == nil || rep.Sync.Pairs < 5 || rep.Sync.SettledMillis > offsetLimit {
		t.Errorf("offset of sound and picture: %+v", rep.Sync)
	}
}

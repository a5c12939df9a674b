//go:build e2e

package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestVP8Call is a phone without H.264: outputs that take nothing else get its
// picture converted, each frame of it and in step with the sound.
func TestVP8Call(t *testing.T) {
	srv := peers.StartLineout(t, nil)
	rtmp := peers.StartRTMPServer(t)
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Audio: peers.PCMA, Video: peers.VP8})
	const id, stream = "call-vp8", "call_vp8"
	srv.Must(t, "/rest-api/call/startup", direct(id, stream, phone), nil)
	srv.WaitCall(t, id, "ESTABLISHED")
	srv.Must(t, "/rest-api/push/startup", map[string]any{"streamName": stream, "rtmpUrl": rtmp.URL("live")}, nil)
	peers.Eventually(t, "the push at the RTMP server", 20*time.Second, func() bool { return rtmp.Publishing(t, "rtmp_"+stream) })

	// Judged by what came: the phone leaves pictures out when the machine is busy.
	var in, out int
	peers.Eventually(t, "the conversion", 10*time.Second, func() bool {
		in, out = converted(t, srv, stream)
		return out > 0
	})
	checkTracks(t, measure(t, srv.HLSURL(stream), media.Options{Live: 12 * time.Second}), true)
	peers.Eventually(t, "as many pictures converted as came", 10*time.Second, func() bool {
		in2, out2 := converted(t, srv, stream)
		return in2 > in && out2-out >= in2-in
	})
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
	srv.WaitGone(t, id)
	peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, "rtmp_"+stream) })
	r := measure(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_"+stream)), media.Options{})
	checkTracks(t, r, true)
	if r.Video.Profile != "Constrained Baseline" || r.Video.NotForward > 0 || r.Video.Backward > 0 {
		t.Errorf("picture: %+v", r.Video)
	}
}

// converted counts the pictures that came and those that one conversion, shared
// by all outputs, has made of them.
func converted(t *testing.T, srv *peers.Lineout, stream string) (in, out int) {
	t.Helper()
	type counter struct {
		ID, Name string
		Frames   int
	}
	var g struct{ Tracks, Converters []counter }
	_, text := srv.Get(t, "/debug/graph/"+stream)
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		t.Fatalf("graph of %s: %v: %s", stream, err, text)
	}
	n := 0
	for _, c := range g.Converters {
		if c.Name == "VP8→H264" {
			n, out = n+1, c.Frames
		}
	}
	if n != 1 {
		t.Fatalf("%d conversions of the picture, want one: %s", n, text)
	}
	for _, tr := range g.Tracks {
		if tr.ID == "video" {
			in = tr.Frames
		}
	}
	return in, out
}

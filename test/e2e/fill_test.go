//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestAudioOnlyCallHasVideo is a phone without a camera on its way to servers
// that want a picture: a black one is there from the start, and the RTMP
// server's own HLS grows by it.
func TestAudioOnlyCallHasVideo(t *testing.T) {
	srv := peers.StartLineout(t, map[string]string{"generate_video": "true"})
	rtmp := peers.StartRTMPServer(t)
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None})
	const id, stream = "call-sound", "call_sound"
	srv.Must(t, "/rest-api/call/startup", direct(id, stream, phone), nil)
	srv.WaitCall(t, id, "ESTABLISHED")
	srv.Must(t, "/rest-api/push/startup", map[string]any{"streamName": stream, "rtmpUrl": rtmp.URL("live")}, nil)
	peers.Eventually(t, "the push at the RTMP server", 20*time.Second, func() bool { return rtmp.Publishing(t, "rtmp_"+stream) })

	checkFilled(t, measure(t, srv.HLSURL(stream), media.Options{Live: 8 * time.Second}), "640x360")
	checkFilled(t, measure(t, rtmp.HLSURL("rtmp_"+stream), media.Options{Live: 8 * time.Second}), "640x360")
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
	srv.WaitGone(t, id)
	peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, "rtmp_"+stream) })
	checkFilled(t, measure(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_"+stream)), media.Options{}), "640x360")
}

// checkFilled wants sound without a seam and a picture that is there as long
// as the sound.
func checkFilled(t *testing.T, r *media.Report, size string) {
	t.Helper()
	if r.DecodeErrors > 0 {
		t.Errorf("%d decoding errors: %q", r.DecodeErrors, r.FirstErrors)
	}
	a, v := r.Audio, r.Video
	if a == nil || v == nil {
		t.Fatalf("a track is missing: %v", r)
	}
	if a.Codec != "aac" || a.Gaps+a.Holes+a.Jumps > 0 {
		t.Errorf("sound: %+v", a)
	}
	if v.Codec != "h264" || v.Size != size || v.NotForward > 0 || v.MaxGapMillis > 250 {
		t.Errorf("picture: %+v", v)
	}
	if behind := a.End - v.End; behind > 3 || behind < -1 {
		t.Errorf("the picture ends %.1f s before the sound", behind)
	}
}

// TestPicturesComeLateAndStop is a call whose pictures come 8 s after its
// sound, stop for 8 s, and return. RTMP and HLS never stall, the sound is
// whole in the server's recording to the sample, and real pictures take over.
func TestPicturesComeLateAndStop(t *testing.T) {
	srv := peers.StartLineout(t, map[string]string{"generate_video": "true", "hls_auto_start": "true"})
	browser, pages := peers.StartBrowser(t), site(t)
	rtmp := peers.StartRTMPServer(t)
	encode := func(codec string) *peers.EncoderTrack { return peers.Encode(t, peers.FFmpeg, codec) }
	both := peers.NewEncoder(t, peers.EncoderConfig{Program: peers.FFmpeg, Audio: encode(peers.PCMA), Video: encode(peers.H264)})
	sound := peers.NewEncoder(t, peers.EncoderConfig{Program: peers.FFmpeg, Clip: media.PCMAMKV, Audio: encode(peers.PCMA)})
	sound.AudioPort = both.AudioPort
	camera := func() *peers.Encoder {
		e := peers.NewEncoder(t, peers.EncoderConfig{Program: peers.FFmpeg, Video: encode(peers.H264)})
		e.VideoPort = both.VideoPort
		return e
	}
	a := peers.StartAnswerer(t, both.SDP(true))
	const id, stream = "call-late", "call_late"
	srv.Must(t, "/rest-api/call/startup", direct(id, stream, &peers.Softphone{User: a.User, Port: a.Port}), nil)
	srv.WaitCall(t, id, "ESTABLISHED")
	srv.Must(t, "/rest-api/push/startup", map[string]any{"streamName": stream, "rtmpUrl": rtmp.URL("live")}, nil)
	to := srv.CallStats(t, id)
	sound.Start(t, to.Track("audio").Port(), 0)
	begun := time.Now()
	at := func(s float64) { time.Sleep(time.Until(begun.Add(time.Duration(s * float64(time.Second))))) }

	// The times are those of the story, nothing is waited for by them.
	at(7)
	black := playlistEnd(t, srv.HLSURL(stream))
	page := browser.Open(t, pages+"/pages/hls.html?src="+url.QueryEscape(srv.HLSURL(stream)))
	at(8)
	first := camera()
	first.Start(t, 0, to.Track("video").Port())
	at(11)
	played := make(chan *media.Report, 1)
	go func() { // a player that goes through all that follows
		defer close(played)
		r, err := media.Measure(context.WithoutCancel(t.Context()), srv.HLSURL(stream), media.Options{Live: 14 * time.Second})
		if err != nil {
			t.Errorf("HLS player: %v", err)
			return
		}
		played <- r
	}()
	first.Wait(t, 15*time.Second) // 8 s of pictures
	at(18.5)
	before := playlistEnd(t, srv.HLSURL(stream))
	at(24.5)
	after := playlistEnd(t, srv.HLSURL(stream))
	camera().Start(t, 0, to.Track("video").Port())
	sound.Wait(t, 15*time.Second)
	// The page was loaded while there was black alone.
	if v := page.View(t).Media[0]; v.Numbered < 150 || v.CurrentTime < 15 || v.Size != "640x360" {
		t.Errorf("hls.js: %+v", v)
	} else {
		note(t, "hls.js: %+v", v)
	}
	if black < 2 || after < before+2 {
		t.Errorf("HLS had %d segments of black, then went from %d to %d while pictures were missing for 6 s", black, before, after)
	}
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
	srv.WaitGone(t, id)
	if r := <-played; r == nil || r.DecodeErrors > 0 || r.Audio.Holes+r.Audio.Jumps+r.Audio.Gaps > 0 || r.Video.NotForward > 0 || r.Video.MaxGapMillis > 2800 {
		t.Errorf("HLS player: %v", r)
	} else {
		note(t, "HLS player: %v", r)
	}
	peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, "rtmp_"+stream) })
	r := measure(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_"+stream)), media.Options{})
	if r.DecodeErrors > 0 {
		t.Errorf("%d decoding errors: %q", r.DecodeErrors, r.FirstErrors)
	}
	if s := r.Audio; s == nil || s.Gaps+s.Holes+s.Jumps > 0 || s.Beeps < 28 {
		t.Errorf("sound: %+v", s)
	}
	if v := r.Video; v == nil || v.NotForward > 0 || v.MaxGapMillis > 2800 || v.Numbered < 290 {
		t.Errorf("picture: %+v", v)
	}
}

// playlistEnd is the number after the newest segment of the playlist behind an
// address, of the video where there are several.
func playlistEnd(t *testing.T, address string) int {
	t.Helper()
	text := fetch(t, address)
	for !strings.Contains(text, "#EXTINF") {
		next := ""
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				next = line
			}
		}
		if next == "" {
			t.Fatalf("no playlist in %s", text)
		}
		address = address[:strings.LastIndexByte(address, '/')+1] + next
		text = fetch(t, address)
	}
	first := 0
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "#EXT-X-MEDIA-SEQUENCE:"); ok {
			first, _ = strconv.Atoi(n)
		}
	}
	return first + strings.Count(text, "#EXTINF")
}

func fetch(t *testing.T, address string) string {
	t.Helper()
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, res)
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestCall is the server's main job: one call to a soft phone, seen and heard at
// once in the WebSDK's own player page, on our player page, on an RTMP server,
// in HLS players and in a file.
func TestCall(t *testing.T) {
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}"})
	rtmp := peers.StartRTMPServer(t)
	browser := peers.StartBrowser(t)
	pages := site(t)
	for _, c := range []struct {
		name, audio, video, codec string
	}{
		{"pcma", peers.PCMA, peers.H264, "audio/PCMA"},
		{"opus", peers.Opus, peers.H264M, "audio/opus"},
		{"pcmu", peers.PCMU, peers.None, "audio/PCMU"},
	} {
		t.Run(c.name, func(t *testing.T) {
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Audio: c.audio, Video: c.video})
			id, stream := "call-"+c.name, "call_"+c.name
			call, name := direct(id, stream, phone), "rtmp_line_"+c.name
			// A call that names an RTMP target in its request offers no Opus (setting codecs_exclude_sip_rtmp); a push of its own does not mind.
			ownPush := c.audio == peers.Opus
			if ownPush {
				name = "rtmp_" + stream
			} else {
				call = with(call, map[string]any{"rtmpUrl": rtmp.URL("live"), "rtmpStream": "line_" + c.name})
			}
			begin := time.Now()
			srv.Must(t, "/rest-api/call/startup", call, nil)
			if ownPush {
				srv.Must(t, "/rest-api/push/startup", map[string]any{"streamName": stream, "rtmpUrl": rtmp.URL("live"), "options": map[string]any{}}, nil)
			}
			if got := srv.WaitCall(t, id, "ESTABLISHED"); got.SIPStatus == nil || *got.SIPStatus != 200 {
				t.Errorf("sipStatus of an established call: %+v", got)
			}
			phone.WaitEvent(t, "CALL_ESTABLISHED")
			picture := c.video != peers.None

			// The offset in a browser is measured with nothing else on the machine's few cores: a late browser buffers more sound.
			t.Run("websdk", func(t *testing.T) {
				p := openSDKPlayer(t, browser, pages, srv, stream)
				checkStep(t, watch(t, p, srv, stream, 25*time.Second, c.codec, picture), picture)
			})
			t.Run("outputs", func(t *testing.T) {
				t.Run("player", func(t *testing.T) {
					t.Parallel()
					p := browser.Open(t, srv.URL("/player?stream="+stream))
					watch(t, p, srv, stream, 10*time.Second, c.codec, picture)
					p.Resize(t, 390, 844)
					p.Screenshot(t, "phone-size")
				})
				t.Run("hls", func(t *testing.T) {
					t.Parallel()
					p := browser.Open(t, pages+"/pages/hls.html?src="+url.QueryEscape(srv.HLSURL(stream)))
					if picture {
						p.WaitFor(t, "__probe.report().then(r => r.media[0]?.presented > 150)", 40*time.Second)
					} else {
						p.WaitFor(t, "video.currentTime > 6", 40*time.Second)
					}
					p.Screenshot(t, "hls.js")
					note(t, "hls.js: %v", p.View(t))
					r := measure(t, srv.HLSURL(stream), media.Options{Live: 12 * time.Second})
					checkTracks(t, r, picture)
				})
				t.Run("rtmp", func(t *testing.T) {
					t.Parallel()
					peers.Eventually(t, "the push at the RTMP server", 20*time.Second, func() bool { return rtmp.Publishing(t, name) })
					if ownPush {
						srv.Must(t, "/rest-api/push/find", map[string]any{"streamName": name, "rtmpUrl": rtmp.URL("live")}, nil)
						return
					}
					peers.Eventually(t, "RTMP_STREAM_ACTIVE", 10*time.Second, func() bool {
						f := srv.FindCall(t, id)
						return f != nil && f.RTMPStreamStatus != nil && *f.RTMPStreamStatus == "RTMP_STREAM_ACTIVE"
					})
				})
			})

			srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": id}, nil)
			phone.WaitEvent(t, "CALL_CLOSED")
			srv.WaitGone(t, id)
			lasted := time.Since(begin)
			if s := srv.FindStream(t, stream); s != nil {
				t.Errorf("the stream outlives its call: %+v", s)
			}
			peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, name) })
			flv := measure(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, name)), media.Options{})
			sent := 0
			if picture {
				sent = phone.FramesSent(t)
			}
			checkWhole(t, flv, sent, lasted)
			var mp4 string
			peers.Eventually(t, "the finished recording", 10*time.Second, func() bool {
				files := srv.Recordings(t, stream+".mp4")
				if len(files) == 1 {
					mp4 = files[0]
				}
				return len(files) == 1
			})
			checkWhole(t, measure(t, mp4, media.Options{}), sent, lasted)
		})
	}
}

// openSDKPlayer opens the WebSDK's example page "Player" and does what a person does there: address, name, Start.
func openSDKPlayer(t *testing.T, b *peers.Browser, pages string, srv *peers.Lineout, stream string) *peers.Page {
	t.Helper()
	p := b.Open(t, pages+"/examples/demo/streaming/player/player.html")
	p.Resize(t, 1000, 1100)
	p.WaitFor(t, "window.jQuery && $('#url').val()", 10*time.Second)
	p.Fill(t, "#url", srv.WSURL())
	p.Fill(t, "#streamName", stream)
	p.Click(t, "#playBtn")
	p.WaitFor(t, "$('#status').text() === 'PLAYING'", 20*time.Second)
	return p
}

// watch watches a WebRTC player for a time and judges whether all of sound and picture arrive.
func watch(t *testing.T, p *peers.Page, srv *peers.Lineout, stream string, span time.Duration, codec string, picture bool) *peers.View {
	t.Helper()
	flowing := "__probe.report().then(r => r.rtp.some(s => s.kind === 'audio' && s.packetsReceived > 20))"
	if picture {
		flowing = "__probe.report().then(r => r.rtp.some(s => s.framesDecoded > 10))"
	}
	p.WaitFor(t, flowing, 20*time.Second)
	sent := -pictures(t, srv, stream)
	before := p.View(t)
	p.WaitFor(t, fmt.Sprintf("__probe.report().then(r => r.seconds >= %f)", before.Seconds+span.Seconds()), span+20*time.Second)
	after := p.View(t)
	sent += pictures(t, srv, stream)
	p.Screenshot(t, "playing")
	seconds := after.Seconds - before.Seconds
	note(t, "WebRTC playback: %v", after)
	a := after.Stream("audio")
	if packets := float64(a.PacketsReceived - before.Stream("audio").PacketsReceived); packets < 0.95*50*seconds {
		t.Errorf("%v audio packets in %.1f s, want 50 a second", packets, seconds)
	}
	if a.Codec != codec {
		t.Errorf("audio arrives as %s, want %s unchanged", a.Codec, codec)
	}
	if after.Playing().RMS < 0.01 {
		t.Errorf("the player is silent: %v", after)
	}
	if !picture {
		return after
	}
	v := after.Stream("video")
	if v.Codec != "video/H264" {
		t.Errorf("video arrives as %s, want H264 unchanged", v.Codec)
	}
	if sent < 0.8*media.FPS*seconds {
		t.Errorf("the phone sent %.0f frames in %.1f s: the machine is too busy for this test to show anything", sent, seconds)
	}
	if decoded := float64(v.FramesDecoded - before.Stream("video").FramesDecoded); decoded < 0.95*sent {
		t.Errorf("%v frames decoded of %.0f sent in %.1f s, want 95 %%", decoded, sent, seconds)
	}
	if m := after.Playing(); m.Backward > 0 {
		t.Errorf("the picture went back %d times", m.Backward)
	}
	return after
}

// checkStep fails the test unless the browser shows sound and picture in step,
// by the median of the whole run.
func checkStep(t *testing.T, v *peers.View, picture bool) {
	t.Helper()
	switch m := v.Playing(); {
	case !picture:
	case m.Sync == nil:
		t.Errorf("no offset of sound and picture could be measured: %v", v)
	case math.Abs(m.Sync.MedianMillis) > maxOffset+browserError:
		t.Errorf("median offset of sound and picture is %v ms, want at most %d (and the browser's error of %d) either way", m.Sync.MedianMillis, maxOffset, browserError)
	}
}

// pictures counts the frames of a stream's picture so far: what the phone, which
// leaves some out when the machine is busy, has really sent.
func pictures(t *testing.T, srv *peers.Lineout, stream string) float64 {
	t.Helper()
	var g struct {
		Tracks []struct {
			ID     string  `json:"id"`
			Frames float64 `json:"frames"`
		} `json:"tracks"`
	}
	_, text := srv.Get(t, "/debug/graph/"+stream)
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		t.Fatalf("graph of %s: %v: %s", stream, err, text)
	}
	for _, tr := range g.Tracks {
		if tr.ID == "video" {
			return tr.Frames
		}
	}
	return 0
}

// checkTracks: H.264 with AAC, in step; for a call without video, AAC only.
func checkTracks(t *testing.T, r *media.Report, picture bool) {
	t.Helper()
	if r.Audio == nil || r.Audio.Codec != "aac" {
		t.Fatalf("no AAC track: %v", r)
	}
	if r.Audio.Beeps < 3 {
		t.Errorf("%d beeps heard: %v", r.Audio.Beeps, r)
	}
	if r.DecodeErrors > 0 {
		t.Errorf("ffmpeg complains: %q", r.FirstErrors)
	}
	if !picture {
		return
	}
	if r.Video == nil || r.Video.Codec != "h264" {
		t.Fatalf("no H.264 track: %v", r)
	}
	if r.Video.Backward > 0 || r.Video.NotForward > 0 {
		t.Errorf("frames or timestamps go back: %v", r)
	}
	checkSync(t, r)
}

// checkWhole is checkTracks for a recording of a whole call that lasted so long
// from request to end, of which the phone sent so many frames (0: no video).
func checkWhole(t *testing.T, r *media.Report, sent int, lasted time.Duration) {
	t.Helper()
	checkTracks(t, r, sent > 0)
	length := r.Audio.End - r.Audio.Start
	if want := lasted.Seconds() - 2; length < want { // call set-up, connection of the push, end
		t.Errorf("%.1f s of sound recorded of a call of %.1f s", length, lasted.Seconds())
	}
	if r.Audio.Jumps > 1 || r.Audio.Gaps > 0 {
		t.Errorf("sound is spliced %d times and has %d holes (longest %v ms)", r.Audio.Jumps, r.Audio.Gaps, r.Audio.MaxGapMillis)
	}
	if sent > 0 && r.Video.Frames < sent-5 { // the last ones may have been on their way
		t.Errorf("%d frames recorded of %d sent", r.Video.Frames, sent)
	}
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// pagesOf is site with the server's recordings, which pages look for beside themselves.
func pagesOf(t *testing.T, srv *peers.Lineout) string {
	t.Helper()
	target, err := url.Parse(srv.URL("/"))
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := url.Parse(site(t))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(sdk))
	mux.Handle("/client/records/", httputil.NewSingleHostReverseProxy(target))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// TestPublish: browsers publish camera and microphone with the WebSDK's own
// pages. One stream is recorded, played in a second page and by HLS, the other
// is pushed to an RTMP server.
func TestPublish(t *testing.T) {
	srv := peers.StartLineout(t, map[string]string{"stream_record_policy_template": "{streamName}"})
	rtmp := peers.StartRTMPServer(t)
	browser := peers.StartCamera(t)
	pages := pagesOf(t, srv)

	p := browser.Open(t, pages+"/examples/demo/streaming/stream_recording/recording.html")
	p.WaitFor(t, "window.jQuery && $('#url').val()", 10*time.Second)
	p.Fill(t, "#url", srv.WSURL()+"/cam")
	p.Click(t, "#publishBtn")
	p.WaitFor(t, "$('#status').text() === 'PUBLISHING'", 20*time.Second)
	player := openSDKPlayer(t, browser, pages, srv, "cam")
	player.WaitFor(t, "__probe.report().then(r => r.media.some(m => m.flashes > 4 && m.beeps > 4))", 30*time.Second)
	player.Screenshot(t, "player")
	p.Screenshot(t, "publisher")
	note(t, "the publisher: %v", p.View(t))
	note(t, "its player: %v", player.View(t))
	// A picture of it, as the SDK's snapshot page asks for one.
	peers.Eval[bool](t, p, `(Flashphoner.getSessions()[0].createStream({name: "cam"}).on("STREAM_EVENT", (e) => {
		window.shot = Object.assign(new Image(), {src: "data:image/png;base64," + e.payload.snapshot}); }).snapshot(), true)`)
	p.WaitFor(t, "window.shot && shot.naturalWidth === document.querySelector('video').videoWidth", 10*time.Second)
	note(t, "snapshot: %s", peers.Eval[string](t, p, "shot.naturalWidth + 'x' + shot.naturalHeight"))
	hls := measure(t, srv.HLSURL("cam"), media.Options{Live: 4 * time.Second})
	checkPublished(t, hls)

	p.Click(t, "#publishBtn")
	p.WaitFor(t, "$('#status').text() === 'UNPUBLISHED' && $('#link').attr('href')", 20*time.Second)
	player.WaitFor(t, "$('#status').text() === 'FAILED' && $('#info').text() === 'Stopped by publisher stop'", 10*time.Second)
	if got, want := peers.Eval[string](t, p, "$('#link').attr('href')"), pages+"/client/records/cam.mp4"; got != want {
		t.Fatalf("the page links %s, want %s", got, want)
	}
	// What the page is told is complete: it plays there at once.
	p.WaitFor(t, "document.getElementById('recVideo').duration > 5", 10*time.Second)
	p.Screenshot(t, "recorded")
	r := measure(t, pages+"/client/records/cam.mp4", media.Options{})
	checkPublished(t, r)
	// How far apart they are to begin with is the browser's secret, but not what
	// its sender reports say of it.
	var proof sidecar
	if b, err := os.ReadFile(one(t, "sidecars", srv.Recordings(t, "cam.mp4.json"))); err != nil || json.Unmarshal(b, &proof) != nil {
		t.Fatalf("sidecar: %v: %s", err, b)
	}
	note(t, "offset by the browser's clocks: %+v", proof.AVOffset)
	if o := proof.AVOffset; o == nil || math.Abs(o.MeanMS) > maxOffset || o.P99MS > maxOffset {
		t.Errorf("sound and picture are not where the browser says: %+v", o)
	}

	p = browser.Open(t, pages+"/examples/demo/streaming/webrtc-as-rtmp-republishing/webrtc-as-rtmp-republishing.html")
	p.WaitFor(t, "window.jQuery && $('#url').val()", 10*time.Second)
	p.Fill(t, "#url", srv.WSURL())
	p.Fill(t, "#streamName", "live1")
	p.Fill(t, "#rtmpUrl", rtmp.URL("live"))
	p.Click(t, "#publishBtn")
	p.WaitFor(t, "$('#status').text() === 'PUBLISHING'", 20*time.Second)
	peers.Eventually(t, "the stream at the RTMP server", 20*time.Second, func() bool { return rtmp.Publishing(t, "rtmp_live1") })
	p.WaitFor(t, "__probe.report().then(r => r.media.some(m => m.flashes > 4))", 20*time.Second)
	p.Screenshot(t, "republishing")
	srv.Must(t, "/rest-api/stream/terminate", map[string]any{"name": "live1"}, nil)
	p.WaitFor(t, "$('#status').text() === 'UNPUBLISHED'", 10*time.Second)
	peers.Eventually(t, "the end of the push", 10*time.Second, func() bool { return !rtmp.Publishing(t, "rtmp_live1") })
	checkPublished(t, measure(t, one(t, "recordings of the RTMP server", rtmp.Recordings(t, "rtmp_live1")), media.Options{}))
}

// checkPublished judges a file of a few seconds from the camera. Browsers clean
// what they take for a microphone, and may take a beep or two for noise.
func checkPublished(t *testing.T, r *media.Report) {
	t.Helper()
	if r.Audio == nil || r.Audio.Codec != "aac" || r.Video == nil || r.Video.Codec != "h264" {
		t.Fatalf("not H.264 and AAC: %v", r)
	}
	if r.DecodeErrors > 0 {
		t.Errorf("ffmpeg complains: %q", r.FirstErrors)
	}
	if r.Audio.Beeps < 1 || r.Audio.Holes > 0 {
		t.Errorf("%d beeps and %d holes in the sound: %v", r.Audio.Beeps, r.Audio.Holes, r)
	}
	if v := r.Video; v.Size != "320x240" || v.Flashes < 3 || v.Backward > 0 || v.NotForward > 0 || v.MaxGapMillis > 400 || v.Frames < int(20*(v.End-v.Start)) { // the camera is as quick as the machine is free
		t.Errorf("picture: %v", r)
	}
}

// TestWHIP: a browser publishes by HTTP; who has another token, or takes a name
// that is in use, is refused; DELETE ends it.
func TestWHIP(t *testing.T) {
	t.Parallel()
	srv := peers.StartLineout(t, map[string]string{"whip.token": "s3cret"})
	browser, pages := peers.StartCamera(t), site(t)
	open := func(token string) *peers.Page {
		return browser.Open(t, pages+"/pages/whip.html?"+url.Values{"url": {srv.URL("/whip/studio")}, "token": {token}}.Encode())
	}
	publisher, other := open("s3cret"), open("wrong")
	if code := peers.Eval[int](t, other, "publish()"); code != http.StatusUnauthorized {
		t.Errorf("with another token: %d", code)
	}
	if code := peers.Eval[int](t, publisher, "publish()"); code != http.StatusCreated {
		t.Fatalf("publish: %d", code)
	}
	publisher.WaitFor(t, "state === 'connected'", 10*time.Second)
	player := browser.Open(t, srv.URL("/player?stream=studio"))
	player.WaitFor(t, "__probe.report().then(r => r.media.some(m => m.numbered > 25 && m.beeps > 0))", 20*time.Second)
	player.Screenshot(t, "player")
	if code := peers.Eval[int](t, open("s3cret"), "publish()"); code != http.StatusConflict {
		t.Errorf("a name that is in use: %d", code)
	}
	if code := peers.Eval[int](t, publisher, "end()"); code != http.StatusOK {
		t.Errorf("DELETE: %d", code)
	}
	if s := srv.FindStream(t, "studio"); s != nil {
		t.Errorf("the stream is still there: %+v", s)
	}
}

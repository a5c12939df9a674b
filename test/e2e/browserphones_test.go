//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestBrowserAndPhones: a browser and soft phones of one codec each call each
// other. Each hears the other's tone, and sees its picture if it has one.
func TestBrowserAndPhones(t *testing.T) {
	t.Parallel()
	const tone = 412.5 // Hz: of the browser's microphone, and below all of the phones' clip
	srv := peers.StartLineout(t, map[string]string{"sip_digest_algorithms": "MD5"})
	page := peers.StartCaller(t, tone).Open(t, srv.URL("/phone"))
	page.Resize(t, 900, 800)
	signIn(t, page, "1001")
	at := fmt.Sprintf("127.0.0.1:%d", srv.SIPPort)
	for i, c := range []struct{ audio, video, sound, picture string }{
		{peers.PCMA, peers.None, "G.711 A", ""},
		{peers.PCMU, peers.None, "G.711 µ", ""},
		{peers.G722, peers.None, "G.722", ""},
		{peers.Opus, peers.None, "Opus", ""},
		{peers.PCMA, peers.H264M, "G.711 A", "H.264"},
		{peers.Opus, peers.VP8, "Opus", "VP8"},
	} {
		t.Run(c.audio+" "+c.video, func(t *testing.T) {
			user := fmt.Sprint(1002 + i)
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: user, Server: at, Audio: c.audio, Video: c.video, KeepWAV: true})
			for n, way := range []string{"browser calls", "phone calls"} {
				if way == "browser calls" {
					page.Fill(t, "#number", user)
					page.Click(t, map[bool]string{true: "#videocall", false: "#call"}[c.picture != ""])
				} else {
					phone.Dial(t, "sip:1001@"+at)
					page.WaitFor(t, `document.getElementById("ring").open`, 20*time.Second)
					page.Click(t, map[bool]string{true: "#answervideo", false: "#answer"}[c.picture != ""])
				}
				page.WaitFor(t, shows("peer", user)+` && `+shows("quality", c.sound), 20*time.Second)
				if c.picture != "" {
					page.WaitFor(t, shows("quality", c.picture+" 640×360")+` && document.getElementById("remote").videoWidth === 640`, 20*time.Second)
				}
				var h peers.Heard
				peers.Eventually(t, "the phone's tone", 10*time.Second, func() bool { h = page.Hear(t, "#sound"); return h.Is(tone) })
				note(t, "%s: the browser hears %v", way, h)
				joined(t, srv)
				time.Sleep(2 * time.Second) // of sound for the phone
				page.Screenshot(t, fmt.Sprintf("%s-%s-%d", c.audio, c.video, n))
				if way == "browser calls" {
					page.Click(t, "#hang")
				} else {
					phone.Hangup(t)
				}
				page.WaitFor(t, `document.getElementById("talk").hidden`, 10*time.Second)
				phone.WaitEvent(t, "CALL_CLOSED")
			}
			for _, f := range phone.Received(t) {
				r := measure(t, f, media.Options{})
				if r.Audio == nil || r.Audio.PilotHz < 0.995*tone || r.Audio.PilotHz > 1.005*tone {
					t.Errorf("the phone heard %+v", r.Audio)
				}
			}
		})
	}
}

// joined notes what the server does with the media of its users' calls and how
// long that takes; nothing may have gone wrong.
func joined(t *testing.T, srv *peers.Lineout) {
	t.Helper()
	var calls []peers.Call
	srv.Post(t, "/rest-api/call/find_all", map[string]any{}, &calls)
	seen := 0
	for _, c := range calls {
		var s struct {
			Joined []struct {
				To, Kind, Plan             string
				Passed, Converted, Dropped int
				DelayP50MS, DelayP99MS     float64
				Error                      *string
			}
		}
		srv.Must(t, "/rest-api/call/stats", map[string]any{"callId": c.CallID}, &s)
		for _, f := range s.Joined {
			seen++
			note(t, "%s to the %s: %s; passed %d, converted %d, dropped %d, added p50 %.2f ms, p99 %.2f ms", f.Kind, f.To, f.Plan, f.Passed, f.Converted, f.Dropped, f.DelayP50MS, f.DelayP99MS)
			if f.Converted > 0 {
				t.Errorf("%s to the %s is converted, though browser and phone know the same codec: %s", f.Kind, f.To, f.Plan)
			}
			if f.Error != nil {
				t.Errorf("%s to the %s: %s", f.Kind, f.To, *f.Error)
			}
		}
	}
	if seen < 2 {
		t.Errorf("only %d ways carry media", seen)
	}
}

//go:build e2e

package e2e

import (
	"net/url"
	"testing"
	"time"

	"lineout/test/peers"
)

// beyond are the tests of the SDK that no server can make pass, and why: they are
// left out. What they are about is tested by rooms.js and by the SDK's pages.
var beyond = map[string]string{
	"MediaDevices getMediaAccess should work with cached instance in case of Flash provider": "Flash",
	"MediaDevices getMediaAccess should support screen sharing with WebRTC":                  "screen sharing",
	"flashphoner session streams should clean up video":                                      "the SDK now keeps its video element for the next player",
	"SIP outgoing and incoming call":                                                         "answer(element, element) was the SDK's first version",
	"Room api join and publish":                                                              "publish(element) was the SDK's first version",
	"Room api subscribe to already published stream":                                         "publish(element) was the SDK's first version",
	"Room api subscribe to newly published stream":                                           "publish(element) was the SDK's first version",
	"Room api join with error":                                                               "an application at the authors' that refuses this user",
	"Room api sendMessage with error":                                                        "an application at the authors' that refuses this user",
	"Room api join, publish, leave":                                                          "publish(element) was the SDK's first version",
}

// TestSDKUnit runs the SDK's own tests as they were published, in its package, in Chromium.
func TestSDKUnit(t *testing.T) {
	t.Parallel()
	pages := site(t)
	browser := peers.StartBrowser(t)
	srv := peers.StartLineout(t, nil)
	var left []string
	for title := range beyond {
		left = append(left, title)
	}
	for file, count := range map[string]int{"test.js": 14, "media-device-test.js": 10, "sip-test.js": 1, "room-module-test.js": 2, "rooms.js": 3} {
		t.Run(file, func(t *testing.T) {
			p := browser.Open(t, pages+"/pages/sdkunit.html?file="+file+"&server="+url.QueryEscape(srv.WSURL())+"&without="+url.QueryEscape(jsonOf(t, left)))
			p.WaitFor(t, "results.over", 2*time.Minute)
			type result struct {
				Title, Failure string
				Milliseconds   int
			}
			all := peers.Eval[[]result](t, p, "results.tests")
			for _, r := range all {
				if r.Failure != "" {
					t.Errorf("%q: %s", r.Title, r.Failure)
				} else {
					note(t, "%5d ms  %s", r.Milliseconds, r.Title)
				}
			}
			if len(all) != count {
				t.Errorf("%d tests ran, want %d", len(all), count)
			}
		})
	}
}

//go:build e2e

package e2e

import (
	"testing"
	"time"

	"lineout/test/peers"
)

// TestFirefoxPlays: the player page in Firefox shows a VP8 call and sounds it, and
// plays a call that is sound only.
func TestFirefoxPlays(t *testing.T) {
	t.Parallel()
	address := peers.OwnNetwork(t)
	if address == "" {
		return
	}
	srv := peers.StartLineout(t, map[string]string{"ip": address, "ip_local": address})
	firefox := peers.StartFirefox(t)
	for _, c := range []struct{ name, audio, video string }{{"vp8", peers.Opus, peers.VP8}, {"pcma", peers.PCMA, peers.None}} {
		phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Audio: c.audio, Video: c.video})
		id, stream := "firefox-"+c.name, "firefox_"+c.name
		srv.Must(t, "/rest-api/call/startup", direct(id, stream, phone), nil)
		srv.WaitCall(t, id, "ESTABLISHED")
		p := firefox.Open(t, srv.URL("/player?stream="+stream), 900, 600)
		p.WaitFor(t, `document.getElementById("stage").dataset.state === "playing"`, 20*time.Second)
		if c.video != peers.None {
			p.WaitFor(t, `/VP8 .* \d\d fps/.test(document.getElementById("stats").textContent)`, 30*time.Second) // of decoded pictures
		}
		p.WaitFor(t, `document.getElementById("video").currentTime > 3`, 20*time.Second)
		p.WaitFor(t, `/Opus|G\.711/.test(document.getElementById("stats").textContent)`, 10*time.Second)
		p.Screenshot(t, c.name)
	}
}

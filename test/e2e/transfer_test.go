//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// TestPhoneTransfers: a soft phone sends the browser it talks with on to another
// phone (REFER, RFC 3515); the browser keeps its call and its media.
func TestPhoneTransfers(t *testing.T) {
	t.Parallel()
	const tone = 412.5
	srv := peers.StartLineout(t, map[string]string{"sip_digest_algorithms": "MD5"})
	at := fmt.Sprintf("127.0.0.1:%d", srv.SIPPort)
	page := peers.StartCaller(t, 440).Open(t, srv.URL("/phone"))
	page.Resize(t, 900, 800)
	signIn(t, page, "1001")
	first := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "1002", Server: at, Video: peers.None})
	second := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "1003", Server: at, Audio: peers.G722, Video: peers.None, KeepWAV: true})
	page.Fill(t, "#number", "1002")
	page.Click(t, "#call")
	talks(t, page, "1002", "G.711 A")
	first.Command(t, "transfer", "sip:1003@"+at)
	second.WaitEvent(t, "CALL_ESTABLISHED")
	first.WaitEvent(t, "CALL_CLOSED")
	var h peers.Heard
	peers.Eventually(t, "the second phone's tone", 10*time.Second, func() bool { h = page.Hear(t, "#sound"); return h.Is(tone) })
	note(t, "after the transfer the browser hears %v", h)
	page.WaitFor(t, `/^00:/.test(document.getElementById("status").textContent)`, 5*time.Second)
	time.Sleep(2 * time.Second) // of sound for the phone
	page.Click(t, "#hang")
	second.WaitEvent(t, "CALL_CLOSED")
	heard := measure(t, one(t, "recordings of the second phone", second.Received(t)), media.Options{})
	if heard.Audio == nil || heard.Audio.End-heard.Audio.Start < 1.5 {
		t.Errorf("the second phone heard %+v", heard.Audio)
	}
}

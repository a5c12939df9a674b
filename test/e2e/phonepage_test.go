//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"lineout/test/peers"
)

// tab is a page of either browser.
type tab interface {
	Fill(t testing.TB, selector, value string)
	Click(t testing.TB, selector string)
	WaitFor(t testing.TB, js string, timeout time.Duration)
	Screenshot(t testing.TB, name string) string
}

func shows(id, text string) string {
	return fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, text)
}

// signIn opens an account of this server on the phone page.
func signIn(t *testing.T, p tab, login string) {
	t.Helper()
	p.Fill(t, "[name=login]", login)
	p.Click(t, "#account .primary")
	p.WaitFor(t, shows("line", "Registered"), 20*time.Second)
}

// talks says that sound comes, by what the page tells of it, and that it is no silence.
func talks(t *testing.T, p tab, who, codec string) {
	t.Helper()
	p.WaitFor(t, shows("peer", who), 20*time.Second)
	p.WaitFor(t, `/^00:/.test(document.getElementById("status").textContent)`, 20*time.Second)
	p.WaitFor(t, shows("quality", codec), 20*time.Second)
	p.WaitFor(t, `new DOMMatrix(getComputedStyle(document.getElementById("glow")).transform).a > 1.02`, 20*time.Second)
}

// TestPhonePages: Chromium and Firefox call each other on the phone page, as users
// of this server without another one; with sound, with picture, on hold.
func TestPhonePages(t *testing.T) {
	t.Parallel()
	address := peers.OwnNetwork(t)
	if address == "" {
		return
	}
	srv := peers.StartLineout(t, map[string]string{"ip": address, "ip_local": address})
	chromium := peers.StartBrowser(t).Open(t, srv.URL("/phone"))
	chromium.Resize(t, 900, 800)
	firefox := peers.StartFirefox(t).Open(t, srv.URL("/phone"), 390, 844)
	signIn(t, chromium, "1001")
	signIn(t, firefox, "1002")

	chromium.Fill(t, "#number", "1002")
	chromium.Click(t, "#call")
	firefox.WaitFor(t, `document.getElementById("ring").open && `+shows("ringer", "1001"), 20*time.Second)
	chromium.WaitFor(t, shows("status", "Ringing"), 10*time.Second)
	firefox.Screenshot(t, "ring")
	firefox.Click(t, "#answer")
	talks(t, chromium, "1002", "Opus")
	talks(t, firefox, "1001", "Opus")
	chromium.Screenshot(t, "talk-chromium")
	firefox.Click(t, "#holdb")
	chromium.WaitFor(t, shows("status", "hold"), 10*time.Second)
	firefox.WaitFor(t, shows("status", "On hold"), 10*time.Second)
	firefox.Click(t, "#holdb")
	talks(t, chromium, "1002", "Opus")
	chromium.Click(t, "#hang")
	firefox.WaitFor(t, `document.getElementById("talk").hidden`, 10*time.Second)

	firefox.Fill(t, "#number", "1001")
	firefox.Click(t, "#videocall")
	chromium.WaitFor(t, `document.getElementById("ring").open && !document.getElementById("answervideo").hidden`, 20*time.Second)
	chromium.Click(t, "#answervideo")
	for name, p := range map[string]tab{"firefox": firefox, "chromium": chromium} {
		p.WaitFor(t, `/VP8 [1-9]/.test(document.getElementById("quality").textContent) && document.getElementById("remote").videoWidth > 0`, 30*time.Second)
		p.Screenshot(t, "video-"+name)
	}
	firefox.Click(t, "#hang")
	chromium.WaitFor(t, `document.getElementById("talk").hidden`, 10*time.Second)
	peers.Eventually(t, "the end of all calls", 10*time.Second, func() bool {
		status, _ := srv.Get(t, "/rest-api/call/find_all")
		return status == http.StatusNotFound
	})
}

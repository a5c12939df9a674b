//go:build e2e

package e2e

import (
	"testing"

	"lineout/test/peers"
)

// TestPhonesThroughMediaProxy: users of a SIP server through which signalling
// and media go (S1-7, way 1).
func TestPhonesThroughMediaProxy(t *testing.T) {
	t.Parallel()
	web := site(t)
	alice, bob := peers.StartCaller(t, toneA), peers.StartCaller(t, toneB)
	registrar := peers.StartRegistrar(t, peers.RegistrarConfig{MediaProxy: true})
	srv := peers.StartLineout(t, nil)
	a := openPhone(t, alice, srv, web, "phone/phone.html", account{"10001", "pw10001", "127.0.0.1", registrar.Port})
	b := openPhone(t, bob, srv, web, "phone/phone.html", account{"10002", "pw10002", "127.0.0.1", registrar.Port})
	a.calls(t, b)
	a.hears(t, toneB, true)
	b.hears(t, toneA, true)
	b.Click(t, "#hangupBtn")
	ended(t, a, b)
	relayed := registrar.Media.Relayed(t)
	note(t, "RTP packets through the proxy: %v", relayed)
	for _, n := range relayed {
		if n < 25 { // half a second of sound is heard at least
			t.Errorf("too few: %v", relayed)
		}
	}
}

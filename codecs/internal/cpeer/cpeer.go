// Package cpeer calls the C libraries that our codecs are checked and measured
// against: libopus, libspandsp and libvo-aacenc, and, bare, those of the codecs
// that are nothing else (libspeex, libbcg729). Only tests import it.
package cpeer

import (
	"testing"

	"lineout/codecs/internal/clib"
)

// Peer is a codec of a C library: an encoder, a decoder and their memory. Each
// call is those of the library and nothing else, without an allocation; what it
// returns is valid until the next one.
type Peer interface {
	// Encode returns the packet of a frame, empty if it takes more to make one.
	Encode(pcm []int16) []byte
	// Decode returns the samples of a packet.
	Decode(packet []byte) []int16
	// Conceal invents 20 ms.
	Conceal() []int16
}

// find opens a library and looks up its functions. If it is missing the test
// fails and says what to install.
func find(t testing.TB, file, pkg string, into []*clib.Func, names ...string) {
	t.Helper()
	l, err := clib.Open(clib.Spec{Files: []string{file}, Package: pkg})
	if err != nil {
		t.Fatalf("not installed: apt-get install %s: %v", pkg, err)
	}
	if err := l.Find(into, names...); err != nil {
		t.Fatal(err)
	}
}

// state fails the test if a library made nothing.
func state(t testing.TB, what string, p uintptr) uintptr {
	t.Helper()
	if p == 0 {
		t.Fatalf("%s could not be made", what)
	}
	return p
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"lineout/test/media"
	"lineout/test/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// maxOffset is how far sound and picture may be apart, as the median of a run, in milliseconds.
	maxOffset = 40
	// browserError is what the browser's own measurement may err by on top (see peers.ViewSync).
	browserError = 25
)

// direct is the body of a /call/startup that calls a phone without a registrar.
func direct(id, stream string, p *peers.Softphone) map[string]any {
	return map[string]any{
		"callId": id, "callee": p.User, "toStream": stream, "hasAudio": "true", "hasVideo": "true",
		"sipLogin": "10009", "sipAuthenticationName": "10009", "sipPassword": "1234", "visibleName": "Line Out",
		"sipDomain": "127.0.0.1", "sipOutboundProxy": "127.0.0.1", "sipPort": fmt.Sprint(p.Port),
		"appKey": "defaultApp", "sipRegisterRequired": "false",
	}
}

// with is a body with some keys added or replaced.
func with(body map[string]any, more map[string]any) map[string]any {
	b := maps.Clone(body)
	maps.Copy(b, more)
	return b
}

// site serves the WebSDK's package as it was published, hls.js, and our page for hls.js.
func site(t *testing.T) string {
	t.Helper()
	root, err := media.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(root, "test", "node_modules")
	if _, err := os.Stat(filepath.Join(modules, "@flashphoner", "websdk", "flashphoner.js")); err != nil {
		t.Fatalf("the WebSDK is not installed: %v (tools/install-test-deps.sh)", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join(modules, "@flashphoner", "websdk"))))
	mux.Handle("/hls.js/", http.StripPrefix("/hls.js/", http.FileServer(http.Dir(filepath.Join(modules, "hls.js", "dist")))))
	mux.Handle("/modules/", http.StripPrefix("/modules/", http.FileServer(http.Dir(modules))))
	mux.Handle("/pages/", http.StripPrefix("/pages/", http.FileServer(http.Dir("testdata"))))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// note logs what is no judgement: under its own line, by which tools/gotest leaves it out of what failed.
func note(t *testing.T, format string, args ...any) { t.Logf(format, args...) }

// measure measures a file or URL.
func measure(t *testing.T, input string, o media.Options) *media.Report {
	t.Helper()
	r, err := media.Measure(t.Context(), input, o)
	if err != nil {
		t.Fatal(err)
	}
	note(t, "%s: %v", filepath.Base(input), r)
	return r
}

// checkSync fails the test unless sound and picture belong together.
func checkSync(t *testing.T, r *media.Report) {
	t.Helper()
	switch {
	case r.Sync == nil:
		t.Errorf("no offset of sound and picture could be measured: %v", r)
	case math.Abs(r.Sync.MedianMillis) > maxOffset:
		t.Errorf("median offset of sound and picture is %v ms, want at most %d either way", r.Sync.MedianMillis, maxOffset)
	}
}

// one is the only element of a list.
func one(t *testing.T, what string, list []string) string {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%s: %q, want exactly one", what, list)
	}
	return list[0]
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

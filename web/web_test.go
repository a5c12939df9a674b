package web

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// site serves all pages the way the server does.
func site(t testing.TB) *http.ServeMux {
	t.Helper()
	mux := http.NewServeMux()
	routes, err := Routes()
	require.NoError(t, err)
	for p, h := range routes {
		mux.Handle(p, h)
	}
	index, err := Index()
	require.NoError(t, err)
	mux.Handle("/{$}", index)
	doctor, err := Doctor()
	require.NoError(t, err)
	mux.Handle("/doctor", doctor)
	return mux
}

func TestPagesAreServedWithTheirPolicy(t *testing.T) {
	mux := site(t)
	paths := []string{"/", "/doctor"}
	for p := range files {
		paths = append(paths, p)
	}
	for _, p := range paths {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, p, nil))
		require.Equal(t, http.StatusOK, w.Code, p)
		require.NotEmpty(t, w.Body.String(), p)
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'", p)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), p)
		require.NotEmpty(t, w.Header().Get("Content-Type"), p)

		again := httptest.NewRequest(http.MethodGet, p, nil)
		again.Header.Set("If-None-Match", w.Header().Get("ETag"))
		w = httptest.NewRecorder()
		mux.ServeHTTP(w, again)
		require.Equal(t, http.StatusNotModified, w.Code, p)

		w = httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, p, nil))
		require.Equal(t, http.StatusMethodNotAllowed, w.Code, p)
	}
}

// Scripts from blobs are for the player alone, and only other scripts of the page can make them.
func TestOnlyThePlayerTakesBlobs(t *testing.T) {
	mux := site(t)
	csp := func(path string) string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Header().Get("Content-Security-Policy")
	}
	require.Contains(t, csp("/player"), "script-src 'self' blob:;")
	require.Contains(t, csp("/player"), "frame-ancestors *")
	require.NotContains(t, csp("/"), "blob:")
	require.Contains(t, csp("/"), "frame-ancestors 'none'")
	for _, p := range []string{"/", "/player"} {
		require.NotContains(t, csp(p), "unsafe", p)
	}
}

// The policy forbids inline code and foreign addresses, so the pages must hold none.
func TestPagesKeepTheirOwnPolicy(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<script>|<style|\sstyle=|\son[a-z]+=|javascript:`)
	foreign := regexp.MustCompile(`(?i)(src|href|import|fetch)[^\n]{0,20}["'(]\s*(https?:)?//`)
	err := fs.WalkDir(assets, "assets", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "vendor/") {
			return err
		}
		data, err := fs.ReadFile(assets, path)
		require.NoError(t, err)
		if strings.HasSuffix(path, ".html") {
			require.NotRegexp(t, inline, string(data), path)
		}
		require.NotRegexp(t, foreign, string(data), path)
		return nil
	})
	require.NoError(t, err)
}

// Everything a page refers to is served.
func TestLinksLeadSomewhere(t *testing.T) {
	mux := site(t)
	refs := regexp.MustCompile(`(?:src|href|action)="([^"]+)"|from "\./([^"]+)"|src = "([^"]+)"`)
	for _, p := range []string{"/", "/doctor", "/player", "/player/player.js", "/player/hls.js", "/player/whep.js", "/player/index.js"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, p, nil))
		body, err := io.ReadAll(w.Body)
		require.NoError(t, err)
		for _, m := range refs.FindAllStringSubmatch(string(body), -1) {
			target := m[1] + m[3]
			if m[2] != "" {
				target = "/player/" + m[2]
			}
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
			require.Equal(t, http.StatusOK, w.Code, "%s refers to %s", p, target)
		}
	}
}

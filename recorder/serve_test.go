package recorder

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/media"
	"lineout/pipeline"
	"lineout/recorder/clip"
)

// Who asked for a recording learns its name when the file is complete, and can
// fetch it, whole or in part.
func TestRecordingIsNamedAndServed(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Serve, c.Sidecar = true, true })
	s, err := b.hub.Create("cam", pipeline.Meta{})
	require.NoError(t, err)
	finished, err := b.RecordNamed(s)
	require.NoError(t, err)
	again, err := b.RecordNamed(s)
	require.NoError(t, err)
	c := clip.New(t)
	for _, tr := range c.Tracks() {
		s.AddTrack(tr)
	}
	s.SetReady()
	require.NoError(t, c.Frames(0, 3*time.Second, func(f *media.Frame) error {
		s.Write(f)
		return nil
	}))
	s.Close("end")
	name, err := finished(t.Context())
	require.NoError(t, err)
	require.Equal(t, "stream-"+s.ID()+"-.mp4", name)
	other, err := again(t.Context())
	require.NoError(t, err)
	require.Equal(t, name, other)
	want, err := os.ReadFile(filepath.Join(b.dir, name))
	require.NoError(t, err)

	mux := http.NewServeMux()
	for pattern, h := range b.Routes() {
		mux.Handle(pattern, h)
	}
	get := func(path, byteRange string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		if byteRange != "" {
			r.Header.Set("Range", byteRange)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	w := get("/client/records/"+name, "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "video/mp4", w.Header().Get("Content-Type"))
	require.Equal(t, want, w.Body.Bytes())
	w = get("/client/records/"+name, "bytes=4-7")
	require.Equal(t, 206, w.Code)
	require.Equal(t, "ftyp", w.Body.String())

	outside := filepath.Join(t.TempDir(), "secret.mp4")
	require.NoError(t, os.WriteFile(outside, []byte("x"), 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(b.dir, "link.mp4")))
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "a.live.mp4"), []byte("x"), 0o644))
	for _, p := range []string{name + ".json", "link.mp4", "a.live.mp4", "none.mp4", "..%2f" + filepath.Base(b.dir) + "%2f" + name, "", "%2e%2e"} {
		require.NotEqual(t, 200, get("/client/records/"+p, "").Code, p)
	}
	b.cfg.Serve = false
	require.Empty(t, b.Routes())
}

// A recording into which nothing came has no file to be named.
func TestEmptyRecordingHasNoName(t *testing.T) {
	b := newBench(t, nil)
	s, err := b.hub.Create("cam", pipeline.Meta{})
	require.NoError(t, err)
	finished, err := b.RecordNamed(s)
	require.NoError(t, err)
	s.Close("end")
	name, err := finished(t.Context())
	require.NoError(t, err)
	require.Empty(t, name)
}

package hls

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/api/fault"
	"lineout/recorder/clip"
)

func TestEndOfStream(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	p, s := b.direct("x")
	open(t, s, c)
	write(t, s, c, 0, 9*time.Second)
	require.NotContains(t, b.get("/x/video1_stream.m3u8").Body.String(), "ENDLIST")
	require.NoError(t, s.Close(context.Background()))
	p.stream.Close("call ended")
	<-p.stream.Done()
	<-p.gone
	require.Contains(t, b.get("/x/video1_stream.m3u8").Body.String(), "#EXT-X-ENDLIST\n")
	require.Equal(t, http.StatusOK, b.get("/x/x.m3u8").Code)
	b.now = func() time.Time { return time.Now().Add(time.Hour) }
	b.sweep(context.Background())
	require.Equal(t, http.StatusNotFound, b.get("/x/x.m3u8").Code)
	require.Equal(t, http.StatusNotFound, b.get("/x/video1_stream.m3u8").Code)
}

func TestRequests(t *testing.T) {
	b := newBench(t, nil)
	c := clip.New(t)
	const name = "rtmp://host/app?a=b ü"
	_, s := b.direct(name)
	open(t, s, c)
	write(t, s, c, 0, 9*time.Second)
	folder := "/rtmp:%2F%2Fhost%2Fapp%3Fa=b%20%C3%BC/"
	url := serve(t, b)
	w, err := http.Get(url + folder + strings.Trim(folder, "/") + ".m3u8?token=1")
	require.NoError(t, err)
	body, _ := io.ReadAll(w.Body)
	w.Body.Close()
	require.Equal(t, http.StatusOK, w.StatusCode, string(body))
	require.Equal(t, "application/vnd.apple.mpegurl", w.Header.Get("Content-Type"))
	require.Equal(t, "*", w.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "max-age=1", w.Header.Get("Cache-Control"))
	require.Contains(t, string(body), "video1_stream.m3u8?token=1")
	list := parseList(b.get(folder + "video1_stream.m3u8").Body.String())
	seg := b.get(folder + list.segments[0].uri)
	require.Equal(t, http.StatusOK, seg.Code)
	require.Equal(t, "video/mp4", seg.Header().Get("Content-Type"))
	require.Equal(t, "public, max-age=3600", seg.Header().Get("Cache-Control"))
	for path, code := range map[string]int{
		"/nobody/nobody.m3u8": 404, "/": 404, "/x": 404, "/a/b/c": 404, folder + "nothing.mp4": 404, folder + "..": 404,
		folder + "..%2F..%2Fetc%2Fpasswd": 404, folder + "other.m3u8": 404, "/%zz/x.m3u8": 0,
	} {
		if code != 0 {
			require.Equal(t, code, b.get(path).Code, path)
		}
	}
	h := b.Routes()["/"]
	for method, code := range map[string]int{http.MethodOptions: 204, http.MethodPost: 405, http.MethodHead: 200} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, folder+"video1_stream.m3u8", nil))
		require.Equal(t, code, w.Code, method)
		require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	}
	match := h.(Handler).Match
	require.True(t, match(httptest.NewRequest(http.MethodGet, folder+"video1_stream.m3u8", nil)))
	require.False(t, match(httptest.NewRequest(http.MethodGet, "/rest-api/call/startup", nil)))
	require.False(t, match(httptest.NewRequest(http.MethodGet, "/metrics", nil)))
}

func TestFirstRequestIsHeldAndThenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.stream("ringing")
		begun := time.Now()
		w := b.get("/ringing/ringing.m3u8")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "2", w.Header().Get("Retry-After"))
		require.Equal(t, 15*time.Second, time.Since(begun))
		require.Equal(t, []string{"ringing"}, b.Names())
		// A held request is let go when the call fails.
		time.AfterFunc(3*time.Second, func() { b.hub.Get("ringing").Close("busy") })
		require.Equal(t, http.StatusNotFound, b.get("/ringing/ringing.m3u8").Code)
		require.Equal(t, 18*time.Second, time.Since(begun))
		b.stop()
	})
}

func TestUnusedPackagerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.stream("x")
		body := func(v any) error { return json.Unmarshal([]byte(`{"name":"x"}`), v) }
		_, err := b.Methods()["hls/startup"](context.Background(), body)
		require.NoError(t, err)
		time.Sleep(299 * time.Second)
		got, err := b.Methods()["hls/find_all"](context.Background(), nil)
		require.NoError(t, err)
		require.Equal(t, []string{"x"}, got)
		time.Sleep(3 * time.Second)
		_, err = b.Methods()["hls/find_all"](context.Background(), nil)
		require.Equal(t, fault.NotFound, fault.CodeOf(err))
		b.stop()
	})
}

func TestMethods(t *testing.T) {
	b := newBench(t, nil)
	b.stream("x")
	call := func(method, body string) (any, error) {
		return b.Methods()[method](context.Background(), func(v any) error { return json.Unmarshal([]byte(body), v) })
	}
	for body, code := range map[string]fault.Code{`{}`: fault.BadRequest, `{"name":"nobody"}`: fault.NotFound} {
		_, err := call("hls/startup", body)
		require.Equal(t, code, fault.CodeOf(err))
	}
	_, err := call("hls/terminate", `{"name":"x"}`)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	for range 2 {
		got, err := call("hls/startup", `{"name":"x"}`)
		require.NoError(t, err)
		require.Nil(t, got)
	}
	_, err = call("hls/terminate", `{"name":"x"}`)
	require.NoError(t, err)
	_, err = call("hls/find_all", `{}`)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

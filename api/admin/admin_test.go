package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newMux(t *testing.T, change func(*Deps)) *http.ServeMux {
	t.Helper()
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: codecs.NewTable(nil, nil)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	s, err := hub.Create(`a "b"/c`, pipeline.Meta{Provider: "SIP"})
	require.NoError(t, err)
	s.AddTrack(&media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMU, ClockRate: 8000, Channels: 1})
	s.SetReady()
	d := Deps{Streams: hub, Start: time.Now(), Stat: func() Stat { return Stat{WebSockets: 3, Calls: 1, WebRTCOut: 2, RTMPOut: 4, Recordings: 5} },
		Index: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	if change != nil {
		change(&d)
	}
	mux := http.NewServeMux()
	for p, h := range Routes(d) {
		mux.Handle(p, h)
	}
	return mux
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// parseStat follows the console's own parser.
func parseStat(t *testing.T, text string) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	group := ""
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "-") {
			group = strings.ToLower(strings.Fields(strings.TrimLeft(line, "-"))[0])
			out[group] = map[string]string{}
			continue
		}
		require.NotEmpty(t, group, "the first line has to be a header")
		k, v, _ := strings.Cut(line, "=")
		out[group][k] = v
	}
	return out
}

func TestStatisticsPage(t *testing.T) {
	mux := newMux(t, nil)
	w := get(mux, "/?action=stat&preventCache=Sat%20Nov")
	require.Equal(t, 200, w.Code)
	require.NotContains(t, w.Body.String(), "\r")
	s := parseStat(t, w.Body.String())
	for group, keys := range map[string]string{
		"connection": "connections connections_websocket", "core": "core_threads", "system": "system_java_cpu_usage system_memory_total system_memory_free",
		"stream": "streams_rtmfp_in streams_rtmfp_out streams_rtmp_in streams_rtmp_out streams_rtsp_in streams_rtsp_out streams_webrtc_in streams_webrtc_out",
	} {
		for _, k := range strings.Fields(keys) {
			require.NotEmpty(t, s[group][k], "%s %s", group, k)
		}
	}
	require.Equal(t, "3", s["connection"]["connections"])
	require.Equal(t, "2", s["stream"]["streams_webrtc_out"])
	require.Equal(t, "4", s["stream"]["streams_rtmp_out"])
	require.Equal(t, "1", s["stream"]["streams_sip_in"])
	require.NotEqual(t, "0", s["system"]["system_memory_total"])

	w = get(mux, "/?action=stat&format=json&groups=transcoding_stats")
	require.JSONEq(t, `{"transcoding_stats":{"transcoding_video_full_info":{"a \"b\"/c":{"distributors":{}}}}}`, w.Body.String())
	require.Equal(t, http.StatusTeapot, get(mux, "/").Code, "without the query it is the landing page")
	require.Equal(t, 404, get(mux, "/nothing").Code)
}

func TestMeminfo(t *testing.T) {
	total, free := meminfo("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable: 40 kB\nrubbish\nMemTotal: x\n")
	require.Equal(t, [2]int64{102400, 40960}, [2]int64{total, free})
}

func TestGraph(t *testing.T) {
	mux := newMux(t, nil)
	w := get(mux, "/debug/graph/a%20%22b%22%2Fc")
	require.Equal(t, 200, w.Code)
	var g pipeline.Graph
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &g))
	require.Equal(t, `a "b"/c`, g.Name)
	require.True(t, g.Ready)
	require.Len(t, g.Tracks, 1)

	w = get(mux, "/debug/graph/a%20%22b%22%2Fc?format=dot")
	require.True(t, strings.HasPrefix(w.Body.String(), `digraph "a \"b\"/c" {`), w.Body.String())
	require.Contains(t, w.Body.String(), "audio PCMU")
	require.Equal(t, 404, get(mux, "/debug/graph/none").Code)
	require.Contains(t, dot(pipeline.Graph{Sinks: []pipeline.GraphSink{{Label: "rtmp", State: "lost"}}, Converters: []pipeline.GraphNode{{Name: "PCMU to AAC"}}}), "PCMU to AAC")
}

func TestMetrics(t *testing.T) {
	mux := newMux(t, func(d *Deps) {
		d.Metrics = []func() []outputs.Metric{
			func() []outputs.Metric {
				return []outputs.Metric{{Name: "lineout_pushes", Help: "Running pushes.", Value: 2},
					{Name: "lineout_push_bytes_total", Help: "Bytes.", Labels: map[string]string{"stream": "a\xff\"\n"}, Value: 10}}
			},
			nil,
			func() []outputs.Metric {
				return []outputs.Metric{{Name: "lineout_push_bytes_total", Help: "other words", Labels: map[string]string{"stream": "b"}, Value: 5},
					{Name: "not a name", Value: 1}, {Name: "lineout_ok", Labels: map[string]string{"bad label": "x"}, Value: 1}}
			},
		}
	})
	w := get(mux, "/metrics")
	require.Equal(t, 200, w.Code)
	body := w.Body.String()
	require.Contains(t, body, "# TYPE lineout_pushes gauge\nlineout_pushes 2\n")
	require.Contains(t, body, "# TYPE lineout_push_bytes_total counter\n")
	require.Contains(t, body, "lineout_push_bytes_total{stream=\"a\uFFFD\\\"\\n\"} 10\n")
	require.Contains(t, body, `lineout_push_bytes_total{stream="b"} 5`)
	require.NotContains(t, body, "not a name 1")
	require.Contains(t, body, "go_goroutines")
	require.Contains(t, body, "process_resident_memory_bytes")
}

func TestHealthAndGuard(t *testing.T) {
	var health error
	mux := newMux(t, func(d *Deps) {
		d.Health = func() error { return health }
		d.Guard = func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		}
	})
	w := get(mux, "/healthz")
	require.Equal(t, "ok\n", w.Body.String())
	health = errors.New("shutting down")
	w = get(mux, "/healthz")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "shutting down\n", w.Body.String())
	for _, p := range []string{"/metrics", "/debug/graph/x", "/?action=stat"} {
		require.Equal(t, 403, get(mux, p).Code, p)
	}
	require.Equal(t, http.StatusTeapot, get(mux, "/").Code, "the landing page itself tells nothing")
}

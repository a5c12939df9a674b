// Package admin serves what people and programs use to watch the server:
// /healthz, /metrics, /debug/graph/<stream> and the statistics page the
// vendor's console polls (/?action=stat).
package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lineout/outputs"
	"lineout/pipeline"
)

// Deps are the parts of the server that are looked at.
type Deps struct {
	// Streams finds the published streams.
	Streams interface {
		List() []*pipeline.Stream
		Get(name string) *pipeline.Stream
	}
	// Metrics are the sources of /metrics: each output's, the call registry's and so on.
	Metrics []func() []outputs.Metric
	// Stat counts what the statistics page shows.
	Stat func() Stat
	// Health returns why the server should get no new work, nil if it should.
	Health func() error
	// Guard lets the operator's requests through (rest.Guard.Wrap); /healthz
	// tells nothing and is open.
	Guard func(http.Handler) http.Handler
	// Index is served at / when no statistics are asked for; may be nil.
	Index http.Handler
	// Start is when the process started, for the average load.
	Start time.Time
	Log   *slog.Logger
}

// Routes returns the handlers by http.ServeMux pattern.
func Routes(d Deps) map[string]http.Handler {
	if d.Guard == nil {
		d.Guard = func(h http.Handler) http.Handler { return h }
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Index == nil {
		d.Index = http.NotFoundHandler()
	}
	stat := d.Guard(http.HandlerFunc(d.stat))
	return map[string]http.Handler{
		"/healthz":              http.HandlerFunc(d.healthz),
		"/metrics":              d.Guard(d.metrics()),
		"/debug/graph/{stream}": d.Guard(http.HandlerFunc(d.graph)),
		"/{$}": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions || r.URL.Query().Get("action") == "stat" {
				stat.ServeHTTP(w, r)
				return
			}
			d.Index.ServeHTTP(w, r)
		}),
	}
}

// healthz is for load balancers: 200, or 503 with the reason.
func (d Deps) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	if d.Health != nil {
		if err := d.Health(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

// metrics serves the Prometheus text format from a registry of its own.
func (d Deps) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), samples(d.Metrics))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(d.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError})
}

// samples is a collector of outputs.Metric values. What it will send is known
// only when it is asked, so it describes nothing (an "unchecked" collector).
type samples []func() []outputs.Metric

// Describe implements prometheus.Collector.
func (samples) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. A sample that cannot be shown is
// left out, so that it costs no other.
func (s samples) Collect(ch chan<- prometheus.Metric) {
	help := map[string]string{} // one text per name, as the format wants
	for _, source := range s {
		if source == nil {
			continue
		}
		for _, m := range source() {
			h, ok := help[m.Name]
			if !ok {
				h, help[m.Name] = m.Help, m.Help
			}
			kind := prometheus.GaugeValue
			if strings.HasSuffix(m.Name, "_total") {
				kind = prometheus.CounterValue
			}
			labels := make(prometheus.Labels, len(m.Labels))
			for k, v := range m.Labels {
				labels[k] = strings.ToValidUTF8(v, "\uFFFD")
			}
			pm, err := prometheus.NewConstMetric(prometheus.NewDesc(m.Name, h, nil, labels), kind, m.Value)
			if err == nil {
				ch <- pm
			}
		}
	}
}

// graph shows one stream as it runs: JSON, or Graphviz text with ?format=dot.
func (d Deps) graph(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("stream")
	w.Header().Set("Cache-Control", "no-store")
	s := d.Streams.Get(name)
	if s == nil {
		http.Error(w, "there is no stream "+strconv.Quote(name), http.StatusNotFound)
		return
	}
	g := s.Graph()
	if r.URL.Query().Get("format") == "dot" {
		w.Header().Set("Content-Type", "text/vnd.graphviz;charset=UTF-8")
		_, _ = io.WriteString(w, dot(g))
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(g) // the client is gone if this fails
}

// dot draws a graph: source, tracks, conversions, sinks. Which sink takes
// which track is not known here, so a sink hangs on the stream.
func dot(g pipeline.Graph) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=LR; node [shape=box, fontname=\"sans-serif\"];\n", strconv.Quote(g.Name))
	fmt.Fprintf(&b, "  stream [label=%s, style=bold];\n", strconv.Quote(fmt.Sprintf("%s\n%s\n%.0f s", g.Name, g.Provider, g.AgeSeconds)))
	for i, t := range g.Tracks {
		fmt.Fprintf(&b, "  t%d [label=%s, shape=ellipse];\n  t%d -> stream;\n", i,
			strconv.Quote(fmt.Sprintf("%s %s\n%.0f kbit/s, %.1f/s\n%d frames, refused %d", t.ID, t.Codec, t.KbitRate, t.FPS, t.Frames, t.Refused)), i)
	}
	for i, c := range g.Converters {
		fmt.Fprintf(&b, "  c%d [label=%s, shape=hexagon];\n  stream -> c%d;\n", i,
			strconv.Quote(fmt.Sprintf("%s\nqueue %d, dropped %d\nused by %d", c.Name, c.Queue, c.Dropped, c.Consumers)), i)
	}
	for i, s := range g.Sinks {
		fmt.Fprintf(&b, "  s%d [label=%s];\n  stream -> s%d;\n", i,
			strconv.Quote(fmt.Sprintf("%s\n%s\nqueue %d (%d ms), dropped %d, retries %d", s.Label, s.State, s.QueueFrames, s.QueueDelayMS, s.Dropped, s.Retries)), i)
	}
	b.WriteString("}\n")
	return b.String()
}

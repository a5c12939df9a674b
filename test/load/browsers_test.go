//go:build e2e

package load

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lineout/test/peers"
)

var browsersFor = flag.Duration("browsers", 20*time.Second, "how long BenchmarkBrowsers has browsers come and go")

// BenchmarkBrowsers has browsers open sessions, call one another, publish, play
// and vanish in every way they can, and shows that nothing is left over of them
// (S1-15): goroutines, sockets, files, heap, and what the metrics count are back
// at what they were after a first round of the same. Ten browsers are scripted,
// two are Chromium with the phone page.
//
//	go test -tags e2e -run '^$' -bench Browsers -benchtime 1x -timeout 0 ./test/load -browsers 15m
func BenchmarkBrowsers(b *testing.B) {
	for b.Loop() {
		browsersOnce(b)
	}
}

func browsersOnce(b *testing.B) {
	srv := peers.StartLineout(b, map[string]string{
		"debug_endpoints": "true", "ws.login_failures": "100000",
		// All that waits for a browser to come back or to say something waits for a short time.
		"ws.keep": "5s", "ws.ping_interval": "1s", "ws.ping_limit": "5", "ws.ring_time": "10s", "user_ringing_timeout": "12s",
		"webrtc.connect_timeout": "4s", "webrtc.disconnect_timeout": "4s", "webrtc.play_wait": "3s", "rtp_activity_detecting": "true,5",
	})
	c := comers{b: b, srv: srv, s: soaker{b: b, srv: srv}, swarm: swarm{url: srv.WSURL(), counts: map[string]int{}}}
	c.round(15 * time.Second)
	before, counted := c.s.settled(), c.counted()
	cpu, begin := cpuTime(b, srv.PID()), time.Now()
	clear(c.swarm.counts)
	for left := *browsersFor; left > 0; left = *browsersFor - time.Since(begin) {
		c.round(min(left, 3*time.Minute))
		b.Logf("%v: %v", time.Since(begin).Round(time.Second), c.s.state())
	}
	used, lasted := cpuTime(b, srv.PID())-cpu, time.Since(begin)
	after, still := c.s.settled(), c.counted()
	b.Logf("done   %v", &c.swarm)
	b.Logf("before %v, %v", before, counted)
	b.Logf("after  %v, %v", after, still)
	b.ReportMetric(float64(c.swarm.counts["sessions"]), "sessions")
	b.ReportMetric(float64(c.swarm.counts["call"]), "calls")
	b.ReportMetric(used.Seconds()/lasted.Seconds()*100, "%CPU")
	b.ReportMetric(float64(after.heap-before.heap)/(1<<20), "MiB-heap-growth")
	b.ReportMetric(0, "ns/op")
	for _, err := range c.swarm.errs {
		b.Error(err)
	}
	for _, what := range []string{"talks", "PUBLISHING", "PLAYING", "gone on with"} {
		if c.swarm.counts[what] == 0 {
			b.Errorf("the browsers' doings lack %q: %v", what, &c.swarm)
		}
	}
	if after.goroutines > before.goroutines || after.sockets > before.sockets || after.files > before.files || !maps.Equal(counted, still) {
		b.Errorf("browsers left something behind: before %v, %v; after %v, %v", before, counted, after, still)
		c.dump()
	}
	// What is kept by design is bounded, see BenchmarkSoak.
	if after.heap > before.heap+16<<20 {
		b.Errorf("the heap grew from %d to %d bytes", before.heap, after.heap)
		c.dump()
	}
}

// comers are the browsers that come and go.
type comers struct {
	b     *testing.B
	srv   *peers.Lineout
	s     soaker
	swarm swarm

	chromium [2]*peers.Browser // nil: killed, or not started yet
	page     [2]*peers.Page    // nil: to be opened
	calls    int
}

// round lets the browsers come and go for a time, and ends the two after it: they
// would keep connections for pages to come.
func (c *comers) round(span time.Duration) {
	ctx, cancel := context.WithTimeout(c.b.Context(), span)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); c.swarm.run(ctx) }()
	defer func() { <-done }()
	for ctx.Err() == nil {
		c.pages()
		pause(ctx, 3*time.Second)
	}
	for i, browser := range c.chromium {
		if browser != nil {
			browser.Kill(c.b)
		}
		c.chromium[i], c.page[i] = nil, nil
	}
}

// pages has the two pages call each other, and one of them vanish in the middle of it.
func (c *comers) pages() {
	for i := range c.page {
		if c.chromium[i] == nil {
			c.chromium[i] = peers.StartBrowser(c.b)
		}
		if c.page[i] == nil {
			c.page[i] = c.chromium[i].Open(c.b, c.srv.URL("/phone"))
			c.page[i].Fill(c.b, "[name=login]", login(i))
			c.page[i].Click(c.b, "#account .primary")
			c.shows(i, "line", "Registered")
		}
	}
	n := c.calls
	c.calls++
	from, to := n%2, 1-n%2
	button, answer := "#call", "#answer"
	if n%4 == 1 {
		button, answer = "#videocall", "#answervideo"
	}
	c.page[from].Fill(c.b, "#number", login(to))
	c.page[from].Click(c.b, button)
	c.page[to].WaitFor(c.b, `document.getElementById("ring").open`, 20*time.Second)
	if n%5 != 4 { // else it vanishes while it rings
		c.page[to].Click(c.b, answer)
		for _, p := range c.page {
			p.WaitFor(c.b, `/^00:/.test(document.getElementById("status").textContent)`, 20*time.Second)
		}
		c.swarm.count("talks of pages")
	}
	victim := n / 3 % 2
	other := 1 - victim
	switch n % 3 {
	case 0:
		c.swarm.count("tabs crashed")
		c.page[victim].Crash(c.b)
	case 1:
		c.swarm.count("tabs closed")
		c.page[victim].Close(c.b)
	case 2:
		c.swarm.count("browsers killed")
		c.chromium[victim].Kill(c.b)
		c.chromium[victim] = nil
	}
	c.page[victim] = nil
	c.page[other].WaitFor(c.b, `document.getElementById("talk").hidden && !document.getElementById("ring").open`, 20*time.Second)
}

func login(i int) string { return strconv.Itoa(1001 + i) }

func (c *comers) shows(i int, id, text string) {
	c.page[i].WaitFor(c.b, fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, text), 20*time.Second)
}

// counted is what the metrics say is there now, by name.
func (c *comers) counted() map[string]float64 {
	out := map[string]float64{}
	for _, name := range []string{"lineout_calls", "lineout_streams", "lineout_sinks", "lineout_publications", "lineout_recordings", "lineout_ws_calls",
		"lineout_ws_sockets", "lineout_ws_sessions_kept", "lineout_ws_sessions_registered", "lineout_webrtc_viewers", "lineout_webrtc_groups"} {
		out[name] = 0
	}
	_, text := c.srv.Get(c.b, "/metrics")
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ := strings.Cut(series, "{")
		if _, ok := out[name]; ok {
			f, _ := strconv.ParseFloat(value, 64)
			out[name] += f
		}
	}
	return out
}

// dump keeps what tells where the rest is.
func (c *comers) dump() {
	for _, what := range []string{"goroutine?debug=1", "heap?debug=1&gc=1"} {
		_, text := c.srv.Get(c.b, "/debug/pprof/"+what)
		name, _, _ := strings.Cut(what, "?")
		file := filepath.Join(peers.Artefacts(c.b), name+".txt")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			c.b.Error(err)
		}
		c.b.Logf("see %s", file)
	}
}

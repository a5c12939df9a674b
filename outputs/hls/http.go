package hls

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxHeld bounds the requests one stream answers at the same time: those for
// low latency block until there is something new.
const maxHeld = 2000

// Handler serves the folders of all streams.
type Handler struct{ o *Output }

// Routes implements outputs.Output. The folder of a stream can have any name,
// so the handler takes what no other route wants; see Match.
func (o *Output) Routes() map[string]http.Handler {
	return map[string]http.Handler{"/": Handler{o}}
}

// Match says cheaply whether a request is one for HLS: /name/file where a
// stream of that name exists or has just ended.
func (h Handler) Match(r *http.Request) bool {
	name, _, ok := split(r)
	if !ok {
		return false
	}
	h.o.mu.Lock()
	_, known := h.o.pack[name]
	h.o.mu.Unlock()
	return known || h.o.env.Streams.Get(name) != nil
}

// split takes /name/file apart; both are percent-encoded by themselves, so a
// name may hold slashes.
func split(r *http.Request) (name, file string, ok bool) {
	a, b, ok := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if !ok || a == "" || b == "" || strings.Contains(b, "/") {
		return "", "", false
	}
	name, err1 := url.PathUnescape(a)
	file, err2 := url.PathUnescape(b)
	return name, file, err1 == nil && err2 == nil
}

// ServeHTTP implements http.Handler.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Expose-Headers", "Content-Length, Date")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		head.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		head.Set("Access-Control-Allow-Headers", "Range, Authorization, Content-Type, X-Requested-With")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		head.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "only GET, HEAD and OPTIONS", http.StatusMethodNotAllowed)
		return
	}
	name, file, ok := split(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	h.o.requests.Add(1)
	h.o.serve(w, r, name, file)
}

// serve finds or starts the stream's packager and answers for one file.
func (o *Output) serve(w http.ResponseWriter, r *http.Request, name, file string) {
	if file == name+".m3u8" {
		file = masterFile
	}
	isList := strings.HasSuffix(file, ".m3u8")
	p := o.find(name, isList)
	if p == nil {
		http.NotFound(w, r)
		return
	}
	if p.held.Add(1) > maxHeld {
		p.held.Add(-1)
		o.unavailable(w, "too many requests wait for this stream")
		return
	}
	defer p.held.Add(-1)
	p.touch()
	if isList && !p.wait(r, o.cfg.StartTimeout) {
		select {
		case <-p.gone:
			http.NotFound(w, r)
		default:
			o.unavailable(w, "the stream has no media yet")
		}
		return
	}
	c := &counted{ResponseWriter: w, total: 0, list: isList, live: o.cfg.Variant == "lowLatency"}
	if !p.serve(c, r, file) {
		http.NotFound(w, r)
	}
	o.segmentBytes.Add(c.total)
}

// find returns the stream's packager. A playlist starts it, so a player that
// goes on asking after a stop gets its stream back.
func (o *Output) find(name string, start bool) *packager {
	s := o.env.Streams.Get(name)
	o.mu.Lock()
	p := o.pack[name]
	o.mu.Unlock()
	if s == nil || p != nil && p.stream == s || !start {
		return p
	}
	p, err := o.start(s, o.cfg.AutoStart)
	if err != nil {
		return nil // it ended at this moment
	}
	return p
}

// wait holds a request until there is a playlist.
func (p *packager) wait(r *http.Request, limit time.Duration) bool {
	select {
	case <-p.ready:
		return true
	default:
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.ready:
		return true
	case <-p.gone:
	case <-t.C:
	case <-r.Context().Done():
	}
	return false
}

func (o *Output) unavailable(w http.ResponseWriter, why string) {
	o.refused.Add(1)
	w.Header().Set("Retry-After", "2")
	http.Error(w, why, http.StatusServiceUnavailable)
}

// counted counts what is sent and sets how long it may be cached: a playlist
// for a moment, because it changes with each segment; a segment, whose name is
// never used again, for as long as the muxer says.
type counted struct {
	http.ResponseWriter
	total      uint64
	list, live bool
}

func (c *counted) WriteHeader(code int) {
	if c.list {
		cache := "max-age=1"
		if c.live || code != http.StatusOK {
			cache = "no-cache"
		}
		c.Header().Set("Cache-Control", cache)
	}
	c.ResponseWriter.WriteHeader(code)
}

func (c *counted) Write(b []byte) (int, error) {
	if c.list && c.Header().Get("Cache-Control") == "" {
		c.Header().Set("Cache-Control", "max-age=1")
	}
	n, err := c.ResponseWriter.Write(b)
	c.total += uint64(n)
	return n, err
}

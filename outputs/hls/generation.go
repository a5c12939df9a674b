package hls

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/bluenviron/gohlslib/v2"
)

// masterFile is the muxer's own name of the multivariant playlist.
const masterFile = "index.m3u8"

// generation is one muxer and, when it is no longer written to, its last
// playlists.
type generation struct {
	mux          *gohlslib.Muxer
	video, audio *gohlslib.Track
	dir          string
	media        chan struct{} // closed when the muxer can serve playlists
	index        int           // counts generations of the packager from 0
	base         int           // media sequence number of its first segment

	closeOnce sync.Once
	probing   sync.WaitGroup

	mu     sync.Mutex
	frozen bool
	texts  map[string]string // last playlists by file, once frozen
	files  []string          // media playlists it has
}

// newGeneration starts a muxer. Its probe tells onMedia when the first
// playlist is there; close ends it.
func newGeneration(mux *gohlslib.Muxer, files []string, onMedia func()) (*generation, error) {
	if err := mux.Start(); err != nil {
		return nil, err
	}
	g := &generation{mux: mux, dir: mux.Directory, media: make(chan struct{}), files: files}
	g.probing.Go(func() {
		// The muxer's handler blocks until there is content and cannot be
		// told to give up, so it is asked once, and requests wait for that.
		rec := newRecorder()
		g.mux.Handle(rec, request(masterFile, ""))
		if rec.code == http.StatusOK {
			close(g.media)
			onMedia()
		}
	})
	return g, nil
}

func (g *generation) hasMedia() bool {
	select {
	case <-g.media:
		return true
	default:
		return false
	}
}

// settled is hasMedia for a generation that is written to no more: its probe
// may have been woken but not have run yet.
func (g *generation) settled() bool {
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-g.media:
		return true
	case <-t.C:
		return false
	}
}

// close frees the muxer; closing it twice would panic in its MPEG-TS variant.
func (g *generation) close() {
	g.closeOnce.Do(func() {
		g.mux.Close()
		g.probing.Wait()
		if g.dir != "" {
			os.RemoveAll(g.dir)
		}
	})
}

// freeze keeps the playlists as they are: no segment will be added.
func (g *generation) freeze() {
	texts := map[string]string{}
	for _, f := range g.files {
		texts[f] = g.fetch(f)
	}
	g.mu.Lock()
	g.frozen, g.texts = true, texts
	g.mu.Unlock()
}

func (g *generation) isFrozen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.frozen
}

// text is a media playlist, "" if the generation has none of this name.
func (g *generation) text(file string) string {
	g.mu.Lock()
	frozen, t := g.frozen, g.texts[file]
	g.mu.Unlock()
	if frozen {
		return t
	}
	for _, f := range g.files {
		if f == file {
			return g.fetch(file)
		}
	}
	return ""
}

// next is the media sequence number after its last segment.
func (g *generation) next() int {
	for _, f := range g.files {
		if t := g.text(f); t != "" && g.hasMedia() {
			l := parseList(t)
			return g.base + l.sequence + len(l.segments)
		}
	}
	return g.base
}

// fetch asks the muxer for a playlist that it is known to have.
func (g *generation) fetch(file string) string {
	rec := newRecorder()
	g.mux.Handle(rec, request(file, ""))
	if rec.code != http.StatusOK {
		return ""
	}
	return rec.body.String()
}

// serve lets the muxer answer; it reports false if it has no such file, for
// which the muxer writes nothing at all.
func (g *generation) serve(w http.ResponseWriter, r *http.Request, file string) bool {
	c := &checked{ResponseWriter: w}
	g.mux.Handle(c, request(file, r.URL.RawQuery))
	return c.wrote
}

// request is what the muxer's handler looks at: the last part of the path and
// the query.
func request(file, query string) *http.Request {
	return &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/" + file, RawQuery: query}, Header: http.Header{}}
}

// checked notices whether anything was written.
type checked struct {
	http.ResponseWriter
	wrote bool
}

func (c *checked) WriteHeader(code int) { c.wrote = true; c.ResponseWriter.WriteHeader(code) }

func (c *checked) Write(b []byte) (int, error) { c.wrote = true; return c.ResponseWriter.Write(b) }

// recorder collects an answer of the muxer.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header  { return r.header }
func (r *recorder) WriteHeader(code int) { r.code = code }
func (r *recorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.body.Write(b)
}

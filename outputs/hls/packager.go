package hls

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lineout/pipeline"
)

// packager is one stream's HLS: a series of muxers, of which only the last is
// written to. A new one begins when the decoder configuration or the set of
// tracks changes; the segments of those before stay in the playlist, set apart
// by a discontinuity, until they have left it.
type packager struct {
	o      *Output
	stream *pipeline.Stream
	keep   bool // not stopped for want of viewers
	att    *pipeline.Attachment
	used   atomic.Int64 // time of the last request, UnixNano
	held   atomic.Int64 // requests being answered

	ready     chan struct{} // closed when the first playlist can be served
	readyOnce sync.Once
	gone      chan struct{} // closed when no media will come any more
	goneOnce  sync.Once

	mu       sync.Mutex
	gens     []*generation // oldest first
	number   int           // generations so far
	ended    bool
	endSince time.Time
	closed   bool
	kinds    []string // track kinds in the order their playlists were numbered
	err      error
}

func newPackager(o *Output, s *pipeline.Stream, keep bool) *packager {
	p := &packager{o: o, stream: s, keep: keep, ready: make(chan struct{}), gone: make(chan struct{})}
	p.touch()
	return p
}

func (p *packager) touch() { p.used.Store(p.o.now().UnixNano()) }

func (p *packager) endedAt() (bool, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended, p.endSince
}

// state follows the attachment.
func (p *packager) state(st pipeline.State, err error) {
	p.mu.Lock()
	if err != nil {
		p.err = err
	}
	p.mu.Unlock()
	if st == pipeline.Closed || st == pipeline.Failed && permanent(err) {
		p.end()
	}
}

// permanent says that an attachment that failed so will not be tried again.
func permanent(err error) bool {
	var e *pipeline.Permanent
	return errors.As(err, &e)
}

// end marks the stream's end: playlists get their ENDLIST.
func (p *packager) end() {
	p.mu.Lock()
	if !p.ended {
		p.ended, p.endSince = true, p.o.now()
	}
	p.mu.Unlock()
	p.goneOnce.Do(func() { close(p.gone) })
}

// stop detaches from the stream and frees everything.
func (p *packager) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := p.att.Detach(ctx); err != nil {
		p.o.log.Warn("HLS did not stop in time", "stream", p.stream.Name(), "err", err)
	}
	p.end()
	p.close()
}

// close frees the segments.
func (p *packager) close() {
	p.mu.Lock()
	gens := p.gens
	p.gens, p.closed = nil, true
	p.mu.Unlock()
	for _, g := range gens {
		g.close()
	}
}

// begin adds a generation for writing. Those so old that their segments cannot
// be in a playlist any more are freed here, since nobody may ask for one.
func (p *packager) begin(g *generation) {
	for _, old := range p.add(g) {
		old.close()
	}
}

// add appends a generation and returns those that fall out: each has at least
// one segment.
func (p *packager) add(g *generation) (old []*generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.index, g.base = p.number, 0
	if n := len(p.gens); n > 0 {
		g.base = p.gens[n-1].next()
	}
	p.number++
	if p.number > 1 {
		p.o.restarts.Add(1)
	}
	p.gens = append(p.gens, g)
	if n := len(p.gens) - 1 - p.o.cfg.ListSize; n > 0 {
		old, p.gens = p.gens[:n:n], slices.Clone(p.gens[n:])
	}
	return old
}

// firstMedia tells waiting requests that a generation has content.
func (p *packager) firstMedia() { p.readyOnce.Do(func() { close(p.ready) }) }

// retire ends the writing of a generation. One without media is forgotten.
func (p *packager) retire(g *generation) {
	if g.settled() {
		g.freeze()
		return
	}
	p.mu.Lock()
	for i, o := range p.gens {
		if o == g {
			p.gens = append(p.gens[:i:i], p.gens[i+1:]...)
			p.number--
		}
	}
	p.mu.Unlock()
	g.close()
}

// snapshot returns the generations with media, oldest first.
func (p *packager) snapshot() (gens []*generation, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.gens {
		if g.hasMedia() {
			gens = append(gens, g)
		}
	}
	return gens, p.ended
}

// dropOld frees generations whose segments have all left the playlist.
func (p *packager) dropOld(first *generation) {
	p.mu.Lock()
	var old []*generation
	for len(p.gens) > 1 && p.gens[0] != first && p.gens[0].index < first.index {
		old = append(old, p.gens[0])
		p.gens = p.gens[1:]
	}
	p.mu.Unlock()
	for _, g := range old {
		g.close()
	}
}

// serve answers for one file of the stream's folder, once there is media. It
// reports false when there is no such file.
func (p *packager) serve(w http.ResponseWriter, r *http.Request, file string) bool {
	gens, ended := p.snapshot()
	if len(gens) == 0 {
		return false
	}
	last := gens[len(gens)-1]
	switch {
	case file == masterFile:
		return last.serve(w, r, masterFile)
	case strings.HasSuffix(file, ".m3u8"):
		if len(gens) == 1 && last.base == 0 && !ended && !last.isFrozen() {
			return last.serve(w, r, file)
		}
		text, first := p.compose(gens, file, r.URL.RawQuery, ended)
		if text == "" {
			return false
		}
		p.dropOld(first)
		w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
		w.Write([]byte(text))
		return true
	}
	for i := len(gens) - 1; i >= 0; i-- {
		if gens[i].serve(w, r, file) {
			return true
		}
	}
	return false
}

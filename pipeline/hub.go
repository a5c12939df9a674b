package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"lineout/codecs"
)

// Meta are facts about a stream's source that outputs may show or use in names.
type Meta struct {
	// ID is the stream's ID where the source has one; "" makes a UUID.
	ID string

	AppKey, SessionID, Login, CallID string
	// Caller and Callee are the parties of a call, as they were given.
	Caller, Callee string
	// Provider is what the REST API calls mediaProvider: "SIP", "WebRTC".
	Provider string
	// Adapts says that the source changes the size of its pictures with the
	// network, as browsers do.
	Adapts bool
}

// HubConfig is what streams share.
type HubConfig struct {
	Codecs *codecs.Table
	Log    *slog.Logger
	// FlushTimeout bounds how long sinks may take to finish when their stream
	// ends; 0 means 10 s.
	FlushTimeout time.Duration
}

// Hub holds the streams of a server by name. Safe for concurrent use.
type Hub struct {
	cfg HubConfig

	mu       sync.Mutex
	streams  map[string]*Stream
	byID     map[string]*Stream
	onCreate []func(*Stream)
	stopped  bool
	wg       sync.WaitGroup // one count per stream's Run
}

// NewHub makes an empty hub.
func NewHub(c HubConfig) *Hub {
	if c.FlushTimeout <= 0 {
		c.FlushTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Codecs == nil {
		c.Codecs = codecs.NewTable(nil, nil)
	}
	return &Hub{cfg: c, streams: map[string]*Stream{}, byID: map[string]*Stream{}}
}

// maxName bounds a stream's name in bytes: it becomes a file name and a segment
// of URL paths.
const maxName = 255

// CheckName says what is wrong with a name that a client wants for a stream.
func CheckName(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("it is longer than %d bytes", maxName)
	case name == "." || name == "..":
		return fmt.Errorf("it must not be %q", name)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("it is not UTF-8 or holds control characters")
	}
	return nil
}

// Run waits for ctx, then ends all streams and waits until each has been
// flushed, which FlushTimeout bounds.
func (h *Hub) Run(ctx context.Context) error {
	<-ctx.Done()
	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	for _, s := range h.List() {
		s.Close("server shutdown")
	}
	h.wg.Wait()
	return nil
}

// OnCreate registers a function that is called for every new stream, before
// anything else can be attached to it. Register before the first Create.
func (h *Hub) OnCreate(fn func(*Stream)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onCreate = append(h.onCreate, fn)
}

// Create claims a name and starts its stream, whose goroutines belong to the
// hub. The name is free again as soon as the stream's Close is called. The
// error is ErrNameInUse, ErrIDInUse or, while the server stops, ErrClosed.
func (h *Hub) Create(name string, m Meta) (*Stream, error) {
	id := m.ID
	if id == "" {
		id = newID()
	}
	s := newStream(h, name, id, m)
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	if _, dup := h.streams[name]; dup {
		h.mu.Unlock()
		return nil, ErrNameInUse
	}
	if _, dup := h.byID[s.id]; dup {
		h.mu.Unlock()
		return nil, ErrIDInUse
	}
	h.streams[name], h.byID[s.id] = s, s
	hooks := h.onCreate
	h.wg.Add(1)
	h.mu.Unlock()
	go func() {
		defer h.wg.Done()
		s.run()
	}()
	for _, fn := range hooks {
		fn(s)
	}
	return s, nil
}

// release frees the name of a stream that has ended.
func (h *Hub) release(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[s.name] == s {
		delete(h.streams, s.name)
	}
	if h.byID[s.id] == s {
		delete(h.byID, s.id)
	}
}

// Get returns the stream of this name, nil if there is none.
func (h *Hub) Get(name string) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[name]
}

// ByID returns the stream with this ID, nil if there is none.
func (h *Hub) ByID(id string) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byID[id]
}

// List returns all streams, oldest first.
func (h *Hub) List() []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		l = append(l, s)
	}
	sort.Slice(l, func(i, j int) bool { return l[i].created.Before(l[j].created) })
	return l
}

// newID returns a random UUID (RFC 9562 section 5.4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Package publish takes streams from those who publish them: browsers, whose
// signalling package api/ws speaks, and whatever speaks WHIP (RFC 9725). A
// publication is a named stream like that of a call, so that everything that
// consumes streams works on it.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/rtc"
	"lineout/codecs"
	"lineout/outputs"
	"lineout/pipeline"
	"lineout/pipeline/rtpin"
)

// Peer is one who sends only; *rtc.Peer is one.
type Peer interface {
	// Events is closed after Ended.
	Events() <-chan leg.Event
	// Connected is closed when ICE and DTLS are up; then there is Media.
	Connected() <-chan struct{}
	Media() leg.Forwarder
	Hangup(ctx context.Context, c leg.Cause) error
	// Err is why it failed, nil if it did not; with a method StreamInfo() string it
	// brings its own info text.
	Err() error
}

// Deps are the parts of the server that publications need.
type Deps struct {
	// Answer answers a publisher's offer by o.SendSDP. The peer lives until its
	// Hangup or the end of ctx. An error with a method StreamInfo() string brings
	// its own info text.
	Answer  func(ctx context.Context, offer string, o rtc.Options) (Peer, error)
	Streams *pipeline.Hub
	Codecs  *codecs.Table
	RTPIn   rtpin.Config
	// Record records a stream to its end; finished waits for the file and names it.
	Record func(s *pipeline.Stream) (finished func(ctx context.Context) (string, error), err error)
	// Push pushes a stream to an RTMP server as long as it lasts.
	Push func(s *pipeline.Stream, url string) error
	// Links puts the ICE servers that WHIP publishers are told into a header. May be nil.
	Links func(h http.Header)
	Log   *slog.Logger
}

// Service holds the publications of a server. Safe for concurrent use.
type Service struct {
	outputs.Base
	cfg Config
	d   Deps
	log *slog.Logger

	mu   sync.Mutex
	ctx  context.Context // nil: not running
	live map[string]*Publication
	held int // places taken, by those that are being set up, too
	wg   sync.WaitGroup

	total, failed atomic.Uint64
}

// New makes a service; it starts nothing.
func New(c Config, d Deps) (*Service, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: c, d: d, log: d.Log, live: map[string]*Publication{}}, nil
}

// Run takes publishers until ctx ends, then ends all and waits for their files.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = context.WithoutCancel(ctx) // publications end in order, not by being cut off
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil
	for _, p := range s.live {
		p.Stop(byServer)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Request is what a publisher wants.
type Request struct {
	// Name is the stream's; ID, its mediaSessionId, may be empty.
	Name, ID string
	// SessionID names the signalling session and AppKey its application; Provider
	// is "WebRTC" if empty.
	SessionID, AppKey, Provider string
	// Offer is the publisher's SDP. SendSDP is called with the answer to it, before
	// or after Publish returns.
	Offer   string
	SendSDP func(sdp string)
	// Record asks for a recording, RTMPURL for a push.
	Record  bool
	RTMPURL string
}

// Publish reserves the name and answers the offer. The publication goes on by
// itself until the publisher goes, its stream is ended or Stop. Errors are *Error.
func (s *Service) Publish(ctx context.Context, r Request) (*Publication, error) {
	if err := check(r); err != nil {
		return nil, err
	}
	run, release, err := s.claim()
	if err != nil {
		return nil, err
	}
	p, err := s.open(ctx, run, r)
	if err != nil {
		release()
		s.failed.Add(1)
		return nil, err
	}
	s.total.Add(1)
	go func() {
		defer release()
		p.run()
		s.mu.Lock()
		delete(s.live, p.ID())
		s.mu.Unlock()
		if !Wanted(p.reason) {
			s.failed.Add(1)
		}
	}()
	return p, nil
}

// maxID bounds a mediaSessionId, which becomes part of file names.
const maxID = 64

func check(r Request) error {
	bad := func(format string, args ...any) error {
		return &Error{Info: ByError, Code: fault.BadRequest, Err: fmt.Errorf(format, args...)}
	}
	if r.Name == "" {
		return bad("the stream has no name")
	}
	if err := pipeline.CheckName(r.Name); err != nil {
		return bad("the stream's name: %w", err)
	}
	if len(r.ID) > maxID || strings.ContainsFunc(r.ID, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}) {
		return bad("mediaSessionId is longer than %d characters or holds others than letters, digits, - and _", maxID)
	}
	return nil
}

// claim takes a place for one more publication; release gives it back.
func (s *Service) claim() (run context.Context, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse := func(code fault.Code, format string, args ...any) error {
		return &Error{Info: ByError, Code: code, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case !s.cfg.Enabled:
		return nil, nil, refuse(fault.Forbidden, "publishing is switched off (publish.enabled)")
	case s.ctx == nil:
		return nil, nil, refuse(fault.Unavailable, "the server is shutting down and takes no new streams")
	case s.cfg.Max > 0 && s.held >= s.cfg.Max:
		return nil, nil, refuse(fault.Unavailable, "%d streams are published already (publish.max_streams)", s.held)
	}
	s.held++
	s.wg.Add(1)
	return s.ctx, func() {
		s.mu.Lock()
		s.held--
		s.mu.Unlock()
		s.wg.Done()
	}, nil
}

// open claims the name, hangs on it what was asked for, and answers.
func (s *Service) open(ctx, run context.Context, r Request) (*Publication, error) {
	if r.ID == "" {
		r.ID = uuid.NewString()
	}
	if r.Provider == "" {
		r.Provider = "WebRTC"
	}
	st, err := s.create(ctx, r)
	if err != nil {
		return nil, err
	}
	p := newPublication(s, st, r)
	if err := p.equip(r); err != nil {
		st.Close(byPublisher)
		return nil, err
	}
	if err := p.answer(run, r); err != nil {
		st.Close(byPublisher)
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[p.ID()] = p
	if s.ctx == nil {
		p.Stop(byServer) // Run has stopped the others
	}
	return p, nil
}

// yieldTime is how long a name is waited for that is about to be free: pages
// publish the same one again as soon as they have stopped it.
const yieldTime = 2 * time.Second

func (s *Service) create(ctx context.Context, r Request) (*pipeline.Stream, error) {
	meta := pipeline.Meta{ID: r.ID, AppKey: r.AppKey, SessionID: r.SessionID, Provider: r.Provider, Adapts: true}
	st, err := s.d.Streams.Create(r.Name, meta)
	if errors.Is(err, pipeline.ErrNameInUse) && s.yields(ctx, r.Name) {
		st, err = s.d.Streams.Create(r.Name, meta)
	}
	switch {
	case errors.Is(err, pipeline.ErrNameInUse):
		return nil, &Error{Info: NameInUse, Code: fault.Conflict, Err: fmt.Errorf("publish %q: %w", r.Name, err)}
	case errors.Is(err, pipeline.ErrIDInUse):
		return nil, &Error{Info: IDInUse, Code: fault.Conflict, Err: fmt.Errorf("publish %q: %w", r.Name, err)}
	case err != nil:
		return nil, &Error{Info: ByError, Code: fault.Unavailable, Err: fmt.Errorf("publish %q: %w", r.Name, err)}
	}
	return st, nil
}

// yields waits for a publication of this name that is ending.
func (s *Service) yields(ctx context.Context, name string) bool {
	var going *Publication
	s.mu.Lock()
	for _, p := range s.live {
		if p.stream.Name() == name && p.stopping() {
			going = p
		}
	}
	s.mu.Unlock()
	if going == nil {
		return false
	}
	t := time.NewTimer(yieldTime)
	defer t.Stop()
	select {
	case <-going.stream.Closing():
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// find returns the publication with this ID, nil if there is none.
func (s *Service) find(id string) *Publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[id]
}

// Count is the number of publications now.
func (s *Service) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// Metrics are the gauges and counters of publishing.
func (s *Service) Metrics() []outputs.Metric {
	return []outputs.Metric{
		{Name: "lineout_publications", Help: "Streams published by browsers and WHIP now.", Value: float64(s.Count())},
		{Name: "lineout_publications_total", Help: "Publishers answered.", Value: float64(s.total.Load())},
		{Name: "lineout_publication_failures_total", Help: "Publishers that could not be answered or failed later.", Value: float64(s.failed.Load())},
	}
}

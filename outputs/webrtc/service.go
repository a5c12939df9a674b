// Package webrtc plays streams to browsers: Service.Play answers a player's
// SDP offer, and all viewers of a stream are served from one goroutine. WHEP
// is its HTTP side; the WebSDK's signalling uses the same Play.
package webrtc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"lineout/api/fault"
	"lineout/calls/rtc/transport"
	"lineout/codecs"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

// Kind is WebRTC playback's line in the server's table.
var Kind = outputs.Kind{
	Name:   "webrtc",
	Config: func() any { c := DefaultConfig(); return &c },
	New: func(env outputs.Env, cfg any) (outputs.Output, error) {
		c, ok := cfg.(*Config)
		if !ok {
			return nil, fmt.Errorf("webrtc: settings are a %T, want *webrtc.Config", cfg)
		}
		return New(env, *c)
	},
}

// Service is WebRTC playback. It implements outputs.Output.
type Service struct {
	outputs.Base
	streams    *pipeline.Hub
	codecs     *codecs.Table
	log        *slog.Logger
	config     Config
	iceServers []webrtc.ICEServer
	transport  *transport.Transport
	counters   counters

	mu      sync.Mutex
	ctx     context.Context // nil: not running
	wg      sync.WaitGroup  // viewers
	viewers map[string]*Viewer
	pending map[*pipeline.Stream]int // viewers per stream, those still being set up included
	total   int
	groups  map[groupKey]*group
}

// counters are the totals since start.
type counters struct {
	viewers, packets, bytes, nacks, plis, failed, unpackable atomic.Uint64
}

// New binds the sockets and starts nothing; Run or Close must follow.
func New(env outputs.Env, c Config) (*Service, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ice, err := parseICEServers(c.ICEServers)
	if err != nil {
		return nil, err
	}
	t, err := transport.Listen(c.Config, log)
	if err != nil {
		return nil, err
	}
	return &Service{
		streams: env.Streams, codecs: env.Codecs, log: log, config: c, iceServers: ice, transport: t,
		viewers: map[string]*Viewer{}, pending: map[*pipeline.Stream]int{}, groups: map[groupKey]*group{},
	}, nil
}

// Close frees the sockets of a service that was never run.
func (s *Service) Close() error { return s.transport.Close() }

// Transport is the sockets, for others who speak WebRTC. They are open until
// Run has returned.
func (s *Service) Transport() *transport.Transport { return s.transport }

// UDPPort is the port media is sent from.
func (s *Service) UDPPort() int { return s.transport.Port() }

// Run serves viewers until ctx ends, then ends them all and waits for them.
func (s *Service) Run(ctx context.Context) error {
	s.transport.Start()
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil // no new viewers from here on
	s.mu.Unlock()
	s.wg.Wait()
	if err := s.transport.Close(); err != nil {
		return fmt.Errorf("closing WebRTC sockets: %w", err)
	}
	return nil
}

// PlayOptions are what the signalling side knows about a viewer.
type PlayOptions struct {
	// ID becomes the viewer's id; it must be unique among viewers. Empty makes one.
	ID string
	// SessionID names the signalling session, for listings.
	SessionID string
	// Provider names the signalling for listings; empty means "WebRTC".
	Provider string
}

// Play answers a player's offer. It waits for the stream to have its tracks,
// at most the play_wait setting or until ctx ends. The viewer is connected
// later (Viewer.Connected) and gets media after Viewer.Start. Errors are
// *PlayError.
func (s *Service) Play(ctx context.Context, st *pipeline.Stream, offerSDP string, o PlayOptions) (*Viewer, string, error) {
	off, err := parseOffer(offerSDP)
	if err != nil {
		return nil, "", err
	}
	run, release, err := s.claim(st)
	if err != nil {
		return nil, "", err
	}
	if err := s.waitReady(ctx, run, st); err != nil {
		release()
		return nil, "", err
	}
	pick, err := choose(off, st.Track(media.Audio), st.Track(media.Video), s.codecs)
	if err != nil {
		release()
		return nil, "", err
	}
	v, answer, err := s.open(st, off, pick, o)
	if err != nil {
		release()
		s.counters.failed.Add(1)
		return nil, "", err
	}
	s.counters.viewers.Add(1)
	s.log.Info("viewer waits for its connection", "stream", st.Name(), "viewer", v.id, "audio", pick.audio, "video", pick.video)
	go func() {
		defer release()
		v.run(run, s.config.ConnectTimeout)
		s.forget(v)
	}()
	return v, answer, nil
}

func unavailable(format string, args ...any) error {
	return &PlayError{Info: ByError, Code: fault.Unavailable, Err: fmt.Errorf(format, args...)}
}

// claim takes a place for one more viewer; release gives it back.
func (s *Service) claim(st *pipeline.Stream) (run context.Context, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ctx == nil || s.ctx.Err() != nil:
		return nil, nil, unavailable("cannot play stream %q: WebRTC playback is not running", st.Name())
	case s.config.MaxViewers > 0 && s.total >= s.config.MaxViewers:
		return nil, nil, unavailable("cannot play stream %q: all %d places are taken (webrtc.max_viewers)", st.Name(), s.config.MaxViewers)
	case s.config.MaxViewersPerStream > 0 && s.pending[st] >= s.config.MaxViewersPerStream:
		return nil, nil, unavailable("cannot play stream %q: its %d places are taken (webrtc.max_viewers_per_stream)", st.Name(), s.config.MaxViewersPerStream)
	}
	s.total++
	s.pending[st]++
	s.wg.Add(1)
	return s.ctx, func() {
		s.mu.Lock()
		s.total--
		if s.pending[st]--; s.pending[st] == 0 {
			delete(s.pending, st)
		}
		s.mu.Unlock()
		s.wg.Done()
	}, nil
}

func (s *Service) waitReady(ctx, run context.Context, st *pipeline.Stream) error {
	t := time.NewTimer(s.config.PlayWait)
	defer t.Stop()
	select {
	case <-st.Closing():
	default:
		select {
		case <-st.Ready():
			return nil
		case <-st.Closing():
		case <-t.C:
			return &PlayError{Info: "Publish stream is not ready", Code: fault.Conflict,
				Err: fmt.Errorf("stream %q exists but nobody has answered within %v", st.Name(), s.config.PlayWait)}
		case <-ctx.Done():
			return unavailable("gave up waiting for stream %q: %w", st.Name(), context.Cause(ctx))
		case <-run.Done():
			return unavailable("cannot play stream %q: the server is shutting down", st.Name())
		}
	}
	return &PlayError{Info: ByPublisher, Code: fault.NotFound, Err: fmt.Errorf("stream %q ended before it could be played", st.Name())}
}

// open builds the viewer, answers the offer and joins the group.
func (s *Service) open(st *pipeline.Stream, off *offer, pick choice, o PlayOptions) (*Viewer, string, error) {
	v := newViewer(o)
	if err := s.remember(v); err != nil {
		return nil, "", err
	}
	g := s.join(groupKey{st, pick})
	v.group = g
	answer, err := s.negotiate(v, off)
	if err != nil {
		s.unlist(v)
		s.leave(g)
		return nil, "", &PlayError{Info: ByError, Code: fault.BadRequest, Err: fmt.Errorf("cannot answer the player of stream %q: %w", st.Name(), err)}
	}
	s.mu.Lock()
	v.listed = true
	s.mu.Unlock()
	return v, answer, nil
}

func (s *Service) remember(v *Viewer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.viewers[v.id] != nil {
		return &PlayError{Info: "MediaSessionId is already in use", Code: fault.Conflict, Err: errors.New("a viewer with this mediaSessionId exists")}
	}
	s.viewers[v.id] = v
	return nil
}

func (s *Service) unlist(v *Viewer) {
	s.mu.Lock()
	delete(s.viewers, v.id)
	s.mu.Unlock()
}

// join finds or makes the group.
func (s *Service) join(k groupKey) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[k]
	if g == nil || g.dead() {
		g = newGroup(k, s.codecs, s.config, &s.counters)
		s.groups[k] = g
	}
	g.refs++
	return g
}

// leave detaches the group when its last viewer is gone.
func (s *Service) leave(g *group) {
	s.mu.Lock()
	g.refs--
	last := g.refs == 0
	if last && s.groups[g.key] == g {
		delete(s.groups, g.key)
	}
	s.mu.Unlock()
	if last && g.attachment != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := g.attachment.Detach(ctx); err != nil {
			s.log.Debug("detaching viewers", "stream", g.key.stream.Name(), "err", err)
		}
	}
}

// forget frees what an ended viewer held.
func (s *Service) forget(v *Viewer) {
	s.unlist(v)
	s.leave(v.group)
	if failed(v.reason) {
		s.counters.failed.Add(1)
	}
	s.log.Info("viewer ended", "stream", v.group.key.stream.Name(), "viewer", v.id, "reason", v.reason)
	close(v.done)
}

// ViewerInfo describes one viewer for listings.
type ViewerInfo struct {
	ID, Stream, StreamID, SessionID, Provider string
	AudioCodec, VideoCodec                    string
	// State is "PENDING" until ICE and DTLS are up, then "PLAYING".
	State                         string
	BytesSent, PacketsSent, NACKs uint64
	Since                         time.Time
}

// Viewers lists all viewers, oldest first.
func (s *Service) Viewers() []ViewerInfo {
	s.mu.Lock()
	var out []ViewerInfo
	for _, v := range s.viewers {
		if v.listed {
			out = append(out, v.info())
		}
	}
	s.mu.Unlock()
	sort.Slice(out, func(i, j int) bool { return out[i].Since.Before(out[j].Since) })
	return out
}

// Terminate ends a viewer as an operator's wish; false if there is none.
func (s *Service) Terminate(id string) bool {
	v := s.viewer(id)
	if v == nil {
		return false
	}
	v.Stop(ByTerminate)
	return true
}

func (s *Service) viewer(id string) *Viewer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.viewers[id]; v != nil && v.listed {
		return v
	}
	return nil
}

// Routes implements outputs.Output.
func (s *Service) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"/whep/{stream}":      http.HandlerFunc(s.whepEndpoint),
		"/whep/{stream}/{id}": http.HandlerFunc(s.whepSession),
	}
}

// Metrics implements outputs.Output.
func (s *Service) Metrics() []outputs.Metric {
	s.mu.Lock()
	live := len(s.viewers)
	groups := len(s.groups)
	s.mu.Unlock()
	c := &s.counters
	return []outputs.Metric{
		{Name: "lineout_webrtc_viewers", Help: "Viewers connected or connecting.", Value: float64(live)},
		{Name: "lineout_webrtc_groups", Help: "Attachments shared by viewers of the same stream and codecs.", Value: float64(groups)},
		{Name: "lineout_webrtc_viewers_total", Help: "Viewers answered.", Value: float64(c.viewers.Load())},
		{Name: "lineout_webrtc_failures_total", Help: "Viewers that could not be answered or failed later.", Value: float64(c.failed.Load())},
		{Name: "lineout_webrtc_packets_total", Help: "RTP packets sent, without retransmissions.", Value: float64(c.packets.Load())},
		{Name: "lineout_webrtc_bytes_total", Help: "RTP payload bytes sent, without retransmissions.", Value: float64(c.bytes.Load())},
		{Name: "lineout_webrtc_unpackable_total", Help: "Frames left out because they cannot be packed as RTP.", Value: float64(c.unpackable.Load())},
		{Name: "lineout_webrtc_nacks_total", Help: "Packets viewers reported as lost.", Value: float64(c.nacks.Load())},
		{Name: "lineout_webrtc_plis_total", Help: "Key frames viewers asked for.", Value: float64(c.plis.Load())},
	}
}

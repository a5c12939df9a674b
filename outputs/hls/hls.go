// Package hls serves streams by HTTP Live Streaming (RFC 8216). A packager is
// started by the first request for a stream's playlist, by REST or for every
// stream, and stops when nobody asks any more. The folder
// http://host:8082/<name>/ holds a stream's playlist <name>.m3u8 and all it
// refers to.
package hls

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gohlslib/v2"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/outputs"
	"lineout/pipeline"
	"lineout/pipeline/fillvideo"
)

// Config are the settings of HLS.
type Config struct {
	ListSize        int           `setting:"hls_list_size" default:"8" min:"3" max:"100" doc:"Segments in a playlist."`
	Variant         string        `setting:"hls_variant" default:"fmp4" doc:"Kind of HLS: fmp4, lowLatency or mpegts."`
	SegmentDuration time.Duration `setting:"hls_segment_duration" default:"2s" unit:"ms" doc:"Shortest length of a segment; a key frame is asked for at this period."`
	PartDuration    time.Duration `setting:"hls_part_duration" default:"200ms" unit:"ms" doc:"Shortest length of a part in the variant lowLatency."`
	AutoStart       bool          `setting:"hls_auto_start" default:"false" doc:"Start HLS for every stream at once instead of at the first request."`
	ProviderTimeout time.Duration `setting:"hls_manager_provider_timeout" default:"300s" unit:"s" doc:"HLS of a stream that nobody asks for is stopped after this time."`
	StartTimeout    time.Duration `setting:"hls_start_timeout" default:"15s" unit:"ms" doc:"How long the first request of a playlist is held until there is media; then 503 with Retry-After."`
	QueueDelay      time.Duration `setting:"hls_queue" default:"2s" unit:"ms" doc:"How far converted pictures may fall behind their sound, on a machine that is too busy, before everything up to the newest key frame is dropped."`
	Dir             string        `setting:"hls_dir" default:"" doc:"Folder for segments; empty keeps them in memory."`
}

var variants = map[string]gohlslib.MuxerVariant{
	"fmp4": gohlslib.MuxerVariantFMP4, "lowLatency": gohlslib.MuxerVariantLowLatency, "mpegts": gohlslib.MuxerVariantMPEGTS,
}

// Validate checks the settings.
func (c *Config) Validate() error {
	if _, ok := variants[c.Variant]; !ok {
		return fmt.Errorf("hls_variant is %q, want fmp4, lowLatency or mpegts", c.Variant)
	}
	for _, d := range []struct {
		name       string
		v, min, to time.Duration
	}{
		{"hls_segment_duration", c.SegmentDuration, 500 * time.Millisecond, time.Minute},
		{"hls_part_duration", c.PartDuration, 50 * time.Millisecond, 5 * time.Second},
		{"hls_manager_provider_timeout", c.ProviderTimeout, time.Second, 24 * time.Hour},
		{"hls_start_timeout", c.StartTimeout, time.Second, time.Minute},
		{"hls_queue", c.QueueDelay, 500 * time.Millisecond, time.Minute},
	} {
		if d.v < d.min || d.v > d.to {
			return fmt.Errorf("%s is %v, want %v to %v", d.name, d.v, d.min, d.to)
		}
	}
	if c.ListSize < 3 {
		return fmt.Errorf("hls_list_size is %d, want at least 3", c.ListSize)
	}
	return nil
}

// Check creates hls_dir and proves that it can be written to.
func (c *Config) Check() error {
	if c.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("hls_dir %q cannot be created: %w; choose another folder or fix its permissions", c.Dir, err)
	}
	d, err := os.MkdirTemp(c.Dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("hls_dir %q is not writable: %w; choose another folder or fix its permissions", c.Dir, err)
	}
	return os.Remove(d)
}

// Kind is the line of HLS in the server's table of outputs.
var Kind = outputs.Kind{
	Name:   "hls",
	Config: func() any { return &Config{} },
	New: func(env outputs.Env, cfg any) (outputs.Output, error) {
		return New(env, *cfg.(*Config))
	},
}

// Output serves HLS.
type Output struct {
	outputs.Base
	env outputs.Env
	cfg Config
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	pack map[string]*packager // by stream name

	requests, segmentBytes, refused, restarts atomic.Uint64
}

// New prepares HLS; it starts nothing.
func New(env outputs.Env, cfg Config) (*Output, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	o := &Output{env: env, cfg: cfg, log: env.Log, now: time.Now, pack: map[string]*packager{}}
	if cfg.AutoStart {
		env.Streams.OnCreate(func(s *pipeline.Stream) {
			if _, err := o.start(s, true); err != nil {
				o.log.Error("HLS cannot be started", "stream", s.Name(), "err", err)
			}
		})
	}
	return o, nil
}

// Run stops packagers that nobody uses and forgets those that have ended,
// until ctx ends.
func (o *Output) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			o.sweep(ctx)
		case <-ctx.Done():
			o.closeAll()
			return nil
		}
	}
}

// sweep stops what is idle and frees what has ended long enough ago.
func (o *Output) sweep(ctx context.Context) {
	now := o.now()
	var idle, over []*packager
	o.mu.Lock()
	for name, p := range o.pack {
		switch ended, since := p.endedAt(); {
		case ended && now.Sub(since) > o.linger():
			delete(o.pack, name)
			over = append(over, p)
		case !ended && !p.keep && now.Sub(time.Unix(0, p.used.Load())) > o.cfg.ProviderTimeout:
			delete(o.pack, name)
			idle = append(idle, p)
		}
	}
	o.mu.Unlock()
	for _, p := range idle {
		o.log.Info("HLS stopped, nobody asks for it", "stream", p.stream.Name(), "after", o.cfg.ProviderTimeout)
		p.stop(ctx)
	}
	for _, p := range over {
		p.close()
	}
}

// linger is how long the end of a stream can still be fetched: players are a
// few segments behind.
func (o *Output) linger() time.Duration {
	return time.Duration(o.cfg.ListSize)*o.cfg.SegmentDuration + 10*time.Second
}

func (o *Output) closeAll() {
	o.mu.Lock()
	all := make([]*packager, 0, len(o.pack))
	for _, p := range o.pack {
		all = append(all, p)
	}
	clear(o.pack)
	o.mu.Unlock()
	for _, p := range all {
		p.stop(context.Background())
	}
}

// start returns the packager of a stream, making it if there is none.
func (o *Output) start(s *pipeline.Stream, keep bool) (*packager, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.pack[s.Name()]
	if old != nil && old.stream == s {
		return old, nil
	}
	p := newPackager(o, s, keep)
	att, err := s.Attach("hls", fillvideo.Wrap(&sink{p: p}, o.env.Video, o.env.Video.Generate), pipeline.Policy{
		MaxDelay: o.cfg.QueueDelay,
		Retry:    pipeline.Backoff{Min: time.Second, Max: 10 * time.Second},
		OnState:  p.state,
	})
	if err != nil {
		return nil, err
	}
	p.att = att
	o.pack[s.Name()] = p
	if old != nil {
		old.close() // of an earlier stream of this name
	}
	o.log.Info("HLS started", "stream", s.Name(), "variant", o.cfg.Variant)
	return p, nil
}

// Methods implements outputs.Output (rest-api 6).
func (o *Output) Methods() map[string]outputs.Method {
	return map[string]outputs.Method{"hls/startup": o.startup, "hls/find_all": o.findAll, "hls/terminate": o.terminate}
}

type nameBody struct {
	Name loose.String `json:"name"`
}

func (o *Output) startup(_ context.Context, decode func(any) error) (any, error) {
	var b nameBody
	if err := decode(&b); err != nil {
		return nil, err
	}
	if b.Name == "" {
		return nil, fault.New(fault.BadRequest, "name is missing: say which stream is meant")
	}
	s := o.env.Streams.Get(string(b.Name))
	if s == nil {
		return nil, fault.New(fault.NotFound, "no stream has the name %q", b.Name)
	}
	p, err := o.start(s, false)
	if err != nil {
		return nil, fault.New(fault.Internal, "start HLS of %q: %w", b.Name, err)
	}
	p.touch()
	return nil, nil
}

// findAll answers with the list of names of the older builds. The newer form
// is a dump of the original's inner objects (handler, writer, logs), for which
// nothing here would be true.
func (o *Output) findAll(context.Context, func(any) error) (any, error) {
	names := o.Names()
	if len(names) == 0 {
		return nil, fault.New(fault.NotFound, "no stream has HLS")
	}
	return names, nil
}

// Names are the streams that are packaged now, sorted.
func (o *Output) Names() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := []string{}
	for name, p := range o.pack {
		if ended, _ := p.endedAt(); !ended {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (o *Output) terminate(ctx context.Context, decode func(any) error) (any, error) {
	var b nameBody
	if err := decode(&b); err != nil {
		return nil, err
	}
	o.mu.Lock()
	p := o.pack[string(b.Name)]
	if p != nil {
		if ended, _ := p.endedAt(); ended {
			p = nil
		} else {
			delete(o.pack, string(b.Name))
		}
	}
	o.mu.Unlock()
	if p == nil {
		return nil, fault.New(fault.NotFound, "the stream %q has no HLS", b.Name)
	}
	p.stop(ctx)
	return nil, nil
}

// Metrics implements outputs.Output.
func (o *Output) Metrics() []outputs.Metric {
	ms := []outputs.Metric{{Name: "lineout_hls_streams", Help: "Streams packaged for HLS.", Value: float64(len(o.Names()))}}
	for _, m := range []struct {
		name, help string
		v          uint64
	}{
		{"lineout_hls_requests_total", "HTTP requests for playlists and segments.", o.requests.Load()},
		{"lineout_hls_sent_bytes_total", "Bytes sent to HLS players.", o.segmentBytes.Load()},
		{"lineout_hls_refused_total", "Requests answered with 503 because there was no media in time.", o.refused.Load()},
		{"lineout_hls_discontinuities_total", "Times a packager began anew within a stream.", o.restarts.Load()},
	} {
		ms = append(ms, outputs.Metric{Name: m.name, Help: m.help, Value: float64(m.v)})
	}
	return ms
}

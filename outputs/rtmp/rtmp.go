// Package rtmp pushes streams to RTMP servers (H.264 and AAC, on demand G.711 and Speex, S2-5): one Push
// per stream and target, each a pipeline.Sink on its stream, started by the
// REST API (/push/…) or for a call that names an rtmpUrl. A push reconnects by
// itself and ends with its stream.
//
// The protocol is Adobe's RTMP 1.0 specification of 2012; its sections are
// cited where they are followed.
package rtmp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sort"
	"sync"
	"time"

	"github.com/google/uuid"

	"lineout/api/fault"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
	"lineout/pipeline/fillvideo"
)

// Kind is RTMP push's line in the server's table.
func Kind() outputs.Kind {
	return outputs.Kind{
		Name:   "rtmp",
		Config: func() any { return new(Config) },
		New: func(env outputs.Env, cfg any) (outputs.Output, error) {
			c, ok := cfg.(*Config)
			if !ok {
				return nil, fmt.Errorf("rtmp: settings are a %T, want *rtmp.Config", cfg)
			}
			return New(env, c)
		},
	}
}

// Output holds the pushes of a server. Safe for concurrent use.
type Output struct {
	outputs.Base
	streams  *pipeline.Hub
	cfg      Config
	audio    []media.Codec // of rtmp_audio_codecs
	video    fillvideo.Config
	log      *slog.Logger
	dialer   *dialer
	resolver resolver

	mu    sync.Mutex
	byID  map[string]*Push
	byKey map[string]*Push // what may exist once: server, application and name
	made  uint64
}

// resolver is the part of net.Resolver that is needed.
type resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// New makes the output; it starts nothing. The error says which setting is wrong.
func New(env outputs.Env, cfg *Config) (*Output, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	audio, err := parseAudioCodecs(cfg.AudioCodecs)
	if err != nil {
		return nil, err
	}
	tc, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	return &Output{
		streams: env.Streams, cfg: *cfg, audio: audio, video: env.Video, log: env.Log, resolver: net.DefaultResolver,
		dialer: &dialer{tls: tc, connectTimeout: cfg.ConnectTimeout, writeTimeout: cfg.WriteTimeout},
		byID:   make(map[string]*Push), byKey: make(map[string]*Push),
	}, nil
}

// Target says where a stream is pushed to.
type Target struct {
	// URL is rtmp[s]://[user:password@]host[:port]/application[/instance][?query].
	URL string
	// Name is the stream's name at the server, without the prefix of
	// rtmp_transponder_stream_name_prefix, which is put before it.
	Name string
	// FullURL says that the last path segment of URL is the stream's name or
	// key; Name is not used then.
	FullURL bool
	// FlashVersion is sent as flashVer; the setting's value when empty.
	FlashVersion string
	// Muted starts the push with silence instead of the stream's sound.
	Muted bool
	// GenerateVideo gives the push a black picture while the stream has none.
	GenerateVideo bool
	// OnState is told each change among the four values of S2-28, in order,
	// on the attachment's goroutine; it must not block. May be nil.
	OnState func(status string)
}

// maxName bounds stream names and flash versions sent to servers, in bytes.
const maxName = 1024

// address parses the target; the error is a fault.BadRequest.
func (o *Output) address(t Target) (*address, error) {
	name := t.Name
	if name != "" {
		name = o.cfg.Prefix + name
	}
	if len(name) > maxName || len(t.FlashVersion) > maxName {
		return nil, fault.New(fault.BadRequest, "the stream name or rtmpFlashVersion is longer than %d bytes", maxName)
	}
	a, err := parseAddress(t.URL, name, t.FullURL)
	if err != nil {
		return nil, fault.New(fault.BadRequest, "%w", err)
	}
	return a, nil
}

// lookupTimeout bounds the DNS question behind a REST request.
const lookupTimeout = 5 * time.Second

// GenerateVideo is the default of Target.GenerateVideo from the settings.
func (o *Output) GenerateVideo() bool { return o.video.Generate }

// FullURL is the default of Target.FullURL from the settings.
func (o *Output) FullURL() bool { return o.cfg.FullURL }

// Check says whether a target can be pushed to at all: its URL is well formed
// and its host can be resolved. The error is a fault.BadRequest. A server that
// does not answer is no error; its push waits for it.
func (o *Output) Check(ctx context.Context, t Target) error {
	a, err := o.address(t)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if _, err := o.resolver.LookupHost(ctx, a.hostname); err != nil {
		reason := "it was not found in time"
		var dns *net.DNSError
		if errors.As(err, &dns) {
			reason = dns.Err
		}
		return fault.New(fault.BadRequest, "the host %s of rtmpUrl cannot be resolved: %s", a.hostname, reason)
	}
	return nil
}

// Start begins to push a stream and returns at once; it works on a stream
// whose call has not been answered. Its goroutine belongs to the stream. The
// error is a fault: BadRequest for a malformed URL, Conflict when a push to the
// same name at the same server exists (S2-7), NotFound when the stream has ended.
func (o *Output) Start(stream *pipeline.Stream, t Target) (*Push, error) {
	a, err := o.address(t)
	if err != nil {
		return nil, err
	}
	if t.FlashVersion == "" {
		t.FlashVersion = o.cfg.FlashVersion
	}
	p := &Push{
		id: uuid.NewString(), out: o, stream: stream, target: t, addr: a, status: StatusWait,
		log:  o.log.With("stream", stream.Name(), "rtmp", a.String()),
		sink: &sink{dialer: o.dialer, addr: a, flashVer: t.FlashVersion, keyframeEvery: o.cfg.KeyframeInterval, audioCodecs: o.audio},
	}
	p.sink.muted.Store(t.Muted)
	if err := o.claim(p); err != nil {
		return nil, err
	}
	p.log.Info("RTMP push started", "id", p.id)
	att, err := stream.Attach("rtmp "+a.String(), fillvideo.Wrap(p.sink, o.video, t.GenerateVideo), pipeline.Policy{
		MaxDelay: o.cfg.QueueDelay,
		Retry:    pipeline.Backoff{Min: o.cfg.RetryMin, Max: o.cfg.RetryMax, MaxTries: o.cfg.RetryTries},
		OnState:  p.onState,
	})
	if err != nil {
		o.release(p)
		return nil, fault.New(fault.NotFound, "push stream %q: %w", stream.Name(), err)
	}
	// Only now can it be found, so that whoever finds it can end it.
	o.mu.Lock()
	p.att = att
	o.byID[p.id] = p
	o.mu.Unlock()
	return p, nil
}

// claim takes a push's place unless another push has it.
func (o *Output) claim(p *Push) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := p.addr.key()
	if old := o.byKey[key]; old != nil && !old.over() {
		return fault.New(fault.Conflict, "stream %q is already pushed to this rtmpUrl", old.stream.Name())
	}
	o.made++
	p.seq = o.made
	o.byKey[key] = p
	return nil
}

// hide takes a push out of all listings; its place stays taken.
func (o *Output) hide(p *Push) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.byID, p.id)
}

// release gives a push's place free.
func (o *Output) release(p *Push) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remove(p)
}

// remove is release with o.mu held.
func (o *Output) remove(p *Push) {
	delete(o.byID, p.id)
	if key := p.addr.key(); o.byKey[key] == p {
		delete(o.byKey, key)
	}
}

// get returns the running push with this id, nil if there is none.
func (o *Output) get(id string) *Push {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.byID[id]; p != nil && !p.over() {
		return p
	}
	return nil
}

// list returns the running pushes, oldest first, and forgets those that gave up.
func (o *Output) list() []*Push {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ps []*Push
	for _, p := range o.byID {
		if p.over() {
			o.remove(p)
			continue
		}
		ps = append(ps, p)
	}
	sort.Slice(ps, func(i, j int) bool { return ps[i].seq < ps[j].seq })
	return ps
}

// Metrics implements outputs.Output. Labels name the stream and the server's
// address, never a key.
func (o *Output) Metrics() []outputs.Metric {
	ps := o.list()
	ms := []outputs.Metric{{Name: "lineout_rtmp_pushes", Help: "RTMP pushes that are running or being retried.", Value: float64(len(ps))}}
	for _, p := range ps {
		labels := map[string]string{"stream": p.stream.Name(), "server": p.addr.dial, "id": p.id}
		add := func(name, help string, v float64) {
			ms = append(ms, outputs.Metric{Name: "lineout_rtmp_push_" + name, Help: help, Labels: labels, Value: v})
		}
		active := 0.0
		if p.Status() == StatusActive {
			active = 1
		}
		st := p.stats()
		add("active", "1 while the RTMP server takes the stream.", active)
		add("frames_total", "Frames written to the RTMP server.", float64(st.Frames))
		add("bytes_total", "Bytes of media written to the RTMP server.", float64(st.Bytes))
		add("dropped_frames_total", "Frames dropped because the RTMP server was slow or frames had no decoder configuration.",
			float64(st.Dropped+p.sink.withoutConf.Load()))
		add("retries_total", "Times the connection to the RTMP server was made again.", float64(st.Retries))
		add("queue_seconds", "Media waiting to be written to the RTMP server.", st.QueueDelay.Seconds())
	}
	return ms
}

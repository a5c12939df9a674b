// Package recorder writes streams to files: MP4 with H.264 and AAC or Opus, WebM with
// VP8 and Opus, Matroska with either and the sound as the call has it, and sound
// alone also to Ogg or WAVE. While a call lasts its file grows by whole fragments and
// loses at most the last half second when the process is killed; when it ends
// the file is rewritten for fast start. What a killed
// process left behind is finalised at the next start. No file is ever
// overwritten.
package recorder

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

// Kind is the recorder's line in the server's table of outputs.
var Kind = outputs.Kind{
	Name:   "recorder",
	Config: func() any { return &Config{} },
	New: func(env outputs.Env, cfg any) (outputs.Output, error) {
		return New(env, *cfg.(*Config))
	},
}

// Output records streams, by request or all those of SIP calls.
type Output struct {
	outputs.Base
	env    outputs.Env
	cfg    Config
	rotate rotation
	log    *slog.Logger
	finish *finisher

	mu   sync.Mutex
	recs map[string]*recording // by stream ID

	bytes, frames, skipped, failures atomic.Uint64
}

// New checks the folder and prepares recording; it starts nothing. With
// sip_record_stream every stream of a SIP call is recorded from its creation.
func New(env outputs.Env, cfg Config) (*Output, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	path, err := cfg.hookPath()
	if err != nil {
		return nil, fmt.Errorf("on_record_hook_script: %w", err)
	}
	rotate, err := parseRotation(cfg.Rotation)
	if err != nil {
		return nil, fmt.Errorf("record_rotation: %w", err)
	}
	o := &Output{env: env, cfg: cfg, rotate: rotate, log: env.Log, recs: map[string]*recording{},
		finish: newFinisher(cfg.Dir, cfg.Finalisers, &hook{path: path, timeout: cfg.HookTimeout}, env.Log)}
	if cfg.Sidecar {
		o.finish.sidecar = &SidecarApp{Name: "lineout", Version: env.Version}
	}
	if o.RecordsCalls() {
		env.Streams.OnCreate(o.created)
	}
	return o, nil
}

// RecordsCalls says that every stream of a SIP call is recorded.
func (o *Output) RecordsCalls() bool { return o.cfg.SIPRecordStream && o.cfg.RecordStreams }

// created starts the recording of a SIP call's stream.
func (o *Output) created(s *pipeline.Stream) {
	if !strings.EqualFold(s.Meta().Provider, "SIP") {
		return
	}
	if _, err := o.start(s, o.template(""), o.rotate); err != nil {
		o.log.Error("recording cannot be started", "stream", s.Name(), "err", err)
	}
}

// template is the template in force; a request's own wins.
func (o *Output) template(own string) string {
	switch {
	case own != "":
		return own
	case o.cfg.Policy == policyStreamName:
		return "{streamName}"
	}
	return o.cfg.Template
}

// Run finalises recordings and runs the hook until ctx ends, then until what
// is under way is done, at most for record_shutdown_timeout.
func (o *Output) Run(ctx context.Context) error { return o.finish.run(ctx, o.cfg.ShutdownTimeout) }

// recording is one stream being recorded.
type recording struct {
	o         *Output
	stream    *pipeline.Stream
	dir       string
	template  string
	rotation  rotation
	syncEvery time.Duration
	stopping  atomic.Bool
	faulted   atomic.Bool // since the sink was opened last
	curtain   atomic.Pointer[curtain]
	att       *pipeline.Attachment

	frames, bytes counter

	mu       sync.Mutex
	fileName string // of the newest part without extension, late elements as literals
	ext      string // of the newest part, "" before the first
	parts    int
	note     string
	noted    bool
	open     int           // files that were handed over and have no final name yet
	named    chan struct{} // closed when open comes to 0, nil before the first file
	final    string        // name of the newest finished file
}

// counter counts for a recording and for the whole output.
type counter struct {
	own   atomic.Uint64
	total *atomic.Uint64
}

func (c *counter) Add(n uint64) { c.own.Add(n); c.total.Add(n) }

// start attaches a recording to a stream that has none.
func (o *Output) start(s *pipeline.Stream, template string, rotate rotation) (*recording, error) {
	if err := checkTemplate(template); err != nil {
		return nil, err
	}
	r := &recording{o: o, stream: s, dir: o.cfg.Dir, template: template, rotation: rotate, syncEvery: o.cfg.SyncInterval}
	r.frames.total, r.bytes.total = &o.frames, &o.bytes
	r.fileName = facts{stream: shorten(s.Name()), mediaSession: s.ID(), session: s.Meta().SessionID, login: s.Meta().Login,
		start: s.Created(), startServer: s.Created()}.early(template)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.prune()
	if o.recs[s.ID()] != nil {
		return nil, fmt.Errorf("stream %q is being recorded already", s.Name())
	}
	att, err := s.Attach("record", &sink{r: r, w: o.finish}, pipeline.Policy{
		MaxDelay: 10 * time.Second, MaxBytes: 32 << 20, Lossless: true,
		Retry:   pipeline.Backoff{Min: time.Second, Max: 10 * time.Second},
		OnState: func(st pipeline.State, err error) { o.state(r, st, err) },
	})
	if err != nil {
		return nil, err
	}
	r.att = att
	o.recs[s.ID()] = r
	return r, nil
}

// state follows an attachment; it is called on the attachment's goroutine.
func (o *Output) state(r *recording, st pipeline.State, err error) {
	if err != nil {
		o.failures.Add(1)
		r.faulted.Store(true)
	}
	switch st {
	case pipeline.Active:
		o.log.Info("recording", "stream", r.stream.Name(), "dir", r.dir)
	case pipeline.Closed:
		o.forget(r)
	}
}

// prune forgets recordings that failed for good and whose stream has ended;
// until then they stay listed with their error. The caller holds o.mu.
func (o *Output) prune() {
	for id, r := range o.recs {
		select {
		case <-r.stream.Done():
			delete(o.recs, id)
		default:
		}
	}
}

func (o *Output) forget(r *recording) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.recs[r.stream.ID()] == r {
		delete(o.recs, r.stream.ID())
	}
}

// stop ends the recording of a stream and waits until its last byte is
// written; finalising goes on behind it. It reports false if there was none.
func (o *Output) stop(ctx context.Context, id string) (bool, error) {
	o.mu.Lock()
	r := o.recs[id]
	delete(o.recs, id)
	o.mu.Unlock()
	if r == nil {
		return false, nil
	}
	r.stopping.Store(true)
	return true, r.att.Detach(ctx)
}

// opened records that a new part is being written.
func (r *recording) opened(base, ext string, part int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fileName, r.ext, r.parts = base, ext, part
}

// container is the format for the tracks the stream has now: that of its
// video, else the first its video can be converted for, and that of
// record_audio_format for sound alone.
func (r *recording) container() *container {
	v := r.stream.Track(media.Video)
	if v == nil {
		return r.o.cfg.soundContainer()
	}
	if c := r.o.cfg.formatFor(v.Codec); c != nil {
		return c
	}
	for _, c := range r.o.cfg.containers() {
		if _, err := r.o.env.Codecs.Plan(v.Codec, []media.Codec{c.video}, false); err == nil {
			return c
		}
	}
	return r.o.cfg.soundContainer()
}

// wantedVideo is the video to ask for with a container. Where there is none to
// be had but the stream has some, all that could be recorded is asked for: the
// log then says why there is none.
func (r *recording) wantedVideo(c *container) []media.Codec {
	if r.o.cfg.formatFor(c.video) == c {
		return []media.Codec{c.video}
	}
	var all []media.Codec
	if r.stream.Track(media.Video) != nil {
		for _, c := range r.o.cfg.containers() {
			all = append(all, c.video)
		}
	}
	return all
}

// noteMissing says once, in the log and in listings, that a track the stream
// has is not in the file.
func (r *recording) noteMissing(have []*media.Track) {
	src := r.stream.Track(media.Video)
	for _, t := range have {
		if t != nil && t.Kind == media.Video {
			src = nil
		}
	}
	note := ""
	if src != nil && r.o.cfg.formatFor(src.Codec) == nil {
		note = fmt.Sprintf("the video is %s, which is not recorded: only the sound is", src.Codec)
	}
	r.mu.Lock()
	tell := note != "" && note != r.note
	r.note = note
	r.mu.Unlock()
	if tell {
		r.o.log.Warn("recording without video", "stream", r.stream.Name(), "why", note)
	}
}

// skip counts a frame that cannot be recorded and says why once.
func (r *recording) skip(f *media.Frame, why string) {
	r.o.skipped.Add(1)
	r.mu.Lock()
	tell := !r.noted
	r.noted = true
	r.mu.Unlock()
	if tell {
		r.o.log.Warn("frame is not recorded", "stream", r.stream.Name(), "track", f.Track.ID, "why", why)
	}
}

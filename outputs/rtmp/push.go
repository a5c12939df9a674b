package rtmp

import (
	"context"
	"log/slog"
	"sync"

	"lineout/media"
	"lineout/pipeline"
)

// The values of rtmpStreamStatus (S2-28).
const (
	StatusWait   = "RTMP_STREAM_WAIT"       // no connection has been tried to the end yet
	StatusActive = "RTMP_STREAM_ACTIVE"     // the server takes the stream
	StatusLost   = "RTMP_CONNECTION_LOST"   // there was a connection; it is being retried, or was given up
	StatusFailed = "RTMP_CONNECTION_FAILED" // there has been no connection yet
)

// Push is one stream on its way to one RTMP server. Safe for concurrent use.
type Push struct {
	id     string
	seq    uint64
	out    *Output
	stream *pipeline.Stream
	target Target
	addr   *address
	sink   *sink
	log    *slog.Logger
	att    *pipeline.Attachment // set once, under out.mu, after Attach

	mu        sync.Mutex
	status    string
	wasActive bool
}

// ID is the push's mediaSessionId in the REST API, a UUID.
func (p *Push) ID() string { return p.id }

// Name is the stream's name at the server, or the plain name of the stream
// when the server's name is a key from a full URL.
func (p *Push) Name() string {
	if p.addr.full {
		return p.stream.Name()
	}
	return p.addr.name
}

// Status is one of the four values of rtmpStreamStatus.
func (p *Push) Status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Muted says whether silence is sent instead of the stream's sound.
func (p *Push) Muted() bool { return p.sink.muted.Load() }

// SetMuted replaces the stream's sound by silence, or puts it back. Timing
// and codec stay the same.
func (p *Push) SetMuted(on bool) { p.sink.muted.Store(on) }

// Terminate ends the push: it is no longer found from the moment of the call,
// and its place at the server is free when Terminate returns. The error is
// that of ctx, or nil. Idempotent.
func (p *Push) Terminate(ctx context.Context) error {
	p.out.hide(p)
	var err error
	if att := p.attachment(); att != nil {
		err = att.Detach(ctx)
	}
	p.out.release(p)
	return err
}

func (p *Push) attachment() *pipeline.Attachment {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.att
}

func (p *Push) stats() pipeline.AttachmentStats {
	if att := p.attachment(); att != nil {
		return att.Stats()
	}
	return pipeline.AttachmentStats{}
}

// over says that the push has ended or is about to: its stream has, or it gave
// up. Called with out.mu held.
func (p *Push) over() bool {
	select {
	case <-p.stream.Closing():
		return true
	default:
	}
	if p.att == nil {
		return false
	}
	select {
	case <-p.att.Done():
		return true
	default:
		return false
	}
}

// onState follows the attachment, which logs its failures itself.
func (p *Push) onState(s pipeline.State, _ error) {
	if s == pipeline.Closed {
		p.out.release(p)
		p.log.Info("RTMP push ended", "id", p.id)
		return
	}
	p.mu.Lock()
	status := p.next(s)
	changed := status != p.status
	p.status = status
	p.mu.Unlock()
	if !changed {
		return
	}
	if status == StatusActive {
		p.log.Info("RTMP push connected", "id", p.id)
	}
	if p.target.OnState != nil {
		p.target.OnState(status)
	}
}

// next is the status that belongs to a state. An attachment that gives up is
// Failed even if it once had a connection; that is a lost connection here.
func (p *Push) next(s pipeline.State) string {
	switch s {
	case pipeline.Active:
		p.wasActive = true
		return StatusActive
	case pipeline.Lost:
		return StatusLost
	case pipeline.Failed:
		if p.wasActive {
			return StatusLost
		}
		return StatusFailed
	}
	return StatusWait
}

// size is the picture size in pixels, 0 while it is not known.
func (p *Push) size() (width, height int) {
	if v := p.stream.Track(media.Video); v != nil {
		if params := v.Params(); params != nil {
			return params.Width, params.Height
		}
	}
	return 0, 0
}

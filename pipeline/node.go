package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"lineout/codecs"
	"lineout/media"
)

// nodeKey says what a shared conversion is for: one encode per track and
// target codec, whoever wants it.
type nodeKey struct {
	track *media.Track
	to    media.Codec
}

// node is one conversion shared by all consumers that want the same thing: a
// queue, a goroutine and a codecs.Conversion. The first consumer builds it, the
// last one stops it.
type node struct {
	name  string
	queue *queue
	conv  codecs.Conversion
	out   *media.Track
	fan   fan
	refs  int // under the stream's lock
	log   *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	last           time.Duration
	begun          bool
	frames, failed atomic.Uint64
	busy           atomic.Int64 // ns spent converting
}

// nodePolicy is generous because a recorder that must lose nothing may hang
// behind a conversion; it is never reached while the machine keeps up.
var nodePolicy = Policy{MaxDelay: 10 * time.Second, MaxBytes: 32 << 20}

func newNode(s *Stream, l *lane, c *codecs.Converter) (*node, error) {
	in := l.track
	log := s.log.With("conversion", fmt.Sprintf("%s→%s", c.From, c.To))
	conv, err := c.New(in, codecs.Options{Log: log})
	if err != nil {
		return nil, fmt.Errorf("start conversion %s→%s: %w", c.From, c.To, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{name: fmt.Sprintf("%s→%s", c.From, c.To), queue: newQueue(nodePolicy), conv: conv,
		out: &media.Track{ID: in.ID, Kind: in.Kind, Codec: c.To, ClockRate: c.ClockRate, Channels: c.Channels,
			RequestKeyframe: in.RequestKeyframe},
		log: log, ctx: ctx, cancel: cancel, done: make(chan struct{})}
	n.queue.noise = true
	n.queue.onDrop = func(bool) { in.AskKeyframe() }
	return n, nil
}

func (n *node) push(f *media.Frame) { n.queue.push(f) }

// run converts until the queue is finished and empty, or nobody wants it.
func (n *node) run() {
	defer close(n.done)
	defer n.cancel()
	defer func() {
		if r := recover(); r != nil {
			n.log.Error("conversion panicked", "panic", r, "stack", string(debug.Stack()))
		}
		if err := n.conv.Close(); err != nil {
			n.log.Warn("conversion did not close cleanly", "err", err)
		}
	}()
	late, _ := n.conv.(codecs.Late)
	for {
		f, _, ok, done, _ := n.queue.pop(time.Time{})
		if done {
			n.flush()
			return
		}
		if !ok {
			var ready <-chan struct{}
			if late != nil {
				ready = late.Ready()
			}
			select {
			case <-n.queue.notify:
			case <-ready:
				late.Collect(n.emit)
			case <-n.ctx.Done():
				return
			}
			continue
		}
		t := time.Now()
		err := n.conv.Convert(f, n.emit)
		n.busy.Add(int64(time.Since(t)))
		if err != nil {
			n.failed.Add(1)
			n.log.Error("conversion failed and ends; sinks behind it get nothing more of this track", "err", err)
			return
		}
		if n.ctx.Err() != nil {
			return
		}
	}
}

// flush lets the conversion give out what it still holds, so that a recording
// does not lose the end of its last word.
func (n *node) flush() {
	if fl, ok := n.conv.(codecs.Flusher); ok {
		if err := fl.Flush(n.emit); err != nil {
			n.log.Warn("the end of the track is lost", "err", err)
		}
	}
}

func (n *node) emit(f *media.Frame) {
	if n.begun && f.DTS <= n.last {
		return
	}
	n.begun, n.last = true, f.DTS
	f.Track = n.out
	if f.Params != nil {
		n.out.SetParams(f.Params)
	}
	n.frames.Add(1)
	n.fan.push(f)
}

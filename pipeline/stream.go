package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lineout/codecs"
	"lineout/media"
)

// consumer takes frames from a source or a conversion; push never blocks.
type consumer interface{ push(f *media.Frame) }

// fan is an immutable list of consumers, replaced as a whole when it changes,
// so that writing a frame takes no lock.
type fan struct{ list atomic.Pointer[[]consumer] }

func (n *fan) push(f *media.Frame) {
	if l := n.list.Load(); l != nil {
		for _, c := range *l {
			c.push(f)
		}
	}
}

// add and remove are called under the stream's lock.
func (n *fan) add(c consumer) {
	var l []consumer
	if old := n.list.Load(); old != nil {
		l = append(l, *old...)
	}
	l = append(l, c)
	n.list.Store(&l)
}

func (n *fan) remove(c consumer) {
	if old := n.list.Load(); old != nil {
		l := slices.DeleteFunc(slices.Clone(*old), func(x consumer) bool { return x == c })
		n.list.Store(&l)
	}
}

// lane is one track of a stream with those who consume it.
type lane struct {
	track *media.Track
	fan   fan
	last  time.Duration // DTS of the newest frame; the source's goroutine only
	begun bool

	frames, bytes, keys, refused atomic.Uint64
	lastAt                       atomic.Int64 // unix ns of the newest frame
	lastDTS                      atomic.Int64
}

// Stream is a named set of tracks on one timeline. It exists from the moment
// its name is reserved; sinks may be attached before the source has answered.
// Its goroutines belong to the hub that created it.
type Stream struct {
	hub     *Hub
	name    string
	id      string
	meta    Meta
	created time.Time
	log     *slog.Logger

	ready     chan struct{}
	readyOnce sync.Once
	closing   chan struct{}
	done      chan struct{}

	lanes   atomic.Pointer[[]*lane]
	measure atomic.Pointer[func() Quality]
	muted   [media.Video + 1]atomic.Bool // by kind

	mu         sync.Mutex // guards what follows; never held while calling out
	atts       []*Attachment
	nodes      map[nodeKey]*node
	changed    chan struct{} // closed and replaced when a track is added
	closed     bool
	reason     string
	digits     []Digit
	digitCount int
	attWG      sync.WaitGroup
	nodeWG     sync.WaitGroup
}

func newStream(h *Hub, name, id string, m Meta) *Stream {
	s := &Stream{hub: h, name: name, id: id, meta: m, created: time.Now(),
		log:   h.cfg.Log.With("stream", name),
		ready: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
		nodes: map[nodeKey]*node{}, changed: make(chan struct{})}
	s.lanes.Store(&[]*lane{})
	return s
}

// Name is the name under which the stream is played.
func (s *Stream) Name() string { return s.name }

// ID is Meta.ID or a UUID, the REST API's mediaSessionId.
func (s *Stream) ID() string { return s.id }

// Meta are facts about the source.
func (s *Stream) Meta() Meta { return s.meta }

// Created is when the name was claimed.
func (s *Stream) Created() time.Time { return s.created }

// Ready is closed when the source knows which tracks there are.
func (s *Stream) Ready() <-chan struct{} { return s.ready }

// SetReady is called by the source once all tracks known so far are added. It
// returns when every sink attached before is connected to them, so that a
// recorder which was there first misses nothing of what is written next.
func (s *Stream) SetReady() {
	s.readyOnce.Do(func() { close(s.ready) })
	for _, a := range s.Attachments() {
		select {
		case <-a.joined:
		case <-s.closing:
			return
		}
	}
}

// Closing is closed when the source has ended or the stream was terminated.
func (s *Stream) Closing() <-chan struct{} { return s.closing }

// Done is closed when, after that, every sink has been flushed and closed.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Reason is what Close was given, "" before.
func (s *Stream) Reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// AddTrack adds a track; called by the source only. A second track of the same
// kind replaces the first for all sinks from its first frame on.
func (s *Stream) AddTrack(t *media.Track) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.lanes.Load()
	l := append(slices.Clone(old), &lane{track: t})
	s.lanes.Store(&l)
	close(s.changed)
	s.changed = make(chan struct{})
}

// SetMuted notes that the source sends silence, or a black picture, because its
// user wants it so.
func (s *Stream) SetMuted(k media.Kind, on bool) { s.muted[k].Store(on) }

// Muted says whether the source has muted a kind.
func (s *Stream) Muted(k media.Kind) bool { return s.muted[k].Load() }

// Tracks lists the tracks in the order they were added.
func (s *Stream) Tracks() []*media.Track {
	lanes := *s.lanes.Load()
	l := make([]*media.Track, len(lanes))
	for i, x := range lanes {
		l[i] = x.track
	}
	return l
}

// Track is the newest track of a kind, nil if there is none.
func (s *Stream) Track(k media.Kind) *media.Track {
	lanes := *s.lanes.Load()
	for i := len(lanes) - 1; i >= 0; i-- {
		if lanes[i].track.Kind == k {
			return lanes[i].track
		}
	}
	return nil
}

// Write hands a frame to all consumers of its track. It never blocks. One
// goroutine per track; a frame whose DTS does not grow is refused and counted.
func (s *Stream) Write(f *media.Frame) {
	for _, l := range *s.lanes.Load() {
		if l.track != f.Track {
			continue
		}
		if l.begun && f.DTS <= l.last {
			l.refused.Add(1)
			return
		}
		l.begun, l.last = true, f.DTS
		l.frames.Add(1)
		l.bytes.Add(uint64(f.Size()))
		if f.Key {
			l.keys.Add(1)
		}
		l.lastDTS.Store(int64(f.DTS))
		if !f.Arrival.IsZero() {
			l.lastAt.Store(f.Arrival.UnixNano())
		}
		l.fan.push(f)
		return
	}
}

// Attach hangs a sink on the stream. Its goroutine belongs to the stream. The
// error is ErrClosed when the stream has ended.
func (s *Stream) Attach(label string, sink Sink, p Policy) (*Attachment, error) {
	a := newAttachment(s, label, sink, p)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		a.cancel()
		return nil, ErrClosed
	}
	s.atts = append(s.atts, a)
	s.attWG.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.attWG.Done()
		a.run()
		s.mu.Lock()
		s.atts = slices.DeleteFunc(s.atts, func(x *Attachment) bool { return x == a })
		s.mu.Unlock()
	}()
	return a, nil
}

// Attachments lists what is attached now.
func (s *Stream) Attachments() []*Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.atts)
}

// Close ends the stream: its name is free at once, sinks get what is queued
// and are closed. Only the first reason counts.
func (s *Stream) Close(reason string) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed, s.reason = true, reason
	s.mu.Unlock()
	s.hub.release(s)
	close(s.closing)
}

// run waits for Close, then flushes: first the conversions, so that their last
// frames reach the sinks, then the sinks.
func (s *Stream) run() {
	defer close(s.done)
	<-s.closing
	s.mu.Lock()
	nodes := make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		nodes = append(nodes, n)
	}
	atts := slices.Clone(s.atts)
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), s.hub.cfg.FlushTimeout)
	defer cancel()
	for _, n := range nodes {
		n.queue.finish()
	}
	for _, n := range nodes {
		select {
		case <-n.done:
		case <-ctx.Done():
			n.cancel()
		}
	}
	for _, a := range atts {
		a.finish()
	}
	stop := context.AfterFunc(ctx, func() {
		for _, a := range atts {
			a.log.Warn("sink did not finish in time, cut off", "timeout", s.hub.cfg.FlushTimeout)
			a.cancel()
		}
	})
	s.attWG.Wait()
	stop()
	s.nodeWG.Wait()
}

// trackChange is closed at the next AddTrack.
func (s *Stream) trackChange() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Stream) lane(t *media.Track) *lane {
	for _, l := range *s.lanes.Load() {
		if l.track == t {
			return l
		}
	}
	return nil
}

// subscribe connects c to a track of this stream, through a shared conversion
// when conv is set, and returns the track as c will see it. undo disconnects.
func (s *Stream) subscribe(t *media.Track, conv *codecs.Converter, c consumer) (out *media.Track, undo func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	l := s.lane(t)
	if conv == nil {
		l.fan.add(c)
		return t, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			l.fan.remove(c)
		}, nil
	}
	key := nodeKey{track: t, to: conv.To}
	n := s.nodes[key]
	if n == nil {
		if n, err = newNode(s, l, conv); err != nil {
			return nil, nil, err
		}
		s.nodes[key] = n
		l.fan.add(n)
		s.nodeWG.Add(1)
		go func() {
			defer s.nodeWG.Done()
			n.run()
			s.mu.Lock() // one that failed must not be given to the next who wants it
			defer s.mu.Unlock()
			l.fan.remove(n)
			if s.nodes[key] == n {
				delete(s.nodes, key)
			}
		}()
	}
	n.refs++
	n.fan.add(c)
	return n.out, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		n.fan.remove(c)
		if n.refs--; n.refs == 0 {
			l.fan.remove(n)
			if s.nodes[key] == n {
				delete(s.nodes, key)
			}
			n.cancel()
		}
	}, nil
}

package calls

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"lineout/calls/leg"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/rtpin"
)

const (
	// tapQueue bounds the packets between the sockets and the tap: a second and
	// more of video. On overflow the newest is dropped and counted; the jitter
	// buffer then treats it as lost.
	tapQueue = 2048
)

// tap turns what a leg receives into the call's stream. One goroutine does it
// all, so that synchronisation needs no locks.
type tap struct {
	c      *call
	log    *slog.Logger
	md     leg.Media
	stream *pipeline.Stream
	in     *rtpin.Input
	tracks []*media.Track
	queue  chan leg.Packet

	formats  map[media.Kind]map[uint8]rtpin.Format // negotiated, by payload type
	noise    map[media.Kind][]uint8                // payload types of comfort noise
	switched map[media.Kind]time.Time              // when the codec was last changed

	current map[media.Kind]*media.Track // what is received as
	changed atomic.Bool                 // the media was agreed on anew

	wantKey atomic.Bool   // somebody asked for a key frame
	wake    chan struct{} // capacity 1
	askedAt time.Time
	firstAt time.Time // of the requests since the last key frame
	tries   int
	answer  time.Duration // how long this party usually takes to answer, 0 if unknown

	cancel  context.CancelFunc
	done    chan struct{}
	failed  chan struct{} // closed when the sockets failed
	dropped atomic.Uint64
	stats   atomic.Pointer[rtpin.Stats]
}

// errNoMedia says that the answer left nothing to receive.
var errNoMedia = errors.New("the answer holds no audio or video section with a codec this server knows")

// startTap declares the stream's tracks from the answer and starts receiving.
func (c *call) startTap(md leg.Media) error {
	if c.tap != nil || md == nil {
		return nil
	}
	c.mu.Lock()
	c.md = md
	c.mu.Unlock()
	t := &tap{c: c, log: c.log, md: md, stream: c.stream, queue: make(chan leg.Packet, tapQueue),
		wake: make(chan struct{}, 1), done: make(chan struct{}), failed: make(chan struct{}),
		formats: map[media.Kind]map[uint8]rtpin.Format{}, noise: map[media.Kind][]uint8{}, switched: map[media.Kind]time.Time{}, current: map[media.Kind]*media.Track{}}
	t.in = rtpin.NewInput(c.m.d.RTPIn, time.Now())
	t.in.OnCodecChange = t.changeCodec
	for _, info := range md.Tracks() {
		if _, err := t.addTrack(info); err != nil {
			return err
		}
	}
	if len(t.tracks) == 0 {
		return errNoMedia
	}
	for _, tr := range t.tracks {
		c.stream.AddTrack(tr)
	}
	c.stream.SetQuality(t.quality)
	c.stream.SetReady()
	ctx, cancel := context.WithCancel(c.ctx)
	t.cancel = cancel
	c.mu.Lock()
	c.tap = t // written here only: the call's goroutine reads it without the lock
	c.mu.Unlock()
	go t.run(ctx)
	return nil
}

// requestKeyframe is safe from any goroutine; the tap's own does the asking.
func (t *tap) requestKeyframe() {
	if t.wantKey.CompareAndSwap(false, true) {
		t.poke()
	}
}

// mediaChanged is safe from any goroutine, too.
func (t *tap) mediaChanged() {
	t.changed.Store(true)
	t.poke()
}

func (t *tap) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (c *call) stopTap() {
	if c.tap != nil {
		c.tap.cancel()
		<-c.tap.done
	}
}

func (c *call) tapFailed() <-chan struct{} {
	if c.tap == nil {
		return nil
	}
	return c.tap.failed
}

// run receives until ctx ends, then hands on what the buffers still hold.
func (t *tap) run(ctx context.Context) {
	defer close(t.done)
	defer t.cancel()
	received := make(chan error, 1)
	go func() { received <- t.md.Run(ctx, t.receive) }()
	defer func() {
		if r := recover(); r != nil {
			t.log.Error("media receiver panicked, the call ends", "panic", r, "stack", string(debug.Stack()))
			close(t.failed)
		}
		t.cancel()
		<-received
	}()
	if err := t.loop(ctx, received); err != nil {
		t.log.Error("receive media", "err", err)
		close(t.failed)
	}
	t.summary()
}

// summary is the one line from which an operator sees how good the media was.
func (t *tap) summary() {
	st := t.in.Stats()
	t.stats.Store(&st)
	args := []any{"sync", st.Sync, "sender_correction_ms", st.SenderCorrection.Milliseconds(),
		"sync_error_ms", st.SyncError.Milliseconds(), "disagreement_ms", st.Disagreement.Milliseconds(),
		"offset_p50_ms", st.OffsetP50.Milliseconds(), "offset_p99_ms", st.OffsetP99.Milliseconds(), "offset_max_ms", st.OffsetMax.Milliseconds(),
		"drift_ppm", int(st.DriftPPM), "queue_dropped", t.dropped.Load()}
	for _, tr := range t.tracks {
		x := st.Audio
		if tr.Kind == media.Video {
			x = st.Video
		}
		args = append(args, slog.Group(tr.ID, "codec", tr.Codec, "packets", x.Packets, "lost", x.Lost, "late", x.Late,
			"reordered", x.Reordered, "jitter_ms", x.Jitter.Milliseconds(), "frames", x.Frames, "damaged", x.Damaged,
			"dropped", x.Dropped, "trimmed", x.Trimmed, "concealed_ms", x.Concealed.Milliseconds(), "filler_ms", x.FillerTime.Milliseconds(),
			"freezes", x.Freezes, "freeze_ms", x.FreezeTime.Milliseconds(), "keyframe_requests", x.KeyframeRequests,
			"keyframe_answers", x.KeyframeAnswers, "keyframe_answer_ms", x.KeyframeAnswer().Milliseconds()))
	}
	t.log.Info("media received", args...)
}

func (t *tap) loop(ctx context.Context, received chan error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	lastStats := time.Time{}
	for {
		if t.changed.CompareAndSwap(true, false) {
			t.retrack()
		}
		now := time.Now()
		next := t.in.Poll(now, t.emit)
		next = t.askKeyframe(now, next)
		if now.Sub(lastStats) >= time.Second {
			lastStats = now
			st := t.in.Stats()
			t.stats.Store(&st)
		}
		var due <-chan time.Time
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), 0))
			due = timer.C
		}
		select {
		case p := <-t.queue:
			t.take(p)
			t.drain()
		case <-due:
		case <-t.wake:
		case err := <-received:
			received <- err // run waits for it too
			t.in.Flush(time.Now(), t.emit)
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-ctx.Done():
			t.drain()
			t.in.Flush(time.Now(), t.emit)
			return nil
		}
	}
}

// receive is called by the sockets' goroutines.
func (t *tap) receive(p leg.Packet) {
	select {
	case t.queue <- p:
	default:
		t.dropped.Add(1)
	}
}

// drain takes what is queued without waiting.
func (t *tap) drain() {
	for range tapQueue {
		select {
		case p := <-t.queue:
			t.take(p)
		default:
			return
		}
	}
}

func (t *tap) take(p leg.Packet) {
	if p.RTP != nil {
		t.in.PushRTP(p.Kind, p.RTP, p.At)
	} else {
		t.in.PushRTCP(p.Kind, p.RTCP, p.At)
		t.c.inject.asked(p.RTCP)
	}
}

func (t *tap) emit(f *media.Frame) {
	if f.Key && f.Track.Kind == media.Video {
		t.keyframe(time.Now())
	}
	t.stream.Write(f)
}

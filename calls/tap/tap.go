// Package tap makes a named stream of what a leg receives: the packets of any
// leg.Media become the tracks and frames of a pipeline.Stream.
package tap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/rtpin"
)

// queueLen bounds the packets between the sockets and the tap: a second and
// more of video. On overflow the newest is dropped and counted; the jitter
// buffer then treats it as lost.
const queueLen = 2048

// Source is what a tap asks of a leg.Media.
type Source interface {
	Tracks() []leg.TrackInfo
	RequestKeyframe()
	KeyframeCame()
}

// Config is what a tap needs.
type Config struct {
	// Media is where the packets come from. The tap asks it what was agreed and
	// for key frames; it does not receive from it, see Receive.
	Media Source
	// Stream gets the tracks. It has one tap in its life: each begins a timeline.
	Stream *pipeline.Stream
	Codecs *codecs.Table
	RTPIn  rtpin.Config
	// Kinds are those that are wanted; nil means all that are received.
	Kinds []media.Kind
	// MidCall says that the media is flowing already: a key frame is asked for at
	// once, instead of waiting for the one that senders begin with.
	MidCall bool
	// Log may be nil.
	Log *slog.Logger
}

// Tap turns packets into a stream. One goroutine, that of Run, does it all, so
// that synchronisation needs no locks; the methods are safe from any.
type Tap struct {
	c      Config
	log    *slog.Logger
	md     Source
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

	dropped atomic.Uint64
	stats   atomic.Pointer[rtpin.Stats]
}

// ErrNoMedia says that there is nothing to receive.
var ErrNoMedia = errors.New("the answer holds no audio or video section with a codec this server knows")

// New declares the stream's tracks by what was agreed and makes it ready. From
// now on packets are taken; Run makes frames of them.
func New(c Config) (*Tap, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tap{c: c, log: c.Log, md: c.Media, stream: c.Stream, queue: make(chan leg.Packet, queueLen), wake: make(chan struct{}, 1),
		formats: map[media.Kind]map[uint8]rtpin.Format{}, noise: map[media.Kind][]uint8{}, switched: map[media.Kind]time.Time{}, current: map[media.Kind]*media.Track{}}
	t.in = rtpin.NewInput(c.RTPIn, time.Now())
	t.in.OnCodecChange = t.changeCodec
	for _, info := range t.md.Tracks() {
		if _, err := t.addTrack(info); err != nil {
			return nil, err
		}
	}
	if len(t.tracks) == 0 {
		return nil, ErrNoMedia
	}
	for _, tr := range t.tracks {
		t.stream.AddTrack(tr)
	}
	if c.MidCall && t.current[media.Video] != nil {
		t.requestKeyframe()
	}
	t.stream.SetQuality(t.quality)
	t.stream.SetReady()
	return t, nil
}

// Run receives from m until ctx ends or m does, and runs t meanwhile. recv gets
// every packet and hands it to t among others; nil means that t alone gets them.
// The error is why it ended before ctx did.
func Run(ctx context.Context, m leg.Media, t *Tap, recv func(leg.Packet)) error {
	if recv == nil {
		recv = t.Receive
	}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	received := make(chan error, 1)
	go func() {
		defer cancel()
		received <- m.Run(both, recv)
	}()
	err := t.Run(both)
	cancel()
	if lost := <-received; ctx.Err() == nil {
		err = errors.Join(err, lost)
	}
	return err
}

// Receive takes a packet, which it only reads: others may be given the same one.
// It never waits; what comes faster than it can be taken is dropped and counted.
func (t *Tap) Receive(p leg.Packet) {
	if !t.wants(p.Kind) {
		return
	}
	select {
	case t.queue <- p:
	default:
		t.dropped.Add(1)
	}
}

func (t *Tap) wants(k media.Kind) bool { return t.c.Kinds == nil || slices.Contains(t.c.Kinds, k) }

// MediaChanged says that something else may have been agreed on.
func (t *Tap) MediaChanged() {
	t.changed.Store(true)
	t.poke()
}

// requestKeyframe is safe from any goroutine; that of Run does the asking.
func (t *Tap) requestKeyframe() {
	if t.wantKey.CompareAndSwap(false, true) {
		t.poke()
	}
}

func (t *Tap) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Stats are at most a second old; nil before the first.
func (t *Tap) Stats() *rtpin.Stats { return t.stats.Load() }

// Dropped counts packets that came faster than they could be taken.
func (t *Tap) Dropped() uint64 { return t.dropped.Load() }

// Run makes frames until ctx ends, then hands on what the buffers still hold. A
// panic in it is returned as an error. The stream is left open.
func (t *Tap) Run(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the receiver of media panicked: %v\n%s", r, debug.Stack())
		}
	}()
	t.loop(ctx)
	t.summary()
	return nil
}

func (t *Tap) loop(ctx context.Context) {
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
		case <-ctx.Done():
			t.drain()
			t.in.Flush(time.Now(), t.emit)
			return
		}
	}
}

// drain takes what is queued without waiting.
func (t *Tap) drain() {
	for range queueLen {
		select {
		case p := <-t.queue:
			t.take(p)
		default:
			return
		}
	}
}

func (t *Tap) take(p leg.Packet) {
	if p.RTP != nil {
		t.in.PushRTP(p.Kind, p.RTP, p.At)
	} else {
		t.in.PushRTCP(p.Kind, p.RTCP, p.At)
	}
}

func (t *Tap) emit(f *media.Frame) {
	if f.Key && f.Track.Kind == media.Video {
		t.keyframe(time.Now())
	}
	t.stream.Write(f)
}

// summary is the one line from which an operator sees how good the media was.
func (t *Tap) summary() {
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

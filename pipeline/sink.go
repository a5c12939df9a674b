// Package pipeline carries frames from one source to any number of sinks. A
// Stream is a named set of tracks on one timeline; each sink hangs on it by an
// Attachment with its own queue, goroutine and retry rule; sinks that need
// another codec share one conversion. The package knows no protocol.
package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"lineout/media"
)

// Sink consumes a stream. All its methods are called from one goroutine, in
// the order Open, Write…, Close; after Close (or a failed Open) it may be
// opened again when the attachment retries or the set of tracks changed.
type Sink interface {
	// Accepts says what the sink can take. Called before every Open, when the
	// stream's tracks are known, and when one joins: a sink that then names
	// other codecs is closed and opened again.
	Accepts() Accepts
	// Open dials, writes headers. tracks holds at most one track per kind; a
	// kind the stream does not have (yet) is missing, which is no error.
	Open(ctx context.Context, tracks []*media.Track) error
	// Write takes one frame. It may block: the queue is for that. The frame
	// and everything it points to is shared and must not be changed. Video
	// begins with a key frame, after Open and after every drop.
	Write(ctx context.Context, f *media.Frame) error
	// Close finishes the file or says goodbye. Called once for each
	// successful Open, also after a failed Write. ctx bounds it.
	Close(ctx context.Context) error
}

// TrackAdder is implemented by sinks that can take up a track that appears
// after Open. Other sinks are closed and opened again with all tracks.
// An AddTrack that returns ErrReopen asks for just that.
type TrackAdder interface {
	AddTrack(ctx context.Context, t *media.Track) error
}

// LossWatcher is implemented by sinks that learn by themselves that their peer
// is gone, so that this is known also while no frame flows.
type LossWatcher interface {
	// Lost is closed when the peer is gone; it belongs to the latest Open.
	Lost() <-chan struct{}
	// LossErr says why, once Lost is closed.
	LossErr() error
}

// Accepts says what a sink takes.
type Accepts struct {
	// Audio and Video are codecs, best first; empty means the kind is not wanted.
	Audio, Video []media.Codec
	// Streaming says that what is taken is played at once, elsewhere: the
	// rules for players and pushes hold (codecs.Rules), not those for files.
	Streaming bool
	// NeedParams holds Open back until the video track's parameters are known
	// (a container header needs the picture size), at most for TrackWait after
	// the first frame of any track, and for [Policy].MaxDelay more if the track
	// has pictures that are only being converted; then Open is called without the
	// track and it comes later by TrackAdder or a new Open.
	NeedParams bool
	TrackWait  time.Duration
	// KeyframeEvery asks the source for a key frame at this period while the
	// sink is open, because segments can only be cut there. 0 = never.
	KeyframeEvery time.Duration
	// Interleave is how long a frame may be held so that frames of both kinds
	// come in DTS order. 0 = as they arrive.
	Interleave time.Duration
}

// sameCodecs says that two answers ask for the same media.
func (a Accepts) sameCodecs(b Accepts) bool {
	return slices.Equal(a.Audio, b.Audio) && slices.Equal(a.Video, b.Video)
}

// Policy limits what waits for a slow sink and says what happens then.
type Policy struct {
	// MaxDelay bounds the queue in media time, MaxBytes in payload bytes; zero
	// values mean 2 s and 8 MiB.
	MaxDelay time.Duration
	MaxBytes int
	// Lossless never drops a frame: an overflow fails the sink with ErrSlow,
	// and Retry decides whether it is opened again. Otherwise (live) an
	// overflow drops up to the newest queued key frame.
	Lossless bool
	// Retry says whether and when a failed sink is opened again.
	Retry Backoff
	// OnState is called on each change of state, in order, on the
	// attachment's goroutine; it must not block. err is why it was left.
	OnState func(s State, err error)
}

// Backoff is a retry rule. Waits grow from Min to Max by doubling.
type Backoff struct {
	// Min of 0 means: never retry.
	Min, Max time.Duration
	// MaxTries bounds consecutive failures; 0 = no bound.
	MaxTries int
}

// State of an attachment. They map one to one on rtmpStreamStatus (S2-28).
type State uint8

// The states of an attachment.
const (
	Waiting State = iota // not opened yet: waits for tracks, or is dialling
	Active               // open and writing
	Lost                 // was open, failed, and is being retried
	Failed               // could never be opened so far, or gave up
	Closed               // ended because it was detached or the stream ended
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Active:
		return "active"
	case Lost:
		return "lost"
	case Failed:
		return "failed"
	case Closed:
		return "closed"
	}
	return "unknown"
}

// Errors of the package.
var (
	// ErrSlow ends a lossless attachment whose sink cannot keep up.
	ErrSlow = errors.New("the sink is slower than the stream and its queue is full")
	// ErrReopen is what AddTrack returns to be closed and opened with all tracks.
	ErrReopen = errors.New("the sink has to be opened again with all tracks")
	// ErrNameInUse says that a stream of this name exists.
	ErrNameInUse = errors.New("Stream name is already in use")
	// ErrIDInUse says that a stream with this ID exists.
	ErrIDInUse = errors.New("MediaSessionId is already in use")
	// ErrClosed says that the stream has ended.
	ErrClosed = errors.New("the stream has ended")
)

// Permanent wraps an error that no retry can cure (a refused login, a bad
// codec): the attachment fails at once.
type Permanent struct{ Err error }

func (p *Permanent) Error() string { return p.Err.Error() }
func (p *Permanent) Unwrap() error { return p.Err }

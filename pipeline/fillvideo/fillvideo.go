// Package fillvideo wraps a sink that must not run dry of pictures: RTMP
// servers that wait for video before they publish, HLS whose segments are cut
// by pictures. It gives a black track to a stream that has none, and repeats
// the last key frame when real pictures stop while the sound goes on.
//
// It is passive. The sound's timeline is the clock, so generated pictures stop
// with the sound. They stay behind it by a margin, so that real pictures find
// their place free; sound is passed through untouched and real pictures keep
// their times.
package fillvideo

import (
	"context"
	"slices"
	"time"

	"lineout/codecs/h264"
	"lineout/media"
	"lineout/pipeline"
)

// keyEvery is the distance of key frames where the sink does not ask for one.
const keyEvery = 2 * time.Second

// slow times the pace of the newest pictures must pass before they count as
// stopped: a shared screen may send one every few seconds, and would have to
// begin with a key frame each time.
const slow = 3

// Wrap puts a filler around a sink for H.264. generate overrides the setting
// of that name; the rest is c's, which must be valid. A sink that cannot take
// up a track gets frames of the real track in place of the black one when real
// pictures come, with other parameters.
func Wrap(inner pipeline.Sink, c Config, generate bool) pipeline.Sink {
	if !generate && c.Repeat <= 0 {
		return inner
	}
	return &sink{Sink: inner, cfg: c, generate: generate}
}

// sink is what an attachment sees. All methods are called from its goroutine.
type sink struct {
	pipeline.Sink
	cfg      Config
	generate bool

	every time.Duration // distance of key frames
	black *h264.Black   // nil: there was a real track from the start
	track *media.Track  // black's
	real  *media.Track  // what the inner sink must be told of before its first frame

	heard   bool          // there was sound since Open
	begun   bool          // there was a picture, also before this Open
	last    time.Duration // DTS of the newest picture given on
	key     *media.Frame  // newest real key frame
	seen    time.Duration // DTS of the newest real picture, given on or not
	pace    time.Duration // between the newest two of them since Open
	paced   bool          // there was one since Open
	filling bool          // the newest picture is generated: real ones begin with a key frame
	next    time.Duration // DTS of the next generated picture
	lastKey time.Duration // DTS of the newest generated key frame
}

var (
	_ pipeline.TrackAdder  = (*sink)(nil)
	_ pipeline.LossWatcher = (*sink)(nil)
)

// Open implements pipeline.Sink.
func (s *sink) Open(ctx context.Context, tracks []*media.Track) error {
	s.every = s.Accepts().KeyframeEvery
	if s.every <= 0 {
		s.every = keyEvery
	}
	s.black, s.track, s.real, s.key, s.heard, s.filling = nil, nil, nil, nil, false, false
	s.paced, s.pace = false, 0
	if s.generate && !slices.ContainsFunc(tracks, func(t *media.Track) bool { return t.Kind == media.Video }) {
		b, err := s.cfg.black()
		if err != nil {
			return err
		}
		s.black = b
		s.track = &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: h264.ClockRate}
		s.track.SetParams(b.Params())
		tracks = append(slices.Clone(tracks), s.track)
	}
	return s.Sink.Open(ctx, tracks)
}

// AddTrack implements pipeline.TrackAdder. A real picture takes over with its
// first key frame, and not before is the inner sink told.
func (s *sink) AddTrack(ctx context.Context, t *media.Track) error {
	if t.Kind == media.Video && s.black != nil {
		s.real = t
		return nil
	}
	return s.join(ctx, t)
}

func (s *sink) join(ctx context.Context, t *media.Track) error {
	if adder, ok := s.Sink.(pipeline.TrackAdder); ok {
		return adder.AddTrack(ctx, t)
	}
	return pipeline.ErrReopen
}

// Lost implements pipeline.LossWatcher.
func (s *sink) Lost() <-chan struct{} {
	if w, ok := s.Sink.(pipeline.LossWatcher); ok {
		return w.Lost()
	}
	return nil
}

// LossErr implements pipeline.LossWatcher.
func (s *sink) LossErr() error { return s.Sink.(pipeline.LossWatcher).LossErr() }

// Write implements pipeline.Sink.
func (s *sink) Write(ctx context.Context, f *media.Frame) error {
	if f.Track.Kind == media.Video {
		return s.picture(ctx, f)
	}
	if err := s.fill(ctx, f); err != nil {
		return err
	}
	return s.Sink.Write(ctx, f)
}

// picture passes a real picture on. After generated ones that is the first key
// frame whose place is free; the others are not missed, because they refer to
// pictures that are long over.
func (s *sink) picture(ctx context.Context, f *media.Frame) error {
	if s.paced {
		s.pace = f.DTS - s.seen
	}
	s.paced, s.seen = true, f.DTS
	if s.begun && f.DTS <= s.last || s.filling && !f.Key {
		s.filling = true
		f.Track.AskKeyframe()
		return nil
	}
	if s.real != nil {
		if adder, ok := s.Sink.(pipeline.TrackAdder); ok {
			if err := adder.AddTrack(ctx, s.real); err != nil {
				return err
			}
		}
	}
	s.real, s.black, s.filling = nil, nil, false
	s.begun, s.last = true, f.DTS
	if f.Key {
		s.key = f
	}
	return s.Sink.Write(ctx, f)
}

// fill writes the generated pictures that are due when sound is at f.
func (s *sink) fill(ctx context.Context, f *media.Frame) error {
	first := !s.heard
	s.heard = true
	horizon := f.DTS - s.cfg.Margin
	step := s.every
	switch {
	case s.black != nil:
		step = time.Second / time.Duration(s.cfg.Rate)
		if first { // nothing real can have come so early, and players begin with a picture
			s.next, horizon = s.free(f.DTS), f.DTS
			s.lastKey = s.next - s.every
		}
	case s.cfg.Repeat > 0 && s.key != nil && (s.filling || f.DTS-s.seen > max(s.cfg.Repeat, slow*s.pace)):
		if !s.filling {
			s.next = s.free(horizon)
		}
	default:
		return nil
	}
	if horizon-s.next > 2*step { // a pause in the sound is one in the picture
		s.next = horizon
	}
	for ; s.next <= horizon; s.next += step {
		if err := s.generated(ctx, f, s.next); err != nil {
			return err
		}
	}
	return nil
}

// free is the given time, or the first one after the newest picture.
func (s *sink) free(at time.Duration) time.Duration {
	if s.begun {
		return max(at, s.last+time.Millisecond)
	}
	return at
}

// generated writes one generated picture.
func (s *sink) generated(ctx context.Context, sound *media.Frame, at time.Duration) error {
	g := &media.Frame{PTS: at, DTS: at, Key: true, Filler: true}
	if !sound.Arrival.IsZero() {
		g.Arrival = sound.Arrival.Add(at - sound.DTS)
	}
	switch {
	case s.black == nil:
		g.Track, g.Params, g.Data = s.key.Track, s.key.Params, s.key.Data
	case at-s.lastKey >= s.every:
		g.Track, g.Params, g.Data = s.track, s.black.Params(), s.black.Key()
		s.lastKey = at
	default:
		g.Track, g.Params, g.Data, g.Key = s.track, s.black.Params(), s.black.Same(), false
	}
	s.filling, s.begun, s.last = true, true, at
	return s.Sink.Write(ctx, g)
}

// Package send puts the frames of a stream on a leg: the way into a call. It
// knows leg.Media and nothing of the protocol behind it, so that whatever has
// a stream (another call, a file, a browser) can be heard and seen by whatever
// is a leg.
//
// Codecs are chosen by the pipeline from what the leg takes; sound is cut to
// the packet length the other party asked for, pictures by their codec's
// packetizer. Sound and picture get their RTP timestamps from one relation of
// the stream's timeline to the clock on the wall, the one sender reports speak
// of: what belongs together is played together.
package send

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"lineout/calls/leg"
	"lineout/calls/pack"
	"lineout/codecs"
	"lineout/codecs/h264"
	"lineout/media"
	"lineout/pipeline"
)

const (
	// lead is by how much a frame's moment lies after the time it is sent, so
	// that the track that comes later by a conversion still is in time.
	lead = 40 * time.Millisecond
	// lateMax is how far frames may fall behind before their moments are
	// chosen anew, leapMax how far a timeline may jump ahead of the clock.
	lateMax = 300 * time.Millisecond
	leapMax = time.Second
	// pauseMin is how long sound may stay away before the leg may fill in
	// silence: what then comes late must not claim the time of that silence.
	pauseMin = 150 * time.Millisecond
)

// Policy is that of a Sink's attachment: who talks wants what is new, not what
// waited.
var Policy = pipeline.Policy{MaxDelay: 500 * time.Millisecond}

// Sink sends a stream to a leg. One at a time may do so.
type Sink struct {
	md    leg.Media
	table *codecs.Table
	log   *slog.Logger
	plan  atomic.Pointer[plan]
	video atomic.Pointer[media.Track]

	// What follows belongs to the attachment's goroutine.
	sound   *pack.Sound
	picture *pack.Picture
	epoch   time.Time // the moment of PTS 0, zero before the first frame
	newest  time.Duration
	newAt   time.Time
	end     time.Time // of the sound sent
	heard   time.Time // when sound was sent last
}

// New returns a sink for a leg that has been answered.
func New(md leg.Media, table *codecs.Table, log *slog.Logger) *Sink {
	s := &Sink{md: md, table: table, log: log}
	s.plan.Store(read(md, table))
	return s
}

// Sends says which kinds the leg may be sent now.
func (s *Sink) Sends() (audio, video bool) {
	p := s.plan.Load()
	return len(p.audio) > 0, len(p.video) > 0
}

// Stale says that the leg's media was agreed on anew and differently: the sink
// is to be replaced by a new one.
func (s *Sink) Stale() bool { return !s.plan.Load().same(read(s.md, s.table)) }

// KeyframeWanted passes a request of the other party on to the source, which
// limits the rate. Safe from any goroutine.
func (s *Sink) KeyframeWanted() { s.video.Load().AskKeyframe() }

// HasVideo says that there are pictures in what is sent. Safe from any goroutine.
func (s *Sink) HasVideo() bool { return s.video.Load() != nil }

// Accepts implements pipeline.Sink.
func (s *Sink) Accepts() pipeline.Accepts {
	p := s.plan.Load()
	return pipeline.Accepts{Audio: p.audio, Video: p.video}
}

// Open implements pipeline.Sink.
func (s *Sink) Open(ctx context.Context, tracks []*media.Track) error {
	s.sound, s.picture, s.epoch, s.end = nil, nil, time.Time{}, time.Time{}
	for _, t := range tracks {
		if err := s.AddTrack(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// AddTrack implements pipeline.TrackAdder.
func (s *Sink) AddTrack(_ context.Context, t *media.Track) error {
	p := s.plan.Load()
	f, ok := p.formats[t.Codec]
	if !ok {
		return fmt.Errorf("send %s into the call: the other party does not take %s any more", t.Kind, t.Codec)
	}
	c := s.table.Get(t.Codec)
	if t.Kind == media.Audio {
		s.sound = pack.NewSound(c, p.packetTime, func(at time.Time, length time.Duration, payload []byte) error {
			return s.md.WriteRTP(media.Audio, leg.Outgoing{PayloadType: f.PayloadType, At: at, Length: length, Payload: payload})
		})
		return nil
	}
	s.picture = pack.NewPicture(c, f.Fmtp, func(at time.Time, marker bool, payload []byte) error {
		return s.md.WriteRTP(media.Video, leg.Outgoing{PayloadType: f.PayloadType, At: at, Marker: marker, Payload: payload})
	})
	s.video.Store(t)
	if c.Name() == h264.Name {
		s.compare(t, f)
	}
	return nil
}

// compare tells of what the other party did not say it can decode. It is sent
// all the same: phones understate, and there is nothing better to send.
func (s *Sink) compare(t *media.Track, f leg.Format) {
	if pack.PacketizationMode(f.Fmtp) == 0 {
		s.log.Debug("the other party agreed to H.264 packetization mode 0: what does not fit into a packet is fragmented all the same")
	}
	has, takes := h264.ProfileLevel(t.Params()), pack.Parameter(f.Fmtp, "profile-level-id")
	if has != "" && len(takes) == 6 && has[:2] > "42" && takes[:2] == "42" {
		s.log.Info("picture of a higher H.264 profile than the other party says it takes", "has", has, "takes", takes)
	}
}

// Write implements pipeline.Sink.
func (s *Sink) Write(_ context.Context, f *media.Frame) error {
	var err error
	switch {
	case f.Track.Kind == media.Audio && s.sound != nil:
		if err = s.sound.Write(s.moment(f), f); err == nil {
			s.end = s.sound.End()
		}
	case f.Track.Kind == media.Video && s.picture != nil:
		err = s.picture.Write(s.moment(f), f)
	}
	if errors.Is(err, leg.ErrEnded) {
		return nil // the call's end takes the sink away
	}
	return err
}

// Close implements pipeline.Sink.
func (s *Sink) Close(context.Context) error {
	if s.sound == nil {
		return nil
	}
	if err := s.sound.Flush(); err != nil && !errors.Is(err, leg.ErrEnded) {
		return err
	}
	return nil
}

// moment is the time a frame belongs to: its place on the timeline, which is
// tied to the clock by the first frame, for both kinds.
func (s *Sink) moment(f *media.Frame) time.Time {
	now := time.Now()
	at := s.epoch.Add(f.PTS)
	late := now.Sub(at) > lateMax
	if f.Track.Kind == media.Audio {
		late = late || at.Before(now) && now.Sub(s.heard) > pauseMin
		s.heard = now
	}
	leap := !s.epoch.IsZero() && (f.PTS-s.newest)-now.Sub(s.newAt) > leapMax
	if s.epoch.IsZero() || leap || late {
		at = now.Add(lead)
		if s.end.After(at) {
			at = s.end
		}
		s.epoch = at.Add(-f.PTS)
	}
	if s.newAt.IsZero() || leap || f.PTS > s.newest {
		s.newest, s.newAt = f.PTS, now
	}
	return at
}

package recorder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lineout/media"
	"lineout/pipeline"
)

// videoSilence is how long video may be missing before a rotation no longer
// waits for its key frame.
const videoSilence = 2 * time.Second

// sink writes one recording as a series of files. All methods are called from
// the attachment's goroutine.
type sink struct {
	r *recording
	w *finisher

	next   *container      // that the stream's tracks ask for
	format *container      // of the tracks it was opened with
	tracks [3]*media.Track // by kind
	params [3]*media.Params
	cur    *liveFile
	part   int
	asked  bool // a key frame was asked for to rotate at

	lastVideo, lastSound time.Duration
	turned               bool // a part began because the picture's parameters changed, at turnedAt
	turnedAt             time.Duration

	gaps   *gapLog // of the open file
	offset *offsetMeter
	before pipeline.Quality
	digits int // of the stream that stand in files, or came before them
	cont   continuity
	kept   [3]time.Duration // cont.end of what is in files
	hidden [3]hiding        // by kind
}

// reorder is how long a Matroska file waits for the other kind, because its
// clusters should follow each other in time.
const reorder = 200 * time.Millisecond

// Accepts implements pipeline.Sink. The stream's video decides about the
// container, and the container about the codec sound is asked for in. Tracks
// are taken as they come: a file's header has room for one that is late.
func (s *sink) Accepts() pipeline.Accepts {
	s.next = s.r.container()
	a := pipeline.Accepts{Audio: s.next.audio, Video: s.r.wantedVideo(s.next)}
	if s.next.interleaved {
		a.Interleave = reorder
	}
	return a
}

// Open implements pipeline.Sink. The file is made when the first frame is
// there, because its name may hold that frame's time.
func (s *sink) Open(_ context.Context, tracks []*media.Track) error {
	s.tracks, s.params, s.cur = [3]*media.Track{}, [3]*media.Params{}, nil
	if s.r.faulted.Swap(false) {
		s.cont.fault()
	}
	s.format = s.next
	for _, t := range tracks {
		s.tracks[t.Kind] = t
	}
	s.r.noteMissing(tracks)
	if s.part == 0 {
		_ = s.pressed(time.Now()) // before the recording
	}
	return nil
}

// AddTrack implements pipeline.TrackAdder.
func (s *sink) AddTrack(_ context.Context, t *media.Track) error {
	s.tracks[t.Kind] = t
	s.r.noteMissing(s.tracks[1:])
	return nil
}

// Write implements pipeline.Sink.
func (s *sink) Write(_ context.Context, f *media.Frame) error {
	k := f.Track.Kind
	p := f.Params
	if p == nil {
		p = f.Track.Params()
	}
	if p == nil {
		s.r.skip(f, "its decoder parameters are unknown")
		return nil
	}
	if err := s.format.usable(k, p); err != nil {
		s.r.skip(f, err.Error())
		return nil
	}
	if f = s.hide(f, p); f == nil {
		return nil
	}
	if s.cur != nil {
		end, err := s.changed(f, p)
		if err != nil {
			s.fault()
			return err
		}
		if end || s.full(f) {
			if err := s.finishPart(false, arrival(f)); err != nil {
				return err
			}
		}
	}
	if s.cur == nil {
		if err := s.begin(f, p); err != nil {
			return err
		}
	} else if s.params[k] == nil {
		if err := s.cur.addTrack(f.Track, p); err != nil {
			s.fault()
			return err
		}
	}
	if s.params[k] == nil || f.Key {
		s.params[k] = p
	}
	if k == media.Video {
		s.lastVideo = f.DTS
	} else {
		s.lastSound = f.DTS
	}
	written := s.cont.end // by the fragment that may be written now
	s.cont.next(f, s.gaps)
	if h := s.hidden[k].what; h != "" {
		s.gaps.note(span{k, h, f.DTS, f.DTS + f.Duration})
	}
	s.offset.take(f)
	before := s.cur.size
	if err := s.cur.write(f); err != nil {
		s.fault()
		return err
	}
	if s.cur.size > before {
		s.kept = written
	}
	s.r.frames.Add(1)
	s.r.bytes.Add(uint64(s.cur.size - before))
	return nil
}

// changeEvery is the least time between two parts that begin because the
// picture's parameters changed. Some phones send another SPS with each key frame.
const changeEvery = 10 * time.Second

// changed says that a frame does not fit the header of the open file, which
// then ends. Pictures that change again too soon, and those of a source that
// adapts them, stay in it and bring their parameters with them.
func (s *sink) changed(f *media.Frame, p *media.Params) (end bool, err error) {
	k := f.Track.Kind
	old := s.params[k]
	if old == nil || !f.Key {
		return false, nil
	}
	if k == media.Video {
		old = s.cur.header.video
	}
	if old == p || fitsSets(old, p) {
		return false, nil
	}
	if k == media.Video {
		if s.r.stream.Meta().Adapts || s.turned && f.DTS-s.turnedAt < changeEvery {
			return false, s.cur.keepInBand()
		}
		s.turned, s.turnedAt = true, f.DTS
	}
	return true, nil
}

// full says that the file has to end before this frame: it is to be rotated, or
// a hole is too long to be filled. With video that
// is at a key frame, which is asked for, so that no picture is lost.
func (s *sink) full(f *media.Frame) bool {
	if s.format.untimed && f.DTS-s.lastSound > longHole {
		return true
	}
	limit := s.r.rotation
	if !limit.set() {
		return false
	}
	over := limit.bytes > 0 && s.cur.size+int64(s.cur.mux.held()) >= limit.bytes ||
		limit.after > 0 && f.DTS-s.cur.started >= limit.after
	if !over {
		return false
	}
	if s.params[media.Video] == nil || f.Track.Kind == media.Audio && f.DTS-s.lastVideo > videoSilence {
		return true
	}
	if f.Track.Kind == media.Video {
		if f.Key {
			return true
		}
		if !s.asked {
			s.asked = true
			f.Track.AskKeyframe()
		}
	}
	return false
}

// arrival is when a frame came, now for a generated one.
func arrival(f *media.Frame) time.Time {
	if f.Arrival.IsZero() {
		return time.Now()
	}
	return f.Arrival
}

// begin opens the next file with the frame's track in its header.
func (s *sink) begin(f *media.Frame, p *media.Params) error {
	now := arrival(f)
	start := f.NTP
	if start.IsZero() {
		start = now
	}
	st := s.r.stream
	m := st.Meta()
	fs := facts{stream: shorten(st.Name()), mediaSession: st.ID(), session: m.SessionID, login: m.Login, start: start, startServer: now}
	s.part++
	h := header{meta: fileMeta{Stream: fs.stream, Base: fs.early(s.r.template), MediaSession: fs.mediaSession, Part: s.part,
		Unique: uniqueParts(s.r.template), StartMS: start.UnixMilli(), StartServerMS: now.UnixMilli(),
		SenderClock: !f.NTP.IsZero(), Call: callFactsOf(m)}}
	h.add(f.Track, p)
	cur, err := createLive(s.r.dir, s.format, h, s.r.syncEvery)
	if err != nil {
		s.part--
		s.fault()
		return err
	}
	s.w.begin()
	s.gaps, s.offset = &gapLog{}, &offsetMeter{}
	s.before, _ = s.r.stream.Quality()
	s.cur, s.asked, s.params = cur, false, [3]*media.Params{}
	s.params[f.Track.Kind] = p
	s.r.opened(h.meta.Base, s.format.ext, s.part)
	return nil
}

// finishPart writes what is left of the open file and hands it over to be
// finalised. until is when the next file begins.
func (s *sink) finishPart(last bool, until time.Time) error {
	cur := s.cur
	if cur == nil {
		return nil
	}
	s.cur, s.params = nil, [3]*media.Params{}
	before := cur.size
	s.noteHidden()
	known := s.seen(cur, until)
	err := cur.flush()
	if err != nil {
		s.fault()
	} else {
		s.kept = s.cont.end
	}
	s.r.bytes.Add(uint64(cur.size - before))
	s.r.submitted()
	s.w.submit(job{f: cur.f, path: cur.path, last: last, seen: known, placed: s.r.placed})
	s.w.end()
	return err
}

// fault marks that what was not written yet is missing before the next part.
func (s *sink) fault() {
	s.cont.end = s.kept
	s.cont.fault()
}

// seen is what is known about the file that is being closed.
func (s *sink) seen(cur *liveFile, until time.Time) *seen {
	k := &seen{gaps: s.gaps.list(cur.started), more: s.gaps.omitted, offset: s.offset.result(), before: s.before}
	if t := s.offset.sender; !t.IsZero() {
		k.sender = t.Add(cur.started)
	}
	k.after, k.measured = s.r.stream.Quality()
	k.digits = s.pressed(until)
	if list, all := s.r.stream.Digits(); s.digits == len(list) {
		k.moreDigits = all - len(list)
	}
	return k
}

// pressed are the digits that came before a time and were not asked for yet.
func (s *sink) pressed(before time.Time) (out []pipeline.Digit) {
	list, _ := s.r.stream.Digits()
	for s.digits < len(list) && list[s.digits].At.Before(before) {
		out = append(out, list[s.digits])
		s.digits++
	}
	return out
}

// Close implements pipeline.Sink. The last part is only the last if nobody is
// going to open the sink again.
func (s *sink) Close(context.Context) error {
	last := s.r.stopping.Load()
	select {
	case <-s.r.stream.Closing():
		last = true
	default:
	}
	if err := s.finishPart(last, time.Now()); err != nil {
		return fmt.Errorf("the end of the recording is missing: %w", err)
	}
	return nil
}

// errDisabled answers recordings when record_streams is false.
var errDisabled = errors.New("recording is switched off by record_streams=false")

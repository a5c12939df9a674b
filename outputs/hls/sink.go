package hls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/bluenviron/gohlslib/v2"
	"github.com/bluenviron/gohlslib/v2/pkg/codecs"
	mch264 "github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"lineout/codecs/aac"
	"lineout/codecs/h264"
	"lineout/media"
	"lineout/pipeline"
)

// sink writes a stream into its packager's muxers.
type sink struct {
	p *packager

	tracks [3]*media.Track // by kind
	gen    *generation
	video  *media.Params // in the muxer's header
	audio  *media.Params
	rate   int64
	au     [][]byte // reused
	// epoch is the wall clock at the stream's time zero.
	epoch time.Time
	// What is needed to close a segment early: where it began, the newest
	// frame's time and length, and a picture to begin another one with.
	segment, newest, step time.Duration
	sound                 time.Duration       // time of the newest audio, -1 if none
	heard                 time.Duration       // where that ends
	ahead                 time.Duration       // of decoding a picture before it is shown, at most
	order                 mch264.DTSExtractor // finds what the muxer's own finds
	key                   [][]byte
	unit                  [][]byte
	silent                [][]byte       // an access unit of silence, made when needed
	pictures              int            // given to the muxer
	early                 []*media.Frame // sound that waits for the first of them
	// lame says that the muxer could not follow a picture, and waits for the
	// next key frame.
	lame bool
}

// Accepts implements pipeline.Sink. AAC is all that every player takes.
func (s *sink) Accepts() pipeline.Accepts {
	return pipeline.Accepts{Audio: []media.Codec{aac.Name}, Video: []media.Codec{h264.Name}, NeedParams: true,
		Streaming: true,
		TrackWait: 3 * time.Second, KeyframeEvery: s.p.o.cfg.SegmentDuration, Interleave: interleave}
}

// interleave brings the kinds into one order: the muxer throws away sound that
// comes before the first picture, and converted pictures come after their sound.
const interleave = 200 * time.Millisecond

// Open implements pipeline.Sink.
func (s *sink) Open(_ context.Context, tracks []*media.Track) error {
	s.tracks, s.video, s.audio, s.epoch = [3]*media.Track{}, nil, nil, time.Time{}
	for _, t := range tracks {
		s.tracks[t.Kind] = t
		if t.Kind == media.Video {
			s.video = t.Params()
		} else {
			s.audio = t.Params()
		}
	}
	return s.begin()
}

// begin starts a generation for the tracks and parameters in force.
func (s *sink) begin() error {
	p := s.p
	mux := &gohlslib.Muxer{Variant: variants[p.o.cfg.Variant], SegmentCount: p.o.cfg.ListSize,
		SegmentMinDuration: p.o.cfg.SegmentDuration, PartMinDuration: p.o.cfg.PartDuration,
		OnEncodeError: func(error) {}} // it reports segments of uneven length, which phones make
	if mux.Variant == gohlslib.MuxerVariantLowLatency {
		// After a discontinuity a low latency playlist goes on as a plain one.
		if p.began() {
			mux.Variant = gohlslib.MuxerVariantFMP4
		}
		mux.SegmentCount = max(mux.SegmentCount, 7) // the muxer's own minimum
	}
	var video, audio *gohlslib.Track
	if s.tracks[media.Video] != nil && s.video != nil && len(s.video.Sets) >= 2 {
		video = &gohlslib.Track{ClockRate: h264.ClockRate, Codec: &codecs.H264{SPS: s.video.Sets[0], PPS: s.video.Sets[1]}}
	}
	if s.tracks[media.Audio] != nil && s.audio != nil && len(s.audio.Sets) > 0 {
		var c mpeg4audio.AudioSpecificConfig
		if err := c.Unmarshal(s.audio.Sets[0]); err != nil {
			return fmt.Errorf("HLS: AudioSpecificConfig: %w", err)
		}
		s.rate = int64(c.SampleRate)
		audio = &gohlslib.Track{ClockRate: c.SampleRate, Codec: &codecs.MPEG4Audio{Config: c}}
	}
	var files []string
	for i, kind := range p.order(video != nil, audio != nil) {
		files = append(files, fmt.Sprintf("%s%d_stream.m3u8", kind, i+1))
		if kind == "video" {
			mux.Tracks = append(mux.Tracks, video)
		} else {
			mux.Tracks = append(mux.Tracks, audio)
		}
	}
	if mux.Variant == gohlslib.MuxerVariantMPEGTS {
		files = []string{"main_stream.m3u8"}
	}
	if p.o.cfg.Dir != "" {
		dir, err := os.MkdirTemp(p.o.cfg.Dir, "stream-*")
		if err != nil {
			return fmt.Errorf("HLS: folder for segments: %w", err)
		}
		mux.Directory = dir
	}
	g, err := newGeneration(mux, files, p.firstMedia)
	if err != nil {
		return fmt.Errorf("HLS: start packager: %w", err)
	}
	g.video, g.audio = video, audio
	s.gen, s.lame, s.key, s.unit, s.segment, s.sound = g, false, nil, nil, -1, -1
	s.pictures, s.early, s.ahead = 0, nil, 0
	s.order = mch264.DTSExtractor{}
	s.order.Initialize()
	p.begin(g)
	return nil
}

// began says that there was a generation already.
func (p *packager) began() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.number > 0
}

// order keeps the number of each track's playlist over generations, so that a
// player finds its playlist again after a track has joined.
func (p *packager) order(video, audio bool) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	has := map[string]bool{"video": video, "audio": audio}
	var kinds []string
	for _, k := range p.kinds {
		if has[k] {
			kinds = append(kinds, k)
		}
	}
	for _, k := range []string{"video", "audio"} {
		if has[k] && !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	p.kinds = kinds
	return kinds
}

// Write implements pipeline.Sink.
func (s *sink) Write(_ context.Context, f *media.Frame) error {
	if s.epoch.IsZero() {
		at := f.Arrival
		if at.IsZero() {
			at = time.Now()
		}
		s.epoch = at.Add(-f.PTS)
	}
	if f.Track.Kind == media.Video {
		return s.writeVideo(f)
	}
	return s.writeAudio(f)
}

func (s *sink) writeVideo(f *media.Frame) error {
	if f.Key && f.Params != nil && f.Params != s.video {
		changed := s.video == nil || len(f.Params.Sets) > 0 && !bytes.Equal(f.Params.Sets[0], s.video.Sets[0])
		s.video = f.Params
		if changed {
			s.finish()
			if err := s.begin(); err != nil {
				return err
			}
		}
	}
	if f.Key && s.key != nil && f.PTS-s.newest > s.maxHole() {
		s.finish()
		if err := s.begin(); err != nil {
			return err
		}
	}
	g := s.gen
	if g.video == nil || s.lame && !f.Key {
		return nil
	}
	s.lame = false
	// The muxer takes its decoder configuration, and what it needs to find
	// decoding times, from parameter sets in band.
	s.au = s.au[:0]
	if f.Key && s.video != nil && !h264.HasParameterSets(f.Data) {
		s.au = append(s.au, s.video.Sets...)
	}
	for _, n := range f.Data {
		if len(n) > 0 {
			s.au = append(s.au, n)
		}
	}
	if len(s.au) == 0 {
		return nil
	}
	pts := ticks(f.PTS, h264.ClockRate)
	dts, err := s.order.Extract(s.au, pts)
	at := since(dts, h264.ClockRate)
	if err == nil && f.Key && s.cuts(at) && !s.hasSound() {
		if err := s.fillSound(); err != nil {
			return err
		}
	}
	if err = errors.Join(err, g.mux.WriteH264(g.video, s.epoch.Add(f.PTS), pts, s.au)); err != nil {
		// A damaged picture, or more lost ones than it can follow.
		s.lame = true
		f.Track.AskKeyframe()
		return nil
	}
	if f.Key {
		s.key = append(s.key[:0], s.au...)
	}
	s.follow(f.PTS, at, f.Key)
	s.ahead = max(s.ahead, f.PTS-at)
	if s.pictures++; s.pictures == s.first() {
		return s.release()
	}
	return nil
}

// maxEarly bounds the sound that waits for pictures: 2.7 s.
const maxEarly = 128

// first is how many pictures there must be before the muxer takes sound.
func (s *sink) first() int {
	if s.looksAhead() {
		return 2
	}
	return 1
}

// looksAhead says that the muxer gives a frame out only with the next one of
// its track.
func (s *sink) looksAhead() bool { return s.p.o.cfg.Variant != "mpegts" }

// release gives the muxer the sound that waited for pictures.
func (s *sink) release() error {
	for _, f := range s.early {
		if err := s.giveAudio(f); err != nil {
			return err
		}
	}
	clear(s.early)
	s.early = s.early[:0]
	return nil
}

func (s *sink) giveAudio(f *media.Frame) error {
	if err := s.gen.mux.WriteMPEG4Audio(s.gen.audio, s.epoch.Add(f.PTS), ticks(f.PTS, s.rate), f.Data); err != nil {
		return fmt.Errorf("HLS: audio: %w", err)
	}
	return nil
}

func (s *sink) writeAudio(f *media.Frame) error {
	if f.Params != nil && s.audio != nil && f.Params != s.audio && len(f.Params.Sets) > 0 && !bytes.Equal(f.Params.Sets[0], s.audio.Sets[0]) {
		s.audio = f.Params
		s.finish()
		if err := s.begin(); err != nil {
			return err
		}
	}
	g := s.gen
	if g.audio == nil {
		return nil
	}
	if g.video != nil && s.pictures < s.first() {
		if len(s.early) == maxEarly {
			s.early = slices.Delete(s.early, 0, 1)
		}
		s.early = append(s.early, f)
	} else if err := s.giveAudio(f); err != nil {
		return err
	}
	s.sound = f.PTS
	if n := len(f.Data); n > 0 {
		s.unit, s.heard = f.Data[n-1:], f.PTS+time.Duration(n)*aac.FrameSize*time.Second/time.Duration(s.rate)
		for i := 0; i < n && g.video == nil; i++ {
			s.follow(f.PTS, since(ticks(f.PTS, s.rate)+int64(i)*aac.FrameSize, s.rate), true)
		}
	}
	return nil
}

// Close implements pipeline.Sink.
func (s *sink) Close(context.Context) error {
	if s.gen != nil {
		s.finish()
		s.gen = nil
	}
	return nil
}

// follow notes the leading track's progress the way the muxer cuts segments: at
// a key frame whose decoding time is at least a segment's length after the last
// cut, in whole ticks.
func (s *sink) follow(pts, at time.Duration, key bool) {
	if key && (s.segment < 0 || s.cuts(at)) {
		s.segment = at
	}
	if d := pts - s.newest; d > 0 && d < time.Second {
		s.step = d
	}
	s.newest = max(s.newest, pts)
}

// finish ends the generation with all it was given. The muxer gives a segment
// out only when the next one begins, so one more key frame is written that
// makes it begin and that nobody will ever be given.
func (s *sink) finish() {
	g := s.gen
	// Where pictures are reordered, the muxer takes a picture to be decoded at a
	// fraction of the way from the one before to its time of showing.
	rest := max(s.step, s.segment+s.p.o.cfg.SegmentDuration+time.Millisecond-s.newest+s.ahead)
	if s.ahead > 0 {
		rest *= 1 + (s.ahead+s.step-1)/max(s.step, 1)
	}
	at := s.newest + rest
	var err error
	switch {
	case g.video != nil && s.key != nil:
		if err = s.endSound(); err != nil {
			break
		}
		err = g.mux.WriteH264(g.video, s.epoch.Add(at), ticks(at, h264.ClockRate), s.key)
	case g.video == nil && s.unit != nil:
		// The muxer looks one frame ahead, so it takes two to begin a segment.
		for range 2 {
			if err == nil {
				err = g.mux.WriteMPEG4Audio(g.audio, s.epoch.Add(at), ticks(at, s.rate), s.unit)
			}
		}
	}
	if err != nil {
		s.p.o.log.Warn("the end of an HLS segment is missing", "stream", s.p.stream.Name(), "err", err)
	}
	s.p.retire(g)
}

// endSound gives the last segment all its sound, or silence if it has none.
func (s *sink) endSound() error {
	switch {
	case s.gen.audio == nil:
		return nil
	case s.sound < s.segment:
		return s.fillSound()
	case !s.looksAhead() || s.unit == nil:
		return nil
	}
	if err := s.release(); err != nil {
		return err
	}
	// The muxer holds the newest frame of sound until the next.
	return s.gen.mux.WriteMPEG4Audio(s.gen.audio, s.epoch.Add(s.heard), ticks(s.heard, s.rate), s.unit)
}

// ticks converts to a track's clock, rounding to the nearest.
func ticks(d time.Duration, rate int64) int64 {
	sec, rest := int64(d/time.Second), int64(d%time.Second)
	return sec*rate + (rest*rate+int64(time.Second)/2)/int64(time.Second)
}

// since converts from a track's clock as the muxer does, rounding down.
func since(t, rate int64) time.Duration {
	return time.Duration(t/rate)*time.Second + time.Duration(t%rate)*time.Second/time.Duration(rate)
}

package rtmp

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"lineout/codecs/h264"
	"lineout/media"
	"lineout/pipeline"
)

const (
	// trackWait is how long the picture size is waited for.
	trackWait = 2 * time.Second
	// interleave brings audio and video into one order; servers cut their
	// segments by it.
	interleave = 200 * time.Millisecond
)

// sink publishes one stream on one RTMP server. It lives through all
// connections of a push and so keeps the timestamps growing. All methods but
// mute are called from the attachment's goroutine.
type sink struct {
	dialer        *dialer
	addr          *address
	flashVer      string
	keyframeEvery time.Duration
	audioCodecs   []media.Codec // best first
	muted         atomic.Bool

	clock clock
	conn  *conn

	video, audio lane
	metaDue      bool // tracks or sizes changed since the last onMetaData
	head         [videoHeadBytes]byte
	hush         []byte // silence in the codec of the track
	unit         [1][]byte

	// aborter cuts the connection when the context it was made for ends.
	aborter     func() bool
	abortedBy   <-chan struct{}
	withoutConf atomic.Uint64 // frames dropped for lack of a decoder configuration
}

// lane is what the server knows of one track.
type lane struct {
	track  *media.Track
	params *media.Params
	config []byte       // the sequence header sent, nil before
	format *audioFormat // nil for video
}

var (
	_ pipeline.Sink       = (*sink)(nil)
	_ pipeline.TrackAdder = (*sink)(nil)

	_ pipeline.LossWatcher = (*sink)(nil)
)

// Accepts implements pipeline.Sink.
func (s *sink) Accepts() pipeline.Accepts {
	return pipeline.Accepts{
		Audio: s.audioCodecs, Video: []media.Codec{h264.Name},
		NeedParams: true, TrackWait: trackWait, Streaming: true,
		KeyframeEvery: s.keyframeEvery, Interleave: interleave,
	}
}

// Open implements pipeline.Sink: it connects and publishes. Metadata and
// sequence headers wait for the first frame, whose timestamp they carry.
func (s *sink) Open(ctx context.Context, tracks []*media.Track) error {
	c, err := s.dialer.dial(ctx, s.addr, s.flashVer)
	if err != nil {
		return fmt.Errorf("RTMP push to %s: %w", s.addr, err)
	}
	s.conn = c
	s.video, s.audio = lane{}, lane{}
	for _, t := range tracks {
		s.join(t)
	}
	return nil
}

// Lost implements pipeline.LossWatcher: the reader sees the server hang up
// also while nothing is sent.
func (s *sink) Lost() <-chan struct{} { return s.conn.done }

// LossErr implements pipeline.LossWatcher.
func (s *sink) LossErr() error {
	err := s.conn.failed()
	if err == nil {
		err = errClosedByServer
	}
	return fmt.Errorf("RTMP push to %s: %w", s.addr, err)
}

// AddTrack implements pipeline.TrackAdder: new metadata go out with the next
// frame, the sequence header with the track's first.
func (s *sink) AddTrack(_ context.Context, t *media.Track) error {
	s.join(t)
	return nil
}

func (s *sink) join(t *media.Track) {
	switch t.Kind {
	case media.Video:
		s.video = lane{track: t}
	case media.Audio:
		s.audio, s.hush = lane{track: t, format: formatOf(t.Codec)}, nil
	}
	s.metaDue = true
}

// Write implements pipeline.Sink.
func (s *sink) Write(ctx context.Context, f *media.Frame) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.watch(ctx)
	if err := s.send(f); err != nil {
		return fmt.Errorf("RTMP push to %s: %w", s.addr, err)
	}
	return nil
}

// watch makes the end of ctx interrupt a blocked write. The attachment passes
// the same context each time, so that this costs nothing per frame.
func (s *sink) watch(ctx context.Context) {
	if s.abortedBy == ctx.Done() && s.aborter != nil {
		return
	}
	s.unwatch()
	s.abortedBy = ctx.Done()
	s.aborter = context.AfterFunc(ctx, s.conn.abort)
}

func (s *sink) unwatch() {
	if s.aborter != nil {
		s.aborter()
		s.aborter = nil
	}
}

func (s *sink) send(f *media.Frame) error {
	l := &s.audio
	if f.Track.Kind == media.Video {
		l = &s.video
	}
	dts, cts := s.clock.stamp(f)
	stamp := uint32(dts)
	if f.Params != nil && f.Params != l.params && l.params != nil {
		s.metaDue = true
	}
	if s.metaDue {
		if err := s.introduce(stamp); err != nil {
			return err
		}
	}
	if f.Params != nil && f.Params != l.params {
		if err := s.configure(l, f.Track.Kind, f.Params, stamp); err != nil {
			return err
		}
	}
	if l.config == nil && l.configured() {
		s.withoutConf.Add(1)
		return nil
	}
	if f.Track.Kind == media.Video {
		return s.sendVideo(f, stamp, cts)
	}
	return s.sendAudio(f, stamp)
}

// configured says that the server needs a sequence header to decode the track.
func (l *lane) configured() bool { return l.format == nil || l.format.packets }

// introduce sends onMetaData and the sequence headers already known, in the
// order in which servers expect them: video first.
func (s *sink) introduce(stamp uint32) error {
	if err := s.conn.data(stamp, "@setDataFrame", "onMetaData", metadata(s.video.track, s.audio.track)); err != nil {
		return err
	}
	s.metaDue = false
	for _, l := range []*lane{&s.video, &s.audio} {
		if l.track == nil || l.config != nil {
			continue
		}
		if p := l.track.Params(); p != nil {
			if err := s.configure(l, l.track.Kind, p, stamp); err != nil {
				return err
			}
		}
	}
	return nil
}

// configure sends the sequence header of p unless the server has that very one.
func (s *sink) configure(l *lane, k media.Kind, p *media.Params, stamp uint32) error {
	l.params = p
	if !l.configured() {
		return nil
	}
	var config []byte
	var err error
	if k == media.Video {
		config, err = avcRecord(p.Sets)
	} else {
		config, err = audioConfig(p)
	}
	if err != nil || bytes.Equal(config, l.config) {
		// Parameters without a decoder configuration are not the server's
		// fault: frames wait for better ones and are counted.
		return nil
	}
	var head []byte
	if k == media.Audio {
		head = l.format.head(&s.head, packetHeader)
	} else {
		head = videoHead(&s.head, tagKeyframe, packetHeader, 0)
	}
	s.unit[0] = config
	if err := s.conn.writeTag(s.header(k, stamp), head, s.unit[:], false); err != nil {
		return err
	}
	l.config = config
	return nil
}

func (s *sink) header(k media.Kind, stamp uint32) outHeader {
	if k == media.Video {
		return outHeader{chunkStream: chunkVideo, typ: typeVideo, stream: s.conn.streamID, stamp: stamp}
	}
	return outHeader{chunkStream: chunkAudio, typ: typeAudio, stream: s.conn.streamID, stamp: stamp}
}

func (s *sink) sendVideo(f *media.Frame, stamp uint32, cts int64) error {
	if avccSize(f.Data) == 0 {
		return nil // parameter sets alone: they went into the sequence header
	}
	first := byte(tagInter)
	if f.Key {
		first = tagKeyframe
	}
	return s.conn.writeTag(s.header(media.Video, stamp), videoHead(&s.head, first, packetMedia, cts), f.Data, true)
}

// sendAudio sends each access unit of the frame as a message of its own.
func (s *sink) sendAudio(f *media.Frame, stamp uint32) error {
	format := s.audio.format
	rate, channels := audioForm(f.Track)
	muted := s.muted.Load()
	var at time.Duration
	for _, au := range f.Data {
		if muted {
			// The silent unit takes the place of the real one, so that nothing
			// else about the push changes.
			au = s.quiet(format, au, channels)
		}
		if len(au) == 0 {
			continue
		}
		s.unit[0] = au
		h := s.header(media.Audio, stamp+uint32(at/time.Millisecond))
		if err := s.conn.writeTag(h, format.head(&s.head, packetMedia), s.unit[:], false); err != nil {
			return err
		}
		at += format.length(au, rate)
	}
	return nil
}

// Close implements pipeline.Sink: it ends the video sequence and the
// publishing, and waits a moment for the server to take both.
func (s *sink) Close(ctx context.Context) error {
	s.unwatch()
	if s.video.config != nil && s.conn.failed() == nil {
		s.conn.writeTag(s.header(media.Video, uint32(s.clock.newest)), videoHead(&s.head, tagKeyframe, packetAVCEnd, 0), nil, false)
	}
	s.conn.close(ctx)
	return nil
}

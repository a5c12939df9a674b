package webrtc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"lineout/codecs"
	"lineout/media"
	"lineout/pipeline"
)

// How often sender reports go out and a missing first key frame is asked for
// again.
const reportEvery = time.Second

// A browser needs two reports of a track before it can relate it to the other,
// so the second one comes early.
const secondReport = 200 * time.Millisecond

// group is all viewers of one stream that get the same codecs. They share one
// attachment: its goroutine writes each packet to every viewer in turn,
// because UDP never blocks and waking a goroutine per viewer costs forty times
// a send. It implements pipeline.Sink.
type group struct {
	key          groupKey
	audio, video *lane // nil: not sent
	counters     *counters

	attach     sync.Once
	attached   chan struct{} // closed when the next two are set
	attachment *pipeline.Attachment
	attachErr  error
	refs       int // guarded by Service.mu

	mu      sync.Mutex
	viewers atomic.Pointer[[]*Viewer]

	// Only the attachment's goroutine uses these.
	epoch   time.Time     // wall clock at the timeline's zero
	at      time.Duration // newest point of the timeline seen
	nextAsk time.Time
}

type groupKey struct {
	stream *pipeline.Stream
	choice choice
}

func newGroup(k groupKey, t *codecs.Table, c Config, n *counters) *group {
	g := &group{key: k, counters: n, attached: make(chan struct{})}
	g.viewers.Store(&[]*Viewer{})
	if k.choice.audio != "" {
		g.audio = newLane(media.Audio, t.Get(k.choice.audio), c)
	}
	if k.choice.video != "" {
		g.video = newLane(media.Video, t.Get(k.choice.video), c)
	}
	return g
}

// dead says that the attachment has ended or never was: a new viewer needs a
// new group.
func (g *group) dead() bool {
	select {
	case <-g.attached:
	default:
		return false
	}
	if g.attachErr != nil {
		return true
	}
	select {
	case <-g.attachment.Done():
		return true
	default:
		return false
	}
}

// start attaches the group to the stream, when its first viewer is connected
// and no sooner: attaching asks for a key frame, and if that came before anybody
// can see it, the next one would have to wait, because senders answer such
// requests at intervals only.
func (g *group) start() error {
	g.attach.Do(func() {
		defer close(g.attached)
		g.attachment, g.attachErr = g.key.stream.Attach("webrtc", g, pipeline.Policy{
			MaxDelay: time.Second,
			Retry:    pipeline.Backoff{Min: 500 * time.Millisecond, Max: 5 * time.Second},
		})
	})
	return g.attachErr
}

func (g *group) lane(k media.Kind) *lane {
	if k == media.Video {
		return g.video
	}
	return g.audio
}

// add lets a connected viewer receive, starting with a key frame, which is
// asked for at once.
func (g *group) add(v *Viewer) {
	g.mu.Lock()
	old := *g.viewers.Load()
	list := append(append(make([]*Viewer, 0, len(old)+1), old...), v)
	g.viewers.Store(&list)
	g.mu.Unlock()
	if v.video != nil {
		g.video.askKeyframe()
	}
}

func (g *group) remove(v *Viewer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := *g.viewers.Load()
	list := make([]*Viewer, 0, len(old))
	for _, o := range old {
		if o != v {
			list = append(list, o)
		}
	}
	g.viewers.Store(&list)
}

// Accepts implements pipeline.Sink.
func (g *group) Accepts() pipeline.Accepts {
	a := pipeline.Accepts{Streaming: true}
	if g.audio != nil {
		a.Audio = []media.Codec{g.audio.codec.Name()}
	}
	if g.video != nil {
		a.Video = []media.Codec{g.video.codec.Name()}
	}
	return a
}

// Open implements pipeline.Sink. It may come again after a change of tracks;
// the viewers notice nothing, since numbering goes on.
func (g *group) Open(_ context.Context, tracks []*media.Track) error {
	for _, t := range tracks {
		if l := g.lane(t.Kind); l != nil {
			l.track.Store(t)
		}
	}
	if len(*g.viewers.Load()) > 0 {
		g.video.askKeyframe()
	}
	return nil
}

// AddTrack implements pipeline.TrackAdder. A kind that was not there when the
// viewers were answered cannot be added without a new offer.
func (g *group) AddTrack(_ context.Context, t *media.Track) error {
	if l := g.lane(t.Kind); l != nil {
		l.track.Store(t)
	}
	return nil
}

// Write implements pipeline.Sink: it sends the frame to every viewer.
func (g *group) Write(_ context.Context, f *media.Frame) error {
	l := g.lane(f.Track.Kind)
	if l == nil {
		return nil
	}
	now := time.Now()
	if g.epoch.IsZero() {
		g.epoch = now.Add(-f.PTS)
	}
	g.at = max(g.at, f.PTS)
	ps, err := l.pack(f)
	if err != nil {
		// One broken picture is no reason to restart the sink for everybody.
		g.counters.unpackable.Add(1)
		return nil
	}
	if len(ps) == 0 {
		return nil
	}
	packets, octets := 0, 0
	for i := range ps {
		octets += len(ps[i].payload)
	}
	waiting := false
	for _, v := range *g.viewers.Load() {
		s := v.sender(l.kind)
		if s == nil {
			continue
		}
		o := s.from.Load()
		if o == nil {
			if !f.Key {
				waiting = true
				continue
			}
			o = s.begin(ps[0])
			v.nextReport, v.begun = now, true
		}
		sent, err := s.send(o, ps)
		v.wrote(now, sent, err)
		packets += sent
		if !now.Before(v.nextReport) {
			v.report(g.epoch, g.at)
			v.nextReport = now.Add(reportEvery)
			if v.begun {
				v.nextReport, v.begun = now.Add(secondReport), false
			}
		}
	}
	if waiting && now.After(g.nextAsk) {
		g.nextAsk = now.Add(reportEvery)
		l.askKeyframe()
	}
	g.counters.packets.Add(uint64(packets))
	g.counters.bytes.Add(uint64(packets * octets / len(ps)))
	return nil
}

// Close implements pipeline.Sink. Viewers end by themselves when the stream
// does; a retry finds them where they were.
func (g *group) Close(context.Context) error { return nil }

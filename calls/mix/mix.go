package mix

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"lineout/codecs/l16"
	"lineout/media"
	"lineout/pipeline"
)

const (
	// waiting bounds the pictures that wait for the sound they belong to.
	waiting = 256
	// detachTime bounds the end of a party's sink, whose queue is short.
	detachTime = time.Second
)

// policy is that of a party's attachment: what waited for so long is late.
var policy = pipeline.Policy{MaxDelay: 500 * time.Millisecond}

// Config says what is mixed.
type Config struct {
	// Parties are streams with the sound of the caller and of the callee.
	Parties [2]*pipeline.Stream
	// Dual keeps them apart: the caller to the left, the callee to the right.
	Dual bool
	// Video is the party whose pictures go along, -1 for none; VideoCodecs are
	// those there may be.
	Video       int
	VideoCodecs []media.Codec
	// Out gets the tracks and is made ready. It has one mix in its life.
	Out *pipeline.Stream
	// Log may be nil.
	Log *slog.Logger
}

// Mix writes two streams into one.
type Mix struct {
	c     Config
	log   *slog.Logger
	sound *media.Track

	mu      sync.Mutex
	mixer   *Mixer
	picture *media.Track // what is written
	source  *media.Track // what it is read from
	queue   []*media.Frame
	dropped bool
	lastDTS time.Duration
}

// New declares what comes out.
func New(c Config) *Mix {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mix{c: c, log: c.Log, mixer: NewMixer(c.Dual, time.Now()), lastDTS: -1}
	m.sound = &media.Track{ID: media.Audio.String(), Kind: media.Audio, Codec: l16.Name, ClockRate: l16.SampleRate, Channels: m.mixer.Channels()}
	m.sound.SetParams(&media.Params{SampleRate: Rate, Channels: m.mixer.Channels()})
	c.Out.AddTrack(m.sound)
	if c.Video >= 0 {
		if t := c.Parties[c.Video].Track(media.Video); t != nil {
			m.show(t)
		}
	}
	c.Out.SetReady()
	return m
}

// show lets pictures of a track out.
func (m *Mix) show(t *media.Track) {
	if t == m.source {
		return
	}
	m.source = t
	m.picture = &media.Track{ID: t.ID, Kind: media.Video, Codec: t.Codec, ClockRate: t.ClockRate, RequestKeyframe: t.AskKeyframe}
	m.c.Out.AddTrack(m.picture)
}

// Run mixes until ctx ends, or one of the parties' streams cannot be had.
func (m *Mix) Run(ctx context.Context) error {
	var atts []*pipeline.Attachment
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTime)
		defer cancel()
		for _, a := range atts {
			if err := a.Detach(end); err != nil {
				m.log.Warn("end of a mix", "err", err)
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		now := time.Now()
		m.mixer.Flush(now, m.write)
		m.pictures(now.Add(Delay))
	}()
	for i, s := range m.c.Parties {
		a, err := s.Attach("mix", &party{m: m, ch: i}, policy)
		if err != nil {
			if errors.Is(err, pipeline.ErrClosed) {
				return nil
			}
			return err
		}
		atts = append(atts, a)
	}
	tick := time.NewTicker(Block)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.mu.Lock()
			now := time.Now()
			m.mixer.Read(now, m.write)
			m.pictures(now)
			m.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

// write gives a block of sound out.
func (m *Mix) write(pts time.Duration, pcm []byte) {
	length := time.Duration(len(pcm)/l16.SampleSize/m.mixer.Channels()) * time.Second / Rate
	m.c.Out.Write(&media.Frame{Track: m.sound, Params: m.sound.Params(), PTS: pts, DTS: pts, Duration: length,
		Arrival: time.Now(), Key: true, Data: [][]byte{append([]byte(nil), pcm...)}})
}

// pictures gives out those whose sound is out.
func (m *Mix) pictures(now time.Time) {
	due, n := m.mixer.Due(now), 0
	for n < len(m.queue) && m.queue[n].DTS <= due {
		f := m.queue[n]
		m.lastDTS = max(f.DTS, m.lastDTS+time.Microsecond)
		f.DTS = m.lastDTS
		f.Track.SetParams(f.Params)
		m.c.Out.Write(f)
		n++
	}
	m.queue = append(m.queue[:0], m.queue[n:]...)
}

// party is the sink on one party's stream.
type party struct {
	m   *Mix
	ch  int
	pcm []int16
}

// Accepts implements pipeline.Sink.
func (p *party) Accepts() pipeline.Accepts {
	a := pipeline.Accepts{Audio: []media.Codec{l16.Name}}
	if p.ch == p.m.c.Video {
		a.Video = p.m.c.VideoCodecs
	}
	return a
}

// Open implements pipeline.Sink.
func (p *party) Open(ctx context.Context, tracks []*media.Track) error {
	for _, t := range tracks {
		if err := p.AddTrack(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// AddTrack implements pipeline.TrackAdder.
func (p *party) AddTrack(_ context.Context, t *media.Track) error {
	if t.Kind == media.Video {
		p.m.mu.Lock()
		defer p.m.mu.Unlock()
		p.m.show(t)
	}
	return nil
}

// Write implements pipeline.Sink.
func (p *party) Write(_ context.Context, f *media.Frame) error {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if f.Track.Kind == media.Video {
		m.see(p.ch, f, now)
		return nil
	}
	if f.Params == nil || f.Params.SampleRate == 0 {
		return nil
	}
	p.pcm = p.pcm[:0]
	for _, d := range f.Data {
		for ; len(d) >= l16.SampleSize; d = d[l16.SampleSize:] {
			p.pcm = append(p.pcm, int16(binary.BigEndian.Uint16(d)))
		}
	}
	m.mixer.Write(p.ch, f.PTS, f.Params.SampleRate, p.pcm, now)
	return nil
}

// see queues a picture. Of too many the oldest go, up to a key frame.
func (m *Mix) see(ch int, f *media.Frame, now time.Time) {
	if f.Track != m.source || m.dropped && !f.Key {
		return
	}
	m.dropped = false
	g := *f // a frame is shared and not to be changed
	g.Track = m.picture
	shift := m.mixer.Moment(ch, f.DTS, now) - f.DTS
	g.DTS += shift
	g.PTS += shift
	if len(m.queue) == waiting {
		m.queue, m.dropped = m.queue[:0], !f.Key
		m.source.AskKeyframe()
		if m.dropped {
			return
		}
	}
	m.queue = append(m.queue, &g)
}

// Close implements pipeline.Sink.
func (p *party) Close(context.Context) error { return nil }

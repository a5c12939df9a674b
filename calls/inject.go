package calls

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/send"
	"lineout/calls/sound"
	"lineout/media"
	"lineout/pipeline"
)

// Injected says what is sent into a call.
type Injected struct {
	// Stream is the live stream, Sound the file; of both the file is heard and
	// the stream waits for its end.
	Stream, Sound string
}

// injection is what is sent into one call: nothing but comfort silence, a live
// stream, or a sound file, which goes before a stream and gives way to it when
// it has ended. Safe for concurrent use.
type injection struct {
	c    *call
	log  *slog.Logger
	sink atomic.Pointer[send.Sink] // of feed, for who must not wait
	wg   sync.WaitGroup

	ops    sync.Mutex // guards what follows; held while a feed is put on or taken off
	stream *pipeline.Stream
	sound  *playing
	feed   *feed
	closed bool

	state atomic.Pointer[Injected]
}

// feed is the sink that is on its source now.
type feed struct {
	sink *send.Sink
	att  *pipeline.Attachment
}

// playing is a file that is being played into a stream of its own.
type playing struct {
	name   string
	stream *pipeline.Stream
	cancel context.CancelFunc
	done   chan struct{}
}

// detachTime bounds the end of a feed. It has no queue to speak of.
const detachTime = time.Second

func newInjection(c *call) *injection {
	i := &injection{c: c, log: c.log}
	i.state.Store(&Injected{})
	return i
}

// setStream sends a live stream from now on, or from the end of the file that
// is being played; it replaces another.
func (i *injection) setStream(s *pipeline.Stream) error {
	i.ops.Lock()
	defer i.ops.Unlock()
	defer i.tell()
	if err := i.check(); err != nil {
		return err
	}
	i.stream = s
	if i.sound == nil {
		i.disconnect()
		i.connect()
	}
	return nil
}

// play plays a file once from its beginning; it replaces another.
func (i *injection) play(f *sound.File, name string) error {
	i.ops.Lock()
	defer i.ops.Unlock()
	defer i.tell()
	err := i.check()
	if err == nil {
		if a, _ := send.New(i.c.media(), i.c.m.d.Codecs, i.log).Sends(); !a {
			err = fault.New(fault.Conflict, "no sound can be sent into call %q: %s", i.c.req.CallID, notSending)
		}
	}
	if err == nil {
		i.disconnect()
		i.endSound()
		err = i.begin(f, name)
	}
	if err != nil {
		_ = f.Close()
	}
	return err
}

// begin plays into a stream that nobody else sees.
func (i *injection) begin(f *sound.File, name string) error {
	s, err := i.c.m.sounds.Create(i.c.req.CallID+"/"+strconv.FormatUint(i.c.m.soundCount.Add(1), 10), pipeline.Meta{CallID: i.c.req.CallID, Provider: "file"})
	if err != nil {
		return fault.New(fault.Unavailable, "play a sound into call %q: %w", i.c.req.CallID, err)
	}
	s.AddTrack(f.Track)
	ctx, cancel := context.WithCancel(i.c.ctx)
	p := &playing{name: name, stream: s, cancel: cancel, done: make(chan struct{})}
	i.sound = p
	i.connect()
	s.SetReady() // returns when the sink is connected: the file's first packet is heard
	i.wg.Go(func() {
		err := f.Play(ctx, s.Write)
		s.Close("end of the file")
		<-s.Done() // what conversions hold is heard before all else
		cancel()
		close(p.done)
		i.soundEnded(p, err)
	})
	return nil
}

// soundEnded gives way to a stream that waits.
func (i *injection) soundEnded(p *playing, err error) {
	i.ops.Lock()
	defer i.ops.Unlock()
	if i.sound != p {
		return // replaced
	}
	defer i.tell()
	if err != nil && !errors.Is(err, context.Canceled) {
		i.log.Warn("sound file ends early", "file", p.name, "err", err)
	} else {
		i.log.Info("sound file ends", "file", p.name)
	}
	i.sound = nil
	i.disconnect()
	i.connect()
}

// stop ends whatever is sent. found says that there was something.
func (i *injection) stop() (found bool) {
	i.ops.Lock()
	defer i.ops.Unlock()
	defer i.tell()
	found = i.stream != nil || i.sound != nil
	i.stream = nil
	i.endSound()
	i.disconnect()
	return found
}

// close is stop for good.
func (i *injection) close() {
	i.ops.Lock()
	i.closed = true
	i.ops.Unlock()
	i.stop()
	i.wg.Wait()
}

// refresh follows a change of what the other party takes: hold and its end, too.
func (i *injection) refresh() {
	i.ops.Lock()
	defer i.ops.Unlock()
	if i.feed == nil || i.feed.sink.Stale() {
		i.disconnect()
		i.connect()
	}
}

// move follows the call to another party.
func (i *injection) move() {
	i.ops.Lock()
	defer i.ops.Unlock()
	i.disconnect()
	i.connect()
}

// replaces says that a packet of the user's is not to be sent because something
// is sent in its place: sound by any injection, pictures by one that has some.
func (i *injection) replaces(p leg.Packet) bool {
	s := i.sink.Load()
	return s != nil && p.RTP != nil && (p.Kind == media.Audio || s.HasVideo())
}

// asked passes on what the other party wants of the pictures it gets (RFC 4585
// section 6.3.1, RFC 5104 section 4.3.1).
func (i *injection) asked(pkts []rtcp.Packet) {
	for _, p := range pkts {
		switch p.(type) {
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			i.keyframeWanted()
		}
	}
}

func (i *injection) keyframeWanted() {
	if s := i.sink.Load(); s != nil {
		s.KeyframeWanted()
	}
}

// notSending is what to do about a call nothing can be sent into.
const notSending = "it is receive only or on hold; start it with hasAudio (hasVideo for a picture) true, or take it back from hold"

// check says whether something can be sent at all.
func (i *injection) check() error {
	md := i.c.media()
	if i.closed || md == nil {
		return fault.New(fault.NotFound, "call %q is ending", i.c.req.CallID)
	}
	if a, v := send.New(md, i.c.m.d.Codecs, i.log).Sends(); !a && !v {
		return fault.New(fault.Conflict, "nothing can be sent into call %q: %s", i.c.req.CallID, notSending)
	}
	return nil
}

// connect puts a new sink on what is to be sent, if the leg takes anything now.
func (i *injection) connect() {
	src := i.stream
	if i.sound != nil {
		src = i.sound.stream
	}
	if src == nil || i.closed || i.feed != nil {
		return
	}
	s := send.New(i.c.media(), i.c.m.d.Codecs, i.log)
	if a, v := s.Sends(); !a && !v {
		i.log.Info("sending pauses: the call takes nothing now")
		return
	}
	att, err := src.Attach("call:"+i.c.req.CallID, s, send.Policy)
	if err != nil { // it has ended
		if i.sound == nil {
			i.stream = nil
		}
		return
	}
	f := &feed{sink: s, att: att}
	i.feed = f
	i.sink.Store(s)
	i.wg.Go(func() {
		<-att.Done()
		i.feedEnded(f, src)
	})
}

// feedEnded notes that a source, or the sink, has ended by itself.
func (i *injection) feedEnded(f *feed, src *pipeline.Stream) {
	i.ops.Lock()
	defer i.ops.Unlock()
	if i.feed != f {
		return // taken off
	}
	defer i.tell()
	i.feed = nil
	i.sink.Store(nil)
	if i.stream == src {
		i.stream = nil
		i.log.Info("injected stream ends", "stream", src.Name(), "reason", src.Reason(), "err", f.att.Err())
	}
}

// disconnect takes the sink off its source.
func (i *injection) disconnect() {
	f := i.feed
	if f == nil {
		return
	}
	i.feed = nil
	i.sink.Store(nil)
	ctx, cancel := context.WithTimeout(context.Background(), detachTime)
	defer cancel()
	if err := f.att.Detach(ctx); err != nil {
		i.log.Warn("stop sending into the call", "err", err)
	}
}

func (i *injection) endSound() {
	if p := i.sound; p != nil {
		i.sound = nil
		p.cancel()
		<-p.done
	}
}

// tell publishes what is sent.
func (i *injection) tell() {
	var s Injected
	if i.stream != nil {
		s.Stream = i.stream.Name()
	}
	if i.sound != nil {
		s.Sound = i.sound.name
	}
	i.state.Store(&s)
}

// media is the leg's, nil before the answer.
func (c *call) media() leg.Media {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.md
}

// injectable finds a call that takes part in a conversation.
func (m *Manager) injectable(id string) (*call, error) {
	c, err := m.get(id)
	if err != nil {
		return nil, err
	}
	if st := c.Info().Status; st != Established && st != Hold {
		return nil, fault.New(fault.Conflict, "call %q is %s: something can be sent into it once it is ESTABLISHED", id, st)
	}
	return c, nil
}

// InjectStream sends a live stream of this server to the other party of a call,
// until the stream or the call ends or EndInjection. It may be the call's own.
func (m *Manager) InjectStream(_ context.Context, id, name string) error {
	c, err := m.injectable(id)
	if err != nil {
		return err
	}
	s := m.d.Streams.Get(name)
	if s == nil {
		return fault.New(fault.NotFound, "there is no stream %q", name)
	}
	if err := c.inject.setStream(s); err != nil {
		return err
	}
	m.injectedStreams.Add(1)
	c.log.Info("stream is injected", "stream", name)
	return nil
}

// InjectSound plays a file once to the other party of a call. A stream that is
// injected goes on when it has ended.
func (m *Manager) InjectSound(_ context.Context, id, name string) error {
	c, err := m.injectable(id)
	if err != nil {
		return err
	}
	f, err := m.d.Sounds.Open(c.ctx, name)
	if err != nil {
		return err
	}
	if err := c.inject.play(f, name); err != nil {
		return err
	}
	c.log.Info("sound file is played", "file", name)
	return nil
}

// EndInjection ends what is sent into a call, stream and file.
func (m *Manager) EndInjection(_ context.Context, id string) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	if !c.inject.stop() {
		return fault.New(fault.NotFound, "nothing is injected into call %q", id)
	}
	c.log.Info("injection ended")
	return nil
}

package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lineout/codecs"
	"lineout/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probe is a sink that remembers what it was given and fails on demand.
type probe struct {
	acc Accepts

	mu       sync.Mutex
	openErr  []error // consumed one per Open
	writeErr map[int]error
	block    chan struct{}
	opens    [][]*media.Track
	frames   []*media.Frame
	closes   int
}

func (p *probe) Accepts() Accepts { return p.acc }

func (p *probe) Open(_ context.Context, ts []*media.Track) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opens = append(p.opens, ts)
	if len(p.openErr) > 0 {
		err := p.openErr[0]
		p.openErr = p.openErr[1:]
		return err
	}
	return nil
}

func (p *probe) Write(ctx context.Context, f *media.Frame) error {
	if p.block != nil {
		select {
		case <-p.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames = append(p.frames, f)
	return p.writeErr[len(p.frames)]
}

func (p *probe) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closes++
	return nil
}

func (p *probe) opened() [][]*media.Track {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([][]*media.Track(nil), p.opens...)
}

func (p *probe) closed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closes
}

func (p *probe) got() []*media.Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*media.Frame(nil), p.frames...)
}

var anyCodec = Accepts{Audio: []media.Codec{"A"}, Video: []media.Codec{"V"}}

type bench struct {
	t      *testing.T
	hub    *Hub
	s      *Stream
	a, v   *media.Track
	asks   atomic.Int32
	cancel context.CancelFunc
	ran    chan error
}

// start runs a hub with one stream of an audio and a video track. Call it
// inside a synctest bubble.
func start(t *testing.T, table *codecs.Table, ready bool) *bench {
	t.Helper()
	b := &bench{t: t, ran: make(chan error, 1)}
	b.hub = NewHub(HubConfig{Codecs: table, FlushTimeout: 3 * time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { b.ran <- b.hub.Run(ctx) }()
	s, err := b.hub.Create("s", Meta{})
	if err != nil {
		t.Fatal(err)
	}
	b.s = s
	b.a = &media.Track{ID: "audio", Kind: media.Audio, Codec: "A", ClockRate: 8000}
	b.v = &media.Track{ID: "video", Kind: media.Video, Codec: "V", ClockRate: 90000, RequestKeyframe: func() { b.asks.Add(1) }}
	s.AddTrack(b.a)
	s.AddTrack(b.v)
	if ready {
		s.SetReady()
	}
	return b
}

func (b *bench) stop() {
	b.t.Helper()
	b.cancel()
	if err := <-b.ran; err != nil {
		b.t.Fatal(err)
	}
}

func frame(t *media.Track, ms int, key bool) *media.Frame {
	return &media.Frame{Track: t, DTS: time.Duration(ms) * time.Millisecond, PTS: time.Duration(ms) * time.Millisecond,
		Key: key, Data: [][]byte{{1, 2, 3}}}
}

func TestFramesReachEverySinkUnchangedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p1, p2 := &probe{acc: anyCodec}, &probe{acc: Accepts{Audio: anyCodec.Audio}}
		for _, p := range []*probe{p1, p2} {
			if _, err := b.s.Attach("p", p, Policy{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		want := []*media.Frame{frame(b.v, 0, true), frame(b.a, 0, true), frame(b.a, 20, true), frame(b.v, 40, false)}
		for _, f := range want {
			b.s.Write(f)
		}
		synctest.Wait()
		got := p1.got()
		if len(got) != len(want) {
			t.Fatalf("got %d frames, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("frame %d is not the one written", i)
			}
		}
		if n := len(p2.got()); n != 2 {
			t.Errorf("audio-only sink got %d frames, want 2", n)
		}
		b.stop()
		if p1.closed() != 1 || p2.closed() != 1 {
			t.Errorf("closes %d %d, want 1 1", p1.closed(), p2.closed())
		}
	})
}

func TestVideoBeginsWithAKeyFrameThatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p := &probe{acc: anyCodec}
		b.s.Attach("p", p, Policy{})
		synctest.Wait()
		if b.asks.Load() == 0 {
			t.Error("no key frame was asked for")
		}
		b.s.Write(frame(b.v, 0, false))
		b.s.Write(frame(b.v, 40, true))
		b.s.Write(frame(b.v, 80, false))
		synctest.Wait()
		if got := p.got(); len(got) != 2 || !got[0].Key {
			t.Errorf("got %d frames, first key %v", len(got), len(got) > 0 && got[0].Key)
		}
		b.stop()
	})
}

func TestDTSMustGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p := &probe{acc: anyCodec}
		b.s.Attach("p", p, Policy{})
		synctest.Wait()
		for _, ms := range []int{20, 20, 10, 40} {
			b.s.Write(frame(b.a, ms, true))
		}
		synctest.Wait()
		if got := p.got(); len(got) != 2 {
			t.Errorf("got %d frames, want 2", len(got))
		}
		if r := b.s.Graph().Tracks[0].Refused; r != 2 {
			t.Errorf("refused %d, want 2", r)
		}
		b.stop()
	})
}

func TestParamsAreWaitedForAndLateVideoReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		acc := anyCodec
		acc.NeedParams, acc.TrackWait = true, 2*time.Second
		p := &probe{acc: acc}
		b.s.Attach("p", p, Policy{Lossless: true, MaxDelay: time.Minute})
		b.a.SetParams(&media.Params{SampleRate: 8000})
		synctest.Wait() // connected
		for ms := 0; ms < 3000; ms += 20 {
			b.s.Write(frame(b.a, ms, true))
			time.Sleep(20 * time.Millisecond)
			if ms == 1000 && len(p.opened()) != 0 {
				t.Fatal("opened before the wait for video was over")
			}
		}
		synctest.Wait()
		if len(p.opened()) != 1 || len(p.opened()[0]) != 1 {
			t.Fatalf("opens %v, want one with audio only", p.opened())
		}
		b.v.SetParams(&media.Params{Width: 640})
		b.s.Write(frame(b.v, 3000, true))
		b.s.Write(frame(b.a, 3000, true))
		synctest.Wait()
		if len(p.opened()) != 2 || len(p.opened()[1]) != 2 || p.closed() != 1 {
			t.Fatalf("after late video: opens %d closes %d", len(p.opened()), p.closed())
		}
		if got := p.got(); len(got) != 152 {
			t.Errorf("got %d frames, want all 152", len(got))
		}
		b.stop()
	})
}

// While a live sink waits for a picture that does not come, its sound waits with
// it, however little may be queued once it is open.
func TestSoundWaitsWithTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		acc := anyCodec
		acc.NeedParams, acc.TrackWait, acc.Streaming = true, 3*time.Second, true
		p := &probe{acc: acc}
		a, _ := b.s.Attach("p", p, Policy{MaxDelay: time.Second})
		b.a.SetParams(&media.Params{SampleRate: 8000})
		synctest.Wait() // connected
		write := func(from, to int) {
			for ms := from; ms < to; ms += 20 {
				b.s.Write(frame(b.a, ms, true))
				time.Sleep(20 * time.Millisecond)
			}
			synctest.Wait()
		}
		write(0, 5000)
		if got := p.got(); len(got) != 250 || got[0].DTS != 0 {
			t.Fatalf("got %d frames of 250", len(got))
		}
		if _, _, _, dropped := a.queue.stats(); dropped > 0 || a.queue.limit() != time.Second {
			t.Errorf("%d frames were dropped; %v may be queued now", dropped, a.queue.limit())
		}
		b.stop()
	})
}

// tardy is a conversion that gives nothing back before it is ready.
type tardy struct{ ready time.Time }

func (c tardy) Convert(f *media.Frame, emit func(*media.Frame)) error {
	time.Sleep(time.Until(c.ready))
	g := *f
	g.Params = &media.Params{Width: 640, Height: 360}
	emit(&g)
	return nil
}
func (tardy) Close() error { return nil }

// A picture that is there and only waits for its conversion is waited for as long
// as there is room for its sound; one whose conversion fails is not.
func TestSinkWaitsForConversion(t *testing.T) {
	for name, want := range map[string]struct {
		after  time.Duration // the conversion's first picture
		opened int           // tracks
	}{"slow": {4500 * time.Millisecond, 2}, "stuck": {time.Minute, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := codecs.NewTable(nil, []codecs.Converter{{From: "A", To: "A"}, {From: "V", To: "W",
					New: func(*media.Track, codecs.Options) (codecs.Conversion, error) {
						return tardy{time.Now().Add(want.after)}, nil
					}}})
				b := start(t, table, true)
				p := &probe{acc: Accepts{Audio: anyCodec.Audio, Video: []media.Codec{"W"}, NeedParams: true, TrackWait: 3 * time.Second, Interleave: 200 * time.Millisecond}}
				a, _ := b.s.Attach("p", p, Policy{MaxDelay: 5 * time.Second})
				b.a.SetParams(&media.Params{SampleRate: 8000})
				b.v.SetParams(&media.Params{Width: 640, Height: 360})
				synctest.Wait()
				for ms := 0; ms < 8200; ms += 20 {
					b.s.Write(frame(b.a, ms, true))
					if ms%40 == 0 {
						b.s.Write(frame(b.v, ms, true))
					}
					time.Sleep(20 * time.Millisecond)
				}
				synctest.Wait()
				if len(p.opened()) != 1 || len(p.opened()[0]) != want.opened {
					t.Fatalf("opened with %v, want %d tracks at once", p.opened(), want.opened)
				}
				if _, _, _, dropped := a.queue.stats(); dropped > 0 || p.got()[0].DTS != 0 {
					t.Errorf("%d frames were dropped, the first one is of %v", dropped, p.got()[0].DTS)
				}
				time.Sleep(time.Minute)
				b.stop()
			})
		})
	}
}

func TestRetryStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		boom := errors.New("boom")
		p := &probe{acc: anyCodec, openErr: []error{boom, boom, nil, boom, nil}, writeErr: map[int]error{2: boom}}
		var mu sync.Mutex
		var states []State
		a, _ := b.s.Attach("p", p, Policy{Retry: Backoff{Min: time.Second, Max: 4 * time.Second},
			OnState: func(s State, _ error) {
				mu.Lock()
				defer mu.Unlock()
				states = append(states, s)
			}})
		write := func(from, to int) {
			for ms := from; ms < to; ms += 20 {
				b.s.Write(frame(b.a, ms, true))
				time.Sleep(20 * time.Millisecond)
			}
			synctest.Wait()
		}
		write(0, 2000)
		if len(p.opened()) != 2 || a.State() != Failed {
			t.Fatalf("after 2 s: opens %d state %s", len(p.opened()), a.State())
		}
		write(2000, 20000)
		mu.Lock()
		defer mu.Unlock()
		want := []State{Failed, Failed, Active, Lost, Lost, Active}
		if len(states) != len(want) {
			t.Fatalf("states %v, want %v", states, want)
		}
		for i := range want {
			if states[i] != want[i] {
				t.Fatalf("states %v, want %v", states, want)
			}
		}
		mu.Unlock()
		b.stop()
		mu.Lock()
		if a.State() != Closed || p.closed() != 2 {
			t.Errorf("state %s closes %d", a.State(), p.closed())
		}
	})
}

// watcher is a probe whose peer can vanish while nothing is written.
type watcher struct {
	*probe
	lost chan struct{}
}

func (w *watcher) Lost() <-chan struct{} { return w.lost }
func (w *watcher) LossErr() error        { return errors.New("hung up") }

// A source that changes its codec and changes back: the sink begins anew each
// time, with the track the frames come from.
func TestCodecChangesThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p := &probe{acc: Accepts{Audio: []media.Codec{"A", "A2"}, Video: anyCodec.Video}}
		a, _ := b.s.Attach("p", p, Policy{Lossless: true, MaxDelay: time.Minute})
		synctest.Wait()
		other := &media.Track{ID: "audio", Kind: media.Audio, Codec: "A2", ClockRate: 8000}
		b.s.Write(frame(b.a, 0, true))
		synctest.Wait()
		b.s.AddTrack(other)
		synctest.Wait()
		for i, tr := range []*media.Track{other, other, b.a, b.a, other, b.a} {
			b.s.Write(frame(tr, 20*(i+1), true))
			synctest.Wait()
		}
		if n := len(p.got()); n != 7 {
			t.Errorf("got %d frames of 7", n)
		}
		var used []media.Codec
		for _, ts := range p.opened() {
			for _, tr := range ts {
				if tr.Kind == media.Audio {
					used = append(used, tr.Codec)
				}
			}
		}
		if want := []media.Codec{"A", "A2", "A", "A2", "A"}; !slices.Equal(used, want) {
			t.Errorf("opened with %v, want %v", used, want)
		}
		if a.State() != Active {
			t.Errorf("state %s: %v", a.State(), a.Err())
		}
		b.stop()
	})
}

func TestLossIsSeenWithoutAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		w := &watcher{&probe{acc: anyCodec}, make(chan struct{})}
		a, _ := b.s.Attach("w", w, Policy{Retry: Backoff{Min: time.Hour, Max: time.Hour}})
		synctest.Wait()
		if a.State() != Active {
			t.Fatalf("state %s", a.State())
		}
		close(w.lost)
		synctest.Wait()
		if a.State() != Lost || w.closed() != 1 {
			t.Errorf("state %s, closes %d", a.State(), w.closed())
		}
		b.stop()
	})
}

func TestPeerThatDropsUsAtOnceIsMetLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p := &probe{acc: anyCodec, writeErr: map[int]error{}}
		for i := 1; i < 1000; i++ {
			p.writeErr[i] = errors.New("dropped")
		}
		b.s.Attach("p", p, Policy{Retry: Backoff{Min: time.Second, Max: 8 * time.Second}})
		synctest.Wait()
		for ms := 0; ms < 60000; ms += 20 {
			b.s.Write(frame(b.a, ms, true))
			time.Sleep(20 * time.Millisecond)
		}
		if n := len(p.opened()); n > 11 {
			t.Errorf("opened %d times in a minute, back-off allows 11", n)
		}
		b.stop()
	})
}

func TestPermanentErrorIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p := &probe{acc: anyCodec, openErr: []error{&Permanent{errors.New("no")}}}
		a, _ := b.s.Attach("p", p, Policy{Retry: Backoff{Min: time.Second}})
		<-a.Done()
		if a.State() != Failed || len(p.opened()) != 1 {
			t.Errorf("state %s opens %d", a.State(), len(p.opened()))
		}
		b.stop()
	})
}

func TestNoConversionIsAClearFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p := &probe{acc: Accepts{Audio: []media.Codec{"X"}}}
		a, _ := b.s.Attach("p", p, Policy{Retry: Backoff{Min: time.Second}})
		<-a.Done()
		var np *codecs.NoPathError
		if !errors.As(a.Err(), &np) {
			t.Errorf("err %v", a.Err())
		}
		b.stop()
	})
}

// What may not be converted is said once, and the other track goes on.
func TestTrackThatMayNotBeConvertedIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := codecs.NewTable(nil, []codecs.Converter{{From: "A", To: "B",
			New: func(*media.Track, codecs.Options) (codecs.Conversion, error) { return upper{new(int)}, nil }}}).With(codecs.Rules{NoConversion: true})
		b := start(t, table, true)
		p := &probe{acc: Accepts{Audio: []media.Codec{"B"}, Video: anyCodec.Video, Streaming: true, NeedParams: true, TrackWait: time.Second}}
		a, _ := b.s.Attach("p", p, Policy{})
		b.v.SetParams(&media.Params{Width: 640})
		synctest.Wait()
		for ms := 0; ms < 400; ms += 40 {
			b.s.Write(frame(b.v, ms, true))
			b.s.Write(frame(b.a, ms, true))
			synctest.Wait()
		}
		if n := len(p.got()); n != 10 || a.State() != Active {
			t.Errorf("got %d frames of 10, state %s", n, a.State())
		}
		if err := a.Missing(); err == nil || !strings.Contains(err.Error(), codecs.DisabledInfo) {
			t.Errorf("missing: %v", err)
		}
		if err := b.s.Graph().Sinks[0].Error; !strings.Contains(err, codecs.DisabledInfo) {
			t.Errorf("the graph says %q", err)
		}
		b.stop()
	})
}

func TestStalledSinkDoesNotHoldUpTheSourceOrShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, true)
		p := &probe{acc: anyCodec, block: make(chan struct{})}
		b.s.Attach("stuck", p, Policy{})
		ok := &probe{acc: anyCodec}
		b.s.Attach("ok", ok, Policy{})
		synctest.Wait()
		for ms := 0; ms < 10000; ms += 20 {
			b.s.Write(frame(b.a, ms, true))
			synctest.Wait()
		}
		if n := len(ok.got()); n != 500 {
			t.Errorf("other sink got %d, want 500", n)
		}
		st := b.s.Attachments()[0].Stats()
		if st.QueueDelay > 2*time.Second || st.Dropped == 0 {
			t.Errorf("queue of stuck sink holds %s, dropped %d", st.QueueDelay, st.Dropped)
		}
		begin := time.Now()
		b.stop()
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("shutdown took %s, FlushTimeout is 3 s", d)
		}
	})
}

// upper is a conversion A→B that passes frames on with a marker.
type upper struct {
	closed *int
}

func (u upper) Convert(f *media.Frame, emit func(*media.Frame)) error {
	g := *f
	g.Packets, g.Params = nil, &media.Params{SampleRate: 48000}
	emit(&g)
	return nil
}
func (u upper) Close() error { *u.closed++; return nil }

func TestOneConversionServesAllAndFlushesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		built, closed := 0, 0
		table := codecs.NewTable(nil, []codecs.Converter{{From: "A", To: "B", ClockRate: 48000,
			New: func(*media.Track, codecs.Options) (codecs.Conversion, error) { built++; return upper{&closed}, nil }}})
		b := start(t, table, true)
		acc := Accepts{Audio: []media.Codec{"B"}, NeedParams: true, TrackWait: time.Second}
		p1, p2 := &probe{acc: acc}, &probe{acc: acc}
		b.s.Attach("p1", p1, Policy{})
		a2, _ := b.s.Attach("p2", p2, Policy{})
		synctest.Wait()
		for ms := 0; ms < 200; ms += 20 {
			b.s.Write(frame(b.a, ms, true))
		}
		b.s.Close("end")
		<-b.s.Done()
		if built != 1 || closed != 1 {
			t.Errorf("built %d closed %d, want 1 1", built, closed)
		}
		if len(p1.got()) != 10 || len(p2.got()) != 10 {
			t.Errorf("got %d and %d frames, want 10 each", len(p1.got()), len(p2.got()))
		}
		if f := p1.got()[0]; f.Track.Codec != "B" || f.Track != p1.opened()[0][0] {
			t.Errorf("frame has track %+v", f.Track)
		}
		<-a2.Done()
		b.stop()
	})
}

func TestConversionStopsWithItsLastConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := 0
		table := codecs.NewTable(nil, []codecs.Converter{{From: "A", To: "B",
			New: func(*media.Track, codecs.Options) (codecs.Conversion, error) { return upper{&closed}, nil }}})
		b := start(t, table, true)
		acc := Accepts{Audio: []media.Codec{"B"}}
		a1, _ := b.s.Attach("p1", &probe{acc: acc}, Policy{})
		a2, _ := b.s.Attach("p2", &probe{acc: acc}, Policy{})
		synctest.Wait()
		a1.Detach(context.Background())
		synctest.Wait()
		if closed != 0 {
			t.Error("conversion ended although a consumer is left")
		}
		a2.Detach(context.Background())
		synctest.Wait()
		if closed != 1 || len(b.s.Graph().Converters) != 0 {
			t.Errorf("closed %d, graph %v", closed, b.s.Graph().Converters)
		}
		b.stop()
	})
}

// brittle is a conversion that fails at its third frame.
type brittle struct {
	upper
	n int
}

func (x *brittle) Convert(f *media.Frame, emit func(*media.Frame)) error {
	if x.n++; x.n == 3 {
		return errors.New("cannot be converted")
	}
	return x.upper.Convert(f, emit)
}

func TestConversionThatFailedIsNotGivenToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := 0
		table := codecs.NewTable(nil, []codecs.Converter{{From: "A", To: "B",
			New: func(*media.Track, codecs.Options) (codecs.Conversion, error) {
				return &brittle{upper: upper{&closed}}, nil
			}}})
		b := start(t, table, true)
		acc := Accepts{Audio: []media.Codec{"B"}}
		p1, p2 := &probe{acc: acc}, &probe{acc: acc}
		b.s.Attach("p1", p1, Policy{})
		synctest.Wait()
		for ms := 0; ms < 100; ms += 20 {
			b.s.Write(frame(b.a, ms, true))
		}
		synctest.Wait()
		if len(p1.got()) != 2 || closed != 1 {
			t.Errorf("first sink got %d frames, closed %d", len(p1.got()), closed)
		}
		b.s.Attach("p2", p2, Policy{})
		synctest.Wait()
		b.s.Write(frame(b.a, 100, true))
		b.s.Write(frame(b.a, 120, true))
		synctest.Wait()
		if len(p2.got()) != 2 {
			t.Errorf("second sink got %d frames, want 2 of a conversion of its own", len(p2.got()))
		}
		b.stop()
		if closed != 2 {
			t.Errorf("closed %d conversions, want 2", closed)
		}
	})
}

func TestNameIsClaimedOnceAndFreeAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, false)
		var wg sync.WaitGroup
		wins := 0
		var mu sync.Mutex
		for range 100 {
			wg.Go(func() {
				if _, err := b.hub.Create("x", Meta{}); err == nil {
					mu.Lock()
					wins++
					mu.Unlock()
				} else if !errors.Is(err, ErrNameInUse) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if wins != 1 {
			t.Errorf("%d of 100 got the name, want 1", wins)
		}
		b.hub.Get("x").Close("")
		if _, err := b.hub.Create("x", Meta{}); err != nil {
			t.Errorf("after Close: %v", err)
		}
		b.stop()
		if _, err := b.hub.Create("y", Meta{}); !errors.Is(err, ErrClosed) {
			t.Errorf("after shutdown: %v", err)
		}
	})
}

// No pause between the answer and the first frame: nothing may be lost.
func TestSinkAttachedBeforeTheAnswerGetsTheFirstFrame(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil, false)
			p := &probe{acc: anyCodec}
			b.s.Attach("p", p, Policy{})
			b.s.SetReady()
			b.s.Write(frame(b.v, 0, true))
			b.s.Write(frame(b.a, 0, true))
			synctest.Wait()
			if n := len(p.got()); n != 2 {
				t.Fatalf("got %d frames of 2", n)
			}
			b.stop()
		})
	}
}

func TestEarlySinkWaitsForTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, false)
		p := &probe{acc: anyCodec}
		a, _ := b.s.Attach("p", p, Policy{})
		time.Sleep(time.Minute)
		if a.State() != Waiting || len(p.opened()) != 0 {
			t.Fatalf("state %s opens %d before the source is ready", a.State(), len(p.opened()))
		}
		b.s.SetReady()
		synctest.Wait()
		if a.State() != Active {
			t.Errorf("state %s", a.State())
		}
		b.stop()
	})
}

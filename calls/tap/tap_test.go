package tap

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a party that sends what the test puts in.
type source struct {
	tracks []leg.TrackInfo
	in     chan leg.Packet
	end    error
	mu     sync.Mutex
	asked  int
	now    int // packets of sound so far
}

func (s *source) Tracks() []leg.TrackInfo { return s.tracks }
func (s *source) Run(ctx context.Context, recv func(leg.Packet)) error {
	for {
		select {
		case p, ok := <-s.in:
			if !ok {
				return s.end
			}
			recv(p)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
func (s *source) RequestKeyframe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
}
func (s *source) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}
func (s *source) KeyframeCame()                           {}
func (s *source) WriteRTP(media.Kind, leg.Outgoing) error { return nil }
func (s *source) Stats() []leg.Stats                      { return nil }

func newSource() *source {
	return &source{in: make(chan leg.Packet, 100), tracks: []leg.TrackInfo{
		{Kind: media.Audio, Receive: true, Formats: []leg.Format{{PayloadType: 8, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}}},
		{Kind: media.Video, Receive: true, Formats: []leg.Format{{PayloadType: 96, Codec: vp8.Name, ClockRate: 90000}}}}}
}

// talk sends sound and pictures for a time; every 25th picture is a key frame
// of 16x16.
func (s *source) talk(d time.Duration) {
	for range d / (20 * time.Millisecond) {
		i := s.now
		s.now++
		s.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8,
			SequenceNumber: uint16(i), Timestamp: uint32(160 * i), SSRC: 1}, Payload: make([]byte, 160)}}
		if i%2 == 0 {
			picture := []byte{0x10, 0x11, 0, 0, 1, 2, 3}
			if i%50 == 0 {
				picture = []byte{0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 16, 0, 16, 0, 1, 2, 3}
			}
			s.in <- leg.Packet{Kind: media.Video, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, Marker: true,
				SequenceNumber: uint16(i / 2), Timestamp: uint32(3600 * i / 2), SSRC: 2}, Payload: picture}}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func newHub(t *testing.T) *pipeline.Hub {
	hub := pipeline.NewHub(pipeline.HubConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { hub.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return hub
}

func config(t *testing.T, hub *pipeline.Hub, md leg.Media, name string) Config {
	s, err := hub.Create(name, pipeline.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return Config{Media: md, Stream: s, Codecs: codecs.NewTable([]codecs.Codec{g711.CodecPCMA, vp8.Codec}, nil)}
}

func frames(s *pipeline.Stream) map[string]uint64 {
	n := map[string]uint64{}
	for _, l := range s.Graph().Tracks {
		n[l.ID] = l.Frames
	}
	return n
}

// One receiver feeds two taps, one of which begins in mid-call and takes sound
// only; none spoils the packets for the other, and the first goes on when it ends.
func TestTwoTapsOfOneReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, md := newHub(t), newSource()
		both, err := New(config(t, hub, md, "both"))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var second *Tap
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			err := Run(ctx, md, both, func(p leg.Packet) {
				want := *p.RTP.Clone()
				both.Receive(p)
				mu.Lock()
				if second != nil {
					second.Receive(p)
				}
				mu.Unlock()
				synctest.Wait()
				if !reflect.DeepEqual(want, *p.RTP) {
					t.Errorf("packet changed: %v, was %v", p.RTP, want)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
		md.talk(time.Second)
		c := config(t, hub, md, "sound")
		c.Kinds, c.MidCall = []media.Kind{media.Audio}, true
		sound, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		second = sound
		mu.Unlock()
		sctx, scancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sound.Run(sctx) }()
		md.talk(time.Second)
		mu.Lock()
		second = nil
		mu.Unlock()
		scancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		md.talk(time.Second)
		cancel()
		wg.Wait()
		if n := frames(hub.Get("both")); n["audio"] < 145 || n["video"] < 70 {
			t.Errorf("the first: %v", n)
		}
		if n := frames(hub.Get("sound")); n["audio"] < 48 || n["audio"] > 52 || len(n) != 1 {
			t.Errorf("the second: %v", n)
		}
		if md.requests() != 0 {
			t.Errorf("%d key frames asked for, for sound", md.requests())
		}
	})
}

// A tap that begins in mid-call asks for a key frame before any packet has shown
// that it needs one.
func TestMidCallAsksForAKeyframe(t *testing.T) {
	for _, mid := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			hub, md := newHub(t), newSource()
			c := config(t, hub, md, "s")
			c.MidCall = mid
			tp, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- Run(ctx, md, tp, nil) }()
			synctest.Wait()
			if got := md.requests() == 1; got != mid {
				t.Errorf("in mid-call %v: %d requests", mid, md.requests())
			}
			md.talk(time.Second)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if n := frames(c.Stream); n["video"] < 20 {
				t.Errorf("frames %v", n)
			}
		})
	}
}

// The end of the media is told as what it is.
func TestMediaThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, md := newHub(t), newSource()
		md.end = errors.New("sockets are gone")
		tp, err := New(config(t, hub, md, "s"))
		if err != nil {
			t.Fatal(err)
		}
		close(md.in)
		if err := Run(t.Context(), md, tp, nil); !errors.Is(err, md.end) {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		hub, md := newHub(t), newSource()
		c := config(t, hub, md, "s")
		c.Codecs = codecs.NewTable(nil, nil)
		if _, err := New(c); !errors.Is(err, ErrNoMedia) {
			t.Errorf("no codec we know: %v", err)
		}
	})
}

package publish

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"lineout/calls/leg"
	"lineout/calls/rtc"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/media"
	"lineout/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// browser is a publisher that does what the test says.
type browser struct {
	events    chan leg.Event
	connected chan struct{}
	in        chan leg.Packet
	tracks    []leg.TrackInfo
	run       context.Context

	mu   sync.Mutex
	hung string
	err  error
	once sync.Once
}

func (b *browser) Events() <-chan leg.Event   { return b.events }
func (b *browser) Connected() <-chan struct{} { return b.connected }
func (b *browser) Media() leg.Forwarder       { return browserMedia{b} }
func (b *browser) Hangup(_ context.Context, c leg.Cause) error {
	b.mu.Lock()
	b.hung = c.Text
	b.mu.Unlock()
	b.leave(c)
	return nil
}

func (b *browser) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *browser) leave(c leg.Cause) {
	b.once.Do(func() {
		b.events <- leg.Event{Type: leg.Ended, Cause: c}
		close(b.events)
	})
}

func (b *browser) hungUp() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hung
}

// talk sends sound for a time.
func (b *browser) talk(d time.Duration) {
	for i := range int(d / (20 * time.Millisecond)) {
		b.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8,
			SequenceNumber: uint16(i), Timestamp: uint32(160 * i), SSRC: 1}, Payload: make([]byte, 160)}}
		time.Sleep(20 * time.Millisecond)
	}
}

type browserMedia struct{ b *browser }

func (m browserMedia) Tracks() []leg.TrackInfo { return m.b.tracks }
func (m browserMedia) Run(ctx context.Context, recv func(leg.Packet)) error {
	for {
		select {
		case p := <-m.b.in:
			recv(p)
		case <-ctx.Done():
			return nil
		}
	}
}
func (browserMedia) RequestKeyframe()                                 {}
func (browserMedia) KeyframeCame()                                    {}
func (browserMedia) WriteRTP(media.Kind, leg.Outgoing) error          { return nil }
func (browserMedia) Stats() []leg.Stats                               { return nil }
func (browserMedia) ForwardReport(media.Kind, uint32, uint64, uint32) {}
func (browserMedia) ForwardRTP(media.Kind, uint8, *rtp.Packet, time.Time) error {
	return nil
}

// rig is a service whose publishers are browsers of the test.
type rig struct {
	*Service
	hub      *pipeline.Hub
	browsers []*browser
	pushed   []string
	files    func(ctx context.Context) (string, error)
	stop     func()
}

type infoError string

func (e infoError) Error() string      { return "not possible" }
func (e infoError) StreamInfo() string { return string(e) }

func newRig(t *testing.T, change func(*Config)) *rig {
	cfg := Config{Enabled: true, Max: 3, RTMP: true}
	if change != nil {
		change(&cfg)
	}
	table := codecs.NewTable([]codecs.Codec{g711.CodecPCMA}, nil)
	r := &rig{hub: pipeline.NewHub(pipeline.HubConfig{Codecs: table})}
	var err error
	r.Service, err = New(cfg, Deps{Streams: r.hub, Codecs: table,
		Answer: func(ctx context.Context, offer string, o rtc.Options) (Peer, error) {
			if offer == "bad" {
				return nil, infoError(NoCodecs)
			}
			b := &browser{run: ctx, events: make(chan leg.Event, 1), connected: make(chan struct{}), in: make(chan leg.Packet, 10),
				tracks: []leg.TrackInfo{{Kind: media.Audio, Receive: true, Formats: []leg.Format{{PayloadType: 8, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}}}}}
			r.browsers = append(r.browsers, b)
			o.SendSDP("answer to " + offer)
			return b, nil
		},
		Record: func(s *pipeline.Stream) (func(context.Context) (string, error), error) { return r.files, nil },
		Push: func(s *pipeline.Stream, url string) error {
			if url == "" || url == "bad" {
				return errors.New("no such server")
			}
			r.pushed = append(r.pushed, url+" "+s.Name())
			return nil
		},
		Links: func(h http.Header) { h.Add("Link", "<stun:a>; rel=\"ice-server\"") }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	hctx, hcancel := context.WithCancel(context.Background())
	var hub, own sync.WaitGroup
	hub.Go(func() { r.hub.Run(hctx) })
	own.Go(func() { r.Run(ctx) })
	r.stop = func() { cancel(); own.Wait(); hcancel(); hub.Wait() }
	synctest.Wait()
	return r
}

// publish is a publication that has begun.
func (r *rig) publish(t *testing.T, q Request) (*Publication, *browser) {
	t.Helper()
	if q.SendSDP == nil {
		q.SendSDP = func(string) {}
	}
	p, err := r.Publish(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	b := r.browsers[len(r.browsers)-1]
	close(b.connected)
	b.talk(200 * time.Millisecond)
	return p, b
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

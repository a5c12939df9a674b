package sip

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/g729"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/speex"
	"lineout/codecs/vp8"
	"lineout/test/peers"
)

// TestMain lets more tests run at once than there are processors: most wait for a peer.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err) // the testing package has this flag
	}
	goleak.VerifyTestMain(m)
}

func table() *codecs.Table {
	return codecs.NewTable([]codecs.Codec{g711.CodecPCMA, g711.CodecPCMU, opus.Codec, g722.Codec, g729.Codec, speex.CodecWide, speex.CodecNarrow, h264.Codec, vp8.Codec}, nil)
}

// defaults reads the settings' defaults from the field tags.
func defaults(t testing.TB) Config {
	t.Helper()
	var c Config
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		def, ok := v.Type().Field(i).Tag.Lookup("default")
		if !ok {
			continue
		}
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			f.SetString(def)
		case int:
			n, err := strconv.Atoi(def)
			if err != nil {
				t.Fatal(err)
			}
			f.SetInt(int64(n))
		case bool:
			f.SetBool(def == "true")
		case time.Duration:
			d, err := time.ParseDuration(def)
			if err != nil {
				t.Fatal(err)
			}
			f.SetInt(int64(d))
		case []string:
			f.Set(reflect.ValueOf(strings.Split(def, ",")))
		default:
			t.Fatalf("no rule for %s", v.Type().Field(i).Name)
		}
	}
	return c
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// server is an agent that runs until the test ends.
type server struct {
	*Agent
	log    *logBuffer
	cancel context.CancelFunc
	done   chan error
}

// start runs an agent on loopback with ports of its own. change may edit the settings.
func start(t testing.TB, change func(*Config)) *server {
	t.Helper()
	return startWith(t, change, func(*Agent) {})
}

// startWith lets prepare have the agent before it runs.
func startWith(t testing.TB, change func(*Config), prepare func(*Agent)) *server {
	t.Helper()
	c := defaults(t)
	base := peers.Ports(t, 40)
	c.IPLocal, c.PortFrom, c.PortTo, c.MediaPortFrom, c.MediaPortTo = "127.0.0.1", base, base+5, base+6, base+39
	if change != nil {
		change(&c)
	}
	s := &server{log: &logBuffer{}, done: make(chan error, 1)}
	a, err := New(c, table(), slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	prepare(a)
	if err := a.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.Agent, s.cancel = a, cancel
	go func() { s.done <- a.Run(ctx) }()
	peers.Eventually(t, "the agent to run", 5*time.Second, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.running != nil
	})
	t.Cleanup(s.stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	return s
}

func (s *server) stop() {
	s.cancel()
	if err, ok := <-s.done; ok && err != nil {
		panic(err)
	}
	s.done = make(chan error)
	close(s.done)
}

// call is a dialled leg with what it told and received.
type call struct {
	leg.Leg
	t testing.TB

	mu      sync.Mutex
	events  []leg.Event
	changed chan struct{}
	rtp     map[uint8]int
	control int
	payload int
	keys    int
	last    time.Time
	wg      sync.WaitGroup
}

func (s *server) dial(t testing.TB, r leg.Request) *call {
	t.Helper()
	if r.CallID == "" {
		r.CallID = "call-" + strings.NewReplacer("/", "-", ",", "", "#", "-").Replace(t.Name())
	}
	l, err := s.Dial(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	c := &call{Leg: l, t: t, changed: make(chan struct{}), rtp: map[uint8]int{}}
	c.wg.Go(c.follow)
	t.Cleanup(func() {
		_ = c.Hangup(context.Background(), leg.Cause{Text: "test over"})
		c.wg.Wait()
	})
	return c
}

func (c *call) follow() {
	started := false
	for e := range c.Events() {
		if e.Media != nil && !started {
			started = true
			c.wg.Go(func() {
				if err := e.Media.Run(context.Background(), c.take); err != nil {
					c.t.Errorf("receiving: %v", err)
				}
			})
		}
		c.mu.Lock()
		c.events = append(c.events, e)
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
	}
}

func (c *call) take(p leg.Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.RTP == nil {
		c.control++
		return
	}
	c.rtp[p.RTP.PayloadType]++
	c.payload += len(p.RTP.Payload)
	c.last = p.At
	if isKey(p) {
		c.keys++
	}
}

// isKey spots the start of a key frame: an H.264 IDR slice (whole or the first
// of FU-A), or a VP8 key frame's first packet.
func isKey(p leg.Packet) bool {
	b := p.RTP.Payload
	if len(b) < 3 {
		return false
	}
	switch p.RTP.PayloadType {
	case 112, 113:
		switch b[0] & 0x1f {
		case 7: // baresip sends SPS before each IDR
			return true
		case 28:
			return b[1]&0x80 != 0 && b[1]&0x1f == 7
		}
	}
	return false
}

func (c *call) count(pt uint8) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rtp[pt]
}

func (c *call) keyframes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys
}

// wait returns the first event of a type.
func (c *call) wait(typ leg.EventType) leg.Event {
	c.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		c.mu.Lock()
		changed := c.changed
		for _, e := range c.events {
			if e.Type == typ {
				c.mu.Unlock()
				return e
			}
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("no event of type %d; had %+v", typ, c.events)
		}
	}
}

func (c *call) types() []leg.EventType {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []leg.EventType
	for _, e := range c.events {
		out = append(out, e.Type)
	}
	return out
}

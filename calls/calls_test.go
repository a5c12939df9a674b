package calls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/codecs/convert"
	"lineout/codecs/g711"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// puppet is a leg whose other party is the test.
type puppet struct {
	req    leg.Request
	events chan leg.Event
	once   sync.Once

	hangAs leg.Cause // what Hangup ends the leg with, if set

	mu    sync.Mutex
	hung  []leg.Cause
	dtmf  []string
	over  bool
	asks  []string // of hold, its end, and progress of a transfer
	media *puppetMedia
}

func (p *puppet) Events() <-chan leg.Event { return p.events }

func (p *puppet) SendDTMF(_ context.Context, digits string, how leg.DTMF) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dtmf = append(p.dtmf, digits+"/"+string(how))
	return nil
}

func (p *puppet) Hold(context.Context) error   { return p.hold(leg.Held) }
func (p *puppet) Resume(context.Context) error { return p.hold(leg.Resumed) }

func (p *puppet) hold(e leg.EventType) error {
	p.mu.Lock()
	p.asks = append(p.asks, map[leg.EventType]string{leg.Held: "hold", leg.Resumed: "resume"}[e])
	p.mu.Unlock()
	p.say(leg.Event{Type: e})
	return nil
}

func (p *puppet) Hangup(_ context.Context, c leg.Cause) error {
	p.mu.Lock()
	p.hung = append(p.hung, c)
	p.mu.Unlock()
	if p.hangAs != (leg.Cause{}) {
		c = p.hangAs
	}
	p.finish(leg.Event{Type: leg.Ended, Cause: c})
	return nil
}

// say delivers an event, unless the leg has ended.
func (p *puppet) say(e leg.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.events <- e
	}
}

func (p *puppet) finish(e leg.Event) {
	p.once.Do(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.over = true
		p.events <- e
		close(p.events)
	})
}

func (p *puppet) hangups() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.hung)
}

// puppetMedia sends what the test puts in.
type puppetMedia struct {
	tracks []leg.TrackInfo
	in     chan leg.Packet
	stats  []leg.Stats
	mu     sync.Mutex
	asked  []time.Time
	sent   []sentPacket

	forwarded int
}

type sentPacket struct {
	kind media.Kind
	leg.Outgoing
}

func (m *puppetMedia) Tracks() []leg.TrackInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tracks
}
func (m *puppetMedia) Run(ctx context.Context, recv func(leg.Packet)) error {
	for {
		select {
		case p := <-m.in:
			recv(p)
		case <-ctx.Done():
			return nil
		}
	}
}
func (m *puppetMedia) RequestKeyframe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, time.Now())
}
func (m *puppetMedia) KeyframeCame() {}
func (m *puppetMedia) WriteRTP(k media.Kind, p leg.Outgoing) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.Payload = slices.Clone(p.Payload)
	m.sent = append(m.sent, sentPacket{k, p})
	return nil
}
func (m *puppetMedia) ForwardRTP(k media.Kind, pt uint8, p *rtp.Packet, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forwarded++
	return nil
}
func (m *puppetMedia) ForwardReport(media.Kind, uint32, uint64, uint32) {}
func (m *puppetMedia) Stats() []leg.Stats                               { return m.stats }

func audioOnly() *puppetMedia {
	return &puppetMedia{in: make(chan leg.Packet, 100), tracks: []leg.TrackInfo{{Kind: media.Audio, Receive: true,
		Formats: []leg.Format{{PayloadType: 8, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}}}}}
}

// phones is a dialer that hands its legs to the test.
type phones struct {
	mu   sync.Mutex
	legs map[string]*puppet
	all  []*puppet
	fail error
}

func (d *phones) Dial(_ context.Context, r leg.Request) (leg.Leg, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return nil, d.fail
	}
	p := &puppet{req: r, events: make(chan leg.Event, 16)}
	if d.legs == nil {
		d.legs = map[string]*puppet{}
	}
	d.legs[r.CallID], d.all = p, append(d.all, p)
	if r.Like != nil {
		return talker{p}, nil
	}
	return p, nil
}

func (d *phones) leg(id string) *puppet {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.legs[id]
}

type rig struct {
	t      *testing.T
	m      *Manager
	hub    *pipeline.Hub
	phones *phones
	stop   func()

	mu   sync.Mutex
	seen []string
}

func (r *rig) observed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.seen, " ")
}

func newRig(t *testing.T, change func(*Deps)) *rig {
	table := codecs.NewTable([]codecs.Codec{g711.CodecPCMA, g711.CodecPCMU, vp8.Codec}, convert.All())
	r := &rig{t: t, phones: &phones{}}
	r.hub = pipeline.NewHub(pipeline.HubConfig{Codecs: table})
	d := Deps{Dialer: r.phones, Streams: r.hub, Codecs: table, Observe: func(i Info) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, fmt.Sprintf("%s/%d/%s", i.Status, i.SIPStatus, i.RTMPStreamStatus))
	}}
	if change != nil {
		change(&d)
	}
	r.m = NewManager(d)
	mctx, mstop := context.WithCancel(context.Background())
	hctx, hstop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	mdone := make(chan struct{})
	wg.Go(func() { r.hub.Run(hctx) })
	wg.Go(func() { defer close(mdone); r.m.Run(mctx) })
	r.stop = func() { mstop(); <-mdone; hstop(); wg.Wait() }
	synctest.Wait()
	return r
}

func request(id string) Request {
	return Request{CallID: id, Callee: "10005", ToStream: "s-" + id, SIPLogin: "10006", SIPDomain: "example.org", HasAudio: true}
}

func code(err error) fault.Code {
	if err == nil {
		return 200
	}
	return fault.CodeOf(err)
}

func TestCallFromStartToBye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		if err := r.m.Startup(t.Context(), request("c1")); err != nil {
			t.Fatal(err)
		}
		if got := r.m.Find(Filter{CallID: "c1"}); len(got) != 1 || got[0].Status != Pending {
			t.Fatalf("after startup: %+v", got)
		}
		p, md := r.phones.leg("c1"), audioOnly()
		p.events <- leg.Event{Type: leg.Trying, Code: 100}
		p.events <- leg.Event{Type: leg.Ringing, Code: 180}
		p.events <- leg.Event{Type: leg.Answered, Code: 200, Media: md}
		synctest.Wait()
		s := r.hub.Get("s-c1")
		if tr := s.Track(media.Audio); tr == nil || tr.Codec != g711.PCMA {
			t.Fatalf("stream has no PCMA track: %+v", s.Tracks())
		}
		for i := range 50 {
			md.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2,
				PayloadType: 8, SequenceNumber: uint16(i), Timestamp: uint32(160 * i), SSRC: 7}, Payload: make([]byte, 160)}}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.Graph().Tracks[0].Frames; n < 50 {
			t.Errorf("stream got %d frames of 50", n)
		}
		p.finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Code: 200, Text: "BYE"}})
		<-s.Done()
		synctest.Wait()
		if got := r.m.Find(Filter{}); len(got) != 0 {
			t.Errorf("after BYE: %+v", got)
		}
		if got, want := r.observed(), "TRYING/100/ RING/180/ ESTABLISHED/200/ FINISH/200/"; got != want {
			t.Errorf("observed %q, want %q", got, want)
		}
	})
}

// A phone that agreed on two codecs may use either, and change (RFC 3264
// section 5.1); the stream follows, however often it changes.
func TestCodecChangeInMidCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		md := audioOnly()
		md.tracks[0].Formats = append(md.tracks[0].Formats, leg.Format{PayloadType: 0, Codec: g711.PCMU, ClockRate: 8000, Channels: 1})
		r.phones.leg("c").events <- leg.Event{Type: leg.Answered, Code: 200, Media: md}
		synctest.Wait()
		s := r.hub.Get("s-c")
		n := 0
		say := func(pt uint8, packets int) {
			for range packets {
				md.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2,
					PayloadType: pt, SequenceNumber: uint16(n), Timestamp: uint32(160 * n), SSRC: 7}, Payload: make([]byte, 160)}}
				n++
				time.Sleep(20 * time.Millisecond)
			}
			synctest.Wait()
		}
		say(8, 200)
		say(0, 200)
		say(8, 200)
		for range 100 { // alternating
			say(0, 1)
			say(8, 1)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		tracks := s.Graph().Tracks
		if len(tracks) != 2 {
			t.Fatalf("%d tracks, want one per codec: %+v", len(tracks), tracks)
		}
		if tracks[0].Frames < 395 || tracks[1].Frames < 195 {
			t.Errorf("PCMA %d frames, PCMU %d frames", tracks[0].Frames, tracks[1].Frames)
		}
	})
}

func TestNamesAreReservedBeforeDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		push := func(s *pipeline.Stream, url, name string, on func(string)) error { return nil }
		r := newRig(t, func(d *Deps) { d.StartPush = push })
		defer r.stop()
		for _, change := range []func(*Request, int){
			func(q *Request, i int) { q.CallID, q.ToStream = "same-id", fmt.Sprint("stream", i) },
			func(q *Request, i int) { q.CallID, q.ToStream = fmt.Sprint("by-stream", i), "same-stream" },
			func(q *Request, i int) {
				q.CallID, q.ToStream = fmt.Sprint("by-target", i), fmt.Sprint("t", i)
				q.RTMPURL, q.RTMPStream = "rtmp://127.0.0.1/live", "out"
			},
		} {
			var mu sync.Mutex
			got := map[fault.Code]int{}
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					q := request("")
					change(&q, i)
					err := r.m.Startup(context.Background(), q)
					mu.Lock()
					defer mu.Unlock()
					got[code(err)]++
				})
			}
			wg.Wait()
			if got[200] != 1 || got[fault.Conflict] != 99 {
				t.Errorf("answers %v, want one 200 and ninety-nine 409", got)
			}
		}
	})
}

func TestEverythingIsReleasedWhenDiallingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.phones.fail = fault.New(fault.Unavailable, "no media port is free")
		if c := code(r.m.Startup(t.Context(), request("c"))); c != fault.Unavailable {
			t.Fatalf("code %d", c)
		}
		r.phones.fail = nil
		if err := r.m.Startup(t.Context(), request("c")); err != nil {
			t.Fatalf("second try: %v", err)
		}
	})
}

func TestRefusedCallCanBeSeenForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		r.phones.leg("c").finish(leg.Event{Type: leg.Ended, Code: 486,
			Cause: leg.Cause{Kind: leg.Busy, Code: 486, Text: "Busy Here"}})
		synctest.Wait()
		if got := r.m.Find(Filter{CallID: "c"}); len(got) != 1 || got[0].Status != Busy || got[0].SIPStatus != 486 {
			t.Fatalf("found %+v", got)
		}
		if r.hub.Get("s-c") != nil {
			t.Error("the stream's name is still taken")
		}
		time.Sleep(11 * time.Second)
		if got := r.m.Find(Filter{CallID: "c"}); len(got) != 0 {
			t.Errorf("still found after the linger: %+v", got)
		}
		if err := r.m.Startup(t.Context(), request("c")); err != nil {
			t.Errorf("callId cannot be used again: %v", err)
		}
	})
}

// A client that polls must never see 404 between a call's life and the time in
// which its failure is listed.
func TestFailedCallIsNeverLostFromSight(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer r.stop()
			r.m.Startup(t.Context(), request("c"))
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 200 {
					if got := r.m.Find(Filter{CallID: "c"}); len(got) != 1 {
						t.Errorf("found %d calls", len(got))
						return
					}
				}
			})
			r.phones.leg("c").finish(leg.Event{Type: leg.Ended, Cause: leg.Cause{Kind: leg.Rejected, Code: 480}})
			wg.Wait()
		})
	}
}

func TestNamesAreFreeWhenTerminateReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		var wg sync.WaitGroup
		for i := range 50 { // many at once, so that goroutines get in each other's way
			wg.Go(func() {
				id := fmt.Sprint("c", i)
				for range 100 {
					if err := r.m.Startup(t.Context(), request(id)); err != nil {
						t.Error(err)
						return
					}
					if err := r.m.Terminate(t.Context(), id); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// The one who terminated a call does not want to see it fail.
func TestTerminatedCallIsGoneHoweverItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		p := r.phones.leg("c")
		p.hangAs = leg.Cause{Kind: leg.RequestTimeout, Code: 408}
		r.m.Terminate(t.Context(), "c")
		synctest.Wait()
		if got := r.m.Find(Filter{}); len(got) != 0 {
			t.Errorf("found %+v", got)
		}
	})
}

func TestTerminateAndWhoEndsWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		if c := code(r.m.Terminate(t.Context(), "nobody")); c != fault.NotFound {
			t.Errorf("unknown call: %d", c)
		}
		r.m.Startup(t.Context(), request("c"))
		p := r.phones.leg("c")
		p.events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		synctest.Wait()
		if err := r.m.Terminate(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		if p.hangups() != 1 || len(r.m.Find(Filter{})) != 0 || r.hub.Get("s-c") != nil {
			t.Errorf("hangups %d, found %v, stream %v", p.hangups(), r.m.Find(Filter{}), r.hub.Get("s-c"))
		}
		// A stream that is terminated takes its call with it.
		r.m.Startup(t.Context(), request("d"))
		q := r.phones.leg("d")
		q.events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		synctest.Wait()
		r.hub.Get("s-d").Close("Stopped by rest /terminate")
		synctest.Wait()
		if q.hangups() != 1 || len(r.m.Find(Filter{})) != 0 {
			t.Errorf("after the stream's end: hangups %d, found %v", q.hangups(), r.m.Find(Filter{}))
		}
	})
}

func TestShutdownHangsUpAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for i := range 20 {
			if err := r.m.Startup(t.Context(), request(fmt.Sprint("c", i))); err != nil {
				t.Fatal(err)
			}
		}
		r.stop()
		for i := range 20 {
			if n := r.phones.leg(fmt.Sprint("c", i)).hangups(); n != 1 {
				t.Errorf("call %d was hung up %d times", i, n)
			}
		}
		if c := code(r.m.Startup(t.Context(), request("late"))); c != fault.Unavailable {
			t.Errorf("startup after the stop: %d", c)
		}
	})
}

func TestBadRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		for name, c := range map[string]struct {
			change func(*Request)
			want   fault.Code
		}{
			"no callId":          {func(q *Request) { q.CallID = "" }, 400},
			"no callee":          {func(q *Request) { q.Callee = " " }, 400},
			"no login":           {func(q *Request) { q.SIPLogin = "" }, 400},
			"callId with blanks": {func(q *Request) { q.CallID = "a b" }, 400},
			"line break":         {func(q *Request) { q.VisibleName = "x\r\nEvil: 1" }, 400},
			"long callee":        {func(q *Request) { q.Callee = strings.Repeat("1", 2000) }, 400},
			"port":               {func(q *Request) { q.SIPPort = 70000 }, 400},
			"dot stream":         {func(q *Request) { q.ToStream = ".." }, 400},
			"rtmp half":          {func(q *Request) { q.RTMPURL = "rtmp://h/a" }, 400},
			"rtmp without push":  {func(q *Request) { q.RTMPURL, q.RTMPStream = "rtmp://h/a", "x" }, 400},
			// The cases of S2-48.
			"login with blank":    {func(q *Request) { q.SIPLogin = "Ralf C12441@host.com" }, 500},
			"login with brackets": {func(q *Request) { q.SIPLogin = "<10006>" }, 500},
			"auth name":           {func(q *Request) { q.SIPAuthName = "Ralf C" }, 500},
			"login is fine": {func(q *Request) {
				q.CallID = "ok"
				q.ToStream = "ok"
				q.SIPLogin = "Ralf_C12441"
				q.VisibleName = "Ralf C"
			}, 200},
			"escaped is fine": {func(q *Request) { q.CallID = "e"; q.ToStream = "e"; q.SIPLogin = "a%20b" }, 200},
		} {
			q := request("c")
			c.change(&q)
			err := r.m.Startup(t.Context(), q)
			if code(err) != c.want {
				t.Errorf("%s: %d (%v), want %d", name, code(err), err, c.want)
			}
			if c.want == 500 && err.Error() != "SIP login or authentication name contains reserved symbols" {
				t.Errorf("%s: message %q", name, err)
			}
		}
		if n := len(r.m.Find(Filter{})); n != 2 {
			t.Errorf("%d calls exist, want the two good ones", n)
		}
	})
}

func TestDTMFRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		if c := code(r.m.SendDTMF(t.Context(), "c", "1", "")); c != 500 {
			t.Errorf("before the answer: %d", c)
		}
		p := r.phones.leg("c")
		p.events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		synctest.Wait()
		for _, c := range []struct {
			id, digits, how string
			want            fault.Code
		}{{"c", "9", "RFC2833", 200}, {"c", "12*#A", "INFO", 200}, {"c", "5", "", 200}, {"c", "x", "", 400},
			{"c", "", "", 400}, {"c", "1", "SMOKE", 400}, {"nobody", "1", "", 404}} {
			if got := code(r.m.SendDTMF(t.Context(), c.id, c.digits, c.how)); got != c.want {
				t.Errorf("%+v: %d", c, got)
			}
		}
		if got := strings.Join(p.dtmf, " "); got != "9/RFC2833 12*#A/INFO 5/RFC2833" {
			t.Errorf("sent %q", got)
		}
	})
}

// TestDigitsReceived: who listens is told of each digit and how it came; the
// stream remembers which only if that may be written down.
func TestDigitsReceived(t *testing.T) {
	for _, shown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var got []string
			r := newRig(t, func(d *Deps) {
				d.DigitsShown = shown
				d.Digit = func(i Info, digit string, by leg.DTMF) { got = append(got, i.CallID+" "+digit+" "+string(by)) }
			})
			defer r.stop()
			r.m.Startup(t.Context(), request("c"))
			p := r.phones.leg("c")
			p.events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
			p.events <- leg.Event{Type: leg.DTMFReceived, Digit: "5", How: leg.RFC4733}
			p.events <- leg.Event{Type: leg.DTMFReceived, Digit: "#", How: leg.INFO}
			synctest.Wait()
			if want := []string{"c 5 RFC2833", "c # INFO"}; !slices.Equal(got, want) {
				t.Errorf("told of %q, want %q", got, want)
			}
			want := []pipeline.Digit{{At: time.Now(), By: "RFC2833"}, {At: time.Now(), By: "INFO"}}
			if shown {
				want[0].Key, want[1].Key = "5", "#"
			}
			c, _ := r.m.get("c")
			if list, all := c.stream.Digits(); !slices.Equal(list, want) || all != 2 {
				t.Errorf("the stream has %+v, %d in all", list, all)
			}
		})
	}
}

func TestAnswerWithoutKnownCodecEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		p := r.phones.leg("c")
		p.events <- leg.Event{Type: leg.Answered, Code: 200, Media: &puppetMedia{tracks: []leg.TrackInfo{{Kind: media.Audio,
			Receive: true, Formats: []leg.Format{{PayloadType: 18, Codec: "G729", ClockRate: 8000}}}}}}
		synctest.Wait()
		got := r.m.Find(Filter{CallID: "c"})
		if len(got) != 1 || got[0].Status != Failed || got[0].Cause.Kind != leg.NoCommonCodecs || p.hangups() != 1 {
			t.Errorf("found %+v, hangups %d", got, p.hangups())
		}
	})
}

func TestRTMPStatusFollowsThePush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on func(string)
		var logs strings.Builder // slog's handler writes one line at a time; read when all is quiet
		r := newRig(t, func(d *Deps) {
			d.Log = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
			d.StartPush = func(_ *pipeline.Stream, url, name string, f func(string)) error {
				if url == "rtmp://bad" {
					return fault.New(fault.BadRequest, "bad url")
				}
				on = f
				return nil
			}
		})
		defer r.stop()
		q := request("c")
		q.RTMPURL, q.RTMPStream = "rtmp://user:secret@h/live?key=streamkey", "x"
		if err := r.m.Startup(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		i := r.m.Find(Filter{})[0]
		if i.RTMPStreamStatus != RTMPWait || i.RTMPURL != "rtmp://***:***@h/live?key=***" {
			t.Errorf("info %+v", i)
		}
		for _, url := range []string{q.RTMPURL, i.RTMPURL} { // as it was given, and as it is listed
			if len(r.m.Find(Filter{RTMPURL: url})) != 1 {
				t.Errorf("not found by %s", url)
			}
		}
		for _, s := range []string{"user", "secret", "streamkey"} {
			if strings.Contains(logs.String(), s) {
				t.Errorf("%q is in the log: %s", s, logs.String())
			}
		}
		r.phones.leg("c").events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		synctest.Wait()
		for _, s := range []string{RTMPActive, RTMPLost, RTMPActive} {
			on(s)
			if i := r.m.Find(Filter{})[0]; i.RTMPStreamStatus != s || i.Status != Established {
				t.Errorf("status %s / %s, want %s", i.Status, i.RTMPStreamStatus, s)
			}
		}
		q.RTMPURL, q.CallID, q.ToStream = "rtmp://bad", "d", "d"
		if c := code(r.m.Startup(t.Context(), q)); c != 400 {
			t.Errorf("bad url: %d", c)
		}
		if err := errors.Join(r.m.Terminate(t.Context(), "c")); err != nil {
			t.Error(err)
		}
	})
}

package calls

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/codecs/g711"
	"lineout/codecs/l16"
	"lineout/media"
	"lineout/pipeline"
)

// ear keeps the samples of a stream, by channel.
type ear struct {
	accepts media.Codec
	mu      sync.Mutex
	ch      [2][]int16
	until   time.Duration
}

func (e *ear) Accepts() pipeline.Accepts {
	return pipeline.Accepts{Audio: []media.Codec{l16.Name}, Video: nil}
}
func (e *ear) Open(context.Context, []*media.Track) error { return nil }
func (e *ear) Close(context.Context) error                { return nil }
func (e *ear) Write(_ context.Context, f *media.Frame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := f.Params.Channels
	for i := 0; 2*i+1 < len(f.Data[0]); i++ {
		e.ch[i%n] = append(e.ch[i%n], int16(binary.BigEndian.Uint16(f.Data[0][2*i:])))
	}
	e.until = f.PTS + f.Duration
	return nil
}

// strength is how loud a tone is in a channel, 1 is full scale.
func (e *ear) strength(ch int, hz float64) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.ch[ch]
	var re, im float64
	for i, v := range x {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / 48000)
		re += float64(v) * c
		im += float64(v) * s
	}
	return math.Hypot(re, im) * 2 / float64(len(x)) / 32768
}

// hum sends a tone as PCMA for a time.
func hum(md *puppetMedia, hz float64, length time.Duration) {
	for i := range int(length / (20 * time.Millisecond)) {
		var pcm []int16
		for j := range 160 {
			pcm = append(pcm, int16(16000*math.Sin(2*math.Pi*hz*float64(160*i+j)/8000)))
		}
		md.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2,
			PayloadType: 8, SequenceNumber: uint16(i), Timestamp: uint32(160 * i), SSRC: 7}, Payload: g711.EncodePCMA(nil, pcm)}}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestTapOfACall: each kind of stream holds whom it should, and nobody else. The
// user, who calls, says 400 Hz, the other party 1000 Hz.
func TestTapOfACall(t *testing.T) {
	for side, want := range map[string][2][2]bool{ // by channel: the user, the other party
		TapRemote: {{false, true}}, TapLocal: {{true, false}}, TapMix: {{true, true}}, TapDual: {{true, false}, {false, true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, near, far, h := talking(t, nil)
			defer r.stop()
			if c := code(r.m.Tap(t.Context(), Tap{CallID: "u", ToStream: "tapped", Side: side})); c != 200 {
				t.Fatalf("%s: %d", side, c)
			}
			s := r.hub.Get("tapped")
			e := &ear{}
			if _, err := s.Attach("ear", e, pipeline.Policy{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if h.last.StreamName != "tapped" || h.last.MediaSessionID != s.ID() {
				t.Errorf("%s: shown as %+v", side, h.last)
			}
			var wg sync.WaitGroup
			wg.Go(func() { hum(near.talks(), 400, 4*time.Second) })
			wg.Go(func() { hum(far.talks(), 1000, 4*time.Second) })
			wg.Wait()
			if err := r.m.Untap(t.Context(), "u", "tapped"); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			rate := 8000
			if side == TapMix || side == TapDual {
				rate = 48000
				if d := e.until - 4*time.Second; d < -40*time.Millisecond || d > 40*time.Millisecond {
					t.Errorf("%s: %v long, want 4 s", side, e.until)
				}
			}
			for ch, who := range want {
				if len(e.ch[ch]) == 0 {
					continue
				}
				for i, hz := range []float64{400, 1000} {
					got := e.strength(ch, hz*48000/float64(rate))
					if heard := got > 0.3; heard != who[i] || !heard && got > 0.001 {
						t.Errorf("%s: channel %d has %.4f of %v Hz", side, ch, got, hz)
					}
				}
			}
			if len(e.ch[0]) < 3*rate || (side == TapDual) != (len(e.ch[1]) > 0) {
				t.Errorf("%s: %d and %d samples", side, len(e.ch[0]), len(e.ch[1]))
			}
			if r.hub.Get("tapped") != nil || h.last.Status != Established || h.last.StreamName != "" {
				t.Errorf("%s: after its end %+v", side, h.last)
			}
		})
	}
}

func (p *puppet) talks() *puppetMedia {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.media
}

func TestTapRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorded []string
		r, _, _, h := talking(t, func(d *Deps) {
			d.StartRecord = func(s *pipeline.Stream) error { recorded = append(recorded, s.Name()); return nil }
		})
		defer r.stop()
		for _, c := range []struct {
			tap  Tap
			want fault.Code
		}{
			{Tap{CallID: "none"}, 404}, {Tap{CallID: "u", Side: "both"}, 400}, {Tap{CallID: "u", ToStream: ".."}, 400},
			{Tap{CallID: "u", Record: true}, 200}, {Tap{CallID: "u"}, 409}, // the name is taken
			{Tap{CallID: "u", ToStream: "2"}, 200}, {Tap{CallID: "u", ToStream: "3"}, 200}, {Tap{CallID: "u", ToStream: "4"}, 200},
			{Tap{CallID: "u", ToStream: "5"}, 409},
		} {
			if got := code(r.m.Tap(t.Context(), c.tap)); got != c.want {
				t.Errorf("%+v: %d", c.tap, got)
			}
		}
		if len(recorded) != 1 || recorded[0] != "u" {
			t.Errorf("recorded %q", recorded)
		}
		r.hub.Get("2").Close("Stopped by rest /terminate") // which leaves the call alone
		synctest.Wait()
		if h.last.Status != Established || code(r.m.Untap(t.Context(), "u", "2")) != 404 {
			t.Errorf("after the end of a stream: %s", h.last.Status)
		}
		if code(r.m.Untap(t.Context(), "u", "")) != 200 || r.hub.Get("3") != nil {
			t.Error("not all streams ended")
		}
		r.m.Startup(t.Context(), request("server"))
		if c := code(r.m.Tap(t.Context(), Tap{CallID: "server"})); c != 409 {
			t.Errorf("a call of the server: %d", c)
		}
	})
}

// TestEveryCallIsRecordedOnce: sip_record_stream records users' calls as well.
func TestEveryCallIsRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, near, _, h := talking(t, func(d *Deps) { d.RecordUsers, d.RecordAudio = true, TapDual })
		defer r.stop()
		s := r.hub.Get("u")
		if s == nil || s.Meta().Provider != "SIP" || s.Track(media.Audio).Channels != 2 {
			t.Fatalf("stream %+v", s)
		}
		near.finish(leg.Event{Type: leg.Ended})
		<-s.Done()
		synctest.Wait()
		if h.last.Status != Finish {
			t.Errorf("%s", h)
		}
	})
}

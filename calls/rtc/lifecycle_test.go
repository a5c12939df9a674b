package rtc

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"lineout/calls/leg"
	"lineout/media"
)

// ended waits for the last event.
func ended(t testing.TB, p *Peer) leg.Cause {
	t.Helper()
	for {
		if e := nextEvent(t, p); e.Type == leg.Ended {
			return e.Cause
		}
	}
}

func infos(t *testing.T, p *Peer, kind leg.CauseKind, c leg.Cause, call, stream string) {
	t.Helper()
	e, ok := p.Err().(*Error)
	if c.Kind != kind || !ok || e.CallInfo() != call || e.StreamInfo() != stream || c.Kind.Info() != call {
		t.Errorf("%+v, error %v", c, p.Err())
	}
}

// How a connection fails, with the texts that pages compare (websdk-protocol 2).
func TestFailures(t *testing.T) {
	t.Run("no ICE", func(t *testing.T) {
		t.Parallel()
		s := newService(t, func(c *Config) { c.ConnectTimeout = 300 * time.Millisecond })
		p, _, err := s.Accept(t.Context(), newBrowser(t, kinds[:1]).offer(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		p.Answer(both)
		infos(t, p, leg.ICEFailed, ended(t, p), "Failed by ICE error", "Failed by ICE timeout")
	})
	t.Run("wrong fingerprint", func(t *testing.T) {
		t.Parallel()
		s := newService(t, nil)
		b := newBrowser(t, kinds[:1])
		offer := regexp.MustCompile(`a=fingerprint:sha-256 ..`).ReplaceAllString(b.offer(t), "a=fingerprint:sha-256 00")
		sdp := make(chan string, 1)
		p, _, err := s.Accept(t.Context(), offer, Options{SendSDP: func(s string) { sdp <- s }})
		if err != nil {
			t.Fatal(err)
		}
		p.Answer(both)
		b.take(t, webrtc.SDPTypeAnswer, <-sdp)
		infos(t, p, leg.DTLSFingerprint, ended(t, p), "Failed by DTLS fingerprint error", "Failed by DTLS fingerprint error")
	})
	t.Run("no DTLS", func(t *testing.T) {
		t.Parallel()
		s := newService(t, func(c *Config) { c.ConnectTimeout = 2 * time.Second })
		b := newBrowser(t, kinds[:1])
		sdp := make(chan string, 1)
		p, _, err := s.Accept(t.Context(), b.offer(t), Options{SendSDP: func(s string) { sdp <- s }})
		if err != nil {
			t.Fatal(err)
		}
		p.Answer(both)
		b.take(t, webrtc.SDPTypeAnswer, strings.Replace(<-sdp, "a=setup:passive", "a=setup:active", 1)) // both wait for the other
		infos(t, p, leg.DTLSFailed, ended(t, p), "Failed by DTLS error", "Failed by DTLS error")
	})
	t.Run("no RTP", func(t *testing.T) {
		t.Parallel()
		s := newService(t, func(c *Config) { c.RTPActivity = 300 * time.Millisecond })
		p := dial(t, s, newBrowser(t, kinds[:1]), both)
		infos(t, p, leg.RTPActivity, ended(t, p), "Failed by RTP activity", "Failed by RTP activity")
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		s := newService(t, func(c *Config) { c.DisconnectTimeout = time.Second })
		r := newRelay(t, s)
		p, _ := dialThrough(t, s, r)
		r.lose(true)
		infos(t, p, leg.ICEFailed, ended(t, p), "Failed by ICE error", "Failed by ICE keep alive")
	})
	t.Run("closed by the page", func(t *testing.T) {
		t.Parallel()
		s := newService(t, nil)
		b := newBrowser(t, kinds[:1])
		p := dial(t, s, b, both)
		if err := b.pc.Close(); err != nil {
			t.Fatal(err)
		}
		if c := ended(t, p); c.Kind != leg.Normal || p.Err() != nil {
			t.Errorf("%+v %v", c, p.Err())
		}
	})
	t.Run("hung up before and after", func(t *testing.T) {
		t.Parallel()
		s := newService(t, nil)
		p, _, err := s.Accept(t.Context(), newBrowser(t, kinds[:1]).offer(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Hangup(t.Context(), leg.Cause{Kind: leg.Busy, Code: 486}); err != nil {
			t.Fatal(err)
		}
		if c := ended(t, p); c.Kind != leg.Busy || c.Code != 486 || !c.Local {
			t.Errorf("%+v", c)
		}
		p.Answer(both) // too late, and no harm
		if err := p.Hold(t.Context()); err != leg.ErrEnded {
			t.Errorf("hold: %v", err)
		}
	})
}

// dialThrough makes a call over a relay, with a browser that checks often.
func dialThrough(t *testing.T, s *Service, r *relay) (*Peer, *browser) {
	t.Helper()
	b := newBrowser(t, kinds[:1], func(se *webrtc.SettingEngine, _ *webrtc.MediaEngine) {
		se.SetICETimeouts(10*time.Second, 20*time.Second, 100*time.Millisecond)
	})
	sdp := make(chan string, 1)
	p, _, err := s.Accept(t.Context(), b.offer(t), Options{SendSDP: func(s string) { sdp <- s }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(t, p) })
	wantEvent(t, p, leg.Trying)
	p.Answer(both)
	b.take(t, webrtc.SDPTypeAnswer, r.through(<-sdp))
	wantEvent(t, p, leg.Answered)
	b.up(t)
	return p, b
}

// The browser's address changes in the middle of a call, as behind a NAT that
// forgets or with another network: nobody notices.
func TestAddressChange(t *testing.T) {
	t.Parallel()
	s := newService(t, nil)
	r := newRelay(t, s)
	p, b := dialThrough(t, s, r)
	in := collect(t, p)
	before := p.Media().Stats()[0].Remote
	r.rebind(t)
	src := &rtp.Packet{Header: rtp.Header{SSRC: 5}, Payload: []byte{1}}
	eventually(t, "our packets at the new address", func() bool {
		src.SequenceNumber++
		src.Timestamp += 960
		if err := p.Media().ForwardRTP(media.Audio, 111, src, time.Now()); err != nil {
			t.Fatal(err)
		}
		return len(b.packets) > 0
	})
	if after := p.Media().Stats()[0].Remote; after == before {
		t.Errorf("the remote address is %s as before", after)
	}
	if err := b.out[media.Audio].WriteRTP(&rtp.Packet{Payload: []byte{7}}); err != nil {
		t.Fatal(err)
	}
	received(t, in, isRTP(media.Audio))
}

// A loss shorter than disconnect_timeout ends nothing.
func TestShortLoss(t *testing.T) {
	t.Parallel()
	s := newService(t, func(c *Config) { c.DisconnectTimeout = 4 * time.Second })
	r := newRelay(t, s)
	p, b := dialThrough(t, s, r)
	in := collect(t, p)
	r.lose(true)
	time.Sleep(2500 * time.Millisecond) // longer than half of it, where ICE says "disconnected"
	r.lose(false)
	eventually(t, "media after the loss", func() bool {
		_ = b.out[media.Audio].WriteRTP(&rtp.Packet{Payload: []byte{7}})
		return len(in) > 0
	})
	select {
	case e := <-p.Events():
		t.Errorf("%+v", e)
	default:
	}
}

// A publisher is only received from.
func TestPublish(t *testing.T) {
	t.Parallel()
	s := newService(t, nil)
	b := newBrowser(t, kinds[:])
	var answer string
	p, err := s.Publish(t.Context(), b.offer(t), Options{SendSDP: func(s string) { answer = s }})
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(t, p)
	if strings.Contains(answer, "a=sendrecv") || strings.Contains(answer, "a=msid:") || strings.Count(answer, "a=recvonly") != 2 {
		t.Errorf("the answer to a publisher:\n%s", answer)
	}
	b.take(t, webrtc.SDPTypeAnswer, answer)
	wantEvent(t, p, leg.Answered)
	b.up(t)
	in := collect(t, p)
	for _, k := range kinds {
		if err := b.out[k].WriteRTP(&rtp.Packet{Payload: []byte{1, 2}}); err != nil {
			t.Fatal(err)
		}
		received(t, in, isRTP(k))
	}
	if err := p.Media().WriteRTP(media.Audio, leg.Outgoing{PayloadType: p.Media().Tracks()[0].Formats[0].PayloadType, Payload: []byte{1}}); err != nil {
		t.Error(err)
	}
	if st := p.Media().Stats(); st[0].PacketsSent != 0 {
		t.Error("something was sent to a publisher")
	}
}

// Nothing is left of 200 browsers that came, talked and went.
func TestManyPeers(t *testing.T) {
	s := newService(t, nil)
	before := runtime.NumGoroutine()
	for range 10 {
		var wg sync.WaitGroup
		for i := range 20 {
			b := newBrowser(t, kinds[:1])
			offer := b.offer(t)
			wg.Go(func() {
				if err := talk(s, b, offer, i); err != nil {
					t.Error(err)
				}
				_ = b.pc.GracefulClose()
			})
		}
		wg.Wait()
	}
	waitFor(t, "the peers to be gone", func() bool { return s.Peers() == 0 })
	waitFor(t, "their goroutines to be gone", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// talk is the life of one browser: its end comes from either side, or at once.
func talk(s *Service, b *browser, offer string, i int) error {
	sdp := make(chan string, 1)
	p, _, err := s.Accept(context.Background(), offer, Options{SendSDP: func(s string) { sdp <- s }})
	if err != nil {
		return err
	}
	defer func() {
		_ = p.Hangup(context.Background(), leg.Cause{})
		for range p.Events() {
		}
	}()
	if i%4 == 0 {
		return nil
	}
	p.Answer(both)
	if i%4 == 2 { // it never comes
		return nil
	}
	if err := b.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: <-sdp}); err != nil {
		return err
	}
	select {
	case <-p.Connected():
	case <-time.After(20 * time.Second):
		return fmt.Errorf("peer %d did not connect within 20 s", i)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := make(chan struct{}, 1)
	go func() {
		_ = p.Media().Run(ctx, func(leg.Packet) {
			select {
			case got <- struct{}{}:
			default:
			}
		})
	}()
	for seq := uint16(0); ; seq++ {
		if err := b.out[media.Audio].WriteRTP(&rtp.Packet{Header: rtp.Header{SequenceNumber: seq}, Payload: []byte{1}}); err != nil {
			return err
		}
		select {
		case <-got:
			if i%4 == 1 {
				return b.pc.Close()
			}
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

package sip

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"lineout/calls/leg"
	"lineout/media"
	"lineout/test/peers"
)

// countEvents is how many events of a type there were.
func (c *call) countEvents(typ leg.EventType) (n int) {
	for _, e := range c.types() {
		if e == typ {
			n++
		}
	}
	return n
}

// sound sends a few packets of sound to where we said we listen.
func (u *uas) sound(to *net.UDPAddr, seq, n int, ssrc uint32, pt uint8) {
	u.t.Helper()
	for i := range n {
		p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: uint16(seq + i), Timestamp: uint32((seq + i) * 160), SSRC: ssrc}, Payload: make([]byte, 160)}
		b, err := p.Marshal()
		if err != nil {
			u.t.Fatal(err)
		}
		if _, err := u.rtp.WriteTo(b, to); err != nil {
			u.t.Fatal(err)
		}
	}
}

// TestOurHold: sendonly and back by re-INVITE, each with a version one higher
// (RFC 3264 sections 8, 8.4); what the phone sends meanwhile is dropped, and
// its silence does not end the call.
func TestOurHold(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, func(c *Config) { c.RTPActivity = "true,1" })
	c := u.establish(t, s, nil)
	to := net.UDPAddrFromAddrPort(u.offered(t, "audio"))
	version := func(r *sipmsg.Request) (v int64) {
		_, after, _ := strings.Cut(string(r.Body()), "o=lineout 0 ")
		if _, err := fmt.Sscan(after, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := version(u.in)
	u.sound(to, 0, 10, 7, 8)
	peers.Eventually(t, "sound", 5*time.Second, func() bool { return c.count(8) == 10 })
	held := make(chan error, 1)
	change := func(f func(context.Context) error, want, answer string, code int) *sipmsg.Request {
		t.Helper()
		go func() { held <- f(context.Background()) }()
		r := u.next(sipmsg.INVITE)
		if !strings.Contains(string(r.Body()), want) {
			t.Errorf("want %s in\n%s", want, r.Body())
		}
		u.answer(r, code, answer)
		u.next(sipmsg.ACK)
		if err := <-held; (err == nil) != (code == 200) {
			t.Errorf("%d gave %v", code, err)
		}
		return r
	}
	r := change(c.Hold, "a=sendonly", u.sdp("a=recvonly"), 200)
	if v := version(r); v != first+1 {
		t.Errorf("version %d after %d", v, first)
	}
	c.wait(leg.Held)
	u.sound(to, 10, 10, 7, 8)
	m := c.Leg.(*dialog).media
	if d := m.idle(time.Now().Add(time.Hour)); d != 0 {
		t.Errorf("in the hold, silence of %v counts", d)
	}
	peers.Eventually(t, "what comes in the hold", 5*time.Second, func() bool { return m.Stats()[0].PacketsReceived == 20 })
	if c.count(8) != 10 {
		t.Errorf("%d packets passed in the hold", c.count(8)-10)
	}
	change(c.Resume, "a=sendrecv", "", 503)
	if r := change(c.Resume, "a=sendrecv", u.sdp(), 200); version(r) != first+2 {
		t.Errorf("version %d after %d", version(r), first)
	}
	c.wait(leg.Resumed)
	u.sound(to, 20, 10, 7, 8)
	peers.Eventually(t, "sound after the hold", 5*time.Second, func() bool { return c.count(8) == 20 })
	if err := c.Resume(context.Background()); err != nil {
		t.Errorf("resuming a call that is not held: %v", err)
	}
	u.next(sipmsg.BYE) // now the silence counts
}

// TestGlare: two offers that meet are both refused; ours comes again after its
// time (RFC 3261 section 14.1).
func TestGlare(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	done := make(chan error, 1)
	go func() { done <- c.Hold(context.Background()) }()
	r := u.next(sipmsg.INVITE)
	u.ask("INVITE", u.sdp(), "Content-Type: application/sdp")
	u.response(491)
	u.ask("ACK", "")
	u.answer(r, 491, "")
	begin := time.Now()
	u.next(sipmsg.ACK)
	for code := 491; code == 491; { // theirs comes first, as soon as our turn is over
		u.ask("UPDATE", u.sdp("a=sendonly"), "Content-Type: application/sdp")
		m, ok := u.read().(*sipmsg.Response)
		if !ok {
			t.Fatal("no answer to UPDATE")
		}
		code = m.StatusCode
	}
	r = u.next(sipmsg.INVITE)
	if d := time.Since(begin); d < 2100*time.Millisecond {
		t.Errorf("our offer came again after %v", d)
	}
	u.answer(r, 200, u.sdp("a=inactive"))
	u.next(sipmsg.ACK)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := c.countEvents(leg.Held); n != 1 {
		t.Errorf("%d holds were told, want one for both sides", n)
	}
	for range 1000 {
		if d := glareWait(true); d < 2100*time.Millisecond || d > 4*time.Second {
			t.Fatalf("the owner of the Call-ID waits %v", d)
		}
		if d := glareWait(false); d < 0 || d > 2*time.Second {
			t.Fatalf("the other waits %v", d)
		}
	}
}

// TestVideoJoinsAndLeaves: the peer adds video in a running call, with a new
// port, and takes it away again; sound moves to another address, payload type
// and SSRC.
func TestVideoJoinsAndLeaves(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	c := u.establish(t, s, nil)
	m := c.wait(leg.Answered).Media
	offer := func(method, body string) string {
		t.Helper()
		u.ask(method, body, "Content-Type: application/sdp")
		r := u.response(200)
		if method == "INVITE" {
			u.ask("ACK", "")
		}
		return string(r.Body())
	}
	video := []string{"a=rtpmap:8 PCMA/8000", fmt.Sprintf("m=video %d RTP/AVP 99", u.rtpPort()), "a=rtpmap:99 H264/90000", "a=fmtp:99 packetization-mode=1"}
	answer := offer("INVITE", u.sdp(video...))
	if !strings.Contains(answer, "m=video ") || strings.Contains(answer, "m=video 0") {
		t.Fatalf("video was not taken:\n%s", answer)
	}
	c.wait(leg.MediaChanged)
	if tracks := m.Tracks(); len(tracks) != 2 || tracks[1].Kind != media.Video {
		t.Fatalf("tracks %+v", tracks)
	}
	sdp, err := parseSDP([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	u.sound(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sdp.media[1].port}, 0, 5, 9, 99)
	peers.Eventually(t, "pictures", 5*time.Second, func() bool { return c.count(99) == 5 })
	answer = offer("UPDATE", u.sdp("m=video 0 RTP/AVP 99"))
	if !strings.Contains(answer, "m=video 0") {
		t.Errorf("answer to video that leaves:\n%s", answer)
	}
	peers.Eventually(t, "the second change", 5*time.Second, func() bool { return c.countEvents(leg.MediaChanged) == 2 })
	if len(m.Tracks()) != 1 {
		t.Errorf("tracks %+v", m.Tracks())
	}
	other := newUAS(t)
	moved := strings.Replace(other.sdp("a=rtpmap:96 PCMU/8000", "a=rtpmap:97 PCMA/8000"), "RTP/AVP 8", "RTP/AVP 96 97", 1)
	answer = offer("INVITE", moved+"m=video 0 RTP/AVP 99\r\n")
	if !strings.Contains(answer, "RTP/AVP 97 96") {
		t.Errorf("the codec in use is not preferred:\n%s", answer)
	}
	other.sound(net.UDPAddrFromAddrPort(u.offered(t, "audio")), 500, 5, 12345, 97)
	peers.Eventually(t, "sound from the new address", 5*time.Second, func() bool { return c.count(97) == 5 })
}

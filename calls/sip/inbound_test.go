package sip

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// desk is a receiver that takes calls as the test says.
type desk struct {
	t      testing.TB
	refuse *leg.Refusal
	// greet is what it does with a call it takes; nil answers at once.
	greet func(leg.Inbound)

	mu    sync.Mutex
	calls []*call
	told  []leg.Incoming
}

func (k *desk) Receive(in leg.Incoming, l leg.Inbound) *leg.Refusal {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, in)
	if k.refuse != nil {
		return k.refuse
	}
	c := &call{Leg: l, t: k.t, changed: make(chan struct{}), rtp: map[uint8]int{}}
	c.wg.Go(c.follow)
	k.calls = append(k.calls, c)
	if k.greet == nil {
		l.Answer(leg.Terms{SendAudio: true})
	} else {
		k.greet(l)
	}
	return nil
}

// next waits for the n-th call, from 0.
func (k *desk) next(n int) (*call, leg.Incoming) {
	k.t.Helper()
	peers.Eventually(k.t, "a call to come in", 10*time.Second, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.calls) > n
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls[n], k.told[n]
}

// take starts an agent that takes calls from loopback as trunk "home".
func take(t testing.TB, k *desk, change func(*Config)) *server {
	t.Helper()
	k.t = t
	s := start(t, func(c *Config) {
		c.Trunks = []string{"name=home from=127.0.0.0/8"}
		if change != nil {
			change(c)
		}
	})
	s.TakeCalls(k)
	t.Cleanup(func() {
		k.mu.Lock()
		calls := k.calls
		k.mu.Unlock()
		for _, c := range calls {
			_ = c.Hangup(context.Background(), leg.Cause{Text: "test over"})
			c.wg.Wait()
		}
	})
	return s
}

func (s *server) uri(user string) string { return fmt.Sprintf("sip:%s@127.0.0.1:%d", user, s.Port()) }

// TestBaresipCallsUs: a real soft phone calls, is answered, sends sound and
// pictures, and hangs up.
func TestBaresipCallsUs(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005"})
	k := &desk{}
	s := take(t, k, nil)
	phone.Dial(t, s.uri("line1"))
	c, in := k.next(0)
	if in.Caller != "10005" || in.Callee != "line1" || in.Trunk != "home" || !in.HasAudio || !in.HasVideo || !strings.Contains(in.SDP, "m=audio") {
		t.Errorf("told %+v", in)
	}
	c.wait(leg.Answered)
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	peers.Eventually(t, "sound", 10*time.Second, func() bool { return c.count(8) > 50 })
	peers.Eventually(t, "pictures", 10*time.Second, func() bool { return c.count(phoneVideoPT(c)) > 50 })
	phone.Hangup(t)
	if end := c.wait(leg.Ended); end.Cause.Local || end.Cause.Kind != leg.Normal {
		t.Errorf("cause %+v", end.Cause)
	}
}

// phoneVideoPT is the payload type the caller chose for its pictures.
func phoneVideoPT(c *call) uint8 {
	for _, tr := range c.wait(leg.Answered).Media.Tracks() {
		if tr.Kind.String() == "video" {
			return tr.Formats[0].PayloadType
		}
	}
	return 0
}

// TestWeHangUpOnBaresip: BYE goes to the caller by its Contact.
func TestWeHangUpOnBaresip(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Video: peers.None})
	k := &desk{greet: func(l leg.Inbound) {
		l.Ring(leg.Terms{}, false)
		l.Answer(leg.Terms{})
	}}
	s := take(t, k, nil)
	phone.Dial(t, s.uri("line1"))
	phone.WaitEvent(t, "CALL_RINGING")
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	c, _ := k.next(0)
	c.wait(leg.Answered)
	_ = c.Hangup(context.Background(), leg.Cause{Text: "enough"})
	phone.WaitEvent(t, "CALL_CLOSED")
	if end := c.wait(leg.Ended); !end.Cause.Local || end.Cause.Text != "enough" {
		t.Errorf("cause %+v", end.Cause)
	}
}

// TestBaresipHearsUsEarly: 183 with media, then the caller gives up.
func TestBaresipGivesUpAfterEarlyMedia(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Video: peers.None})
	k := &desk{greet: func(l leg.Inbound) { l.Ring(leg.Terms{SendAudio: true}, true) }}
	s := take(t, k, nil)
	phone.Dial(t, s.uri("line1"))
	c, _ := k.next(0)
	if e := c.wait(leg.EarlyMedia); e.Media == nil || e.Code != 183 {
		t.Errorf("early media %+v", e)
	}
	phone.WaitEvent(t, "CALL_PROGRESS")
	phone.Hangup(t)
	if end := c.wait(leg.Ended); end.Cause.Code != 487 || end.Cause.Kind != leg.Normal {
		t.Errorf("cause %+v", end.Cause)
	}
}

// TestStrangerIsDeclined: a caller nobody named gets 603 and then nothing, and
// its session description is not read.
func TestStrangerIsDeclined(t *testing.T) {
	k := &desk{}
	s := take(t, k, func(c *Config) { c.Trunks = []string{"name=office from=192.0.2.0/24"} })
	u := newUAC(t, s)
	for i := range strangerCallBurst + 3 {
		u.invite(fmt.Sprintf("stranger-%d", i), "not an SDP at all")
	}
	var told []string
	for len(told) < strangerCallBurst {
		if id := u.response(603).CallID().Value(); !slices.Contains(told, id) {
			told = append(told, id)
		}
	}
	u.silent(told...)
	if len(k.told) != 0 {
		t.Errorf("the receiver was told of a stranger: %+v", k.told)
	}
}

// ringing is a greeting that leaves the call to the test.
func ringing(l leg.Inbound) { l.Ring(leg.Terms{}, false) }

// TestUASBasics plays callers by hand, message by message.
func TestUASBasics(t *testing.T) {
	k := &desk{greet: ringing}
	s := take(t, k, nil)
	u := newUAC(t, s)

	t.Run("requests that cannot begin a call", func(t *testing.T) {
		for i, c := range []struct {
			code   int
			body   string
			header string
			want   string // a header of the answer
		}{
			{420, "", "Require: precondition", "Unsupported: precondition"},
			{488, "v=0\r\n", "", ""},
			{488, u.sdp("a=rtpmap:8 PCMA/8000")[:60] + "\r\nm=audio 9 RTP/AVP 77\r\n", "", ""},
			{415, u.sdp(), "Content-Encoding: gzip", "Accept-Encoding: identity"},
			{422, u.sdp(), "Session-Expires: 20\r\nSupported: timer", "Min-SE: 90"},
			{400, u.sdp(), "Max-Forwards: 70", ""}, // twice
		} {
			u.seq++
			u.invite(fmt.Sprintf("bad-%d", i), c.body, append([]string(nil), nonEmpty(c.header)...)...)
			res := u.response(c.code)
			if c.want != "" && !strings.Contains(res.String(), c.want) {
				t.Errorf("%d without %q:\n%s", c.code, c.want, res)
			}
			u.ack("")
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.told) != 0 {
			t.Errorf("told of %+v", k.told)
		}
	})

	t.Run("cancel", func(t *testing.T) {
		u.seq++
		u.invite("cancelled", u.sdp())
		u.response(180)
		u.request("CANCEL", u.seq, u.branch(), "<sip:line1@127.0.0.1>", "")
		u.response(200)
		u.response(487)
		u.ack("")
		c, _ := k.next(0)
		if end := c.wait(leg.Ended); end.Cause.Code != 487 || end.Cause.Local {
			t.Errorf("cause %+v", end.Cause)
		}
	})

	t.Run("retransmission, merged request, BYE before the answer", func(t *testing.T) {
		u.seq++
		u.invite("early-bye", u.sdp())
		tag := tagOf(u.response(180).To().Params)
		u.invite("early-bye", u.sdp()) // the same again: the same answer
		if again := tagOf(u.response(180).To().Params); again != tag {
			t.Errorf("the tag changed from %s to %s", tag, again)
		}
		to := u.to
		u.request("INVITE", u.seq, "another-way", "<sip:line1@127.0.0.1>", u.sdp())
		u.response(482)
		u.ack("")
		u.to = to
		u.inside("INVITE", u.sdp()) // too early for a re-INVITE
		if res := u.response(500); res.GetHeader("Retry-After") == nil {
			t.Error("500 without Retry-After")
		}
		u.ack("")
		u.to = to
		u.inside("BYE", "")
		u.response(200)
		if res := u.response(487); tagOf(res.To().Params) != tag {
			t.Error("487 with another tag")
		}
		u.ack("")
		c, _ := k.next(1)
		c.wait(leg.Ended)
	})

	t.Run("rejected by us", func(t *testing.T) {
		u.seq++
		u.invite("rejected", u.sdp())
		u.response(180)
		c, _ := k.next(2)
		_ = c.Hangup(context.Background(), leg.Cause{Code: 486, Text: "no"})
		u.response(486)
		u.ack("")
		if end := c.wait(leg.Ended); end.Cause.Code != 486 || !end.Cause.Local {
			t.Errorf("cause %+v", end.Cause)
		}
	})

	t.Run("answer, Record-Route, session timer, re-INVITE, BYE", func(t *testing.T) {
		u.seq++
		rr := fmt.Sprintf("Record-Route: <sip:127.0.0.1:%d;lr;p=1>", u.uas.port())
		u.invite("answered", u.sdp(), rr, "Record-Route: <sip:192.0.2.77;lr>", "Session-Expires: 600;refresher=uac", "Supported: timer")
		u.response(180)
		c, _ := k.next(3)
		c.Leg.(leg.Inbound).Answer(leg.Terms{SendAudio: true})
		res := u.response(200)
		if se := res.GetHeader("Session-Expires"); se == nil || se.Value() != "600;refresher=uac" || len(res.GetHeaders("Record-Route")) != 2 || res.GetHeader("Contact") == nil {
			t.Errorf("200:\n%s", res)
		}
		if sdp, err := parseSDP(res.Body()); err != nil || len(sdp.media) != 1 || sdp.media[0].dir != sendrecv {
			t.Errorf("answer %+v, %v", sdp, err)
		}
		u.response(200) // repeated until the ACK
		u.ack("")
		c.wait(leg.Answered)
		u.inside("INVITE", u.sdp("a=sendonly"))
		for u.response(200).CSeq().SeqNo != uint32(u.seq) { // the first 200 may be on its way still
		}
		u.request("ACK", u.seq, "ack-re", u.to, "")
		c.wait(leg.Held)
		_ = c.Hangup(context.Background(), leg.Cause{Text: "bye"})
		bye := u.next("BYE")
		var routes []string
		for _, h := range bye.GetHeaders("Route") {
			routes = append(routes, h.Value())
		}
		if got := strings.Join(routes, " "); got != fmt.Sprintf("<sip:127.0.0.1:%d;lr;p=1> <sip:192.0.2.77;lr>", u.uas.port()) {
			t.Errorf("Route of our BYE: %s", got)
		}
		if tagOf(bye.From().Params) != tagOf(res.To().Params) || tagOf(bye.To().Params) != u.tag {
			t.Errorf("tags of our BYE:\n%s", bye)
		}
		u.answer(bye, 200, "")
		c.wait(leg.Ended)
	})

	t.Run("offer in our 200, answer in the ACK", func(t *testing.T) {
		u.seq++
		u.invite("offerless", "")
		u.response(180)
		c, in := k.next(4)
		if in.SDP != "" || in.HasAudio {
			t.Errorf("told %+v", in)
		}
		c.Leg.(leg.Inbound).Answer(leg.Terms{SendAudio: true})
		offer, err := parseSDP(u.response(200).Body())
		if err != nil || len(offer.media) != 2 || offer.media[0].dir != sendrecv || offer.media[1].dir != recvonly {
			t.Errorf("offer %+v, %v", offer, err)
		}
		u.ack(u.sdp())
		if e := c.wait(leg.Answered); len(e.Media.Tracks()) != 1 {
			t.Errorf("tracks %+v", e.Media.Tracks())
		}
		u.inside("BYE", "")
		u.response(200)
		c.wait(leg.Ended)
	})

	t.Run("no answer in the ACK", func(t *testing.T) {
		u.seq++
		u.invite("empty-ack", "")
		u.response(180)
		c, _ := k.next(5)
		c.Leg.(leg.Inbound).Answer(leg.Terms{})
		u.response(200)
		u.ack("")
		u.answer(u.next("BYE"), 200, "")
		if end := c.wait(leg.Ended); end.Cause.Kind != leg.NoCommonCodecs {
			t.Errorf("cause %+v", end.Cause)
		}
	})
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// TestReliableRinging: a caller that requires 100rel gets 183 again and again
// until its PRACK, and the 200 only after it.
func TestReliableRinging(t *testing.T) {
	k := &desk{greet: func(l leg.Inbound) {
		l.Ring(leg.Terms{SendAudio: true}, true)
		l.Answer(leg.Terms{})
	}}
	s := take(t, k, nil)
	u := newUAC(t, s)
	u.invite("reliable", u.sdp(), "Require: 100rel")
	res := u.response(183)
	if res.GetHeader("RSeq") == nil || len(res.Body()) == 0 {
		t.Fatalf("183:\n%s", res)
	}
	u.response(183) // repeated, and no 200
	rseq := res.GetHeader("RSeq").Value()
	to := u.to
	u.inside("PRACK", "", "RAck: 1 1 INVITE")
	u.response(481)
	u.to = to
	u.inside("PRACK", "", "RAck: "+rseq+" 1 INVITE")
	u.response(200)
	u.response(200)
	u.ack("")
	c, _ := k.next(0)
	c.wait(leg.EarlyMedia)
	c.wait(leg.Answered)
	u.inside("UPDATE", u.sdp("a=inactive"))
	u.response(200)
	u.inside("BYE", "")
	u.response(200)
	c.wait(leg.Ended)
}

// TestCapsOnCallsToUs: what is too much gets 503 with Retry-After.
func TestCapsOnCallsToUs(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"in all":          func(c *Config) { c.IncomingMax = 1 },
		"from one source": func(c *Config) { c.IncomingPerSource = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			k := &desk{greet: ringing}
			s := take(t, k, change)
			u, v := newUAC(t, s), newUAC(t, s)
			u.invite("first", u.sdp())
			u.response(180)
			v.invite("second", v.sdp())
			if res := v.response(503); res.GetHeader("Retry-After") == nil {
				t.Errorf("503 without Retry-After:\n%s", res)
			}
			v.ack("")
			c, _ := k.next(0)
			_ = c.Hangup(context.Background(), leg.Cause{})
			u.response(603)
			u.ack("")
			c.wait(leg.Ended)
			c.wg.Wait()
			peers.Eventually(t, "the place to be free", 5*time.Second, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.incoming) == 0
			})
			v.seq++
			v.invite("third", v.sdp())
			v.response(180)
		})
	}
}

// TestStopRefusesWhatRings: 503 at once, not after the ringing.
func TestStopRefusesWhatRings(t *testing.T) {
	k := &desk{greet: ringing}
	s := take(t, k, nil)
	u := newUAC(t, s)
	u.invite("stopped", u.sdp())
	u.response(180)
	s.cancel()
	u.response(503)
	u.ack("")
}

package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/pion/rtcp"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// ask asks at the pace of a call until a phone that obeys some ways sends a
// key frame; it returns the ways used.
func ask(k *keyAsker, now *time.Time, obeys func(way) bool) (used []way) {
	wait := 300 * time.Millisecond
	for range 10 {
		if w := k.next(*now, true); w != 0 {
			used = append(used, w)
			if obeys(w) {
				*now = now.Add(100 * time.Millisecond)
				k.came(*now)
				return used
			}
		}
		*now = now.Add(wait)
		wait = min(2*wait, time.Second)
	}
	return used
}

func only(x way) func(way) bool { return func(w way) bool { return w == x } }

// TestKeyframeWays: the ways in their order, and what is remembered of a phone
// for its next request and for the next call with one of its kind.
func TestKeyframeWays(t *testing.T) {
	memory := newKeyMemory()
	now := t0
	call := func(agent string) *keyAsker {
		k := &keyAsker{memory: memory}
		k.meet(agent)
		return k
	}
	check := func(what string, got []way, want ...way) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	k := call("Old/1.0")
	check("a phone that knows INFO only", ask(k, &now, only(byINFO)), byPLI, byPLI, byFIR, byINFO)
	check("asked again", ask(k, &now, only(byINFO)), byINFO)
	check("another of its kind", ask(call("Old/1.0"), &now, only(byINFO)), byINFO)
	check("one of another kind", ask(call("New/2.0"), &now, only(byPLI)), byPLI)
	check("its firmware was changed", ask(call("Old/1.0"), &now, only(byFIR)), byINFO, byINFO, byPLI, byFIR)
	check("and again", ask(call("Old/1.0"), &now, only(byFIR)), byFIR)
	k = call("Older/0.1")
	check("one that knows re-INVITE only", ask(k, &now, only(byReINVITE)), byPLI, byPLI, byFIR, byINFO, byPLI, byFIR, byINFO, byReINVITE)
	if used := ask(k, &now, only(byReINVITE)); strings.Contains(fmt.Sprint(used), "re-INVITE") {
		t.Errorf("a second re-INVITE within %v: %v", reinviteRest, used)
	}
	now = now.Add(reinviteRest)
	check("half a minute later", ask(k, &now, only(byReINVITE)), byReINVITE)
	check("one that says nothing of itself", ask(call(""), &now, only(byFIR)), byPLI, byPLI, byFIR)
	check("which is not remembered", ask(call(""), &now, only(byFIR)), byPLI, byPLI, byFIR)
	k = call("Strict/1")
	k.bar(byFIR, true)
	k.bar(byINFO, true)
	check("one that lists PLI only", ask(k, &now, only(byReINVITE))[:5], byPLI, byPLI, byPLI, byPLI, byPLI)
}

// TestKeyframeBounds: a re-INVITE is not sent while another offer is under
// way, a key frame of the phone's own rhythm teaches nothing, and the memory
// is bounded.
func TestKeyframeBounds(t *testing.T) {
	k := &keyAsker{memory: newKeyMemory()}
	k.meet("a")
	now := t0
	for range 20 {
		now = now.Add(time.Second)
		if w := k.next(now, false); w == byReINVITE {
			t.Fatal("a re-INVITE while another offer is under way")
		}
	}
	k.came(now.Add(keyAnswer + time.Millisecond))
	if w := k.memory.get("a"); w != 0 {
		t.Errorf("learned %v from a late key frame", w)
	}
	for i := range 3 * maxAgents {
		k.memory.put(fmt.Sprint(i), byFIR)
		k.memory.get("0") // met again and again
	}
	if n := len(k.memory.known); n != maxAgents || k.memory.get("0") != byFIR || k.memory.get("1") != 0 {
		t.Errorf("%d agents are remembered", n)
	}
}

// filming is an established call with video whose RTCP goes to control.
func filming(t *testing.T, s *server, agent string, fb ...string) (u, control *uas, c *call) {
	t.Helper()
	u, control = newUAS(t), newUAS(t)
	r := u.request()
	r.CallID = fmt.Sprintf("film-%d", u.port())
	c = s.dial(t, r)
	more := append([]string{"a=rtpmap:8 PCMA/8000", fmt.Sprintf("m=video %d RTP/AVP 99", u.rtpPort()), "a=rtpmap:99 H264/90000",
		"a=fmtp:99 packetization-mode=0", fmt.Sprintf("a=rtcp:%d", control.rtpPort()), "a=ssrc:77 cname:x"}, fb...)
	u.answer(u.expect(sipmsg.INVITE), 200, u.sdp(more...), "Server: "+agent)
	u.expect(sipmsg.ACK)
	c.wait(leg.Answered)
	return u, control, c
}

// feedback is the next request for a key frame that comes by RTCP.
func (u *uas) feedback() way {
	u.t.Helper()
	buf := make([]byte, 1500)
	for {
		_ = u.rtp.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _, err := u.rtp.ReadFrom(buf)
		if err != nil {
			u.t.Fatalf("no request for a key frame: %v", err)
		}
		pkts, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			u.t.Fatal(err)
		}
		for _, p := range pkts {
			switch p := p.(type) {
			case *rtcp.PictureLossIndication:
				if p.MediaSSRC == 77 {
					return byPLI
				}
			case *rtcp.FullIntraRequest:
				if p.MediaSSRC == 0 && len(p.FIR) == 1 && p.FIR[0].SSRC == 77 {
					return byFIR
				}
			}
		}
	}
}

// TestKeyframeByINFO: a phone that obeys INFO only is asked by PLI, FIR and
// INFO, and the next of its kind by INFO at once. PLI and FIR are not sent in
// vain to one that lists the other only.
func TestKeyframeByINFO(t *testing.T) {
	s := start(t, nil)
	u, control, c := filming(t, s, "OldPhone/3")
	m := c.wait(leg.Answered).Media
	if tracks := m.Tracks(); len(tracks) != 2 || tracks[1].Formats[0].PayloadType != 99 || tracks[1].Send || !tracks[1].Receive {
		t.Fatalf("tracks %+v", tracks)
	}
	for _, want := range []way{byPLI, byPLI, byFIR} {
		m.RequestKeyframe()
		if got := control.feedback(); got != want {
			t.Errorf("asked by %v, want %v", got, want)
		}
	}
	m.RequestKeyframe()
	info := u.expect(sipmsg.INFO)
	if !strings.Contains(string(info.Body()), "picture_fast_update") || info.ContentType().Value() != "application/media_control+xml" {
		t.Errorf("INFO:\n%s", info)
	}
	u.answer(info, 200, "")
	m.KeyframeCame()

	u, _, c = filming(t, s, "OldPhone/3")
	c.wait(leg.Answered).Media.RequestKeyframe()
	u.answer(u.expect(sipmsg.INFO), 200, "")

	_, control, c = filming(t, s, "FIRPhone/1", "a=rtcp-fb:* ccm fir")
	m = c.wait(leg.Answered).Media
	for range 2 {
		m.RequestKeyframe()
		if got := control.feedback(); got != byFIR {
			t.Errorf("asked by %v, want FIR", got)
		}
	}
}

// TestKeyframeByReINVITE: the offer is the one sent before, with the same
// version (RFC 3264 section 8), and the call goes on when it is refused.
func TestKeyframeByReINVITE(t *testing.T) {
	s := start(t, nil)
	s.phones.put("MCU/1", byReINVITE)
	u, control, c := filming(t, s, "MCU/1")
	first := string(u.in.Body())
	m := c.wait(leg.Answered).Media
	m.RequestKeyframe()
	again := u.next(sipmsg.INVITE)
	if string(again.Body()) != first {
		t.Errorf("the re-INVITE's offer\n%s\nis not the first one\n%s", again.Body(), first)
	}
	if tagOf(again.To().Params) != u.tag {
		t.Errorf("To of the re-INVITE: %s", again.To())
	}
	u.ask("INVITE", u.sdp(), "Content-Type: application/sdp") // glare
	u.response(491)
	u.ask("ACK", "")
	u.answer(again, 488, "")
	u.next(sipmsg.ACK)
	m.RequestKeyframe()
	if got := control.feedback(); got != byPLI {
		t.Errorf("after the refusal asked by %v", got)
	}
	u.ask("BYE", "")
	u.response(200)
	c.wait(leg.Ended)
}

// TestKeyframeReINVITEUnanswered: a phone that keeps silent on the re-INVITE, or
// whose proxy gives up on it, keeps its call and is not asked this way again.
func TestKeyframeReINVITEUnanswered(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(u *uas, invite *sipmsg.Request)
	}{
		{"silent", func(u *uas, _ *sipmsg.Request) {
			u.answer(u.next(sipmsg.CANCEL), 200, "")
		}},
		{"trying for ever", func(u *uas, invite *sipmsg.Request) {
			u.answer(invite, 100, "")
			cancel := u.next(sipmsg.CANCEL)
			u.answer(cancel, 200, "")
			u.cancelled(cancel)
		}},
		{"408 of a proxy", func(u *uas, invite *sipmsg.Request) {
			u.answer(invite, 408, "")
			u.next(sipmsg.ACK)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, nil)
			s.reinvite = 300 * time.Millisecond
			s.phones.put("MCU/1", byReINVITE)
			u, control, call := filming(t, s, "MCU/1")
			m := call.wait(leg.Answered).Media
			m.RequestKeyframe()
			c.answer(u, u.next(sipmsg.INVITE))
			peers.Eventually(t, "the re-INVITE to be given up", 5*time.Second, func() bool {
				k := &m.(*session).keys
				k.mu.Lock()
				defer k.mu.Unlock()
				return k.barred[byReINVITE]
			})
			m.RequestKeyframe()
			if got := control.feedback(); got != byPLI {
				t.Errorf("then asked by %v", got)
			}
			u.ask("BYE", "")
			for { // repeated requests may come first
				if _, ok := u.read().(*sipmsg.Response); ok {
					break
				}
			}
			if cause := call.wait(leg.Ended).Cause; cause.Local {
				t.Errorf("the call was ended by us: %+v", cause)
			}
		})
	}
}

package sip

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// scenario is what a sipp that answers our call does, step by step.
type scenario struct {
	b        strings.Builder
	answered bool
}

const sippTag = ";tag=[pid]s[call_number]"

// recv waits for a request. Of an INVITE before the answer the headers are kept.
func (s *scenario) recv(method string) *scenario {
	fmt.Fprintf(&s.b, `<recv request="%s" timeout="20000">`, method)
	if method == "INVITE" && !s.answered {
		s.b.WriteString("<action>")
		for _, h := range []string{"From", "To", "Via", "CSeq"} {
			fmt.Fprintf(&s.b, `<ereg regexp=".*" search_in="hdr" header="%s:" assign_to="%s"/>`, h, h)
		}
		s.b.WriteString(`<ereg regexp="sip:[^>]*" search_in="hdr" header="Contact:" assign_to="Target"/></action>`)
	}
	s.b.WriteString("</recv>\n")
	return s
}

// first answers the INVITE that made the call; a 2xx or other final answer is followed by the ACK.
func (s *scenario) first(status, body string, headers ...string) *scenario {
	to := "To:[$To]" + sippTag
	if strings.HasPrefix(status, "100") {
		to = "To:[$To]"
	}
	contact := "Contact: <sip:bob@[local_ip]:[local_port]>\n"
	if status[0] == '3' {
		contact = ""
	}
	s.send(fmt.Sprintf("SIP/2.0 %s\nVia:[$Via]\nFrom:[$From]\n%s\n[last_Call-ID:]\nCSeq:[$CSeq]\n%s", status, to, contact), body, headers)
	if status[0] != '1' {
		s.recv("ACK")
	}
	s.answered = s.answered || status[0] == '2'
	return s
}

// answer answers the request received last, within the call.
func (s *scenario) answer(status, body string, headers ...string) *scenario {
	return s.send(fmt.Sprintf("SIP/2.0 %s\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:bob@[local_ip]:[local_port]>\n", status), body, headers)
}

// ask sends a request within the call.
func (s *scenario) ask(method, body string, headers ...string) *scenario {
	return s.send(fmt.Sprintf("%s [$Target] SIP/2.0\nVia: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\nFrom:[$To]%s\nTo:[$From]\n[last_Call-ID:]\nCSeq: [cseq] %[1]s\nMax-Forwards: 70\nContact: <sip:bob@[local_ip]:[local_port]>\n", method, sippTag), body, headers)
}

func (s *scenario) send(head, body string, headers []string) *scenario {
	typed := false
	for _, h := range headers {
		head += h + "\n"
		typed = typed || strings.HasPrefix(h, "Content-Type")
	}
	if body != "" && !typed {
		head += "Content-Type: application/sdp\n"
	}
	fmt.Fprintf(&s.b, "<send><![CDATA[\n%sContent-Length: [len]\n\n%s]]></send>\n", head, body)
	return s
}

// gets waits for the response to ask.
func (s *scenario) gets(code int) *scenario {
	fmt.Fprintf(&s.b, `<recv response="100" optional="true"/><recv response="%d" timeout="20000"/>`+"\n", code)
	return s
}

// sdp is a description with sound on a port; more are whole lines.
func sippSDP(port int, more ...string) string {
	return strings.Join(append([]string{"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
		fmt.Sprintf("m=audio %d RTP/AVP 8", port), "a=rtpmap:8 PCMA/8000"}, more...), "\n") + "\n"
}

// sipp runs a scenario for one call; the result waits for its end and fails
// the test when sipp saw anything else than what it was told.
func (s *scenario) sipp(t *testing.T) (port int, wait func()) {
	t.Helper()
	port = peers.Ports(t, 4)
	dir := t.TempDir()
	file := filepath.Join(dir, "scenario.xml")
	text := `<?xml version="1.0" encoding="ISO-8859-1" ?><scenario name="test">` + "\n" + s.b.String() +
		`<Reference variables="From,To,Via,CSeq,Target"/></scenario>`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "sipp", "-sf", file, "-i", "127.0.0.1", "-p", fmt.Sprint(port), "-mp", fmt.Sprint(port+2), "-nd", "-nostdin", "-m", "1",
		"-trace_err", "-error_file", filepath.Join(dir, "errors"))
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatalf("sipp is needed (apt-get install sip-tester): %v", err)
	}
	return port, func() {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "errors"))
			t.Errorf("sipp: %v\n%s\nin\n%s", err, log, text)
		}
	}
}

// against calls a scenario.
func (s *scenario) against(t *testing.T, change func(*Config)) (c *call, wait func()) {
	t.Helper()
	port, wait := s.sipp(t)
	srv := start(t, change)
	c = srv.dial(t, leg.Request{Callee: "bob", Login: "ann", Password: "secret", Domain: fmt.Sprintf("127.0.0.1:%d", port), SendAudio: true, SendVideo: true})
	return c, wait
}

// reinvite offers anew and acknowledges the answer.
func (s *scenario) reinvite(sdp string) *scenario {
	return s.ask("INVITE", sdp).gets(200).ask("ACK", "")
}

// TestSippEarlyMedia: 183 with PRACK, a hold by UPDATE before the answer, and
// an answer without a description.
func TestSippEarlyMedia(t *testing.T) {
	t.Parallel()
	s := &scenario{}
	s.recv("INVITE").first("100 Trying", "").first("183 Session Progress", sippSDP(9000), "Require: 100rel", "RSeq: 17").
		recv("PRACK").answer("200 OK", "").
		ask("UPDATE", sippSDP(9000, "a=sendonly")).gets(200).
		first("200 OK", "").recv("BYE").answer("200 OK", "")
	c, wait := s.against(t, nil)
	if e := c.wait(leg.EarlyMedia); e.Media == nil {
		t.Error("no early media")
	}
	c.wait(leg.Answered)
	_ = c.Hangup(context.Background(), leg.Cause{})
	c.wait(leg.Ended)
	wait()
}

// TestSippRefusals: redirection, a proxy's challenge at the new address (which
// is the same server, so it is answered), and the final refusals.
func TestSippRefusals(t *testing.T) {
	t.Parallel()
	for status, kind := range map[string]leg.CauseKind{"486 Busy Here": leg.Busy, "603 Decline": leg.Rejected} {
		t.Run(status[:3], func(t *testing.T) {
			s := &scenario{}
			s.recv("INVITE").first("302 Moved", "", "Contact: <sip:carol@[local_ip]:[local_port]>").
				recv("INVITE").first("407 Who", "", `Proxy-Authenticate: Digest realm="x", nonce="n", qop="auth"`).
				recv("INVITE").first("180 Ringing", "", "Require: 100rel", "RSeq: 1"). // else the refusal may overtake it
				recv("PRACK").answer("200 OK", "").first(status, "")
			c, wait := s.against(t, nil)
			c.wait(leg.Ringing)
			if e := c.wait(leg.Ended); e.Cause.Kind != kind {
				t.Errorf("cause %+v", e.Cause)
			}
			wait()
		})
	}
}

// TestSippCancel: CANCEL and 487; and a 200 that crosses the CANCEL.
func TestSippCancel(t *testing.T) {
	t.Parallel()
	for _, crossed := range []bool{false, true} {
		t.Run(fmt.Sprint(crossed), func(t *testing.T) {
			s := &scenario{}
			s.recv("INVITE").first("180 Ringing", "").recv("CANCEL").answer("200 OK", "")
			if crossed {
				s.first("200 OK", sippSDP(9000)).recv("BYE").answer("200 OK", "")
			} else {
				s.first("487 Request Terminated", "")
			}
			c, wait := s.against(t, nil)
			c.wait(leg.Ringing)
			_ = c.Hangup(context.Background(), leg.Cause{Text: "no"})
			if e := c.wait(leg.Ended); e.Cause.Text != "no" {
				t.Errorf("cause %+v", e.Cause)
			}
			wait()
		})
	}
}

// TestSippReINVITE: hold, resume at another port with video, video removed;
// our hold and resume; two BYEs that cross.
func TestSippReINVITE(t *testing.T) {
	t.Parallel()
	s := &scenario{}
	video := []string{"m=video 9010 RTP/AVP 99", "a=rtpmap:99 H264/90000"}
	s.recv("INVITE").first("200 OK", sippSDP(9000, "m=video 0 RTP/AVP 112")).
		reinvite(sippSDP(9000, "a=sendonly", "m=video 0 RTP/AVP 112")).
		reinvite(sippSDP(9002, video...)).
		reinvite(sippSDP(9004, "m=video 0 RTP/AVP 99")).
		recv("INVITE").answer("200 OK", sippSDP(9004, "a=recvonly", "m=video 0 RTP/AVP 99")).recv("ACK").
		recv("INVITE").answer("200 OK", sippSDP(9004, "m=video 0 RTP/AVP 99")).recv("ACK").
		recv("BYE").ask("BYE", "").gets(200)
	c, wait := s.against(t, nil)
	c.wait(leg.Resumed)
	m := c.wait(leg.Answered).Media
	peers.Eventually(t, "the last offer", 10*time.Second, func() bool { st := m.Stats(); return len(st) == 1 && st[0].Remote == "127.0.0.1:9004" })
	if err := c.Hold(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Resume(t.Context()); err != nil {
		t.Error(err)
	}
	if n := c.countEvents(leg.Held); n != 2 {
		t.Errorf("%d holds", n)
	}
	_ = c.Hangup(context.Background(), leg.Cause{})
	c.wait(leg.Ended)
	wait()
}

// TestSippSessionTimer: five refreshes by us, then sipp's own until it stops.
func TestSippSessionTimer(t *testing.T) {
	t.Parallel()
	s := &scenario{}
	grant := "Session-Expires: 4;refresher=uac"
	s.recv("INVITE").first("200 OK", sippSDP(9000), grant, "Require: timer", "Allow: INVITE, ACK, BYE, UPDATE")
	for range 5 {
		s.recv("UPDATE").answer("200 OK", "", grant)
	}
	s.ask("UPDATE", "", "Supported: timer", "Session-Expires: 3;refresher=uac").gets(200).
		recv("BYE").answer("200 OK", "")
	c, wait := s.against(t, short)
	if e := c.wait(leg.Ended); !strings.Contains(e.Cause.Text, "session timer of 3s") {
		t.Errorf("cause %+v", e.Cause)
	}
	wait()
}

// TestSippAsksForMore: a session timer that is too short for the callee (422),
// then an offer of ours that it is not ready for (491): both are tried again
// (RFC 4028 section 7.3, RFC 3261 section 14.1).
func TestSippAsksForMore(t *testing.T) {
	t.Parallel()
	s := &scenario{}
	s.recv("INVITE").first("422 Session Interval Too Small", "", "Min-SE: 3600").
		recv("INVITE").first("200 OK", sippSDP(9000), "Session-Expires: 3600;refresher=uac", "Require: timer").
		recv("INVITE").answer("491 Request Pending", "").recv("ACK").
		recv("INVITE").answer("200 OK", sippSDP(9000, "a=recvonly")).recv("ACK").
		recv("BYE").answer("200 OK", "")
	c, wait := s.against(t, nil)
	c.wait(leg.Answered)
	if err := c.Hold(t.Context()); err != nil {
		t.Error(err)
	}
	_ = c.Hangup(context.Background(), leg.Cause{})
	c.wait(leg.Ended)
	wait()
}

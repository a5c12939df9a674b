package sip

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// callerScript is what a sipp that calls us does, step by step.
type callerScript struct {
	b strings.Builder
	// host is where it calls from and to, 127.0.0.1 by default; over is sipp's
	// option -t.
	host, over string
}

const sippCallerSDP = "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\n"

// send sends a request; head lines are added, [last_To:] names the dialog.
func (s *callerScript) send(method, to, body string, retrans bool, head ...string) *callerScript {
	h := fmt.Sprintf("%s sip:line1@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\nFrom: <sip:sipp@[local_ip]>;tag=[pid]c[call_number]\n%s\nCall-ID: [call_id]\nCSeq: [cseq] %s\nContact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\nMax-Forwards: 70\n", method, to, method)
	typed := false
	for _, x := range head {
		h += x + "\n"
		typed = typed || strings.HasPrefix(x, "Content-Type")
	}
	if body != "" && !typed {
		h += "Content-Type: application/sdp\n"
	}
	r := ""
	if retrans {
		r = ` retrans="500"`
	}
	fmt.Fprintf(&s.b, "<send%s><![CDATA[\n%sContent-Length: [len]\n\n%s]]></send>\n", r, h, body)
	return s
}

const sippTo = "To: <sip:line1@[remote_ip]>"

func (s *callerScript) gets(code int, attr string) *callerScript {
	fmt.Fprintf(&s.b, `<recv response="100" optional="true"/><recv response="180" optional="true"/><recv response="%d" timeout="20000"%s/>`+"\n", code, attr)
	return s
}

// waits waits for a request of ours.
func (s *callerScript) waits(request string) *callerScript {
	fmt.Fprintf(&s.b, `<recv request="%s" timeout="20000"/>`+"\n", request)
	return s
}

// run calls an agent once; it fails the test when sipp saw anything else than
// what it was told.
func (s *callerScript) run(t *testing.T, srv *server, args ...string) {
	t.Helper()
	port := peers.Ports(t, 4)
	host := cmp.Or(s.host, "127.0.0.1")
	dir := t.TempDir()
	file := filepath.Join(dir, "scenario.xml")
	text := `<?xml version="1.0" encoding="ISO-8859-1" ?><scenario name="caller">` + "\n" + s.b.String() + `</scenario>`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	args = append([]string{net.JoinHostPort(host, fmt.Sprint(srv.Port())), "-sf", file, "-i", host, "-t", cmp.Or(s.over, "u1"), "-p", fmt.Sprint(port), "-mp", fmt.Sprint(port + 2),
		"-nd", "-nostdin", "-m", "1", "-trace_err", "-error_file", filepath.Join(dir, "errors")}, args...)
	cmd := exec.CommandContext(ctx, "sipp", args...)
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "errors"))
		t.Errorf("sipp: %v\n%s\nin\n%s", err, log, text)
	}
}

func TestSippCalls(t *testing.T) {
	t.Run("login, then BYE of the caller", func(t *testing.T) {
		k := &desk{}
		srv := take(t, k, func(c *Config) {
			c.Trunks = []string{"name=office user=sipp password=secret"}
			c.DigestAlgorithms = []string{"MD5"}
		})
		s := &callerScript{}
		s.send("INVITE", sippTo, sippCallerSDP, true).gets(401, ` auth="true"`).send("ACK", "[last_To:]", "", false).
			send("INVITE", sippTo, sippCallerSDP, true, "[authentication username=sipp password=secret]").gets(200, "").
			send("ACK", "[last_To:]", "", false).send("BYE", "[last_To:]", "", true).gets(200, "")
		s.run(t, srv)
		c, _ := k.next(0)
		if end := c.wait(leg.Ended); end.Cause.Local || end.Cause.Code != 200 {
			t.Errorf("cause %+v", end.Cause)
		}
	})
	t.Run("offer in the 200", func(t *testing.T) {
		k := &desk{}
		srv := take(t, k, nil)
		s := &callerScript{}
		s.send("INVITE", sippTo, "", true).gets(200, "").send("ACK", "[last_To:]", sippCallerSDP, false).send("BYE", "[last_To:]", "", true).gets(200, "")
		s.run(t, srv)
		c, _ := k.next(0)
		c.wait(leg.Answered)
		c.wait(leg.Ended)
	})
	t.Run("no ACK", func(t *testing.T) {
		k := &desk{}
		srv := take(t, k, nil)
		srv.mu.Lock()
		srv.ackTime = 2 * time.Second
		srv.mu.Unlock()
		s := &callerScript{}
		s.send("INVITE", sippTo, sippCallerSDP, true).gets(200, "")
		s.b.WriteString(`<recv response="200" optional="true"/>` + "\n")
		s.waits("BYE")
		s.b.WriteString("<send><![CDATA[\nSIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContent-Length: 0\n\n]]></send>\n")
		s.run(t, srv)
		c, _ := k.next(0)
		if end := c.wait(leg.Ended); end.Cause.Kind != leg.RequestTimeout || !strings.Contains(end.Cause.Text, "did not acknowledge") {
			t.Errorf("cause %+v", end.Cause)
		}
	})
	t.Run("an unknown caller", func(t *testing.T) {
		k := &desk{}
		srv := take(t, k, func(c *Config) { c.Trunks = nil })
		s := &callerScript{}
		s.send("INVITE", sippTo, sippCallerSDP, true).gets(603, "").send("ACK", "[last_To:]", "", false)
		s.run(t, srv)
	})
}

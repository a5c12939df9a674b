//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lineout/test/peers"
)

// TestCallDoctor: the call doctor shows a call's messages without its secrets and
// what came of it, on a page too, and tshark reads its trace: the SIP dialog
// and each RTP stream with its codec and no loss.
func TestCallDoctor(t *testing.T) {
	reg := peers.StartRegistrar(t, peers.RegistrarConfig{})
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Registrar: reg, Expires: 3600})
	srv := peers.StartLineout(t, nil)
	browser := peers.StartBrowser(t)
	srv.Must(t, "/rest-api/call/startup", viaRegistrar("doc-1", "doc_1", reg), nil)
	srv.WaitCall(t, "doc-1", "ESTABLISHED")
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	<-time.After(4 * time.Second) // of media
	running := doctorReport(t, srv, "doc-1")
	if running.Cause != "Nothing is wrong: sound and picture come as agreed." || running.Ended != nil {
		t.Errorf("of the running call: %q", running.Cause)
	}
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": "doc-1"}, nil)
	phone.WaitEvent(t, "CALL_CLOSED")
	srv.WaitGone(t, "doc-1")

	// A call that nobody takes.
	srv.Must(t, "/rest-api/call/startup", with(viaRegistrar("doc-2", "doc_2", reg), map[string]any{"callee": "4711"}), nil)
	srv.WaitEnded(t, "doc-2")
	if got := doctorReport(t, srv, "doc-2").Cause; !strings.HasPrefix(got, "The callee is not known at the SIP server: 404") {
		t.Errorf("of the refused call: %q", got)
	}

	r := doctorReport(t, srv, "doc-1")
	if r.Ended == nil || r.Status != "FINISH" || !strings.HasPrefix(r.Cause, "The call went well") {
		t.Errorf("of the ended call: %+v", r)
	}
	var lines []string
	registers := 0
	for _, m := range r.Messages {
		if strings.Contains(m.Line, "REGISTER") {
			registers++
		} else {
			lines = append(lines, m.Line)
		}
		if regexp.MustCompile(`response="[^*"]`).MatchString(m.Text) || strings.Contains(m.Text, "pw10006") {
			t.Errorf("credentials are shown: %s", m.Text)
		}
	}
	if l := strings.Join(lines, ", "); !strings.HasPrefix(l, "INVITE, ") || !strings.Contains(l, "100 ") || !strings.HasSuffix(l, "(INVITE), ACK, BYE, 200 OK (BYE)") {
		t.Errorf("messages: %s", l)
	}
	if registers < 4 { // the challenged one, and its answers
		t.Errorf("%d messages of the account's registration", registers)
	}
	if len(r.Media) != 2 || r.Media[0].Codec != "PCMA" || r.Media[0].PacketsReceived < 100 || r.Media[1].Codec != "H264" || r.Media[1].RTCPReceived == 0 {
		t.Errorf("media: %+v", r.Media)
	}

	status, pcap := srv.Get(t, "/rest-api/call/trace?callId=doc-1")
	if status != http.StatusOK {
		t.Fatalf("trace: %d", status)
	}
	file := filepath.Join(peers.Artefacts(t), "trace.pcap")
	if err := os.WriteFile(file, []byte(pcap), 0o600); err != nil {
		t.Fatal(err)
	}
	dialog := tshark(t, file, "-q", "-z", "sip,stat")
	note(t, "tshark -z sip,stat:\n%s", dialog)
	for _, want := range []string{`INVITE\s+:\s+\d`, `BYE\s+:\s+\d`, `SIP 200 OK\s+:\s+\d`} {
		if !regexp.MustCompile(want).MatchString(dialog) {
			t.Errorf("tshark does not see %q", want)
		}
	}
	streams := tshark(t, file, "-q", "-z", "rtp,streams")
	note(t, "tshark -z rtp,streams:\n%s", streams)
	for _, codec := range []string{"g711A", "H264"} {
		line := regexp.MustCompile(`(?m)^.*` + codec + `.*$`).FindString(streams)
		if line == "" || !strings.Contains(line, " 0 (0.0%)") {
			t.Errorf("stream of %s: %q", codec, line)
		}
	}
	if bad := tshark(t, file, "-Y", "_ws.malformed && !_ws.short"); strings.TrimSpace(bad) != "" {
		t.Errorf("tshark finds malformed packets:\n%s", bad)
	}

	p := browser.Open(t, srv.URL("/doctor"))
	p.Resize(t, 1200, 900)
	p.WaitFor(t, "document.querySelectorAll('#list li').length === 2", timeoutShort)
	p.Screenshot(t, "list")
	p = browser.Open(t, srv.URL("/doctor?call="+url.QueryEscape("doc-1")))
	p.Resize(t, 1200, 1000)
	p.WaitFor(t, "document.querySelectorAll('#ladder li').length > 5", timeoutShort)
	p.Screenshot(t, "call")
	p.WaitFor(t, "(document.querySelectorAll('#ladder details')[6].open = true)", timeoutShort)
	p.Resize(t, 1200, 3300)
	p.Screenshot(t, "call-whole")
	p.Resize(t, 390, 4400)
	p.WaitFor(t, "document.documentElement.scrollWidth <= 390", timeoutShort)
	p.Screenshot(t, "call-phone-size")
	if c := p.Console(); len(c) > 0 {
		t.Errorf("console: %q", c)
	}
}

type report struct {
	Status, Cause string
	Ended         *int64
	Messages      []struct{ Line, Text string }
	Media         []struct {
		Codec                         string
		PacketsReceived, RTCPReceived int
	}
}

func doctorReport(t *testing.T, srv *peers.Lineout, id string) (r report) {
	t.Helper()
	status, text := srv.Get(t, "/rest-api/call/doctor?callId="+id)
	if status != http.StatusOK {
		t.Fatalf("doctor: %d %s", status, text)
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func tshark(t *testing.T, file string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tshark", append([]string{"-r", file}, args...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, errs.String())
	}
	return string(out)
}

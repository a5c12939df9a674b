package peers

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Answerer is a SIP party that answers every call at once with a description the
// test has written: sipp with a scenario of ours. It takes INFO and BYE and moves no
// media itself; see [Encoder].
type Answerer struct {
	*Process
	User string
	Port int // UDP on 127.0.0.1
}

//go:embed answerer.xml
var answererScenario string

// StartAnswerer starts an answering party with the SDP body of its answers, lines
// ended by "\n", and returns when it takes calls. SIP messages are kept in
// answerer-<port>.sip of the test's artefacts.
func StartAnswerer(t testing.TB, sdp string) *Answerer {
	t.Helper()
	a := &Answerer{User: "answerer", Port: Ports(t, 2)}
	dir := t.TempDir()
	scenario := filepath.Join(dir, "answerer.xml")
	// A square bracket would begin one of sipp's own keywords.
	if strings.ContainsAny(sdp, "[]") {
		t.Fatalf("answerer: the SDP has a square bracket:\n%s", sdp)
	}
	text := strings.Replace(answererScenario, "SDP-BODY", strings.TrimSpace(sdp), 1)
	if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
		t.Fatalf("configure the answering party: %v", err)
	}
	name := fmt.Sprintf("answerer-%d", a.Port)
	cmd := exec.Command("sipp", "-sf", scenario, "-i", "127.0.0.1", "-p", strconv.Itoa(a.Port), "-aa", "-nd", "-nostdin", "-f", "60",
		"-trace_msg", "-message_file", filepath.Join(Artefacts(t), name+".sip"), "-message_overwrite", "true")
	cmd.Dir = dir
	a.Process = start(t, name, cmd)
	bound := fmt.Sprintf(" 0100007F:%04X ", a.Port) // trying the port could take it from sipp
	a.await(t, "its port", startTimeout, func() bool {
		sockets, err := os.ReadFile("/proc/net/udp")
		return err == nil && strings.Contains(string(sockets), bound)
	})
	return a
}

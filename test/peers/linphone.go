package peers

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// LinphoneConfig says how a [Linphone] registers.
type LinphoneConfig struct {
	User, Password string
	Server         string // host:port
	Transport      string // udp, tcp or tls
	TLS            *Certificates
	Answer         bool // every call at once
}

// Linphone is a running linphonec, registered at a server with the domain
// 127.0.0.1. It has no sound devices; it sends a file.
type Linphone struct {
	*Process
	in io.WriteCloser
}

// StartLinphone starts the phone and returns when it takes commands; it registers then.
func StartLinphone(t testing.TB, c LinphoneConfig) *Linphone {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{".local/share/linphone", ".config/linphone", ".cache/linphone"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	base := Ports(t, 10)
	port := map[string]int{c.Transport: -1} // any
	config := fmt.Sprintf("[sip]\nsip_port=%d\nsip_tcp_port=%d\nsip_tls_port=%d\nuse_ipv6=0\nregister_only_when_network_is_up=0\n", port["udp"], port["tcp"], port["tls"])
	if c.TLS != nil {
		config += "root_ca=" + c.TLS.CA + "\nverify_server_cn=0\n" // its TLS library knows no addresses in certificates
	}
	config += fmt.Sprintf("[rtp]\naudio_rtp_port=%d\nvideo_rtp_port=%d\n", base, base+2)
	file := filepath.Join(dir, "linphonerc")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatalf("configure linphone: %v", err)
	}
	args := []string{"-c", file, "-S"}
	if c.Answer {
		args = append(args, "-a")
	}
	cmd := exec.Command("linphonec", args...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &Linphone{in: in}
	p.Process = start(t, "linphone-"+c.User, cmd)
	p.await(t, "its prompt", startTimeout, func() bool { return strings.Contains(p.Log(), "linphonec>") })
	p.Command(t, "soundcard use files")
	p.Command(t, fmt.Sprintf("register sip:%s@127.0.0.1 sip:%s;transport=%s %s", c.User, c.Server, c.Transport, c.Password))
	return p
}

// Command gives the phone a command, as typed.
func (p *Linphone) Command(t testing.TB, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		t.Fatalf("linphone: %s: %v", line, err)
	}
}

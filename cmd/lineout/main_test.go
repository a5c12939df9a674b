package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// invoke runs the program as main would.
func invoke(ctx context.Context, env []string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(ctx, args, env, &o, &e)
	return code, o.String(), e.String()
}

// quiet are settings with which a server can run beside others.
func quiet(t *testing.T, more ...string) []string {
	t.Helper()
	args := []string{"serve", "--set", "http.address=127.0.0.1", "--set", "ip=127.0.0.1", "--set", "ip_local=127.0.0.1",
		"--set", "http.legacy_port=0", "--set", "ws.port=0", "--set", "hls.port=0",
		"--set", "https.port=0", "--set", "https.legacy_port=0", "--set", "wss.port=0", "--set", "https.hls_port=0",
		"--set", "record_dir=" + t.TempDir()}
	for _, m := range more {
		args = append(args, "--set", m)
	}
	return args
}

// freePort is a TCP port nobody listened on a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "lineout dev"},
		{[]string{"help"}, 0, "lineout config"},
		{[]string{"fly"}, 2, `unknown command "fly"`},
		{[]string{"serve", "now"}, 2, `unexpected argument "now"`},
		{[]string{"--no-such-option"}, 2, "no-such-option"},
		{[]string{"config", "--set", "http.port=many"}, 1, "http.port"},
		{[]string{"config", "--config", "/no/such/file.yaml"}, 1, "/no/such/file.yaml"},
	} {
		code, out, errs := invoke(t.Context(), nil, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%v: code %d, said %q; want %d and %q", c.args, code, out+errs, c.code, c.want)
		}
	}
}

func TestConfigShowsWhereValuesComeFromAndNoSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flashphoner.properties")
	if err := os.WriteFile(file, []byte("ws.port = 1111\nhls.port=2222\nrecord_dirr=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := invoke(t.Context(), []string{"LINEOUT_HLS_PORT=3333", "LINEOUT_REST_USERS=admin:topsecret"},
		"config", "--config", file, "--set", "http.port=4444")
	if code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	for name, want := range map[string]string{"http.port": "4444 (flag)", "ws.port": "1111 (file", "hls.port": "3333 (env LINEOUT_HLS_PORT)",
		"http.legacy_port": "9091 (default)"} {
		ok := false
		for _, line := range strings.Split(out, "\n") {
			f := strings.Fields(line)
			ok = ok || len(f) > 2 && f[0] == name && strings.HasPrefix(strings.Join(f[2:], " "), want)
		}
		if !ok {
			t.Errorf("%s is not shown as %q in\n%s", name, want, out)
		}
	}
	if strings.Contains(out+errs, "topsecret") {
		t.Error("a secret is shown")
	}
	if !strings.Contains(errs, "record_dirr") || !strings.Contains(errs, "record_dir") {
		t.Errorf("no hint for the misspelt name: %q", errs)
	}
}

// Each fault is one line that names the setting, and nothing stays behind.
func TestFaultsAtStartNameTheSetting(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	taken := udp.LocalAddr().(*net.UDPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	for name, set := range map[string]string{
		"http.port":            fmt.Sprintf("http.port=%d", busy.Addr().(*net.TCPAddr).Port),
		"record_dir":           "record_dir=" + file,
		"port_from":            fmt.Sprintf("port_from=%d", taken),
		"webrtc.udp_port":      fmt.Sprintf("webrtc.udp_port=%d", taken),
		"log_level":            "log_level=loud",
		"shutdown_timeout":     "shutdown_timeout=0",
		"media_port_from":      "media_port_from=99999",
		"rtmp_push_retry_min":  "rtmp_push_retry_min=-1s",
		"http.port and":        "http.port=0",
		"rtp_activity_detecti": "rtp_activity_detecting=perhaps",
	} {
		args := quiet(t, fmt.Sprintf("http.port=%d", port), fmt.Sprintf("port_to=%d", max(taken, 31000)))
		if name == "port_from" {
			args = append(args, "--set", fmt.Sprintf("port_to=%d", taken))
		}
		want := name
		if name == "http.port and" {
			want = "http.port"
		}
		code, _, errs := invoke(t.Context(), nil, append(args, "--set", set)...)
		if code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, said %q", set, code, errs)
		}
		if n := strings.Count(strings.TrimSpace(errs), "\n"); n > 0 {
			t.Errorf("%s: %d lines instead of one: %q", set, n+1, errs)
		}
	}
}

func TestServesAndStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	port := freePort(t)
	type result struct {
		code int
		errs string
	}
	done := make(chan result, 1)
	args := quiet(t, fmt.Sprintf("http.port=%d", port))
	go func() {
		code, _, errs := invoke(ctx, nil, args...)
		done <- result{code, errs}
	}()
	for range 500 { // until it listens; bounded by the test's own limit
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	r := <-done
	if r.code != 0 {
		t.Fatalf("code %d: %s", r.code, r.errs)
	}
	for _, want := range []string{fmt.Sprintf("http://127.0.0.1:%d", port), "curl -d", "/rest-api/call/startup", "server stopped"} {
		if !strings.Contains(r.errs, want) {
			t.Errorf("output lacks %q:\n%s", want, r.errs)
		}
	}
}

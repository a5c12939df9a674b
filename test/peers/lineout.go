package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"lineout/test/media"
)

// Lineout is a running lineout server on 127.0.0.1.
type Lineout struct {
	*Process
	HTTPPort  int    // every route
	WSPort    int    // every route; the WebSDK's default is another number
	HLSPort   int    // every route
	WSSPort   int    // every route, by TLS with a self-signed certificate
	SIPPort   int    // where it takes calls
	RecordDir string // where recordings go

	args []string
	http *http.Client
}

// StartLineout starts the server that "make build" has built (or the one
// LINEOUT_BIN names) on free ports and returns when it is healthy. The settings
// are added to those of the test (--set name=value) and win over them.
func StartLineout(t testing.TB, settings map[string]string) *Lineout {
	t.Helper()
	l := PrepareLineout(t, settings)
	l.Start(t)
	return l
}

// PrepareLineout chooses ports and folders as [StartLineout] does but starts nothing: see [Lineout.Start] and [Lineout.Fails].
func PrepareLineout(t testing.TB, settings map[string]string) *Lineout {
	t.Helper()
	const listeners, signalling, media = 10, 20, 400
	p := Ports(t, listeners+signalling+media)
	l := &Lineout{
		HTTPPort: p, WSPort: p + 1, HLSPort: p + 2, WSSPort: p + 3, SIPPort: p + listeners,
		RecordDir: filepath.Join(t.TempDir(), "records"),
		http:      &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	all := map[string]string{
		"ip": "127.0.0.1", "ip_local": "127.0.0.1",
		"http.port": strconv.Itoa(l.HTTPPort), "ws.port": strconv.Itoa(l.WSPort), "hls.port": strconv.Itoa(l.HLSPort), "http.legacy_port": "0",
		"https.port": "0", "https.legacy_port": "0", "wss.port": strconv.Itoa(l.WSSPort), "https.hls_port": "0", "https.folder": filepath.Join(t.TempDir(), "tls"),
		"port_from": strconv.Itoa(p + listeners), "port_to": strconv.Itoa(p + listeners + signalling - 1),
		"media_port_from": strconv.Itoa(p + listeners + signalling), "media_port_to": strconv.Itoa(p + listeners + signalling + media - 1),
		"record_dir": l.RecordDir,
	}
	for k, v := range settings {
		all[k] = v
	}
	l.RecordDir = all["record_dir"]
	l.args = []string{"serve"}
	for k, v := range all {
		l.args = append(l.args, "--set", k+"="+v)
	}
	return l
}

// Start starts the server; after a Stop or Kill9 it starts it again with the same settings.
func (l *Lineout) Start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(lineoutBinary(t), l.args...)
	cmd.Dir = t.TempDir() // so that nothing relative to the working directory is found by chance
	l.Process = start(t, "lineout", cmd)
	l.await(t, "/healthz", startTimeout, func() bool {
		res, err := l.http.Get(l.URL("/healthz"))
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// Fails runs a server that is expected to refuse to start, and returns its exit code and everything it printed.
func (l *Lineout) Fails(t testing.TB) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, lineoutBinary(t), l.args...)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("lineout runs although it should have refused to start:\n%s", out)
	}
	if cmd.ProcessState == nil {
		t.Fatalf("run lineout: %v", err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// Command runs another of the program's commands to its end.
func Command(t testing.TB, args ...string) (code int, output string) {
	t.Helper()
	cmd := exec.Command(lineoutBinary(t), args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("lineout %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func lineoutBinary(t testing.TB) string {
	t.Helper()
	bin := os.Getenv("LINEOUT_BIN")
	if bin == "" {
		root, err := media.ModuleRoot()
		if err != nil {
			t.Fatal(err)
		}
		bin = filepath.Join(root, "bin", "lineout")
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("no server to test: %v (make build)", err)
	}
	return bin
}

// URL is an address of the server on its HTTP port.
func (l *Lineout) URL(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", l.HTTPPort, path)
}

// WSURL is the address the WebSDK connects to.
func (l *Lineout) WSURL() string { return fmt.Sprintf("ws://127.0.0.1:%d", l.WSPort) }

// HLSURL is the playlist of a stream.
func (l *Lineout) HLSURL(stream string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/%s/%s.m3u8", l.HLSPort, stream, stream)
}

// Post sends a REST request with body as JSON (nil: no body) and returns the
// status. A 200 with content is decoded to into, unless that is nil; of other
// answers the body is returned as text.
func (l *Lineout) Post(t testing.TB, path string, body, into any) (status int, text string) {
	t.Helper()
	status, text, err := l.post(t.Context(), path, body)
	if err != nil {
		t.Fatal(err)
	}
	if status == http.StatusOK && into != nil {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("POST %s: answer %q: %v", path, text, err)
		}
	}
	return status, text
}

func (l *Lineout) post(ctx context.Context, path string, body any) (int, string, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, "", fmt.Errorf("POST %s: %w", path, err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL(path), r)
	if err != nil {
		return 0, "", fmt.Errorf("POST %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := l.http.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("POST %s: %w", path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", fmt.Errorf("POST %s: %w", path, err)
	}
	return res.StatusCode, string(b), nil
}

// Must is [Lineout.Post] that fails the test when the answer is not 200.
func (l *Lineout) Must(t testing.TB, path string, body, into any) {
	t.Helper()
	if status, text := l.Post(t, path, body, into); status != http.StatusOK {
		t.Fatalf("POST %s %v: %d %s", path, body, status, text)
	}
}

// PostAll sends the same request n times at once and counts the answers by status.
func (l *Lineout) PostAll(t testing.TB, n int, path string, body any) map[int]int {
	t.Helper()
	type answer struct {
		status int
		err    error
	}
	answers := make(chan answer, n)
	gate := make(chan struct{})
	for range n {
		go func() {
			<-gate
			status, _, err := l.post(t.Context(), path, body)
			answers <- answer{status, err}
		}()
	}
	close(gate)
	count := map[int]int{}
	for range n {
		a := <-answers
		if a.err != nil {
			t.Error(a.err)
		}
		count[a.status]++
	}
	return count
}

// Get reads an address of the server.
func (l *Lineout) Get(t testing.TB, path string) (status int, text string) {
	t.Helper()
	res, err := l.http.Get(l.URL(path))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(b)
}

// Call is a call as the REST API shows it, the keys tests look at.
type Call struct {
	CallID           string  `json:"callId"`
	Status           string  `json:"status"`
	SIPStatus        *int    `json:"sipStatus"`
	StreamName       *string `json:"streamName"`
	RTMPURL          *string `json:"rtmpUrl"`
	RTMPStream       *string `json:"rtmpStream"`
	RTMPStreamStatus *string `json:"rtmpStreamStatus"`
	Caller           string  `json:"caller"`
	Callee           string  `json:"callee"`
	Incoming         bool    `json:"incoming"`
	SDP              *string `json:"sdp"`
}

// FindCall asks /call/find for a call, nil when the answer is 404.
func (l *Lineout) FindCall(t testing.TB, id string) *Call {
	t.Helper()
	var calls []Call
	switch status, text := l.Post(t, "/rest-api/call/find", map[string]string{"callId": id}, &calls); {
	case status == http.StatusNotFound:
		return nil
	case status != http.StatusOK || len(calls) != 1:
		t.Fatalf("/call/find %s: %d %s", id, status, text)
	}
	return &calls[0]
}

// WaitCall waits until a call has a status ("ESTABLISHED"); it fails the test when the call goes away first.
func (l *Lineout) WaitCall(t testing.TB, id, status string) *Call {
	t.Helper()
	var c *Call
	Eventually(t, "call "+id+" "+status, 20*time.Second, func() bool {
		if c = l.FindCall(t, id); c == nil {
			t.Fatalf("call %s ended before it was %s", id, status)
		}
		return c.Status == status
	})
	return c
}

// WaitGone waits until a call is no longer found.
func (l *Lineout) WaitGone(t testing.TB, id string) {
	t.Helper()
	Eventually(t, "the end of call "+id, 20*time.Second, func() bool { return l.FindCall(t, id) == nil })
}

// WaitEnded waits until a call has ended by itself, and returns it as it is shown
// then: ended calls can be found for some seconds more, so that who asks now and
// then learns the cause.
func (l *Lineout) WaitEnded(t testing.TB, id string) *Call {
	t.Helper()
	var c *Call
	Eventually(t, "the end of call "+id, 20*time.Second, func() bool {
		if c = l.FindCall(t, id); c == nil {
			t.Fatalf("call %s is gone before it was seen to have ended", id)
		}
		return c.Status == "FAILED" || c.Status == "BUSY" || c.Status == "FINISH"
	})
	return c
}

// Stream is a stream as the REST API shows it, the keys tests look at.
type Stream struct {
	MediaSessionID string `json:"mediaSessionId"`
	Name           string `json:"name"`
	Status         string `json:"status"`
}

// FindStream asks /stream/find for a stream by name, nil when the answer is 404.
func (l *Lineout) FindStream(t testing.TB, name string) *Stream {
	t.Helper()
	var s []Stream
	status, text := l.Post(t, "/rest-api/stream/find", map[string]any{"name": name, "published": true}, &s)
	if status == http.StatusNotFound {
		return nil
	}
	if status != http.StatusOK || len(s) == 0 {
		t.Fatalf("/stream/find %s: %d %s", name, status, text)
	}
	return &s[0]
}

// Recordings are the files in RecordDir that match a pattern of [filepath.Glob], folders below it excluded.
func (l *Lineout) Recordings(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(l.RecordDir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

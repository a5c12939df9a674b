package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/calls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("connection refused")

// receiver is a back end without a network, so that time can be faked.
type receiver struct {
	mu     sync.Mutex
	answer func(n int, body string) (int, error) // n counts tries from 0
	tries  []time.Time
	taken  []string // statuses of what was answered 200, as "callId STATUS/rtmp"
	last   *http.Request
	body   string
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	n := len(r.tries)
	r.tries = append(r.tries, time.Now())
	r.last, r.body = req, string(b)
	answer := r.answer
	r.mu.Unlock()
	code := http.StatusOK
	if answer != nil {
		if code, err = answer(n, string(b)); err != nil {
			return nil, err
		}
		if code == 0 { // never answers
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
	}
	if code == http.StatusOK {
		var e event
		if err := json.Unmarshal(b, &e); err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.taken = append(r.taken, strings.TrimSuffix(e.CallID+" "+string(e.Status)+"/"+e.RTMPStreamStatus, "/"))
		r.mu.Unlock()
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("{}")), Request: req, Header: http.Header{}}, nil
}

func (r *receiver) answers(f func(n int, body string) (int, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.taken...)
}

// logs collects log lines.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// settings are the defaults with one address.
func settings(folder string) Config {
	return Config{Methods: []string{callStatus, onMessage, onDTMF}, URLs: []string{"http://localhost:9091/CallApp"}, Folder: folder, MaxBytes: 16 << 20, MaxAge: 24 * time.Hour,
		Timeout: 15 * time.Second, Retries: 3, Retry: true}
}

// start runs a notifier whose addresses all lead to r. What it returns stops it.
func start(t *testing.T, c Config, r http.RoundTripper) (*Notifier, *logs, func()) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	l := &logs{}
	n := New(c, "192.168.88.101", slog.New(slog.NewTextHandler(l, nil)))
	for _, x := range n.targets {
		x.client = &http.Client{Transport: r, CheckRedirect: x.client.CheckRedirect}
	}
	if err := n.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return n, l, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// info is a call in some state; rtmp "" is a call without push.
func info(id string, st calls.Status, code int, rtmp string) calls.Info {
	i := calls.Info{CallID: id, AppKey: "defaultApp", Status: st, SIPStatus: code, Caller: "3000", Callee: "3002",
		HasAudio: true, HasVideo: true, VisibleName: "3000", MediaProvider: "Flash", StreamName: "s"}
	if rtmp != "" {
		i.RTMPURL, i.RTMPStream, i.RTMPStreamStatus = "rtmp://rtmp.example.com:1935/live", "streamName2", rtmp
	}
	return i
}

// whole tells a call from beginning to end, and is what should come of it.
func whole(n *Notifier, id string) []string {
	for _, i := range []calls.Info{
		info(id, calls.Trying, 100, ""), info(id, calls.Ring, 180, ""), info(id, calls.Established, 200, ""), info(id, calls.Finish, 200, ""),
	} {
		n.Notify(i)
	}
	return []string{id + " TRYING", id + " RING", id + " ESTABLISHED", id + " FINISH"}
}

func metric(t *testing.T, n *Notifier, name, reason string) float64 {
	t.Helper()
	for _, m := range n.Metrics() {
		if m.Name == "lineout_hooks_"+name && m.Labels["reason"] == reason {
			return m.Value
		}
	}
	t.Fatalf("no metric %s %s", name, reason)
	return 0
}

// Package hooks tells other programs what becomes of calls: the CallApp
// notifications of Web Call Server (S2-37 to S2-40). A notification is put
// into a queue of each address and leaves it when the receiver has answered;
// the caller never waits. The queues are kept in files, so that what could not
// be delivered yet is delivered after a restart.
package hooks

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lineout/calls"
	"lineout/outputs"
)

// Notifier tells every address of the settings. Safe for concurrent use.
type Notifier struct {
	cfg     Config
	log     *slog.Logger
	nodeID  string
	targets []*target

	mu    sync.Mutex
	calls map[string]*callRef // running calls by callId
}

// callRef is one call, as far as its notifications have to know it.
type callRef struct {
	// id tells this call from a later one with the same callId.
	id string
	// ended is set with the call's last notification: its others may be dropped
	// before those of running calls.
	ended atomic.Bool

	status     calls.Status // as told last; guarded by Notifier.mu
	rtmpStatus string
}

// New makes a notifier; nothing is sent before Run. host is the address this
// server has in nodeId.
func New(c Config, host string, log *slog.Logger) *Notifier {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{cfg: c, log: log, nodeID: rand.Text() + "@" + host, calls: map[string]*callRef{}}
	if c.Disable {
		return n
	}
	client := &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: lanes, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true},
		// A redirect would carry the body and its signature to somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, raw := range c.URLs {
		if u, err := url.Parse(raw); err == nil { // else Validate has refused it
			n.targets = append(n.targets, newTarget(c, u, client, log))
		}
	}
	return n
}

// Open reads what an earlier run left undelivered. Its error says which folder
// cannot be used and why.
func (n *Notifier) Open() error {
	if len(n.targets) == 0 || n.cfg.Folder == "" {
		return nil
	}
	// Notifications hold telephone numbers: they are nobody else's business.
	if err := os.MkdirAll(n.cfg.Folder, 0o700); err != nil {
		return fmt.Errorf("call_app_folder: %w (choose another with --set call_app_folder=FOLDER)", err)
	}
	for _, t := range n.targets {
		if err := t.open(n.cfg.Folder); err != nil {
			return fmt.Errorf("call_app_folder: %w", err)
		}
	}
	return nil
}

// Notify tells of a call's change, if its status or that of its push is
// another than before (S2-39). Changes of one call have to come in order. It
// does no I/O.
func (n *Notifier) Notify(i calls.Info) {
	if len(n.targets) == 0 {
		return
	}
	n.mu.Lock()
	c := n.calls[i.CallID]
	if c == nil {
		// Where a call begins; that is not told.
		c = &callRef{id: sessionID(), status: calls.Pending}
		if i.RTMPStreamStatus != "" {
			c.rtmpStatus = calls.RTMPWait
		}
		n.calls[i.CallID] = c
	}
	same := c.status == i.Status && c.rtmpStatus == i.RTMPStreamStatus
	c.status, c.rtmpStatus = i.Status, i.RTMPStreamStatus
	if i.Status.Final() {
		delete(n.calls, i.CallID)
	}
	n.mu.Unlock()
	if same {
		return
	}
	body, err := newEvent(i, n.nodeID, c.id).encode()
	if err != nil { // cannot be: strings, numbers and booleans
		n.log.Error("notification cannot be encoded", "call", i.CallID, "err", err)
		return
	}
	now := time.Now()
	for _, t := range n.targets {
		t.push(now, c, body)
	}
	c.ended.Store(i.Status.Final())
}

// Run delivers until ctx ends, and then for up to two seconds more what can be
// delivered at once.
func (n *Notifier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, t := range n.targets {
		wg.Go(func() { t.run(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}

// Metrics are those of every address.
func (n *Notifier) Metrics() []outputs.Metric {
	var out []outputs.Metric
	for _, t := range n.targets {
		out = append(out, t.metrics(time.Now())...)
	}
	return out
}

// sessionID looks like that of the sample (S2-37): who asked, on this server's
// internal REST interface, and a number.
func sessionID() string {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil { // documented never to happen
		n = big.NewInt(time.Now().UnixNano())
	}
	return "127.0.0.1:" + n.String()
}

// Package hooks tells other programs what becomes of calls: the CallApp
// notifications of Web Call Server (S2-37 to S2-40). A notification is put
// into a queue of each address and leaves it when the receiver has answered;
// the caller never waits. The queues are kept in files, so that what could not
// be delivered yet is delivered after a restart.
package hooks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lineout/calls"
	"lineout/calls/leg"
	"lineout/outputs"
)

// Notifier tells every address of the settings. Safe for concurrent use.
type Notifier struct {
	cfg     Config
	log     *slog.Logger
	nodeID  string
	targets []*target

	lock *os.File // of the folder

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
	lock, err := lockFolder(n.cfg.Folder)
	if err != nil {
		return fmt.Errorf("call_app_folder: %w", err)
	}
	for _, t := range n.targets {
		if err := t.open(n.cfg.Folder); err != nil {
			_ = lock.Close()
			return fmt.Errorf("call_app_folder: %w", err)
		}
	}
	n.lock = lock
	return nil
}

// lockFolder makes sure that no other server uses the folder: both would
// deliver, and write over, each other's notifications.
func lockFolder(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another server keeps its notifications in %s (choose another folder with --set call_app_folder=FOLDER): %w", folder, err)
	}
	return f, nil
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
	if same || !n.tells(callStatus) {
		return
	}
	n.tell(callStatus, c, newEvent(i, n.nodeID, c.id), i.Status.Final())
	c.ended.Store(i.Status.Final())
}

// Message tells of a text to us and says whether anybody is told (S0-4).
func (n *Notifier) Message(m calls.Message) bool {
	if !n.tells(onMessage) {
		return false
	}
	b := message{NodeID: n.nodeID, AppKey: appKey, ID: m.ID, From: m.From, To: m.To, VisibleName: m.DisplayName, ContentType: m.ContentType, Body: m.Body}
	c := &callRef{id: sessionID()}
	c.ended.Store(true)
	if m.Call != nil {
		b.CallID, c = m.Call.CallID, n.refOf(m.Call.CallID)
	}
	b.SessionID = c.id
	n.tell(onMessage, c, b, false)
	return true
}

// Digit tells of a digit the other party of a call has dialled.
func (n *Notifier) Digit(i calls.Info, d string, by leg.DTMF) {
	if !n.tells(onDTMF) {
		return
	}
	c := n.refOf(i.CallID)
	n.tell(onDTMF, c, digit{NodeID: n.nodeID, AppKey: appKey, SessionID: c.id, CallID: i.CallID, Incoming: i.Incoming,
		Caller: i.Caller, Callee: i.Callee, DTMF: d, Type: by}, false)
}

// Session tells of what a browser session does or has become. What is told of
// one session is delivered in order; body, which must hold no secrets, belongs to the
// notifier from then on. When too many notifications wait, these go before those of running calls.
func (n *Notifier) Session(session, method string, body map[string]any) {
	if !n.tells(method) || !slices.Contains(ofSessions, method) {
		return
	}
	body["nodeId"] = n.nodeID
	c := &callRef{id: session}
	c.ended.Store(true)
	n.tell(method, c, body, false)
}

// tells says whether notifications of a method go anywhere.
func (n *Notifier) tells(method string) bool {
	return len(n.targets) > 0 && slices.Contains(n.cfg.Methods, method)
}

// refOf is a running call, or one that just ended.
func (n *Notifier) refOf(callID string) *callRef {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.calls[callID]; c != nil {
		return c
	}
	c := &callRef{id: sessionID()}
	c.ended.Store(true)
	return c
}

// tell puts a notification into all queues. last ends the call's series.
func (n *Notifier) tell(method string, c *callRef, what any, last bool) {
	body, err := json.Marshal(what)
	if err != nil { // cannot be: strings, numbers and booleans
		n.log.Error("notification cannot be encoded", "method", method, "err", err)
		return
	}
	for _, t := range n.targets {
		t.push(&item{at: time.Now(), call: c, method: method, body: body, last: last})
	}
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
	if n.lock != nil {
		_ = n.lock.Close()
	}
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

package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

const (
	registerTries = maxChallenges + 2 // challenges, 423, and the one that works
	registerRetry = 30 * time.Second  // after the first failure
	// registerRetryMax bounds the wait after many failures.
	registerRetryMax = 15 * time.Minute
	maxExpires       = 24 * time.Hour
	registerAnswer   = 32 * time.Second
)

// account is what makes two registrations the same binding.
type account struct {
	login, auth, pass, domain string
	server                    sipServer
}

// account is the key of the party's binding.
func (p *party) account() account {
	return account{p.login, p.user, p.pass, p.domain, p.server}
}

// registration is one binding, shared by the calls of an account. Its
// goroutine refreshes it while calls use it and removes it after the last.
type registration struct {
	a     *Agent
	log   *slog.Logger
	key   account
	head  headers
	uri   sipmsg.Uri
	creds *credentials

	servers []hop // the one in use first; of run's goroutine after the first attempt
	friend  func()

	first   hop
	at      atomic.Pointer[hop] // the server that holds the binding
	users   int                 // guarded by Agent.mu
	state   bindingState        // guarded by Agent.mu
	line    string              // id in the Contact, "" for none
	ready   chan struct{}       // closed after the first attempt
	err     error               // of the first attempt
	unused  chan struct{}       // closed when users falls to 0
	done    chan struct{}
	expires time.Duration
}

// refusedError is a final answer of a registrar.
type refusedError struct {
	code int
	text string
}

func (e *refusedError) Error() string { return e.text }

// register makes sure the account has a binding, and returns its release and
// the server that holds it.
func (a *Agent) register(ctx context.Context, p *party, servers []hop) (func(), hop, error) {
	if p.login == "" {
		return nil, hop{}, errors.New("a registration was asked for without a SIP login")
	}
	key := p.account()
	for {
		r, wait := a.join(key, servers)
		if wait != nil { // the last call is just taking the binding away
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, hop{}, ctx.Err()
			}
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
			a.leave(r)
			return nil, hop{}, ctx.Err()
		}
		if r.err != nil {
			a.leave(r)
			return nil, hop{}, r.err
		}
		return func() { a.leave(r) }, *r.at.Load(), nil
	}
}

// join takes part in a registration, or starts it.
func (a *Agent) join(key account, servers []hop) (*registration, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.regs[key]; r != nil {
		if r.users == 0 {
			return nil, r.done
		}
		r.users++
		return r, nil
	}
	r := &registration{a: a, log: a.log.With("account", key.login+"@"+key.domain), key: key, users: 1,
		creds: &credentials{user: key.auth, password: key.pass}, servers: servers, first: servers[0], friend: func() {},
		ready: make(chan struct{}), unused: make(chan struct{}), done: make(chan struct{}), expires: a.cfg.RegisterExpires}
	aor := sipmsg.Uri{Scheme: "sip", User: key.login, Host: key.domain}
	r.uri = sipmsg.Uri{Scheme: "sip", Host: key.domain}
	r.head = headers{callID: sipmsg.GenerateTagN(24), userAgent: a.name, from: sipmsg.FromHeader{Address: aor}, to: sipmsg.ToHeader{Address: aor}}
	if key.server.loose {
		r.head.routes = []string{key.server.route()}
	}
	r.head.from.Params.Add("tag", sipmsg.GenerateTagN(16))
	for _, s := range a.accounts {
		if s.key == key {
			r.expires, r.line = s.expires, s.line
		}
	}
	a.regs[key] = r
	a.work.Add(1) // the caller is a dialog that Run waits for, so the count is not 0
	go func() {
		defer a.work.Done()
		r.run()
	}()
	return r, nil
}

func (a *Agent) leave(r *registration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.users--; r.users == 0 {
		close(r.unused)
	}
}

// run registers, refreshes and, at last, unregisters.
func (r *registration) run() {
	defer func() {
		r.a.mu.Lock()
		if r.a.regs[r.key] == r {
			delete(r.a.regs, r.key)
		}
		r.a.mu.Unlock()
		r.friend()
		close(r.done)
	}()
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-r.unused:
			cancel()
		case <-stop:
		}
	}()
	defer cancel()
	left, err := r.anywhere(ctx)
	r.err = err
	close(r.ready)
	if err != nil {
		<-r.unused // the calls that wait for it leave one by one
		return
	}
	r.noteGranted(left)
	r.log.Info("SIP registered", "server", r.at.Load().String(), "expires", left)
	r.refresh(ctx, left)
	bye, cancelBye := context.WithTimeout(context.Background(), stopTime)
	defer cancelBye()
	if _, err := r.send(bye, *r.at.Load(), 0); err != nil {
		r.log.Warn("SIP registration could not be removed", "error", err)
		return
	}
	r.log.Info("SIP unregistered", "server", r.at.Load().String())
}

// refresh repeats the REGISTER until the binding is not used any more.
func (r *registration) refresh(ctx context.Context, left time.Duration) {
	timer := time.NewTimer(renewal(left))
	defer timer.Stop()
	var pings <-chan time.Time
	if every := r.a.cfg.OptionsPing; every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		pings = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-pings:
			if r.alive(ctx) || ctx.Err() != nil {
				continue
			}
		case <-timer.C:
		}
		r.resolve(ctx)
		left, err := r.anywhere(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait := r.noteFailed(err)
			r.log.Warn("SIP registration could not be refreshed; calls go on and it is tried again", "error", err, "again_in", wait)
			timer.Reset(wait)
			continue
		}
		r.noteGranted(left)
		timer.Reset(renewal(left))
	}
}

// server is the server of the binding, or the one that is tried first.
func (r *registration) server() hop {
	if at := r.at.Load(); at != nil {
		return *at
	}
	return r.first
}

func (r *registration) noteGranted(left time.Duration) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.state.granted(left, time.Now())
}

func (r *registration) noteFailed(err error) time.Duration {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	return r.state.failed(err, time.Now())
}

// renewal leaves time for a lost REGISTER or two.
func renewal(left time.Duration) time.Duration {
	return max(left-max(left/10, 5*time.Second), time.Second)
}

// resolve looks the server up again. The one in use is kept while it is among
// what is found; what cannot be looked up stays as it is.
func (r *registration) resolve(ctx context.Context) {
	k := r.key.server
	if found, err := r.a.targets(ctx, k.host, k.port, k.transport); err == nil {
		r.servers = preferring(found, *r.at.Load())
	}
}

// preferring puts a server first if it is among the found ones.
func preferring(found []hop, used hop) []hop {
	out := slices.Clone(found)
	if i := slices.Index(out, used); i > 0 {
		copy(out[1:], out[:i])
		out[0] = used
	}
	return out
}

// anywhere registers at the first server that can be used (RFC 3263 section 4.3).
func (r *registration) anywhere(ctx context.Context) (left time.Duration, err error) {
	for i, at := range r.servers {
		if left, err = r.send(ctx, at, r.expires); err == nil {
			r.at.Store(&at)
			return left, nil
		}
		var refused *refusedError
		if ctx.Err() != nil || errors.As(err, &refused) && refused.code != 503 {
			return 0, err
		}
		if i < len(r.servers)-1 {
			r.log.Info("SIP server cannot be used, another one of its domain is tried", "server", at.String(), "error", err)
		}
	}
	return 0, err
}

// alive asks the server for a sign of life; any answer is one.
func (r *registration) alive(ctx context.Context) bool {
	r.head.cseq++
	req := r.head.request(sipmsg.OPTIONS, r.uri)
	req.SetBody(nil)
	ctx, cancel := context.WithTimeout(ctx, registerAnswer)
	defer cancel()
	_, err := r.a.exchange(ctx, req, *r.at.Load())
	return err == nil
}

// place says in requests where we are, as the server sees it.
func (r *registration) place(ctx context.Context, server hop) error {
	at, err := r.a.reach(ctx, server)
	if err != nil {
		return err
	}
	friend := r.a.befriend(server.addr.Addr())
	r.friend()
	r.friend = friend
	r.head.viaHost, r.head.viaPort = at.host, at.port
	r.head.contact = at.contact("sip", r.key.login, server.transport)
	if r.line != "" {
		r.head.contact.UriParams.Add(lineParam, r.line)
	}
	return nil
}

// send registers for a time and returns the one the registrar gives. 0 unregisters.
func (r *registration) send(ctx context.Context, server hop, ask time.Duration) (time.Duration, error) {
	if err := r.place(ctx, server); err != nil {
		return 0, err
	}
	login := r.creds.begin()
	var res *sipmsg.Response
	for range registerTries {
		r.head.cseq++
		req := r.head.request(sipmsg.REGISTER, r.uri)
		expires := sipmsg.ExpiresHeader(ask / time.Second)
		req.AppendHeader(&expires)
		req.SetBody(nil)
		r.creds.sign(req)
		limited, cancel := context.WithTimeout(ctx, registerAnswer)
		var err error
		res, err = r.a.exchange(limited, req, server)
		cancel()
		if err != nil {
			return 0, fmt.Errorf("registering %s@%s: %w", r.key.login, r.key.domain, err)
		}
		if res.IsSuccess() {
			r.creds.accepted(res)
			return r.granted(res, ask), nil
		}
		again, err := login.retry(res)
		if err != nil {
			return 0, r.refused(server, res, err.Error())
		}
		if !again && res.StatusCode == 423 && minExpires(res) > ask {
			ask = minExpires(res)
			r.expires, again = ask, true
		}
		if !again {
			return 0, r.refused(server, res, why(res, r.key))
		}
	}
	return 0, r.refused(server, res, "the login was refused again and again")
}

// why is the reason of a refusal, with what it means for a login.
func why(res *sipmsg.Response, k account) string {
	switch {
	case !challenged(res):
		return plain(res.Reason)
	case k.pass == "":
		return plain(res.Reason) + ", a password is needed"
	}
	return plain(res.Reason) + ", the name or password is wrong"
}

func (r *registration) refused(server hop, res *sipmsg.Response, why string) error {
	return &refusedError{res.StatusCode, fmt.Sprintf("the SIP server %v refused to register %s@%s: %d %s", server, r.key.login, r.key.domain, res.StatusCode, why)}
}

// granted is the lifetime of our binding: expires of our Contact, else the
// Expires header, else what was asked for (RFC 3261 section 10.2.4).
func (r *registration) granted(res *sipmsg.Response, ask time.Duration) time.Duration {
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sipmsg.ContactHeader)
		if !ok || c.Address.Host != r.head.contact.Host || c.Address.Port != r.head.contact.Port {
			continue
		}
		if v, ok := c.Params.Get("expires"); ok {
			if d, ok := seconds(v); ok {
				return d
			}
		}
	}
	if h := res.GetHeader("Expires"); h != nil {
		if d, ok := seconds(h.Value()); ok {
			return d
		}
	}
	return ask
}

func minExpires(res *sipmsg.Response) time.Duration {
	if h := res.GetHeader("Min-Expires"); h != nil {
		d, _ := seconds(h.Value())
		return d
	}
	return 0
}

func seconds(s string) (time.Duration, bool) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, false
	}
	return min(time.Duration(n)*time.Second, maxExpires), true
}

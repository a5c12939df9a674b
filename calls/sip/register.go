package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

const (
	registerTries = 4                // challenge, stale nonce, 423, and the one that works
	registerRetry = 30 * time.Second // after the first failure
	// registerRetryMax bounds the wait after many failures.
	registerRetryMax = 15 * time.Minute
	maxExpires       = 24 * time.Hour
	registerAnswer   = 32 * time.Second
)

// account is what makes two registrations the same binding.
type account struct {
	login, auth, pass, domain string
	server                    netip.AddrPort
}

// account is the key of the party's binding at a server.
func (p *party) account(server netip.AddrPort) account {
	return account{p.login, p.user, p.pass, p.domain, server}
}

// registration is one binding, shared by the calls of an account. Its
// goroutine refreshes it while calls use it and removes it after the last.
type registration struct {
	a    *Agent
	log  *slog.Logger
	key  account
	head headers
	uri  sipmsg.Uri

	users   int           // guarded by Agent.mu
	state   bindingState  // guarded by Agent.mu
	ready   chan struct{} // closed after the first attempt
	err     error         // of the first attempt
	unused  chan struct{} // closed when users falls to 0
	done    chan struct{}
	expires time.Duration
}

// refusedError is a final answer of a registrar.
type refusedError struct {
	code int
	text string
}

func (e *refusedError) Error() string { return e.text }

// register makes sure the account has a binding and returns its release.
func (a *Agent) register(ctx context.Context, p *party, server netip.AddrPort, address string) (func(), error) {
	key := p.account(server)
	if p.login == "" {
		return nil, errors.New("a registration was asked for without a SIP login")
	}
	for {
		r, wait := a.join(key, address)
		if wait != nil { // the last call is just taking the binding away
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
			a.leave(r)
			return nil, ctx.Err()
		}
		if r.err != nil {
			a.leave(r)
			return nil, r.err
		}
		return func() { a.leave(r) }, nil
	}
}

// join takes part in a registration, or starts it.
func (a *Agent) join(key account, address string) (*registration, <-chan struct{}) {
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
		ready: make(chan struct{}), unused: make(chan struct{}), done: make(chan struct{}), expires: a.cfg.RegisterExpires}
	aor := sipmsg.Uri{Scheme: "sip", User: key.login, Host: key.domain}
	r.uri = sipmsg.Uri{Scheme: "sip", Host: key.domain}
	r.head = headers{callID: sipmsg.GenerateTagN(24), userAgent: a.name, viaHost: address, viaPort: a.Port(),
		from: sipmsg.FromHeader{Address: aor}, to: sipmsg.ToHeader{Address: aor},
		contact: sipmsg.Uri{Scheme: "sip", User: key.login, Host: address, Port: a.Port()}}
	r.head.from.Params.Add("tag", sipmsg.GenerateTagN(16))
	for _, s := range a.accounts {
		if s.key == key {
			r.expires = s.expires
			if s.line != "" {
				r.head.contact.UriParams.Add(lineParam, s.line)
			}
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
	left, err := r.send(ctx, r.expires)
	r.err = err
	close(r.ready)
	if err != nil {
		<-r.unused // the calls that wait for it leave one by one
		return
	}
	r.noteGranted(left)
	r.log.Info("SIP registered", "server", r.key.server.String(), "expires", left)
	r.refresh(ctx, left)
	bye, cancelBye := context.WithTimeout(context.Background(), stopTime)
	defer cancelBye()
	if _, err := r.send(bye, 0); err != nil {
		r.log.Warn("SIP registration could not be removed", "error", err)
		return
	}
	r.log.Info("SIP unregistered", "server", r.key.server.String())
}

// refresh repeats the REGISTER until the binding is not used any more.
func (r *registration) refresh(ctx context.Context, left time.Duration) {
	timer := time.NewTimer(renewal(left))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		left, err := r.send(ctx, r.expires)
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

// send registers for a time and returns the one the registrar gives. 0 unregisters.
func (r *registration) send(ctx context.Context, ask time.Duration) (time.Duration, error) {
	var challenge *sipmsg.Response
	for try := 0; try < registerTries; try++ {
		r.head.cseq++
		req := r.head.request(sipmsg.REGISTER, r.uri)
		expires := sipmsg.ExpiresHeader(ask / time.Second)
		req.AppendHeader(&expires)
		req.SetBody(nil)
		if challenge != nil {
			if err := authorize(req, challenge, r.key.auth, r.key.pass); err != nil {
				return 0, r.refused(challenge, err.Error())
			}
		}
		limited, cancel := context.WithTimeout(ctx, registerAnswer)
		res, err := r.a.exchange(limited, req, r.key.server)
		cancel()
		switch {
		case err != nil:
			return 0, fmt.Errorf("registering %s@%s: %w", r.key.login, r.key.domain, err)
		case res.IsSuccess():
			return r.granted(res, ask), nil
		case challenged(res) && r.key.pass != "" && (challenge == nil || try < 2):
			challenge = res
		case res.StatusCode == 423 && minExpires(res) > ask:
			ask = minExpires(res)
			r.expires = ask
		default:
			return 0, r.refused(res, why(res, r.key))
		}
	}
	return 0, r.refused(challenge, "the login was refused again and again")
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

func (r *registration) refused(res *sipmsg.Response, why string) error {
	code := 401
	if res != nil {
		code = res.StatusCode
	}
	return &refusedError{code, fmt.Sprintf("the SIP server %v refused to register %s@%s: %d %s", r.key.server, r.key.login, r.key.domain, code, why)}
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

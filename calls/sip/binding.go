package sip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"lineout/calls/leg"
)

const (
	registerRetry = 30 * time.Second // after the first failure
	// registerRetryMax bounds the wait after many failures.
	registerRetryMax = 15 * time.Minute
)

// registration is one binding of ours, shared by all who have use for it: calls
// with the account, and keepers. Its goroutine makes and renews it while anybody
// does and takes it away after the last.
type registration struct {
	a    *Agent
	log  *slog.Logger
	key  account
	name string // what Incoming.Account says
	line string // id in the Contact, "" for none
	wire registering

	ctx  context.Context // ends when nobody has use for it any more
	stop context.CancelFunc
	kick chan struct{} // capacity 1: no more rest
	done chan struct{}

	// Guarded by Agent.mu.
	calls   int
	keepers []*keeper
	state   bindingState
	trial   *trial // the attempt under way, or the next one
	resting bool   // until the next one
}

// registering is how a registrar is spoken to.
type registering interface {
	// attempt registers or renews, and says for how long.
	attempt(ctx context.Context) (time.Duration, error)
	// alive says whether the server that has granted the binding answers.
	alive(ctx context.Context) bool
	// remove takes the binding away and ends the use of what registering holds.
	remove(ctx context.Context)
	// server is the one of the binding; safe for concurrent use.
	server() hop
}

// trial is an attempt to register that somebody may wait for.
type trial struct {
	done chan struct{} // closed when it has ended
	err  error
}

func newTrial() *trial { return &trial{done: make(chan struct{})} }

// register makes sure the account has a binding, for a call. It returns its
// release and the server that holds it.
func (a *Agent) register(ctx context.Context, p *party, servers []hop) (func(), hop, error) {
	if p.login == "" {
		return nil, hop{}, errors.New("a registration was asked for without a SIP login")
	}
	r, err := a.join(ctx, p.account(), a.cfg.RegisterExpires, servers, nil)
	if err != nil {
		return nil, hop{}, err
	}
	if err = r.settled(ctx); err != nil {
		a.leave(r, nil)
		return nil, hop{}, err
	}
	return func() { a.leave(r, nil) }, r.wire.server(), nil
}

// join takes part in a registration, or starts it: as a keeper, or, without
// one, as a call. servers are what a call has found already, or nil.
func (a *Agent) join(ctx context.Context, key account, expires time.Duration, servers []hop, k *keeper) (*registration, error) {
	for {
		r, ending := a.enlist(key, expires, servers, k)
		if r != nil {
			return r, nil
		}
		select { // the binding is just being taken away
		case <-ending:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (a *Agent) enlist(key account, expires time.Duration, servers []hop, k *keeper) (*registration, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.regs[key]
	if r != nil && r.ctx.Err() != nil {
		return nil, r.done
	}
	if r == nil {
		r = a.newRegistration(key, expires, servers)
		a.regs[key] = r
		// The caller is a part of what Run waits for, so the count is not 0.
		a.work.Go(r.run)
	}
	if k == nil {
		r.calls++
	} else {
		r.keepers = append(r.keepers, k)
		if r.state.known() {
			k.tell(r.tell(time.Now()))
		}
	}
	return r, nil
}

// newRegistration makes a binding that nobody uses yet. The caller holds mu.
func (a *Agent) newRegistration(key account, expires time.Duration, servers []hop) *registration {
	r := &registration{a: a, key: key, name: a.accountName(key), kick: make(chan struct{}, 1), done: make(chan struct{}), trial: newTrial()}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.log = a.log.With("account", r.name)
	if a.cfg.AddContactID {
		r.line = strings.ToLower(rand.Text()[:16])
	}
	r.wire = a.newRegistering(key, r.line, expires, servers, r.log)
	return r
}

// accountName is login@domain. Another binding of that address, with another
// password or server, has a name of its own: who has guessed at a password does
// not get the calls of who knows it, and who registers somewhere with a domain of
// ours not those of our users. The caller holds mu.
func (a *Agent) accountName(key account) string {
	name := key.login + "@" + key.domain
	taken := map[string]bool{name: a.users != nil && a.users.Local(key.domain)}
	for _, r := range a.regs {
		if r.ctx.Err() == nil {
			taken[r.name] = true
		}
	}
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s@%s;%d", key.login, key.domain, n)
	}
	return name
}

// leave ends the use by a keeper, or, with nil, by a call.
func (a *Agent) leave(r *registration, k *keeper) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k == nil {
		r.calls--
	} else {
		for i, o := range r.keepers {
			if o == k {
				r.keepers = append(r.keepers[:i:i], r.keepers[i+1:]...)
				break
			}
		}
	}
	if r.calls == 0 && len(r.keepers) == 0 {
		r.stop()
	}
}

// settled waits until there is a binding; the error is why there is none.
func (r *registration) settled(ctx context.Context) error {
	wait := r.wanted()
	if wait == nil {
		return nil
	}
	select {
	case <-wait.done:
		return wait.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wanted is the attempt to wait for, made at once; nil when there is a binding.
func (r *registration) wanted() *trial {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	if time.Now().Before(r.state.until) {
		return nil
	}
	if r.resting {
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
	return r.trial
}

// begin ends the rest.
func (r *registration) begin() {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.resting = false
	select {
	case <-r.kick:
	default:
	}
}

// run registers, renews and, at last, unregisters.
func (r *registration) run() {
	defer func() {
		r.a.mu.Lock()
		delete(r.a.regs, r.key)
		r.a.mu.Unlock()
		close(r.done)
	}()
	for {
		r.begin()
		left, err := r.wire.attempt(r.ctx)
		if r.ctx.Err() != nil || !r.rest(r.settle(left, err)) {
			break
		}
	}
	bye, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	r.wire.remove(bye)
}

// settle notes how an attempt came out, and returns the wait until the next.
func (r *registration) settle(left time.Duration, err error) time.Duration {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	now := time.Now()
	wait := renewal(left)
	if err == nil {
		r.state.granted(left, now)
	} else {
		wait = r.state.failed(err, now)
		r.log.Warn("SIP account could not be registered", "error", err, "registered", now.Before(r.state.until), "again_in", wait)
	}
	r.trial.err = err
	r.news(now) // before those who wait for the attempt look for it
	close(r.trial.done)
	r.trial, r.resting = newTrial(), true
	return wait
}

// news tells the keepers. The caller holds Agent.mu.
func (r *registration) news(now time.Time) {
	x := r.tell(now)
	for _, k := range r.keepers {
		k.tell(x)
	}
}

// rest waits until it is time for the next attempt; false when nobody has use
// for the binding any more.
func (r *registration) rest(wait time.Duration) bool {
	r.a.mu.Lock()
	left, failing := time.Until(r.state.until), r.state.err != nil
	r.a.mu.Unlock()
	next := time.NewTimer(wait)
	defer next.Stop()
	var lapse <-chan time.Time // the end of a binding that could not be renewed
	if failing && left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		lapse = timer.C
	}
	var pings <-chan time.Time
	if every := r.a.cfg.OptionsPing; every > 0 && !failing {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		pings = ticker.C
	}
	for {
		select {
		case <-r.ctx.Done():
			return false
		case <-next.C:
			return true
		case <-r.kick:
			return true
		case now := <-lapse:
			r.a.mu.Lock()
			r.news(now)
			r.a.mu.Unlock()
		case <-pings:
			if !r.wire.alive(r.ctx) {
				return r.ctx.Err() == nil
			}
		}
	}
}

// renewal leaves time for a lost REGISTER or two.
func renewal(left time.Duration) time.Duration {
	return max(left-max(left/10, 5*time.Second), time.Second)
}

// bindingState is what is known of a registration. Guarded by Agent.mu.
type bindingState struct {
	until    time.Time // end of the binding; zero: there is none
	failures int
	next     time.Time
	err      error
}

// known says that an attempt has ended.
func (b *bindingState) known() bool { return b.err != nil || !b.until.IsZero() }

// failed notes a failure: the next try comes after 30 s, doubled each time up
// to 15 minutes (in the spirit of RFC 5626 section 4.5).
func (b *bindingState) failed(err error, now time.Time) time.Duration {
	wait := min(registerRetry<<min(b.failures, 10), registerRetryMax)
	b.failures++
	b.err, b.next = err, now.Add(wait)
	return wait
}

// granted notes a success.
func (b *bindingState) granted(left time.Duration, now time.Time) {
	*b = bindingState{until: now.Add(left), next: now.Add(renewal(left))}
}

// tell fills in what is known of a binding.
func (b *bindingState) tell(x leg.Registration, now time.Time) leg.Registration {
	x.Registered, x.Expires = now.Before(b.until), b.until
	x.Failures, x.Next = b.failures, b.next
	if b.err != nil {
		x.Error = b.err.Error()
		var refused *refusedError
		if errors.As(b.err, &refused) {
			x.Code = refused.code
		}
	}
	return x
}

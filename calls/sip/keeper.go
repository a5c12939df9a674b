package sip

import (
	"context"
	"sync"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// lineParam marks the Contact of our bindings, so that a call to one is known
// by what only its registrar was told.
const lineParam = "line"

// keeper wants an account registered for longer than a call, so that it can be
// called: the settings, or a browser's session.
type keeper struct {
	standing bool // the settings
	changed  func(leg.Registration)
	// mail holds the newest state that was not told yet; nil: nobody asks.
	mail chan leg.Registration
	open chan struct{}    // closed when the first outcome was told
	last leg.Registration // of Agent.mu
}

// tell hands a state on if it is news. It does not wait: what was not fetched is
// replaced by what is newer. The caller holds Agent.mu.
func (k *keeper) tell(x leg.Registration) {
	if k.mail == nil || x.Registered == k.last.Registered && x.Code == k.last.Code && x.Error == k.last.Error {
		return
	}
	k.last = x
	select {
	case <-k.mail:
	default:
	}
	k.mail <- x
}

// Register keeps an account registered, so that it can be called, until release
// or the end of ctx. It returns when the server has taken it or, with an error,
// refused. Accounts that are the same to the letter, password and server too,
// share one binding with one another, with sip_accounts and with calls that
// register; it is renewed, made anew after failures with growing waits, and
// taken away after the last release. Calls to it come with the returned account
// in Incoming.Account.
//
// changed, which may be nil, is told of the first outcome before Register
// returns, and then of every change of Registered, Code and Error, in order, by a
// goroutine of its own; of changes that come while it works, the last. It is
// not called after release, but for one call under way.
func (a *Agent) Register(ctx context.Context, r leg.Request, changed func(leg.Registration)) (account string, release func(), err error) {
	r.CallID, r.Callee = "account", "nobody" // they play no part
	p, err := newParty(r, &a.cfg)
	if err != nil {
		return "", nil, err
	}
	if p.login == "" {
		return "", nil, fault.New(fault.BadRequest, "a registration needs a SIP login")
	}
	if changed == nil {
		changed = func(leg.Registration) {}
	}
	k := &keeper{changed: changed, mail: make(chan leg.Registration, 1), open: make(chan struct{})}
	reg, ctx, release, err := a.keep(ctx, p.account(), a.cfg.RegisterExpires, k)
	if err != nil {
		return "", nil, err
	}
	err = reg.settled(ctx)
	select {
	case x := <-k.mail:
		changed(x)
	default:
	}
	if err != nil {
		release()
		return "", nil, err
	}
	close(k.open)
	return reg.name, release, nil
}

// keep has an account registered until release, or the end of ctx or of Run;
// the context it returns ends then.
func (a *Agent) keep(ctx context.Context, key account, expires time.Duration, k *keeper) (*registration, context.Context, func(), error) {
	a.mu.Lock()
	if a.running == nil {
		a.mu.Unlock()
		return nil, nil, nil, fault.New(fault.Unavailable, "the SIP side is not running")
	}
	a.work.Add(1)
	serving := a.serving
	a.mu.Unlock()
	defer a.work.Done()
	r, err := a.join(ctx, key, expires, nil, k)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	if k.mail != nil {
		a.work.Go(func() { k.deliver(ctx) })
	}
	var forget func() bool
	release := sync.OnceFunc(func() {
		cancel()
		a.leave(r, k)
	})
	forget = context.AfterFunc(serving, release)
	context.AfterFunc(ctx, func() {
		forget()
		release()
	})
	return r, ctx, release, nil
}

func (k *keeper) deliver(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-k.open:
	}
	for {
		select {
		case <-ctx.Done():
			return
		case x := <-k.mail:
			if ctx.Err() == nil {
				k.changed(x)
			}
		}
	}
}

package sip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
	"lineout/calls/words"
)

// lineParam marks the Contact of a standing account's binding, so that a call
// to it is known by what only its registrar was told.
const lineParam = "line"

// standing is an account that is registered for as long as the server runs,
// so that it can be called.
type standing struct {
	a       *Agent
	log     *slog.Logger
	entry   string // login@domain
	login   string
	party   *party
	expires time.Duration
	line    string // "" without sip_add_contact_id
	key     account

	// Guarded by Agent.mu.
	server hop // of its binding, once it is known
	state  bindingState
}

// bindingState is what is known of a registration. Guarded by Agent.mu.
type bindingState struct {
	until    time.Time // end of the binding; zero: there is none
	failures int
	next     time.Time
	err      error
}

// parseAccount reads an entry of sip_accounts.
func parseAccount(entry string, c *Config) (*standing, error) {
	ws, err := words.Parse(entry, "login", "authName", "password", "domain", "proxy", "port", "expires")
	if err != nil {
		return nil, err
	}
	s := &standing{expires: c.RegisterExpires}
	r := leg.Request{CallID: "account", Callee: "nobody"}
	for _, w := range ws {
		switch w.Key {
		case "login":
			r.Login = w.Value
		case "authName":
			r.AuthName = w.Value
		case "password":
			r.Password = w.Value
		case "domain":
			r.Domain = w.Value
		case "proxy":
			r.Proxy = w.Value
		case "port":
			if r.Port, err = strconv.Atoi(w.Value); err != nil || r.Port < 1 || r.Port > 65535 {
				return nil, w.Fault("want a port from 1 to 65535")
			}
		case "expires":
			n, err := strconv.Atoi(w.Value)
			if err != nil || n < 10 || n > int(maxExpires/time.Second) {
				return nil, w.Fault("want 10 to %d seconds", int(maxExpires/time.Second))
			}
			s.expires = time.Duration(n) * time.Second
		}
	}
	if r.Login == "" {
		return nil, errors.New("login= is missing")
	}
	if s.party, err = newParty(r, c); err != nil {
		return nil, err
	}
	s.login, s.entry = r.Login, r.Login+"@"+s.party.domain
	return s, nil
}

// parseAccounts reads the whole list; faults name the entry.
func parseAccounts(c *Config) ([]*standing, error) {
	var out []*standing
	var errs []error
	for i, e := range c.Accounts {
		s, err := parseAccount(e, c)
		if err == nil && slices.ContainsFunc(out, func(o *standing) bool { return o.entry == s.entry }) {
			err = fmt.Errorf("the account %s stands twice", s.entry)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sip_accounts: entry %d: %w", i+1, err))
			continue
		}
		out = append(out, s)
	}
	return out, errors.Join(errs...)
}

// prepareAccounts makes the standing accounts ready.
func (a *Agent) prepareAccounts() {
	a.accounts, _ = parseAccounts(&a.cfg) // Validate has read them
	for _, s := range a.accounts {
		s.a, s.key, s.log = a, s.party.account(), a.log.With("account", s.entry)
		if a.cfg.AddContactID {
			s.line = strings.ToLower(rand.Text()[:16])
		}
	}
}

// run keeps the account registered until ctx ends, then gives the binding up.
func (s *standing) run(ctx context.Context) {
	for {
		release, err := s.register(ctx)
		if err == nil {
			<-ctx.Done()
			release()
			return
		}
		if ctx.Err() != nil {
			return
		}
		wait := s.failed(err)
		s.log.Warn("SIP account could not be registered, so it cannot be called", "error", err, "again_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (s *standing) register(ctx context.Context) (func(), error) {
	at := s.party.server
	servers, err := s.a.targets(ctx, at.host, at.port, at.transport)
	if err != nil {
		return nil, err
	}
	s.a.mu.Lock()
	s.server = servers[0]
	s.a.mu.Unlock()
	release, server, err := s.a.register(ctx, s.party, servers)
	if err == nil {
		s.a.mu.Lock()
		s.state, s.server = bindingState{}, server
		s.a.mu.Unlock()
	}
	return release, err
}

// place is the server of the binding, invalid while none is known. The caller
// holds Agent.mu.
func (s *standing) place() hop {
	if r := s.a.regs[s.key]; r != nil && r.at.Load() != nil {
		return *r.at.Load()
	}
	return s.server
}

// failed notes a failure and says how long to wait.
func (s *standing) failed(err error) time.Duration {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	return s.state.failed(err, time.Now())
}

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

// accountOf is the standing account a request is for: its Request-URI is the
// Contact we registered. Without an id in it, the request has to come from the
// account's server.
func (a *Agent) accountOf(req *sipmsg.Request, source netip.AddrPort) *standing {
	line, _ := req.Recipient.UriParams.Get(lineParam)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.accounts {
		switch {
		case s.line != "":
			if line == s.line {
				return s
			}
		case s.place().addr.Addr() == source.Addr() && req.Recipient.User == s.login:
			return s
		}
	}
	return nil
}

// Registrations lists the bindings: those of standing accounts, then those that
// calls of ours asked for.
func (a *Agent) Registrations() []leg.Registration {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []leg.Registration
	seen := map[*registration]bool{}
	for _, s := range a.accounts {
		r := a.regs[s.key]
		x := s.state.tell(leg.Registration{Login: s.login, Domain: s.party.domain, Standing: true}, now)
		if r != nil {
			seen[r] = true
			if s.state.err == nil {
				x = r.state.tell(x, now)
			}
			x.Calls = r.users - 1
		}
		if at := s.place(); at.IsValid() {
			x.Server = at.String()
		}
		for _, d := range a.dialogs {
			if d.in != nil && d.in.from.account == s {
				x.Calls++
			}
		}
		x.Calls = max(x.Calls, 0)
		out = append(out, x)
	}
	for _, r := range a.regs {
		if !seen[r] {
			out = append(out, r.state.tell(leg.Registration{Login: r.key.login, Domain: r.key.domain, Server: r.server().String(), Calls: r.users}, now))
		}
	}
	return out
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

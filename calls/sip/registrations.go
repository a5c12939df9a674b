package sip

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// accountOf is the binding a request is for: its Request-URI is the Contact we
// registered. Without an id in it, the request has to come from the account's
// server. Only accounts that are kept are called.
func (a *Agent) accountOf(req *sipmsg.Request, source netip.AddrPort) *registration {
	line, _ := req.Recipient.UriParams.Get(lineParam)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.regs {
		if len(r.keepers) == 0 {
			continue
		}
		if r.line != "" {
			if line == r.line {
				return r
			}
		} else if r.wire.server().addr.Addr() == source.Addr() && req.Recipient.User == r.key.login {
			return r
		}
	}
	return nil
}

// Registrations lists our bindings: those of sip_accounts in their order, then
// others by account.
func (a *Agent) Registrations() []leg.Registration {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var out, others []leg.Registration
	standing := map[account]bool{}
	for _, s := range a.accounts {
		key := s.party.account()
		standing[key] = true
		if r := a.regs[key]; r != nil {
			out = append(out, r.tell(now))
		} else {
			out = append(out, leg.Registration{Login: key.login, Domain: key.domain, Standing: true})
		}
	}
	for key, r := range a.regs {
		if !standing[key] {
			others = append(others, r.tell(now))
		}
	}
	slices.SortFunc(others, func(x, y leg.Registration) int {
		return cmp.Or(cmp.Compare(x.Login, y.Login), cmp.Compare(x.Domain, y.Domain), cmp.Compare(x.Server, y.Server))
	})
	return append(out, others...)
}

// tell is the state of a binding. The caller holds Agent.mu.
func (r *registration) tell(now time.Time) leg.Registration {
	x := r.state.tell(leg.Registration{Login: r.key.login, Domain: r.key.domain, Calls: r.calls}, now)
	x.Standing = slices.ContainsFunc(r.keepers, func(k *keeper) bool { return k.standing })
	if at := r.wire.server(); at.IsValid() {
		x.Server = at.String()
	}
	for _, d := range r.a.dialogs {
		if d.in != nil && d.in.from.account == r {
			x.Calls++
		}
	}
	return x
}

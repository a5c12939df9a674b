package sip

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
	"lineout/calls/limit"
)

// Users are the accounts of this server itself; users.Directory is.
type Users interface {
	// Local says whether a domain is this server.
	Local(domain string) bool
	// Account is what a login is called: login@domain.
	Account(login string) string
	// Configured says that there are accounts, Open that somebody at an address may
	// have any login without a password.
	Configured() bool
	Open(remote netip.Addr) bool
	// Digest judges a login: fits says whether its response was made with an HA1.
	// limit.ErrExceeded asks for patience.
	Digest(login, realm, algorithm string, remote netip.Addr, fits func(ha1 string) bool) error
}

// ServeUsers lets SIP phones register with accounts of this server, call, and be
// called by board. It comes before Run.
func (a *Agent) ServeUsers(u Users, board leg.Switchboard) {
	a.users, a.located = u, newLocations(board, a.befriend)
}

// ours says whether a host of an address is this server as a peer sees it: a
// domain of the users, or the address the peer reaches us at.
func (a *Agent) ours(host string, peer netip.AddrPort) bool {
	if a.users == nil {
		return false
	}
	if a.users.Local(host) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return false
	}
	at, err := a.announced(peer)
	return err == nil && at == bracket(strings.Trim(host, "[]"))
}

// servesUser says whether a request could come from a user: one of our domains
// in From, and a way to have a login.
func (a *Agent) servesUser(req *sipmsg.Request, source netip.AddrPort) bool {
	return a.users != nil && (a.users.Configured() || a.users.Open(source.Addr())) &&
		isSIP(req.From().Address.Scheme) && req.From().Address.User != "" && a.ours(req.From().Address.Host, source)
}

// identity is what a request's login came to.
type identity uint8

const (
	nobodyYet identity = iota // a login is to be asked for
	staleYet                  // so, but the password was right
	impostor                  // the login of somebody else
	tooMany                   // too many failed tries
	proven
)

// prove says whether who sends a request has a login of this server.
func (a *Agent) prove(req *sipmsg.Request, login string, source netip.AddrPort) identity {
	if a.users.Open(source.Addr()) {
		return proven
	}
	out := nobodyYet
	for _, c := range a.examiner.credentialsOf(req) {
		var err error
		proves := func() bool {
			err = a.users.Digest(c.Username, c.Realm, c.Algorithm, source.Addr(), func(ha1 string) bool { return fits(c, string(req.Method), "", ha1) })
			return err == nil
		}
		switch a.examiner.check(c, source.Addr(), time.Now(), proves) {
		case loginRight:
			if c.Username != login {
				return impostor
			}
			return proven
		case loginStale:
			out = staleYet
		case loginWrong:
			if errors.Is(err, limit.ErrExceeded) {
				return tooMany
			}
		}
	}
	return out
}

// refuseLogin answers a request whose login was not proven.
func (a *Agent) refuseLogin(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort, id identity) {
	switch id {
	case impostor:
		a.respond(req, tx, 403, "Not Your Login")
	case tooMany:
		if a.declined.Allow() {
			a.log.Warn("SIP logins are refused for a while: too many have failed", "from", source)
		}
		a.respond(req, tx, 503, "Too Many Failed Logins", retryAfter(retryLater)...)
	default:
		a.challenge(req, tx, source, id == staleYet)
	}
}

package ws

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"lineout/calls"
	"lineout/calls/leg"
	"lineout/calls/limit"
)

var errCrowded = errors.New("others need the place of a session that waits for its browser (ws.max_sessions)")

// registration is what the SDK calls a session's standing at its SIP server.
const registration = "RegistrationStatusEvent"

// refusal is why a session cannot go on.
type refusal struct {
	method string // the event that says so
	code   int    // of SIP, 0 if none
	text   string
}

func (r *refusal) Error() string { return r.text }

// connect answers the first message: it makes a session or finds the one of
// the token.
func (k *socket) connect(arg json.RawMessage) error {
	var c connection
	if err := json.Unmarshal(orObject(arg), &c); err != nil {
		k.log.Debug("message cannot be used", "message", "connection", "err", err)
	}
	if k.session != nil {
		return nil
	}
	if done, err := k.resume(&c); done {
		return err
	}
	s := newSession(k.server, k.life, k.remote)
	s.app = cmp.Or(string(c.AppKey), "defaultApp")
	s.keep, s.version, s.custom = c.KeepAlive.Value, string(c.ClientVersion), c.Custom
	// A web phone registers unless it says that it will not (S0-1).
	s.account, s.registers = k.server.account(s, &c), c.SIPLogin != "" && c.SIPRegisterRequired.Or(true)
	k.server.open(s)
	s.attach(k)
	s.log.Info("browser session", "remote", k.remote, "app", s.app, "login", s.account.Login, "domain", s.account.Domain, "keep", s.keep)
	if err := s.admit(); err != nil {
		s.log.Info("browser session refused", "remote", k.remote, "login", s.account.Login, "domain", s.account.Domain, "err", err)
		return s.refuse(err)
	}
	s.greet()
	if s.registers {
		s.work.run(s.register)
	} else {
		close(s.signed)
	}
	return nil
}

// admit says before a session is told that it is there whether it may be:
// pages call at once.
func (s *session) admit() error {
	if err := s.ask("connect", s.describe()); err != nil {
		return &refusal{method: "ConnectionStatusEvent", text: "The application refuses: " + err.Error()}
	}
	if s.account.Login == "" {
		return nil
	}
	p := s.server.deps.Phone
	if p == nil {
		if s.registers {
			return &refusal{method: registration, text: "This server has no telephones"}
		}
		return nil
	}
	if s.account.Local {
		if err := p.Check(s.account.Login, s.account.Domain, s.account.Password, address(s.remote)); err != nil {
			return &refusal{method: registration, code: 403, text: err.Error()}
		}
		return nil
	}
	if s.registers && !s.server.guesses.Has(limit.Host(address(s.remote)), time.Now()) {
		return &refusal{method: registration, code: 403, text: "there were too many failed logins from this address, try again later"}
	}
	return nil
}

// resume goes on with the session of a token. An unknown token without an
// account is a page that cannot go on: its socket is closed (P14).
func (k *socket) resume(c *connection) (done bool, err error) {
	if c.AuthToken == "" {
		return false, nil
	}
	now, from := time.Now(), limit.Host(address(k.remote))
	if k.server.guesses.Has(from, now) {
		if s := k.server.kept(string(c.AuthToken)); s != nil && s.attach(k) {
			s.log.Info("browser session goes on", "remote", k.remote)
			s.greet()
			s.remind()
			return true, nil
		}
		k.server.guesses.Take(from, now)
	}
	if c.SIPLogin != "" {
		return false, nil
	}
	k.log.Info("browser session to resume is unknown", "remote", k.remote)
	return true, errEnd
}

// account is what a connection says of SIP. Port and authentication name may
// be missing, and a proxy may be given by either of two names (P15).
func (s *Server) account(se *session, c *connection) calls.Account {
	login := strings.TrimSpace(string(c.SIPLogin))
	a := calls.Account{Login: login, AuthName: cmp.Or(strings.TrimSpace(string(c.SIPAuthName)), login), Password: string(c.SIPPassword),
		Proxy: strings.TrimSpace(cmp.Or(string(c.SIPOutboundProxy), string(c.SIPProxy))), Port: int(c.SIPPort.Value),
		SessionID: se.id, AppKey: se.app}
	a.Domain = cmp.Or(strings.TrimSpace(string(c.SIPDomain)), a.Proxy)
	if len(se.custom) > 0 {
		_ = json.Unmarshal(se.custom, &a.Custom) // it may be anything; calls carry an object
	}
	if p := s.deps.Phone; p != nil && login != "" {
		a.Local = p.Local(a)
	}
	return a
}

// greet makes the session usable for the page. What it says must not hold the
// password: applications show and log it.
func (s *session) greet() {
	s.mu.Lock()
	registered := s.registered
	s.mu.Unlock()
	s.send("getUserData", userData{AuthToken: s.token, AppKey: s.app, SIPLogin: s.account.Login, SIPDomain: s.account.Domain,
		SIPRegisterRequired: s.registers})
	s.inform("ConnectionStatusEvent", s.describe("status", "ESTABLISHED"))
	if registered {
		s.send("registered", map[string]string{"sipLogin": s.account.Login})
	}
}

// refuse says why the session cannot go on and ends it: pages have no other
// way back than a closed socket (P14).
func (s *session) refuse(err error) error {
	f := failure{APIMethod: registration, Status: "FAILED", Info: err.Error()}
	var r *refusal
	if errors.As(err, &r) {
		f.APIMethod, f.SIPStatus = r.method, r.code
	}
	s.send("fail", f)
	s.inform(f.APIMethod, s.describe("status", "FAILED", "info", f.Info))
	s.end()
	return errEnd
}

// register makes the account callable for as long as the session lives.
func (s *session) register() {
	detach, err := s.bind()
	if err != nil {
		if s.ctx.Err() == nil {
			s.log.Info("browser session cannot register", "login", s.account.Login, "domain", s.account.Domain, "err", err)
			_ = s.refuse(err)
		}
		close(s.signed)
		return
	}
	s.mu.Lock()
	s.registered = true
	s.mu.Unlock()
	s.send("registered", map[string]string{"sipLogin": s.account.Login})
	s.inform(registration, s.describe("status", "REGISTERED"))
	close(s.signed)
	<-s.ctx.Done()
	detach()
}

func (s *session) bind() (detach func(), err error) {
	p, a := s.server.deps.Phone, s.account
	if a.Local {
		return p.Calls.Attach(p.Account(a), line{s}), nil
	}
	var outcome leg.Registration // of the first attempt, told before Register returns
	var settled atomic.Bool
	name, release, err := p.Register(s.ctx, leg.Request{Login: a.Login, AuthName: a.AuthName, Password: a.Password, Domain: a.Domain,
		Proxy: a.Proxy, Port: a.Port, Transport: a.Transport, Register: true}, func(r leg.Registration) {
		switch {
		case !settled.Load():
			outcome = r
		case !r.Registered && r.Error != "": // it is tried again; the page may tell its user
			s.send("fail", failure{APIMethod: registration, Status: "FAILED", Info: r.Error, SIPStatus: r.Code})
		}
	})
	settled.Store(true)
	if err != nil {
		if c := outcome.Code; c == 401 || c == 403 || c == 404 || c == 407 {
			s.server.guesses.Take(limit.Host(address(s.remote)), time.Now())
		}
		return nil, &refusal{method: registration, code: outcome.Code, text: err.Error()}
	}
	unline := p.Calls.Attach(name, line{s})
	return func() { unline(); release() }, nil
}

// address is the IP of host:port; that of somebody unknown if there is none.
func address(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.IPv6Unspecified()
	}
	return a.Addr().Unmap()
}

package sip

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"lineout/calls/leg"
	"lineout/calls/words"
)

// standing is an account of the settings, registered for as long as the server
// runs so that it can be called.
type standing struct {
	entry   string // login@domain
	party   *party
	expires time.Duration
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
	s.entry = r.Login + "@" + s.party.domain
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

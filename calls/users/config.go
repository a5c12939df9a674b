// Package users holds the accounts of this server itself: who may register a
// phone here, or log in from a browser, without any other SIP server (S1-7).
package users

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"lineout/calls/words"
)

// Config are the settings of the accounts.
type Config struct {
	Users   []string `setting:"users" secret:"password" doc:"accounts of this server, for browsers and SIP phones that call one another without another SIP server, one entry each: login=1001 password=secret; with neither these nor users_file, programs on this machine (127.0.0.1, ::1) may use any login and others none"`
	File    string   `setting:"users_file" doc:"file with more accounts, one entry of users per line; # begins a comment; a changed file counts within seconds, one with a fault leaves things as they were"`
	Domains []string `setting:"users_domains" default:"localhost,127.0.0.1,::1" doc:"SIP domains that are this server; those of ip and ip_local are besides"`
}

const (
	maxName  = 240 // bytes of a login or a password
	maxUsers = 100_000
	maxFile  = 16 << 20
)

// Validate reports every fault, each with the setting's name.
func (c *Config) Validate() error {
	var errs []error
	if _, err := parseList(c.Users); err != nil {
		errs = append(errs, err)
	}
	if len(c.Domains) == 0 {
		errs = append(errs, errors.New("users_domains: want at least one name or address"))
	}
	for _, d := range c.Domains {
		if !plausible(fold(d)) {
			errs = append(errs, fmt.Errorf("users_domains: %q is neither a host name nor an address", d))
		}
	}
	return errors.Join(errs...)
}

// parseList reads the setting; faults name the entry.
func parseList(entries []string) (map[string]string, error) {
	out := map[string]string{}
	var errs []error
	for i, e := range entries {
		if err := parseEntry(e, out); err != nil {
			errs = append(errs, fmt.Errorf("users: entry %d: %w", i+1, err))
		}
	}
	return out, errors.Join(errs...)
}

// parseFile reads the text of a users file; faults name the line.
func parseFile(text string) (map[string]string, error) {
	out := map[string]string{}
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		err := parseEntry(line, out)
		if err == nil {
			continue
		}
		if errs = append(errs, fmt.Errorf("line %d: %w", n, err)); len(errs) == 10 {
			break
		}
	}
	return out, errors.Join(errs...)
}

// parseEntry adds the account of an entry. Faults do not show the password.
func parseEntry(entry string, to map[string]string) error {
	ws, err := words.Parse(entry, "login", "password")
	if err != nil {
		return err
	}
	var login, password string
	for _, w := range ws {
		switch w.Key {
		case "login":
			if login = w.Value; !isLogin(login) {
				return w.Fault("it holds characters a SIP user must not have (RFC 3261 section 25.1)")
			}
		case "password":
			if password = w.Value; len(password) > maxName || strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return w.Fault("want at most %d bytes without control characters", maxName)
			}
		}
	}
	_, twice := to[login]
	switch {
	case login == "":
		return errors.New("login= is missing")
	case password == "":
		return errors.New("password= is missing")
	case twice:
		return fmt.Errorf("the login %s stands twice", login)
	case len(to) >= maxUsers:
		return fmt.Errorf("more than %d accounts", maxUsers)
	}
	to[login] = password
	return nil
}

// isLogin says whether s can be the user part of a SIP address as it stands,
// without escapes: the unreserved characters of RFC 3261 section 25.1 and those
// that users have in phone numbers.
func isLogin(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') && strings.IndexByte("-_.!~*'()&=+$,", c) < 0 {
			return false
		}
	}
	return true
}

// fold makes equal domains the same text: no brackets, no final dot, addresses
// in their usual form, small letters.
func fold(domain string) string {
	d := strings.ToLower(strings.Trim(domain, "[]"))
	if ip, err := netip.ParseAddr(d); err == nil {
		return ip.Unmap().String()
	}
	return strings.TrimSuffix(d, ".")
}

func plausible(domain string) bool {
	if _, err := netip.ParseAddr(domain); err == nil {
		return true
	}
	return domain != "" && len(domain) <= maxName && !strings.ContainsFunc(domain, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r == '.' || r == '-' || r == '_')
	})
}

package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/words"
)

// trunk is a peer that may call us: by its address, by digest, or both.
type trunk struct {
	name       string
	from       []netip.Prefix
	user, pass string
}

// parseTrunk reads an entry of sip_trunks.
func parseTrunk(entry string) (*trunk, error) {
	ws, err := words.Parse(entry, "name", "from", "user", "password")
	if err != nil {
		return nil, err
	}
	t := &trunk{}
	for _, w := range ws {
		switch w.Key {
		case "name":
			t.name = w.Value
		case "from":
			for one := range strings.SplitSeq(w.Value, "|") {
				p, err := parsePrefix(one)
				if err != nil {
					return nil, w.Fault("%q is neither an address nor a network such as 192.0.2.0/24; put | between several", one)
				}
				t.from = append(t.from, p)
			}
		case "user":
			if t.user = w.Value; !userOnly(t.user) {
				return nil, w.Fault("it holds characters a SIP user must not have (RFC 3261 section 25.1)")
			}
		case "password":
			t.pass = w.Value
		}
	}
	switch {
	case t.name == "":
		return nil, errors.New("name= is missing")
	case t.from == nil && t.user == "":
		return nil, errors.New("from= or user= and password= are missing: they say who may call")
	case (t.user == "") != (t.pass == ""):
		return nil, errors.New("user= and password= belong together")
	}
	return t, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// parseTrunks reads the whole list; faults name the entry.
func parseTrunks(entries []string) ([]*trunk, error) {
	var out []*trunk
	var errs []error
	names, users := map[string]bool{}, map[string]bool{}
	for i, e := range entries {
		t, err := parseTrunk(e)
		switch {
		case err != nil:
		case names[t.name]:
			err = fmt.Errorf("the name %q stands twice", t.name)
		case t.user != "" && users[t.user]:
			err = fmt.Errorf("the user %q stands twice", t.user)
		default:
			names[t.name], users[t.user] = true, true
			out = append(out, t)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sip_trunks: entry %d: %w", i+1, err))
		}
	}
	return out, errors.Join(errs...)
}

func (t *trunk) covers(a netip.Addr) bool {
	for _, p := range t.from {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// origin is where a call to us comes from.
type origin struct {
	trunk   string
	account *registration
	user    string // of this server, login@domain
}

// identify says which trunk or account a call comes through.
func (a *Agent) identify(req *sipmsg.Request, source netip.AddrPort) (origin, bool) {
	for _, t := range a.trunks {
		if t.user == "" && t.covers(source.Addr()) {
			return origin{trunk: t.name}, true
		}
	}
	if s := a.accountOf(req, source); s != nil {
		return origin{account: s}, true
	}
	return origin{}, false
}

// isTrunk says that the settings name this address.
func (a *Agent) isTrunk(ip netip.Addr) bool {
	for _, t := range a.trunks {
		if t.covers(ip) {
			return true
		}
	}
	return false
}

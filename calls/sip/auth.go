package sip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const (
	maxRealms     = 4 // of one account: its server's, and of proxies on the way
	maxChallenges = 5 // of one request
)

// credentials are an account's name and password, with what servers asked for
// lately: a nonce that was accepted serves for the next requests too (RFC 3261
// section 22.2, RFC 7616 section 3.6). Safe for concurrent use. Whoever uses
// them has to make sure that the request goes to the account's server.
type credentials struct {
	user, password string

	mu     sync.Mutex
	realms []*realm
}

// realm is the newest challenge of one protection space.
type realm struct {
	proxy bool // 407
	ask   *digest.Challenge
	uses  int // of the nonce, for nc
}

// attempt is one request with its repetitions.
type attempt struct {
	of       *credentials
	answered map[string]int
	total    int
}

func (c *credentials) begin() *attempt { return &attempt{of: c, answered: map[string]int{}} }

// retry takes the challenges of a 401 or 407 and says whether the request is
// worth repeating. Of several challenges of one realm the strongest is
// answered, as a man in the middle can put a weak one on top; those of other
// realms are answered too (RFC 8760 section 2.4). An error says why none can be.
func (a *attempt) retry(res *sipmsg.Response) (bool, error) {
	if !challenged(res) || a.of.password == "" || a.total == maxChallenges {
		return false, nil
	}
	name, proxy := "WWW-Authenticate", res.StatusCode == sipmsg.StatusProxyAuthRequired
	if proxy {
		name = "Proxy-Authenticate"
	}
	offered := res.GetHeaders(name)
	if len(offered) == 0 {
		return false, fmt.Errorf("the answer %d has no %s header", res.StatusCode, name)
	}
	best := map[string]*digest.Challenge{}
	var order []string
	for _, h := range offered[:min(len(offered), 4*maxRealms)] {
		ask, err := digest.ParseChallenge(h.Value())
		if err != nil {
			continue
		}
		ask.Algorithm = strings.ToUpper(ask.Algorithm) // some servers write "md5"
		for i, q := range ask.QOP {
			ask.QOP[i] = strings.TrimSpace(q)
		}
		if !digest.CanDigest(ask) {
			continue
		}
		if old := best[ask.Realm]; old == nil {
			order = append(order, ask.Realm)
		} else if strength(ask) <= strength(old) {
			continue
		}
		best[ask.Realm] = ask
	}
	if len(best) == 0 {
		return false, errors.New("none of the offered digest algorithms is supported")
	}
	a.total++
	for _, name := range order {
		key := fmt.Sprint(proxy, name)
		if !best[name].Stale {
			a.answered[key]++
		}
		if a.answered[key] > 2 {
			return false, nil // the name or the password is wrong
		}
		a.of.learn(proxy, best[name])
	}
	return true, nil
}

// strength orders the algorithms of RFC 8760.
func strength(c *digest.Challenge) int {
	return slices.Index([]string{"", "MD5", "SHA-256", "SHA-512", "SHA-512-256"}, c.Algorithm)
}

func (c *credentials) learn(proxy bool, ask *digest.Challenge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.realms, func(r *realm) bool { return r.proxy == proxy && r.ask.Realm == ask.Realm })
	if i >= 0 {
		c.realms[i] = &realm{proxy: proxy, ask: ask}
		return
	}
	if len(c.realms) == maxRealms {
		c.realms = c.realms[1:]
	}
	c.realms = append(c.realms, &realm{proxy: proxy, ask: ask})
}

// sign adds credentials for every realm known. A nonce without qop cannot count
// its uses and is used once.
func (c *credentials) sign(req *sipmsg.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for req.RemoveHeader(name) {
		}
	}
	for _, r := range c.realms {
		if len(r.ask.QOP) == 0 && r.uses > 0 {
			continue
		}
		r.uses++
		cred, err := digest.Digest(r.ask, digest.Options{Method: string(req.Method), URI: req.Recipient.String(), Count: r.uses,
			Username: c.user, Password: c.password,
			GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(req.Body())), nil }})
		if err != nil {
			continue // CanDigest has said that it works
		}
		name := "Authorization"
		if r.proxy {
			name = "Proxy-Authorization"
		}
		req.AppendHeader(sipmsg.NewHeader(name, cred.String()))
	}
}

// accepted takes the next nonce of a 2xx (RFC 7616 section 3.5). Realm names
// are not told there, so it is taken only where there is no doubt.
func (c *credentials) accepted(res *sipmsg.Response) {
	for name, proxy := range map[string]bool{"Authentication-Info": false, "Proxy-Authentication-Info": true} {
		h := res.GetHeader(name)
		if h == nil {
			continue
		}
		info, err := digest.ParseChallenge(digest.Prefix + strings.ReplaceAll(h.Value(), "nextnonce", "nonce"))
		if err != nil || info.Nonce == "" {
			continue
		}
		c.mu.Lock()
		var mine []*realm
		for _, r := range c.realms {
			if r.proxy == proxy {
				mine = append(mine, r)
			}
		}
		if len(mine) == 1 {
			ask := *mine[0].ask
			ask.Nonce = info.Nonce
			mine[0].ask, mine[0].uses = &ask, 0
		}
		c.mu.Unlock()
	}
}

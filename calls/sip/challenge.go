package sip

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const (
	// nonceLife is how long a nonce of ours may be used.
	nonceLife = time.Minute
	// maxNonces bounds the table of nonces that were used. It is filled by those
	// only who know a password.
	maxNonces = 4096
)

// examiner checks digest logins (RFC 3261 section 22, RFC 8760). A nonce is the
// time and a keyed hash of it and of the address it was given to, so that
// nothing is kept for those who never come back; what is kept is the highest
// count each used nonce came with. Safe for concurrent use.
type examiner struct {
	realm      string
	algorithms []string
	key        [32]byte

	mu   sync.Mutex
	used map[string]usedNonce
}

type usedNonce struct {
	count int
	until time.Time
}

func newExaminer(realm string, algorithms []string) *examiner {
	e := &examiner{realm: realm, algorithms: algorithms, used: map[string]usedNonce{}}
	_, _ = rand.Read(e.key[:]) // never fails
	return e
}

func (e *examiner) nonce(from netip.Addr, now time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()))
	return base64.RawURLEncoding.EncodeToString(append(b, e.seal(b, from)...))
}

func (e *examiner) seal(at []byte, from netip.Addr) []byte {
	h := hmac.New(sha256.New, e.key[:])
	h.Write(at)
	h.Write(from.AsSlice())
	return h.Sum(nil)[:16]
}

// age is the age of a nonce; ok is false when it is none of ours.
func (e *examiner) age(nonce string, from netip.Addr, now time.Time) (age time.Duration, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 24 || subtle.ConstantTimeCompare(b[8:], e.seal(b[:8], from)) != 1 {
		return 0, false
	}
	return now.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(b)))), true
}

// loginVerdict is what a login came to.
type loginVerdict uint8

const (
	loginWrong loginVerdict = iota
	loginStale              // the right password, but the nonce is too old or was used
	loginRight
)

// check judges a request's credentials; proves says whether they were made with
// the password of their user.
func (e *examiner) check(c *digest.Credentials, from netip.Addr, now time.Time, proves func() bool) loginVerdict {
	known := false
	for _, a := range e.algorithms {
		known = known || strings.EqualFold(cmp.Or(c.Algorithm, "MD5"), a)
	}
	if !known || c.QOP != "auth" || c.Nc <= 0 || c.Cnonce == "" || c.Realm != e.realm {
		return loginWrong
	}
	age, ok := e.age(c.Nonce, from, now)
	if !ok || !proves() {
		return loginWrong
	}
	if age < 0 || age > nonceLife || !e.use(c.Nonce, c.Nc, now) {
		return loginStale
	}
	return loginRight
}

// fits says whether credentials were made with a password, or with its hash with
// name and realm (HA1) if that is given.
func fits(c *digest.Credentials, method, password, ha1 string) bool {
	want, err := digest.Digest(&digest.Challenge{Realm: c.Realm, Nonce: c.Nonce, Algorithm: c.Algorithm, QOP: []string{"auth"}},
		digest.Options{Method: method, URI: c.URI, Count: c.Nc, Username: c.Username, Password: password, A1: ha1, Cnonce: c.Cnonce})
	return err == nil && subtle.ConstantTimeCompare([]byte(want.Response), []byte(strings.ToLower(c.Response))) == 1
}

// use notes the count a nonce came with; false when it came before.
func (e *examiner) use(nonce string, count int, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	u, ok := e.used[nonce]
	if ok && count <= u.count {
		return false
	}
	if !ok {
		if len(e.used) >= maxNonces {
			for n, u := range e.used {
				if now.After(u.until) {
					delete(e.used, n)
				}
			}
		}
		if len(e.used) >= maxNonces {
			return false
		}
		u.until = now.Add(nonceLife)
	}
	u.count = count
	e.used[nonce] = u
	return true
}

// ask are the challenges of a 401, the best first (RFC 8760 section 2.4).
func (e *examiner) ask(from netip.Addr, again bool, now time.Time) []sipmsg.Header {
	nonce := e.nonce(from, now)
	var out []sipmsg.Header
	for _, a := range e.algorithms {
		c := digest.Challenge{Realm: e.realm, Nonce: nonce, Algorithm: a, QOP: []string{"auth"}, Stale: again}
		out = append(out, sipmsg.NewHeader("WWW-Authenticate", c.String()))
	}
	return out
}

// credentialsOf are the logins a request comes with, for our realm; few.
func (e *examiner) credentialsOf(req *sipmsg.Request) []*digest.Credentials {
	var out []*digest.Credentials
	for _, h := range req.GetHeaders("Authorization") {
		if c, err := digest.ParseCredentials(h.Value()); err == nil && c.Realm == e.realm && len(out) < maxRealms {
			out = append(out, c)
		}
	}
	return out
}

// login says whether a caller has the login of a trunk. challenge is true when
// it should be asked for one, and again when the one it has is used up.
func (a *Agent) login(req *sipmsg.Request, source netip.AddrPort) (from origin, known, challenge, again bool) {
	for _, t := range a.trunks {
		if t.user == "" || t.from != nil && !t.covers(source.Addr()) {
			continue
		}
		challenge = true
		for _, c := range a.examiner.credentialsOf(req) {
			proves := func() bool { return c.Username == t.user && fits(c, string(req.Method), t.pass, "") }
			switch a.examiner.check(c, source.Addr(), time.Now(), proves) {
			case loginRight:
				return origin{trunk: t.name}, true, false, false
			case loginStale:
				again = true
			}
		}
	}
	return origin{}, false, challenge, again
}

package users

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"lineout/calls/limit"
)

// Failed tries with one login from one address, and from one address with any:
// per second and at once.
const (
	loginRate, loginBurst     = 0.1, 10
	addressRate, addressBurst = 1, 100
)

// The reasons of a refusal. They do not say whether the login exists.
var (
	ErrWrong    = errors.New("the login or the password is wrong")
	ErrDomain   = errors.New("this server does not know the SIP domain (users_domains)")
	ErrLimited  = limit.ErrExceeded
	ErrNotHere  = errors.New("no accounts are configured (users, users_file), so only programs on this machine may log in")
	errBadLogin = errors.New("the login is empty or holds characters a SIP user must not have")
)

// Directory knows the accounts. Safe for concurrent use.
type Directory struct {
	cfg     Config
	log     *slog.Logger
	domains []string                          // folded, the main one first
	fixed   map[string]string                 // login to password, of the settings
	all     atomic.Pointer[map[string]string] // with those of the file

	byLogin   *limit.Buckets[source]
	byAddress *limit.Buckets[netip.Addr]
	now       func() time.Time
}

// source is who tries: failed tries of one do not lock out others behind the
// same address at once.
type source struct {
	login string
	host  netip.Addr
}

// New reads the accounts. own are more domains that are this server: its
// configured addresses, "" for none.
func New(cfg Config, log *slog.Logger, own ...string) (*Directory, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Directory{cfg: cfg, log: log, now: time.Now, byLogin: limit.New[source](loginRate, loginBurst), byAddress: limit.New[netip.Addr](addressRate, addressBurst)}
	for _, name := range slices.Concat(cfg.Domains, own) {
		if name = fold(name); name != "" && !slices.Contains(d.domains, name) {
			d.domains = append(d.domains, name)
		}
	}
	d.fixed, _ = parseList(cfg.Users) // Validate has read it
	d.use(nil)
	if cfg.File != "" {
		more, err := d.read()
		if err != nil {
			return nil, err
		}
		d.use(more)
	}
	return d, nil
}

// use makes the accounts of the file count; those of the settings win.
func (d *Directory) use(more map[string]string) {
	all := maps.Clone(more)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, d.fixed)
	d.all.Store(&all)
}

// Local says whether a domain, without port, is this server.
func (d *Directory) Local(domain string) bool { return slices.Contains(d.domains, fold(domain)) }

// Account is what a login is called on this server whichever of its domains a
// client uses: login@domain with the first of users_domains.
func (d *Directory) Account(login string) string {
	domain := d.domains[0]
	if strings.Contains(domain, ":") {
		domain = "[" + domain + "]"
	}
	return login + "@" + domain
}

// Configured says that there are accounts. If not, those on this machine may
// have any login.
func (d *Directory) Configured() bool { return d.cfg.File != "" || len(d.cfg.Users) > 0 }

// Known says whether a login could exist: with no accounts configured, any.
func (d *Directory) Known(login string) bool {
	if !d.Configured() {
		return isLogin(login)
	}
	_, ok := (*d.all.Load())[login]
	return ok
}

// Open says that no password is asked for from an address.
func (d *Directory) Open(remote netip.Addr) bool {
	return !d.Configured() && remote.Unmap().IsLoopback()
}

// Check says whether somebody at an address may have a login: nil, or one of
// the reasons above.
func (d *Directory) Check(login, domain, password string, remote netip.Addr) error {
	if !d.Local(domain) {
		return ErrDomain
	}
	return d.judge(login, remote, func(want string) bool {
		a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(password))
		return subtle.ConstantTimeCompare(a[:], b[:]) == 1
	})
}

// Digest judges a login by a digest (RFC 7616, RFC 8760): fits is given the
// login's HA1, or another one if there is no such login, and says whether the
// response was made with it.
func (d *Directory) Digest(login, realm, algorithm string, remote netip.Addr, fits func(ha1 string) bool) error {
	return d.judge(login, remote, func(password string) bool {
		h, ok := hash(algorithm, login+":"+realm+":"+password)
		return ok && fits(h)
	})
}

// judge looks a login up and counts what fails. A login that does not exist
// costs as much time as one that does.
func (d *Directory) judge(login string, remote netip.Addr, fits func(password string) bool) error {
	if !isLogin(login) {
		return errBadLogin
	}
	if d.Open(remote) {
		return nil
	}
	if !d.Configured() {
		return ErrNotHere
	}
	host, now := limit.Host(remote), d.now()
	if !d.byLogin.Has(source{login, host}, now) || !d.byAddress.Has(host, now) {
		return ErrLimited
	}
	password, known := (*d.all.Load())[login]
	if right := fits(password); known && right {
		return nil
	}
	d.byLogin.Take(source{login, host}, now)
	d.byAddress.Take(host, now)
	return ErrWrong
}

// HA1 is the hash of login, realm and password that digests are made with, for
// MD5, SHA-256 or SHA-512-256; false when the login or the algorithm is not known.
func (d *Directory) HA1(login, realm, algorithm string) (string, bool) {
	password, ok := (*d.all.Load())[login]
	if !ok {
		return "", false
	}
	return hash(algorithm, login+":"+realm+":"+password)
}

func hash(algorithm, text string) (string, bool) {
	b := []byte(text)
	switch strings.ToUpper(algorithm) {
	case "MD5", "":
		h := md5.Sum(b)
		return hex.EncodeToString(h[:]), true
	case "SHA-256":
		h := sha256.Sum256(b)
		return hex.EncodeToString(h[:]), true
	case "SHA-512-256":
		h := sha512.Sum512_256(b)
		return hex.EncodeToString(h[:]), true
	}
	return "", false
}

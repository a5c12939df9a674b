package rest

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/time/rate"

	"lineout/api/fault"
)

// Guard decides who may use the operator's side of the HTTP interface, and
// says to browsers which pages may (CORS). Its rule, from the settings:
//
//   - rest_users given: HTTP Basic with one of them, from anywhere (RFC 7617).
//   - disable_rest_auth=true: everybody.
//   - otherwise: programs on this machine only. That is judged by the TCP
//     peer; a request a proxy passed on is not from this machine although the
//     proxy is. Web pages are no programs on this machine either: a page from
//     anywhere can make the browser here send requests, so the page's origin
//     and the name it used for us must both be local ones.
type Guard struct {
	cfg   Config
	users []user
	extra [][2]string
	log   *slog.Logger
	quiet *rate.Limiter
}

// user holds digests, because comparing those takes the same time whatever
// the lengths and contents are.
type user struct{ name, password [sha256.Size]byte }

// Validate implements the check package configs runs.
func (c *Config) Validate() error {
	var errs []error
	for i, u := range c.Users {
		if name, password, ok := strings.Cut(u, ":"); !ok || name == "" || password == "" {
			errs = append(errs, fmt.Errorf(`setting "rest_users": element %d is not of the form user:password`, i+1))
		}
	}
	if _, err := c.extraHeaders(); err != nil {
		errs = append(errs, fmt.Errorf(`setting "rest_access_control_headers": %w`, err))
	}
	return errors.Join(errs...)
}

// NewGuard builds a guard from settings that passed Validate.
func NewGuard(c Config, log *slog.Logger) *Guard {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := &Guard{cfg: c, log: log, quiet: rate.NewLimiter(rate.Every(time.Second), 5)}
	for _, u := range c.Users {
		name, password, _ := strings.Cut(u, ":")
		g.users = append(g.users, user{sha256.Sum256([]byte(name)), sha256.Sum256([]byte(password))})
	}
	g.extra, _ = c.extraHeaders()
	return g
}

// Wrap answers preflights, adds the CORS headers to every answer (S2-47 shows
// them on errors too) and lets only admitted requests through.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.cors(w, r)
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if err := g.Check(r); err != nil {
			if fault.CodeOf(err) == fault.Unauthorized {
				w.Header().Set("WWW-Authenticate", `Basic realm="lineout", charset="UTF-8"`)
			}
			if g.quiet.Allow() {
				g.log.Warn("request not admitted", "path", r.URL.Path, "peer", r.RemoteAddr, "cause", err)
			}
			writeError(w, r, err, time.Now())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Check returns nil if the request is admitted, else a fault of class
// Unauthorized or Forbidden that says what to change.
func (g *Guard) Check(r *http.Request) error {
	if len(g.users) > 0 {
		if err := forgeable(r); err != nil {
			return err
		}
		return g.basic(r)
	}
	if g.cfg.DisableAuth {
		return nil
	}
	const cure = "set rest_users=user:password to allow it from elsewhere"
	if !loopbackPeer(r) {
		return fault.New(fault.Forbidden, "no REST users are set, so only programs on the server itself may do this; %s", cure)
	}
	for _, h := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		if r.Header.Get(h) != "" {
			return fault.New(fault.Forbidden, "the request came through a proxy (header %s) and no REST users are set; %s", h, cure)
		}
	}
	if !localHost(r.Host) {
		return fault.New(fault.Forbidden, "the request names this server %q, which is not a local name, and no REST users are set; use localhost, or %s", r.Host, cure)
	}
	if o := r.Header.Get("Origin"); o != "" && !localOrigin(o) {
		return fault.New(fault.Forbidden, "a page from %q may not do this while no REST users are set; %s", o, cure)
	}
	return nil
}

// basic compares in constant time and goes through all users whatever happens.
func (g *Guard) basic(r *http.Request) error {
	name, password, ok := r.BasicAuth()
	if !ok {
		return fault.New(fault.Unauthorized, "a user name and password are needed (HTTP Basic)")
	}
	n, p := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(password))
	good := 0
	for _, u := range g.users {
		good |= subtle.ConstantTimeCompare(n[:], u.name[:]) & subtle.ConstantTimeCompare(p[:], u.password[:])
	}
	if good != 1 {
		return fault.New(fault.Unauthorized, "the user name or password is wrong")
	}
	return nil
}

// forgeable refuses what a foreign page can make a browser send without a
// preflight, with the password the browser remembers: a POST of one of the
// content types a form has (Fetch standard, CORS-safelisted request-header).
func forgeable(r *http.Request) error {
	o := r.Header.Get("Origin")
	if o == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if u, err := url.Parse(o); err == nil && strings.EqualFold(u.Host, r.Host) {
		return nil
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data":
		return fault.New(fault.Forbidden, "a page from %q has to send Content-Type: application/json", o)
	}
	return nil
}

// loopbackPeer goes by the TCP connection only; headers can say anything.
func loopbackPeer(r *http.Request) bool {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// localHost says whether a host (with or without port) cannot be a name some
// stranger's DNS points at us: a loopback address, localhost, or a name
// without a dot, which public DNS does not have.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host != "" && (!strings.ContainsAny(host, ".:") || strings.HasSuffix(host, ".localhost"))
}

// localOrigin refuses "null", the origin of sandboxed frames, which any page can make.
func localOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && localHost(u.Host)
}

// cors adds the headers browsers look for.
func (g *Guard) cors(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	allow := strings.TrimSpace(g.cfg.AllowOrigin)
	if allow != "*" {
		h.Add("Vary", "Origin")
		allow = g.matchOrigin(allow, r.Header.Get("Origin"))
	}
	if allow != "" {
		h.Set("Access-Control-Allow-Origin", allow)
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Headers", g.cfg.AllowHeader)
		h.Set("Access-Control-Allow-Methods", g.cfg.AllowMethod)
		h.Set("Access-Control-Max-Age", "600")
	}
	for _, kv := range g.extra {
		h.Set(kv[0], kv[1])
	}
}

// matchOrigin returns the origin if it is on the list; a list of one is
// answered as it stands, as the original does.
func (g *Guard) matchOrigin(list, origin string) string {
	items := strings.Split(list, ",")
	for _, it := range items {
		if it = strings.TrimSpace(it); it == origin || len(items) == 1 {
			return it
		}
	}
	return ""
}

// extraHeaders parses "Name: value; Name: value".
func (c *Config) extraHeaders() ([][2]string, error) {
	var out [][2]string
	for _, part := range strings.Split(c.Headers, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, ":")
		if name = strings.TrimSpace(name); !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("%q is not of the form Name: value", part)
		}
		out = append(out, [2]string{http.CanonicalHeaderKey(name), strings.TrimSpace(value)})
	}
	return out, nil
}

package sip

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// maxName is the longest user, host, Call-ID or display name taken from a
// request; it leaves room for a cname of 255.
const maxName = 240

// party is a leg.Request made safe for the wire: every part has been checked
// against the characters RFC 3261 section 25.1 allows, or escaped.
type party struct {
	target sipmsg.Uri // Request-URI and To
	from   sipmsg.Uri
	name   string // display name, escaped for a quoted-string
	user   string // digest user name
	login  string // user part of the address of record
	pass   string
	domain string
	server sipServer // next hop; its transport is set
	// proxied says that the next hop is an outbound proxy, for any callee.
	proxied bool
	// flexible says that nobody named the transport.
	flexible bool
	srtp     srtpMode
}

// newParty checks a request. Errors carry fault.BadRequest, or fault.Internal
// with the documented sentence for a malformed account (S2-47, S2-48).
func newParty(r leg.Request, c *Config) (*party, error) {
	if err := checkCallID(r.CallID); err != nil {
		return nil, err
	}
	auth := r.AuthName
	if auth == "" {
		auth = r.Login
	}
	for _, s := range []string{r.Login, auth} {
		if !userOnly(s) {
			return nil, fault.New(fault.Internal, "SIP login or authentication name contains reserved symbols")
		}
	}
	if hasControl(r.Password) || hasControl(r.DisplayName) || len(r.DisplayName) > maxName || len(r.Password) > maxName {
		return nil, fault.New(fault.BadRequest, "the display name and the password must not hold control characters or be longer than %d bytes", maxName)
	}
	p := &party{user: auth, login: r.Login, pass: r.Password, name: escapeQuoted(r.DisplayName)}
	if err := p.route(r, c); err != nil {
		return nil, err
	}
	caller := r.Caller
	if caller == "" {
		caller = r.Login
	}
	if caller == "" {
		caller = "anonymous"
	}
	user, err := escapeUser(caller)
	if err != nil {
		return nil, fault.New(fault.BadRequest, "caller: %w", err)
	}
	p.from = sipmsg.Uri{Scheme: "sip", User: user, Host: p.domain}
	if p.target, err = calleeURI(r.Callee, p.domain); err != nil {
		return nil, fault.New(fault.BadRequest, "callee: %w", err)
	}
	if p.target.Scheme == "sips" && p.server.transport != overTLS {
		if !p.flexible {
			return nil, fault.New(fault.BadRequest, "callee: a sips: address is called over TLS, and the SIP transport is %s", p.server.transport)
		}
		p.server.transport, p.flexible = overTLS, false
	}
	return p, nil
}

// route fills in domain and next hop, with the settings as fall-backs.
func (p *party) route(r leg.Request, c *Config) error {
	domain, proxy, port := r.Domain, r.Proxy, r.Port
	if domain == "" {
		domain = c.Domain
	}
	if proxy == "" {
		proxy = c.OutboundProxy
	}
	if port == 0 {
		port = c.OutboundPort
	}
	if domain == "" {
		domain = proxy
	}
	if domain == "" {
		return fault.New(fault.BadRequest, "the call names no SIP domain; give sipDomain, or set domain or outbound_proxy")
	}
	at, err := parseServer(domain)
	if err != nil {
		return fault.New(fault.BadRequest, "SIP domain: %w", err)
	}
	p.domain, p.server = at.host, at
	if proxy != "" {
		p.proxied = true
		if p.server, err = parseServer(proxy); err != nil {
			return fault.New(fault.BadRequest, "SIP outbound proxy: %w", err)
		}
	}
	if port < 0 || port > 65535 {
		return fault.New(fault.BadRequest, "SIP port: %d is not between 0 and 65535", port)
	}
	if port != 0 {
		p.server.port = port
	}
	return p.chooseTransport(r, c)
}

// chooseTransport takes the transport of the request, of the server's address,
// or of the settings, in this order. None is ever replaced by a less secure one.
func (p *party) chooseTransport(r leg.Request, c *Config) error {
	asked, err := parseTransport(r.Transport)
	if err != nil {
		return fault.New(fault.BadRequest, "SIP transport: %w", err)
	}
	if asked != "" && p.server.transport != "" && asked != p.server.transport {
		return fault.New(fault.BadRequest, "the SIP transport is %s, but the server's address says %s", asked, p.server.transport)
	}
	mode, err := parseSRTP(r.SRTP)
	if err != nil {
		return fault.New(fault.BadRequest, "SIP media encryption: %w", err)
	}
	if p.srtp = mode; mode == "" {
		p.srtp, _ = parseSRTP(c.SRTP)
	}
	usual, _ := parseTransport(c.Transport) // Validate has read it
	p.flexible = asked == "" && p.server.transport == "" && (usual == "" || usual == overUDP)
	p.server.transport = cmp.Or(asked, p.server.transport, usual, overUDP)
	return nil
}

func checkCallID(id string) error {
	if id == "" || len(id) > maxName {
		return fault.New(fault.BadRequest, "callId: want 1 to %d characters, got %d", maxName, len(id))
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; !alnum(c) && !strings.ContainsRune("-.!%*_+`'~()<>:\\\"/[]?{}@", rune(c)) {
			return fault.New(fault.BadRequest, "callId: the character %q is not allowed in a SIP Call-ID (RFC 3261 section 25.1)", c)
		}
	}
	return nil
}

// calleeURI turns a user, a number, user@host or a SIP URI into a Request-URI.
func calleeURI(callee, domain string) (sipmsg.Uri, error) {
	callee = strings.TrimSpace(callee)
	if callee == "" || len(callee) > maxName {
		return sipmsg.Uri{}, fmt.Errorf("want 1 to %d characters, got %d", maxName, len(callee))
	}
	kind, rest := "sip", callee
	if scheme, after, ok := strings.Cut(callee, ":"); ok && !strings.Contains(scheme, "@") {
		switch strings.ToLower(scheme) {
		case "sip", "sips":
			kind, rest = strings.ToLower(scheme), after
		case "tel":
			rest, _, _ = strings.Cut(after, ";")
		default:
			return sipmsg.Uri{}, fmt.Errorf("the scheme %q is not supported; use a user, a number or a sip: URI", scheme)
		}
	}
	user, host, port := rest, domain, 0
	var params sipmsg.HeaderParams
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user = rest[:at]
		hostport, tail, _ := strings.Cut(rest[at+1:], ";")
		var err error
		if host, port, err = splitHost(hostport); err != nil {
			return sipmsg.Uri{}, err
		}
		if params, err = uriParams(tail); err != nil {
			return sipmsg.Uri{}, err
		}
	}
	user, err := escapeUser(user)
	if err != nil {
		return sipmsg.Uri{}, err
	}
	return sipmsg.Uri{Scheme: kind, User: user, Host: host, Port: port, UriParams: params}, nil
}

func uriParams(s string) (sipmsg.HeaderParams, error) {
	var p sipmsg.HeaderParams
	for _, one := range strings.Split(s, ";") {
		if one == "" {
			continue
		}
		k, v, _ := strings.Cut(one, "=")
		for i := 0; i < len(k+v); i++ {
			if c := (k + v)[i]; !alnum(c) && !strings.ContainsRune("-_.!~*'()%[]/:&+$", rune(c)) {
				return nil, fmt.Errorf("the URI parameter %q holds a character that is not allowed", one)
			}
		}
		p.Add(k, v)
	}
	return p, nil
}

// escapeUser writes s as the user part of a URI. Control characters and blanks
// are refused rather than escaped: they are mistakes or attacks.
func escapeUser(s string) (string, error) {
	if s == "" || len(s) > maxName {
		return "", fmt.Errorf("want a user of 1 to %d characters, got %d", maxName, len(s))
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"':
			return "", fmt.Errorf("the character %q is not allowed in a user part", c)
		case alnum(c) || strings.IndexByte("-_.!~*'()&=+$,;?/", c) >= 0:
			b.WriteByte(c)
		case c == '%' && i+2 < len(s) && hex(s[i+1]) && hex(s[i+2]):
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String(), nil
}

// userOnly holds the rule of S2-48 for login and authentication name.
func userOnly(s string) bool {
	if len(s) > maxName {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alnum(c) && strings.IndexByte("-_.!~*'()&=+$,;?/%", c) < 0 {
			return false
		}
	}
	return true
}

// splitHost reads host, host:port, 1.2.3.4:port or [v6]:port; port 0 if absent.
func splitHost(s string) (host string, port int, err error) {
	host = s
	if a, perr := netip.ParseAddr(strings.Trim(s, "[]")); perr == nil {
		return bracket(a.String()), 0, nil
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host = s[:i]
		if port, err = strconv.Atoi(s[i+1:]); err != nil || port < 1 || port > 65535 {
			return "", 0, fmt.Errorf("%q: the port must be between 1 and 65535", s)
		}
	}
	if a, perr := netip.ParseAddr(strings.Trim(host, "[]")); perr == nil {
		return bracket(a.String()), port, nil
	}
	return host, port, checkHost(host)
}

func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func checkHost(h string) error {
	if _, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
		return nil
	}
	if h == "" || len(h) > maxName {
		return fmt.Errorf("want a host name or address of 1 to %d characters, got %d", maxName, len(h))
	}
	for i := 0; i < len(h); i++ {
		if c := h[i]; !alnum(c) && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("%q is not a host name: the character %q is not allowed", h, c)
		}
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func escapeQuoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// sourceFor is the local address the kernel would send from; no packet is sent.
func sourceFor(dest netip.AddrPort) (string, error) {
	c, err := net.Dial("udp", dest.String())
	if err != nil {
		return "", fmt.Errorf("no route to %v: %w", dest, err)
	}
	defer c.Close()
	return bracket(c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().String()), nil
}

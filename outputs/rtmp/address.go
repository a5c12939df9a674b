package rtmp

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// maxURL bounds an rtmpUrl: far longer than any stream key in use, far shorter
// than what AMF0 can say in a string (65535 bytes).
const maxURL = 4096

// address is a parsed rtmpUrl: where to connect and what to say there.
type address struct {
	tls      bool
	hostname string // without port and brackets
	dial     string // host:port
	// user and pass answer a server's authmod=adobe challenge. They are part
	// of nothing else that leaves this process.
	user, pass string
	// app is the application with its instance and query string, as connect
	// sends it (S2-22): "live/_definst_?a=b".
	app string
	// tcURL is the whole URL without credentials and stream name.
	tcURL string
	// name is what is published: prefix + stream name, or the key of a full URL.
	name string
	// full says that name came from the URL and is therefore a secret key.
	full bool
}

// parseAddress parses rtmp://[user:password@]host[:port]/app[/instance][?query]
// and, when full is set, takes the last path segment with the query as the
// stream's name (YouTube and Facebook keys); otherwise name is published.
// Errors never repeat the URL: it may hold a password or a key.
func parseAddress(raw, name string, full bool) (*address, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return nil, errors.New("rtmpUrl is missing: give rtmp://host[:port]/application")
	}
	if len(raw) > maxURL {
		return nil, errors.New("rtmpUrl is longer than " + strconv.Itoa(maxURL) + " bytes")
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, errors.New("rtmpUrl holds a space or a control character")
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	if !ok || (scheme != "rtmp" && scheme != "rtmps") {
		return nil, errors.New("rtmpUrl does not begin with rtmp:// or rtmps://")
	}
	a := &address{tls: scheme == "rtmps", full: full, name: name}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, err := a.parseAuthority(scheme, rest[:end])
	if err != nil {
		return nil, err
	}
	if err := a.parsePath(rest[end:]); err != nil {
		return nil, err
	}
	a.tcURL = scheme + "://" + host + "/" + a.app
	return a, nil
}

// parseAuthority fills the credentials and the address to dial, and returns
// host[:port] as it was written.
func (a *address) parseAuthority(scheme, authority string) (string, error) {
	u, err := url.Parse(scheme + "://" + authority)
	if err != nil {
		// A slash or a colon in a password ends up here as well.
		return "", errors.New("rtmpUrl has no valid user:password@host:port part; special characters of a password must be percent-encoded")
	}
	a.hostname = u.Hostname()
	if a.hostname == "" {
		return "", errors.New("rtmpUrl names no host")
	}
	if u.User != nil {
		a.user = u.User.Username()
		a.pass, _ = u.User.Password()
	}
	port := u.Port()
	switch n, err := strconv.ParseUint(port, 10, 16); {
	case port == "" && strings.HasSuffix(u.Host, ":"):
		return "", errors.New("rtmpUrl has an empty port")
	case port == "" && a.tls:
		port = "443"
	case port == "":
		port = "1935"
	case err != nil || n == 0:
		return "", errors.New("rtmpUrl has a port outside 1-65535")
	}
	a.dial = net.JoinHostPort(a.hostname, port)
	return u.Host, nil
}

// parsePath splits what follows the authority into application and name. The
// bytes go to the server as they were given: servers differ in whether they
// decode percent signs, and only the operator knows what his server wants.
func (a *address) parsePath(s string) error {
	path, query, hasQuery := strings.Cut(s, "?")
	path = strings.Trim(path, "/")
	if hasQuery {
		query = "?" + query
	}
	if !a.full {
		if path == "" {
			return errors.New("rtmpUrl names no application: give rtmp://host[:port]/application")
		}
		if a.name == "" {
			return errors.New("the stream name to publish is missing")
		}
		a.app = path + query
		return nil
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 || path[i+1:] == "" {
		return errors.New("rtmpUrl is said to be full but ends in no stream name: give rtmp://host[:port]/application/name")
	}
	a.app = strings.TrimRight(path[:i], "/")
	a.name = path[i+1:] + query
	return nil
}

// key is equal for two addresses that mean the same place on the same server,
// whatever the case of the host, the default port or a trailing slash.
func (a *address) key() string { return a.place() + "\x00" + a.name }

// place is key without the stream's name.
func (a *address) place() string {
	return strconv.FormatBool(a.tls) + " " + strings.ToLower(a.dial) + "/" + a.app
}

// String is for logs and errors: no credentials, no query, no key.
func (a *address) String() string {
	scheme := "rtmp://"
	if a.tls {
		scheme = "rtmps://"
	}
	app, _, cut := strings.Cut(a.app, "?")
	if cut {
		app += "?***"
	}
	name := a.name
	if a.full {
		name = "***"
	}
	return scheme + a.dial + "/" + app + " " + name
}

// clean makes a text that came from the server fit for logs and API answers:
// printable, short, without what is secret in this address.
func (a *address) clean(s string) string {
	secrets := []string{a.pass}
	if a.full {
		secrets = append(secrets, a.name)
		if key, _, ok := strings.Cut(a.name, "?"); ok {
			secrets = append(secrets, key)
		}
	}
	if _, query, ok := strings.Cut(a.app, "?"); ok {
		secrets = append(secrets, query)
		for _, kv := range strings.Split(query, "&") {
			_, v, _ := strings.Cut(kv, "=")
			secrets = append(secrets, v)
		}
	}
	for _, secret := range secrets {
		// A secret of one or two letters would blank the whole text.
		if len(secret) > 2 {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "..."
	}
	return s
}

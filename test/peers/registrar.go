package peers

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
)

// RegistrarConfig changes how strict a registrar is. The zero value challenges
// REGISTER and INVITE with MD5 and qop "auth".
type RegistrarConfig struct {
	SHA256     bool          // digest algorithm SHA-256 instead of MD5 (RFC 8760)
	NoQOP      bool          // digest without qop (RFC 2069 style)
	OneTime    bool          // a nonce serves for one request
	OpenInvite bool          // INVITE without digest
	TLS        *Certificates // takes SIP over TLS too, see TLSPort
	MinExpires int           // seconds; a REGISTER that asks for less gets 423 (RFC 3261 section 10.3)
	// Further users, name to password; 10001 to 10020 with password "pw" + user exist always.
	Users map[string]string
}

// Registrar is a running kamailio: registrar and record-routing proxy for the SIP
// domain 127.0.0.1, digest realm "peers". An unknown callee gets 404, one that is
// not registered 480.
type Registrar struct {
	*Process
	Port    int // UDP and TCP on 127.0.0.1
	TLSPort int // 0 without TLS
}

//go:embed kamailio.cfg.tmpl
var kamailioConfig string

// StartRegistrar starts a registrar and returns when it answers.
func StartRegistrar(t testing.TB, c RegistrarConfig) *Registrar {
	t.Helper()
	dir, port := t.TempDir(), Ports(t, 2)
	users := map[string]string{}
	for u := 10001; u <= 10020; u++ {
		users[strconv.Itoa(u)] = fmt.Sprintf("pw%d", u)
	}
	for u, p := range c.Users {
		users[u] = p
	}
	file := filepath.Join(dir, "kamailio.cfg")
	f, err := os.Create(file)
	if err != nil {
		t.Fatalf("configure the registrar: %v", err)
	}
	err = template.Must(template.New("").Parse(kamailioConfig)).Execute(f, map[string]any{"C": c, "Port": port, "TLSPort": port + 1, "Dir": dir, "Users": users})
	f.Close()
	if err != nil {
		t.Fatalf("configure the registrar: %v", err)
	}
	r := &Registrar{Port: port}
	if c.TLS != nil {
		r.TLSPort = port + 1
	}
	cmd := exec.Command(sbin("kamailio"), "-DD", "-E", "-f", file, "-Y", dir, "-w", dir, "-m", "32", "-M", "4")
	r.Process = start(t, "registrar", cmd)
	r.await(t, "its SIP port", startTimeout, func() bool { return listens(port) })
	return r
}

// sbin finds a program that Debian keeps outside of an ordinary user's PATH.
func sbin(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return "/usr/sbin/" + name
}

// Addr is host:port.
func (r *Registrar) Addr() string { return fmt.Sprintf("127.0.0.1:%d", r.Port) }

// Registered tells whether the user has registered (and not been removed) so far.
func (r *Registrar) Registered(user string) bool {
	log := r.Log()
	return strings.LastIndex(log, "REGISTERED "+user+" ") > strings.LastIndex(log, "UNREGISTERED "+user+" ")+2
}

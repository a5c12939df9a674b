package peers

import (
	"crypto/rand"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/icholy/digest"
)

// RegistrarConfig changes how strict a registrar is. The zero value challenges
// REGISTER and INVITE with MD5 and qop "auth".
type RegistrarConfig struct {
	SHA256     bool          // digest algorithm SHA-256 instead of MD5 (RFC 8760)
	NoQOP      bool          // digest without qop (RFC 2069 style)
	OneTime    bool          // a nonce serves for one request
	OpenInvite bool          // INVITE without digest
	TLS        *Certificates // takes SIP over TLS too, see TLSPort
	MediaProxy bool          // the RTP of calls goes through rtpengine, see Registrar.Media
	MinExpires int           // seconds; a REGISTER that asks for less gets 423 (RFC 3261 section 10.3)
	// Further users, name to password; 10001 to 10020 with password "pw" + user exist always.
	Users map[string]string
}

// Registrar is a running kamailio: registrar and record-routing proxy for the SIP
// domain 127.0.0.1, digest realm "peers". An unknown callee gets 404, one that is
// not registered 480.
type Registrar struct {
	*Process
	Port    int         // UDP and TCP on 127.0.0.1
	TLSPort int         // 0 without TLS
	Media   *MediaProxy // nil without RegistrarConfig.MediaProxy
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
	r := &Registrar{Port: port}
	control := 0
	if c.MediaProxy {
		r.Media = startMediaProxy(t)
		control = r.Media.control
	}
	file := filepath.Join(dir, "kamailio.cfg")
	f, err := os.Create(file)
	if err != nil {
		t.Fatalf("configure the registrar: %v", err)
	}
	err = template.Must(template.New("").Parse(kamailioConfig)).Execute(f, map[string]any{"C": c, "Port": port, "TLSPort": port + 1, "Control": control, "Dir": dir, "Users": users})
	f.Close()
	if err != nil {
		t.Fatalf("configure the registrar: %v", err)
	}
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

// Bindings are the contacts a user has now, as the registrar answers a REGISTER
// that only asks (RFC 3261 section 10.2.3).
func (r *Registrar) Bindings(t testing.TB, user, password string) []string {
	t.Helper()
	conn, err := net.Dial("udp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	login := ""
	for try := range 2 {
		id := rand.Text()
		fmt.Fprintf(conn, "REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %[1]s;branch=z9hG4bK%[2]s;rport\r\nFrom: <sip:%[3]s@127.0.0.1:%[4]d>;tag=%[2]s\r\n"+
			"To: <sip:%[3]s@127.0.0.1:%[4]d>\r\nCall-ID: %[2]s\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n%[5]sContent-Length: 0\r\n\r\n", conn.LocalAddr(), id, user, r.Port, login)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 65535)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("ask the registrar for the bindings of %s: %v", user, err)
		}
		var out []string
		challenge := ""
		for line := range strings.SplitSeq(string(b[:n]), "\r\n") {
			if v, ok := strings.CutPrefix(line, "WWW-Authenticate: "); ok {
				challenge = v
			}
			if v, ok := strings.CutPrefix(line, "Contact: "); ok {
				out = append(out, strings.Split(v, ", ")...)
			}
		}
		if challenge == "" {
			return out
		}
		if try == 1 {
			break
		}
		c, err := digest.ParseChallenge(challenge)
		if err != nil {
			t.Fatal(err)
		}
		cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:127.0.0.1", Username: user, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		login = "Authorization: " + cred.String() + "\r\n"
	}
	t.Fatalf("the registrar refuses the password of %s", user)
	return nil
}

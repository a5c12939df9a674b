package transport

import (
	"crypto/x509"
	"log/slog"
	"strings"
	"testing"

	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The fingerprint is that of the certificate, the port is the socket's, and
// starting twice is starting once.
func TestIdentity(t *testing.T) {
	tr, err := Listen(Config{IPLocal: "127.0.0.1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tr.Start()
	tr.Start()
	cert, err := x509.ParseCertificate(tr.identity.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	hash, err := fingerprint.HashFromString("sha-256")
	if err != nil {
		t.Fatal(err)
	}
	if want, err := fingerprint.Fingerprint(cert, hash); err != nil || !strings.EqualFold(tr.Fingerprint(), "sha-256 "+want) {
		t.Errorf("%s, want %s (%v)", tr.Fingerprint(), want, err)
	}
	if tr.Port() == 0 || len(tr.announce) != 1 {
		t.Errorf("port %d, announced %v", tr.Port(), tr.announce)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

// newCertificate makes the DTLS identity all peers of this process see, in both
// forms pion wants it. Nobody looks at its dates: a peer trusts the fingerprint.
func newCertificate() (tls.Certificate, webrtc.Certificate, error) {
	fail := func(err error) (tls.Certificate, webrtc.Certificate, error) {
		return tls.Certificate{}, webrtc.Certificate{}, fmt.Errorf("cannot make a DTLS certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fail(err)
	}
	name := pkix.Name{CommonName: "WebRTC"}
	now := time.Now()
	form := &x509.Certificate{SerialNumber: serial, Issuer: name, Subject: name, NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		return fail(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fail(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, webrtc.CertificateFromX509(key, cert), nil
}

// Fingerprint is the value of a=fingerprint for our identity (RFC 8122 section 5).
func (t *Transport) Fingerprint() string {
	sum := sha256.Sum256(t.identity.Certificate[0])
	var b strings.Builder
	b.WriteString("sha-256")
	for i, c := range sum {
		sep := ":"
		if i == 0 {
			sep = " "
		}
		fmt.Fprintf(&b, "%s%02X", sep, c)
	}
	return b.String()
}

package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// ownLife is how long a certificate of our own making holds: what browsers on
	// telephones take at most. It is made anew ownRest before its end.
	ownLife, ownRest = 825 * 24 * time.Hour, 30 * 24 * time.Hour
	// reloadTime is how often the operator's files are looked at.
	reloadTime = time.Minute
)

// certificate is what the TLS ports show: that of the settings, read anew when
// the file changes, or a self-signed one that is made at the first start and
// kept, so that browsers have to be told once only that it is to be trusted.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	changed time.Time // of certFile
	looked  time.Time
}

// newCertificate reads or makes it. names are those a self-signed one is for.
func newCertificate(c *Config, log *slog.Logger, names ...string) (*certificate, error) {
	k := &certificate{certFile: c.TLSCert, keyFile: c.TLSKey, log: log, looked: time.Now()}
	if c.TLSCert != "" {
		k.changed = modified(c.TLSCert)
		own, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("https.cert and https.key: %w", err)
		}
		k.current = &own
		return k, nil
	}
	file := filepath.Join(c.TLSFolder, "self-signed.pem")
	if own, err := tls.LoadX509KeyPair(file, file); err == nil && time.Until(own.Leaf.NotAfter) > ownRest {
		k.current = &own
		return k, nil
	}
	own, text, err := selfSigned(time.Now(), names)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for the TLS ports: %w", err)
	}
	k.current = own
	if err := keep(file, text); err != nil {
		log.Warn("the self-signed certificate of the TLS ports cannot be kept, so browsers will see another one after each start",
			"err", err, "remedy", "set https.folder to a folder that can be written, or https.cert and https.key")
	} else {
		log.Info("a self-signed certificate was made for the TLS ports", "file", file)
	}
	return k, nil
}

func keep(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// selfSigned makes a certificate and its key, both in PEM form too.
func selfSigned(now time.Time, names []string) (*tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "lineout"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ownLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	host, _ := os.Hostname()
	for _, n := range append([]string{"localhost", "127.0.0.1", "::1", host}, names...) {
		if ip := net.ParseIP(n); ip != nil {
			if !ip.IsUnspecified() && !slices.ContainsFunc(t.IPAddresses, ip.Equal) {
				t.IPAddresses = append(t.IPAddresses, ip)
			}
		} else if n != "" && !slices.Contains(t.DNSNames, n) {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	own, err := tls.X509KeyPair(text, text)
	return &own, text, err
}

func modified(file string) time.Time {
	s, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return s.ModTime()
}

// get is the certificate as it is now. One that was renewed is taken up without
// a restart; one that cannot be read is not.
func (k *certificate) get(now time.Time) *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.certFile == "" || now.Sub(k.looked) < reloadTime {
		return k.current
	}
	k.looked = now
	at := modified(k.certFile)
	if at.IsZero() || at.Equal(k.changed) {
		return k.current
	}
	own, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil { // perhaps it is just being written
		k.log.Warn("https.cert and https.key cannot be read, the certificate before stays", "err", err)
		return k.current
	}
	k.changed, k.current = at, &own
	k.log.Info("the certificate of the TLS ports was renewed", "until", own.Leaf.NotAfter)
	return k.current
}

// config is for HTTP/1.1 only: WebSockets need it, and the limits on slow
// clients count the bytes of one request on one connection.
func (k *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.get(time.Now()), nil }}
}

// checkTLS is what the tags of the settings cannot say.
func (c *Config) checkTLS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("https.cert and https.key belong together: give both or neither")
	}
	return nil
}

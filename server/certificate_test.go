package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A self-signed certificate is made once and kept; a client that trusts it
// reaches the port by each of its names.
func TestSelfSignedCertificateIsKept(t *testing.T) {
	c := &Config{TLSFolder: filepath.Join(t.TempDir(), "a", "tls")}
	first, err := newCertificate(c, quietLog(), "192.0.2.7", "pbx.example")
	if err != nil {
		t.Fatal(err)
	}
	again, err := newCertificate(c, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	leaf := first.current.Leaf
	if !leaf.Equal(again.current.Leaf) {
		t.Error("a restart makes another certificate")
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "192.0.2.7", "pbx.example"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(filepath.Join(c.TLSFolder, "self-signed.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{settings: &Settings{}, log: quietLog(), tls: first,
		handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.serve(ctx, listener{portSetting{tls: true}, l}) }()
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	res, err := client.Get("https://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "here" || res.ProtoMajor != 1 {
		t.Errorf("%q by %s, %v", b, res.Proto, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A certificate that is renewed is taken up; rubbish is not.
func TestOwnCertificateIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "own.pem")
	write := func(at time.Time, text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	made := func() ([]byte, *x509.Certificate) {
		c, text, err := selfSigned(now, nil)
		if err != nil {
			t.Fatal(err)
		}
		return text, c.Leaf
	}
	text, one := made()
	write(now, text)
	k, err := newCertificate(&Config{TLSCert: file, TLSKey: file}, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	text, two := made()
	write(now.Add(time.Hour), text)
	if !k.get(k.looked.Add(reloadTime-1)).Leaf.Equal(one) || !k.get(k.looked.Add(reloadTime)).Leaf.Equal(two) {
		t.Error("the new certificate was not taken up after a minute")
	}
	write(now.Add(2*time.Hour), []byte("rubbish"))
	if !k.get(k.looked.Add(reloadTime)).Leaf.Equal(two) {
		t.Error("rubbish was taken up")
	}
	if _, err := newCertificate(&Config{TLSCert: file, TLSKey: file}, quietLog()); err == nil {
		t.Error("a server starts with rubbish")
	}
	if (&Config{TLSCert: file}).checkTLS() == nil {
		t.Error("a certificate without a key is taken")
	}
}

// A folder that cannot be written costs the memory of the certificate only.
func TestCertificateWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err := newCertificate(&Config{TLSFolder: filepath.Join(file, "tls")}, quietLog()); err != nil || k.current == nil {
		t.Error(err)
	}
}

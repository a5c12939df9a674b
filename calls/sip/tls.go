package sip

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// tlsConfigs reads certificates. client is for connections we make: the peer's
// certificate must be of a known authority and for the name that was called
// (RFC 5922). server is for those we accept, nil without sip_tls.
func (c *Config) tlsConfigs() (client, server *tls.Config, err error) {
	client = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, nil, fmt.Errorf("sip_tls_ca: %w", err)
		}
		client.RootCAs = x509.NewCertPool()
		if !client.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("sip_tls_ca: %s holds no certificate in PEM form", c.TLSCA)
		}
	}
	if c.TLSCert == "" {
		return client, nil, nil
	}
	own, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, nil, fmt.Errorf("sip_tls_cert and sip_tls_key: %w", err)
	}
	client.Certificates = []tls.Certificate{own}
	if !c.TLS {
		return client, nil, nil
	}
	server = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: client.Certificates}
	if client.RootCAs != nil { // with an authority of one's own, who shows a certificate must show one of its
		server.ClientCAs, server.ClientAuth = client.RootCAs, tls.VerifyClientCertIfGiven
	}
	return client, server, nil
}

func (c *Config) checkTLS() error {
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("sip_tls_cert and sip_tls_key belong together: give both or neither")
	case c.TLS && c.TLSCert == "":
		return errors.New("sip_tls: a listener needs sip_tls_cert and sip_tls_key")
	}
	return nil
}

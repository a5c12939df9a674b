package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// secured gives an agent a certificate and its authority.
func secured(c *peers.Certificates, listen bool) func(*Config) {
	return func(cfg *Config) { cfg.TLS, cfg.TLSCert, cfg.TLSKey, cfg.TLSCA = listen, c.Cert, c.Key, c.CA }
}

// TestTransports calls baresip through Kamailio, registered with both, over each
// transport: registration, a challenged INVITE, sound, hold by either side, and
// the end by either side, on one connection, and over TLS with encrypted media.
func TestTransports(t *testing.T) {
	t.Parallel()
	ca := peers.NewAuthority(t)
	own := ca.Issue(t, "localhost", "127.0.0.1")
	for _, c := range []struct {
		transport string
		listen    bool
	}{{"udp", true}, {"tcp", true}, {"tcp", false}, {"tls", true}, {"tls", false}} {
		t.Run(fmt.Sprintf("%s,listener=%v", c.transport, c.listen), func(t *testing.T) {
			t.Parallel()
			kam := peers.StartRegistrar(t, peers.RegistrarConfig{TLS: own})
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Registrar: kam, Transport: c.transport, TLS: own, Video: peers.None,
				SRTP: map[string]string{"tls": "srtp-mand"}[c.transport]})
			s := start(t, func(cfg *Config) {
				secured(own, c.listen)(cfg)
				cfg.TCP = c.listen
			})
			port := kam.Port
			if c.transport == "tls" {
				port = kam.TLSPort
			}
			r := leg.Request{Callee: "10005", Login: "10006", Password: "pw10006", Domain: "127.0.0.1",
				Proxy: fmt.Sprintf("sip:127.0.0.1:%d;transport=%s", port, c.transport), Register: true, SendAudio: true}
			for round := range 2 {
				r.CallID = fmt.Sprintf("round-%d", round)
				call := s.dial(t, r)
				m := call.wait(leg.Answered).Media.(*session)
				phone.WaitEvent(t, "CALL_ESTABLISHED")
				if _, on := m.sections[0].guard.own(); on != (c.transport == "tls") {
					t.Errorf("encrypted: %v", on)
				}
				peers.Eventually(t, "sound", 10*time.Second, func() bool { return call.count(8) > 50 })
				if err := call.Hold(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := call.Resume(t.Context()); err != nil {
					t.Fatal(err)
				}
				n := call.count(8)
				peers.Eventually(t, "sound after our hold", 10*time.Second, func() bool { return call.count(8) > n+50 })
				if round == 0 {
					phone.Hold(t)
					peers.Eventually(t, "their hold", 10*time.Second, func() bool { return strings.Contains(fmt.Sprint(call.types()), fmt.Sprint(leg.Held)) })
					phone.Resume(t)
					phone.Hangup(t)
				} else {
					_ = call.Hangup(context.Background(), leg.Cause{Text: "enough"})
				}
				call.wait(leg.Ended)
				phone.WaitEvent(t, "CALL_CLOSED")
			}
			peers.Eventually(t, "the registration to be removed", 10*time.Second, func() bool { return !kam.Registered("10006") })
			if n := strings.Count(s.log.String(), "SIP connection is open"); n != map[bool]int{true: 0, false: 1}[c.transport == "udp"] {
				t.Errorf("%d connections were made", n)
			}
		})
	}
}

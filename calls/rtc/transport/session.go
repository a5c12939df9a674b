package transport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// maxRemotes bounds the addresses one peer may send from in its life: who has
// its password could else make us remember as many as it likes to write.
const maxRemotes = 256

// NewAgent makes an ICE-lite agent on the shared sockets for a peer that may be
// silent for as long as said; see Settings.
func (t *Transport) NewAgent(silence time.Duration) (*ice.Agent, error) {
	disconnected, failed, keepalive := timeouts(silence)
	var remotes atomic.Int32
	opts := []ice.AgentOption{
		ice.WithICELite(true), ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithUDPMux(t.udpMux), ice.WithNetworkTypes(t.networks()), ice.WithDisableActiveTCP(), ice.WithIncludeLoopback(),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled), ice.WithIPFilter(t.isLocal),
		ice.WithRemoteIPFilter(func(net.IP) bool { return remotes.Add(1) <= maxRemotes }),
		ice.WithDisconnectedTimeout(disconnected), ice.WithFailedTimeout(failed), ice.WithKeepaliveInterval(keepalive),
		ice.WithLoggerFactory(pion{t.log}),
	}
	if t.tcpMux != nil {
		opts = append(opts, ice.WithTCPMux(t.tcpMux))
	}
	if t.announcesPublic() {
		opts = append(opts, ice.WithAddressRewriteRules(ice.AddressRewriteRule{
			External: []string{t.public.String()}, AsCandidateType: ice.CandidateTypeHost, Mode: ice.AddressRewriteAppend,
		}))
	}
	m := &mover{}
	a, err := ice.NewAgentWithOptions(append(opts, ice.WithBindingRequestHandler(m.moved))...)
	if err != nil {
		return nil, fmt.Errorf("cannot make an ICE agent: %w", err)
	}
	m.agent = a
	return a, nil
}

// A path that nothing comes over for so long is not preferred to one that works.
const deadPath = 1500 * time.Millisecond

// mover follows a peer whose address changes while it is connected, because
// its network has or the NAT before it forgot the old one. A browser that knows of
// it nominates the new path, and ICE follows by itself; one that does not only
// goes on with its consent checks (RFC 7675), and is followed when they come
// from elsewhere and the old address is silent. The agent's goroutine uses it.
type mover struct {
	agent *ice.Agent
	at    ice.Candidate // where the peer is
}

// moved implements ice.WithBindingRequestHandler: it is told of requests with
// the right credentials only.
func (m *mover) moved(_ *stun.Message, _, remote ice.Candidate, _ *ice.CandidatePair) bool {
	selected, err := m.agent.GetSelectedCandidatePair()
	if err != nil || selected == nil {
		return false
	}
	if selected.Remote.Equal(remote) {
		m.at = remote
		return false
	}
	if m.at == nil || time.Since(m.at.LastReceived()) < deadPath {
		return false
	}
	m.at = remote
	return true
}

// Handshake makes a DTLS connection over a conn that delivers DTLS only; its
// handshake is up to the caller. verify judges the peer's certificate.
func (t *Transport) Handshake(conn net.PacketConn, remote net.Addr, client bool, verify func(der []byte) error) (*dtls.Conn, error) {
	shared := []dtls.Option{
		dtls.WithCertificates(t.identity), dtls.WithSRTPProtectionProfiles(srtpProfiles...),
		dtls.WithInsecureSkipVerify(true), // there is no chain of trust: verify knows the certificate
		dtls.WithVerifyPeerCertificate(func(certs [][]byte, _ [][]*x509.Certificate) error {
			if len(certs) == 0 {
				return errors.New("the peer has sent no certificate")
			}
			return verify(certs[0])
		}),
		dtls.WithLoggerFactory(pion{t.log}),
	}
	if client {
		var opts []dtls.ClientOption
		for _, o := range shared {
			opts = append(opts, o)
		}
		return dtls.ClientWithOptions(conn, remote, opts...)
	}
	opts := []dtls.ServerOption{
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerifyHello(true), // ICE has proved the address already
	}
	for _, o := range shared {
		opts = append(opts, o)
	}
	return dtls.ServerWithOptions(conn, remote, opts...)
}

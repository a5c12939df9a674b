package webrtc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// Bytes that may wait for one slow ICE-TCP viewer; beyond it its packets are
// dropped, so that it never holds up the others.
const tcpWriteBuffer = 1 << 20

// Kernel buffers of the shared UDP socket: a key frame to hundreds of viewers
// leaves in one burst.
const udpBuffer = 4 << 20

// transport is the one UDP socket (and TCP listener) all viewers share.
type transport struct {
	udp      *net.UDPConn
	tcp      net.Listener
	announce []net.Addr // what candidates say
	local    []netip.Addr
	public   netip.Addr // announced in addition, invalid when not set
	cert     webrtc.Certificate
	log      *slog.Logger

	udpMux ice.UDPMux
	tcpMux ice.TCPMux
}

// listen binds the sockets, so that a port in use is known before anything is
// started. No goroutine is started; start or close must follow.
func listen(c Config, log *slog.Logger) (*transport, error) {
	t := &transport{log: log}
	bind := netip.IPv4Unspecified()
	if a, err := netip.ParseAddr(c.IPLocal); err == nil {
		bind = a.Unmap()
	}
	var err error
	if t.local, err = localAddrs(bind); err != nil {
		return nil, err
	}
	if a, err := netip.ParseAddr(c.IP); err == nil && !a.IsUnspecified() {
		t.public = a.Unmap()
	}
	if t.cert, err = newCertificate(); err != nil {
		return nil, err
	}
	t.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(bind, uint16(c.UDPPort))))
	if err != nil {
		return nil, fmt.Errorf("webrtc.udp_port: cannot listen for WebRTC media on UDP %s port %d: %w", bind, c.UDPPort, err)
	}
	// Best effort: the kernel may cap both.
	_ = t.udp.SetReadBuffer(udpBuffer)
	_ = t.udp.SetWriteBuffer(udpBuffer)
	if c.TCPPort != 0 {
		t.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(bind, uint16(c.TCPPort))))
		if err != nil {
			_ = t.udp.Close()
			return nil, fmt.Errorf("webrtc.tcp_port: cannot listen for WebRTC media on TCP %s port %d: %w", bind, c.TCPPort, err)
		}
	}
	for _, a := range t.local {
		t.announce = append(t.announce, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(t.port()))))
	}
	return t, nil
}

// port is the UDP port in use.
func (t *transport) port() int { return t.udp.LocalAddr().(*net.UDPAddr).Port }

// start puts the multiplexers on the sockets; their goroutines end with close.
func (t *transport) start() {
	log := pionLog{t.log}
	t.udpMux = &announcingMux{
		UDPMuxDefault: ice.NewUDPMuxDefault(ice.UDPMuxParams{Logger: log.NewLogger("udp"), UDPConn: t.udp}),
		announce:      t.announce,
	}
	if t.tcp != nil {
		t.tcpMux = ice.NewTCPMuxDefault(ice.TCPMuxParams{
			Listener: t.tcp, Logger: log.NewLogger("tcp"), ReadBufferSize: 32, WriteBufferSize: tcpWriteBuffer,
		})
	}
}

// close ends the multiplexers and sockets.
func (t *transport) close() error {
	var errs []error
	if t.tcpMux != nil {
		errs = append(errs, t.tcpMux.Close())
	} else if t.tcp != nil {
		errs = append(errs, t.tcp.Close())
	}
	if t.udpMux != nil {
		errs = append(errs, t.udpMux.Close())
	} else {
		errs = append(errs, t.udp.Close())
	}
	return errors.Join(errs...)
}

// settings builds pion's settings for one viewer.
//
// We are an ICE-lite agent (RFC 8445 section 2.5): browsers send no candidates
// to connect to, they are learned from their own checks, and never checking
// anybody else's address means that an offer cannot point our STUN packets at
// a third party.
func (t *transport) settings(c Config, role webrtc.DTLSRole) (webrtc.SettingEngine, error) {
	var se webrtc.SettingEngine
	se.LoggerFactory = pionLog{t.log}
	se.SetLite(true)
	se.SetICEUDPMux(t.udpMux)
	nets := []webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6}
	if t.tcpMux != nil {
		se.SetICETCPMux(t.tcpMux)
		nets = append(nets, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6)
	}
	se.SetNetworkTypes(nets)
	se.DisableActiveTCP(true)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetIncludeLoopbackCandidate(true)
	se.SetIPFilter(t.isLocal)
	if t.public.IsValid() && !t.isLocal(t.public.AsSlice()) {
		if err := se.SetICEAddressRewriteRules(webrtc.ICEAddressRewriteRule{
			External: []string{t.public.String()}, AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteAppend,
		}); err != nil {
			return se, fmt.Errorf("ip: cannot announce %s: %w", t.public, err)
		}
	}
	quiet := c.DisconnectTimeout / 2
	se.SetICETimeouts(quiet, c.DisconnectTimeout-quiet, quiet/2)
	// As DTLS server ours is the choice of profile: AEAD_AES_128_GCM costs a
	// sixth of AES_CM with HMAC-SHA1.
	se.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	// ICE has proved the address already, so no HelloVerifyRequest round trip.
	se.SetDTLSInsecureSkipHelloVerify(true)
	se.DisableMediaEngineCopy(true)
	return se, se.SetAnsweringDTLSRole(role)
}

func (t *transport) isLocal(ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip)
	for _, l := range t.local {
		if ok && l == a.Unmap() {
			return true
		}
	}
	return false
}

// announcingMux announces chosen addresses instead of every interface's.
type announcingMux struct {
	*ice.UDPMuxDefault
	announce []net.Addr
}

// GetListenAddresses implements ice.UDPMux.
func (m *announcingMux) GetListenAddresses() []net.Addr { return m.announce }

// localAddrs lists the addresses a socket bound to bind can be reached at:
// bind itself, or every global address of the machine, or the loopback address
// when there is no other.
func localAddrs(bind netip.Addr) ([]netip.Addr, error) {
	if !bind.IsUnspecified() {
		return []netip.Addr{bind}, nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("cannot list this machine's addresses for WebRTC candidates: %w", err)
	}
	var out []netip.Addr
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		ip = ip.Unmap()
		if ok && ip.Is4() && ip.IsGlobalUnicast() {
			out = append(out, ip)
		}
	}
	if len(out) == 0 {
		out = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return out, nil
}

// newCertificate makes the DTLS identity all viewers of this process see.
func newCertificate() (webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("cannot make a DTLS key: %w", err)
	}
	c, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("cannot make a DTLS certificate: %w", err)
	}
	return *c, nil
}

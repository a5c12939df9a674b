// Package transport is the one UDP socket and TCP listener that all WebRTC
// peers share, and what ICE and DTLS must be told for it.
package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// Config holds the settings of the sockets.
type Config struct {
	UDPPort int `setting:"webrtc.udp_port" default:"0" min:"0" max:"65535" doc:"UDP port all WebRTC viewers share; 0 takes a free one"`
	TCPPort int `setting:"webrtc.tcp_port" default:"0" min:"0" max:"65535" doc:"TCP port for viewers whose network lets no UDP through; 0 turns it off"`

	IP      string `setting:"ip" default:"" doc:"address announced to the outside (behind 1:1 NAT: the public one)"`
	IPLocal string `setting:"ip_local" default:"" doc:"local address media is sent from; empty or 0.0.0.0 uses all"`
}

// Validate reports every setting that cannot work, by its name.
func (c *Config) Validate() error {
	var errs []error
	for _, a := range []struct{ name, value string }{{"ip", c.IP}, {"ip_local", c.IPLocal}} {
		if a.value == "" {
			continue
		}
		if _, err := netip.ParseAddr(a.value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is no IP address", a.name, a.value))
		}
	}
	return errors.Join(errs...)
}

// Bytes that may wait for one slow ICE-TCP peer; beyond it its packets are
// dropped, so that it never holds up the others.
const tcpWriteBuffer = 1 << 20

// Kernel buffers of the shared UDP socket: a key frame to hundreds of viewers
// leaves in one burst.
const udpBuffer = 4 << 20

// Transport is the UDP socket (and TCP listener). Its methods are safe for
// concurrent use once Start has returned.
type Transport struct {
	udp      *net.UDPConn
	tcp      net.Listener
	announce []net.Addr // what candidates say
	local    []netip.Addr
	public   netip.Addr // announced in addition, invalid when not set
	cert     webrtc.Certificate
	identity tls.Certificate
	log      *slog.Logger

	once   sync.Once
	udpMux ice.UDPMux
	tcpMux ice.TCPMux
}

// Listen binds the sockets, so that a port in use is known before anything is
// started. No goroutine is started; Close must follow, with or without Start.
func Listen(c Config, log *slog.Logger) (*Transport, error) {
	t := &Transport{log: log}
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
	if t.identity, t.cert, err = newCertificate(); err != nil {
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
		t.announce = append(t.announce, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(t.Port()))))
	}
	return t, nil
}

// Port is the UDP port in use.
func (t *Transport) Port() int { return t.udp.LocalAddr().(*net.UDPAddr).Port }

// Start puts the multiplexers on the sockets, once however often it is called;
// their goroutines end with Close.
func (t *Transport) Start() { t.once.Do(t.start) }

func (t *Transport) start() {
	log := pion{t.log}
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

// Close ends the multiplexers and sockets.
func (t *Transport) Close() error {
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

// srtpProfiles are in our order of choice, which counts as DTLS server:
// AEAD_AES_128_GCM costs a sixth of AES_CM with HMAC-SHA1.
var srtpProfiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}

// timeouts divides the time a peer may be silent, at most, between ICE's
// states; checks for it are made twice as often as the first of them.
func timeouts(silence time.Duration) (disconnected, failed, keepalive time.Duration) {
	quiet := silence / 2
	return quiet, silence - quiet, quiet / 2
}

// Settings are pion's for one peer connection that may be silent for as long
// as said.
//
// We are an ICE-lite agent (RFC 8445 section 2.5): browsers send no candidates
// to connect to, they are learned from their own checks, and never checking
// anybody else's address means that an offer cannot point our STUN packets at
// a third party.
func (t *Transport) Settings(role webrtc.DTLSRole, silence time.Duration) (webrtc.SettingEngine, error) {
	var se webrtc.SettingEngine
	se.LoggerFactory = pion{t.log}
	se.SetLite(true)
	se.SetICEUDPMux(t.udpMux)
	if t.tcpMux != nil {
		se.SetICETCPMux(t.tcpMux)
	}
	var nets []webrtc.NetworkType
	for _, n := range t.networks() {
		nt, err := webrtc.NewNetworkType(n.String())
		if err != nil {
			return se, err
		}
		nets = append(nets, nt)
	}
	se.SetNetworkTypes(nets)
	se.DisableActiveTCP(true)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetIncludeLoopbackCandidate(true)
	se.SetIPFilter(t.isLocal)
	if t.announcesPublic() {
		if err := se.SetICEAddressRewriteRules(webrtc.ICEAddressRewriteRule{
			External: []string{t.public.String()}, AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteAppend,
		}); err != nil {
			return se, fmt.Errorf("ip: cannot announce %s: %w", t.public, err)
		}
	}
	se.SetICETimeouts(timeouts(silence))
	se.SetSRTPProtectionProfiles(srtpProfiles...)
	// ICE has proved the address already, so no HelloVerifyRequest round trip.
	se.SetDTLSInsecureSkipHelloVerify(true)
	se.DisableMediaEngineCopy(true)
	return se, se.SetAnsweringDTLSRole(role)
}

// Certificate is the DTLS identity all peers of this process see.
func (t *Transport) Certificate() webrtc.Certificate { return t.cert }

// networks are the kinds of candidates there are.
func (t *Transport) networks() []ice.NetworkType {
	nets := []ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}
	if t.tcpMux != nil {
		nets = append(nets, ice.NetworkTypeTCP4, ice.NetworkTypeTCP6)
	}
	return nets
}

func (t *Transport) announcesPublic() bool {
	return t.public.IsValid() && !t.isLocal(t.public.AsSlice())
}

func (t *Transport) isLocal(ip net.IP) bool {
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

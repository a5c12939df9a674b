package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	sipmsg "github.com/emiago/sipgo/sip"
)

// Listen binds the SIP ports: the first free one of the range for UDP and, with
// sip_tcp, TCP; with sip_tls the next free one for TLS. Run uses and closes them.
func (a *Agent) Listen() error {
	client, server, err := a.cfg.tlsConfigs()
	if err != nil {
		return err
	}
	var last error
	for port := a.cfg.PortFrom; port <= a.cfg.PortTo; port++ {
		c, err := net.ListenUDP(family("udp", a.local), net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.local, uint16(port))))
		if err != nil {
			last = err
			continue
		}
		if a.cfg.TCP {
			if a.tcp, err = a.listenTCP(port); err != nil {
				c.Close()
				last = err
				continue
			}
		}
		for next := port + 1; server != nil && a.tls == nil; next++ {
			if next > a.cfg.PortTo {
				c.Close()
				a.closeListeners()
				return fmt.Errorf("cannot bind a port for SIP over TLS between port_from %d and port_to %d on ip_local %v: %w", a.cfg.PortFrom, a.cfg.PortTo, a.local, err)
			}
			a.tls, err = a.listenTCP(next)
		}
		a.start(c, client)
		a.tlsServer = server
		return nil
	}
	return fmt.Errorf("cannot bind a SIP port between port_from %d and port_to %d on ip_local %v: %w", a.cfg.PortFrom, a.cfg.PortTo, a.local, last)
}

func (a *Agent) listenTCP(port int) (net.Listener, error) {
	return net.Listen(family("tcp", a.local), netip.AddrPortFrom(a.local, uint16(port)).String())
}

func (a *Agent) closeListeners() {
	for _, l := range []net.Listener{a.tcp, a.tls} {
		if l != nil {
			l.Close()
		}
	}
}

var (
	discard       = slog.New(slog.DiscardHandler)
	configureOnce sync.Once
)

// configureLibrary sets what are variables of sipgo's package. Its limit of
// 1300 bytes per datagram is lifted: an INVITE with credentials and two media
// sections is larger, and where TCP is not to be had fragments are better than
// no call. Its default logger, which connections use, is silenced.
func configureLibrary() {
	sipmsg.UDPMTUSize = 65000
	sipmsg.SetDefaultLogger(discard)
}

func refuseLookup(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("names in messages are not looked up")
}

// start builds sipgo's layers on a socket. Its own logger is silenced: it logs
// whole messages and a line per malformed datagram. It may neither dial nor
// look up names, which a stranger's Via could make it do.
func (a *Agent) start(c *net.UDPConn, client *tls.Config) {
	configureOnce.Do(configureLibrary)
	door := newAdmission(a.isPeer)
	a.wire = newWire(c, door, a.log)
	a.wire.rec = a.trace
	a.streams = newStreams(a.log, a.local, a.isPeer, client, a.cfg.Keepalive)
	a.streams.told = a.wire.tell
	a.streams.admit = door.admit
	at := netip.AddrPortFrom(a.local, uint16(a.Port()))
	a.streams.addFeed(overTCP, at)
	a.streams.addFeed(overTLS, at)
	refuse := func(net.Addr) net.Dialer {
		return net.Dialer{Control: func(string, string, syscall.RawConn) error { return errors.New("the connection is lost") }}
	}
	a.tpl = sipmsg.NewTransportLayer(&net.Resolver{PreferGo: true, Dial: refuseLookup}, sipmsg.NewParser(), nil,
		sipmsg.WithTransportLayerLogger(discard),
		sipmsg.WithTransportLayerTransports(sipmsg.TransportsConfig{
			TCP: &sipmsg.TransportTCP{DialerCreate: refuse},
			TLS: &sipmsg.TransportTLS{TransportTCP: &sipmsg.TransportTCP{DialerCreate: refuse}},
		}))
	a.txl = sipmsg.NewTransactionLayer(a.tpl, sipmsg.WithTransactionLayerLogger(discard),
		sipmsg.WithTransactionLayerUnhandledResponseHandler(a.stray), sipmsg.WithTransactionLayerTerminateOnConnClose())
	a.txl.OnRequest(a.handle)
}

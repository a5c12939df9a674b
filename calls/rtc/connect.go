package rtc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/ice/v4"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v4/packetio"

	"lineout/calls/leg"
)

// replayWindow is how many packets late one may be and still count (RFC 3711
// section 3.3.2 asks for 64 at least).
const replayWindow = 1024

var errFingerprint = errors.New("the browser's certificate is not the one its SDP announces")

// run is the peer's goroutine: it connects, waits for the end and frees all.
func (p *Peer) run(ctx context.Context) {
	defer p.service.leave()
	var work sync.WaitGroup
	c, conn := p.live(ctx, &work)
	p.mu.Lock()
	p.ended = true
	m := p.media
	p.mu.Unlock()
	if m != nil {
		m.close()
	}
	level := p.log.Info
	if c.Kind == leg.Normal {
		level = p.log.Debug
	}
	level("browser has ended", "cause", c.Text, "info", c.Kind.Info())
	p.emit(leg.Event{Type: leg.Ended, Cause: c})
	if conn != nil {
		_ = conn.Close() // says goodbye to the browser
	}
	_ = p.agent.GracefulClose()
	work.Wait()
}

// fail is how the peer ends by itself.
func (p *Peer) fail(k leg.CauseKind, stream, format string, args ...any) leg.Cause {
	err := fmt.Errorf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = &Error{Kind: k, Stream: stream, Err: err}
	return leg.Cause{Kind: k, Text: err.Error()}
}

// What ends a peer at any stage.
var (
	errHungUp   = errors.New("hung up")
	errShutdown = errors.New("the server is shutting down")
)

// ending tells the cause of errHungUp and errShutdown.
func (p *Peer) ending(err error) leg.Cause {
	if errors.Is(err, errHungUp) {
		return p.cause
	}
	return leg.Cause{Kind: leg.Normal, Text: err.Error(), Local: true}
}

// await waits for one of the channels, or for what ends a peer at any stage.
func (p *Peer) await(ctx context.Context, chs ...<-chan struct{}) (int, error) {
	var more [4]<-chan struct{} // nil blocks for ever
	copy(more[:], chs)
	select {
	case <-p.hang:
		return 0, errHungUp
	case <-ctx.Done():
		return 0, errShutdown
	case <-more[0]:
		return 0, nil
	case <-more[1]:
		return 1, nil
	case <-more[2]:
		return 2, nil
	case <-more[3]:
		return 3, nil
	}
}

// live leads the peer from its SDP to its end. What it starts ends with the
// agent and is counted in work.
func (p *Peer) live(ctx context.Context, work *sync.WaitGroup) (leg.Cause, *dtls.Conn) {
	if _, err := p.await(ctx, p.begin); err != nil {
		return p.ending(err), nil
	}
	p.mu.Lock()
	m, remote, client := p.media, p.remote, p.client
	p.mu.Unlock()
	limit, cancel := context.WithTimeout(ctx, p.service.config.ConnectTimeout)
	defer cancel()

	conn, err := p.agent.StartAccept(remote.ufrag, remote.pwd)
	if err != nil {
		return p.fail(leg.ICEFailed, "Failed by ICE error", "ICE cannot be started: %w", err), nil
	}
	switch n, err := p.await(ctx, p.iceUp, p.iceFailed, limit.Done()); {
	case err != nil && ctx.Err() == nil || errors.Is(err, errShutdown):
		return p.ending(err), nil
	case n != 0:
		return p.fail(leg.ICEFailed, "Failed by ICE timeout", "the browser could not reach us within %v (its network lets no packets through to the webrtc.udp_port, or `ip` announces the wrong address)", p.service.config.ConnectTimeout), nil
	}

	pipe := newPipe(conn)
	work.Go(func() { m.read(conn, pipe) })
	secure, keys, cause := p.handshake(ctx, limit, work, pipe, conn, remote, client)
	if secure == nil {
		return cause, nil
	}
	if err := m.start(conn, keys); err != nil {
		return p.fail(leg.DTLSFailed, "", "SRTP cannot be set up: %w", err), secure
	}
	closed, idle := make(chan struct{}), make(chan struct{})
	work.Go(func() {
		defer close(closed)
		drain(secure)
	})
	work.Go(func() { m.pace(p.service.config.RTPActivity, idle) })
	p.mu.Lock()
	p.up = true
	close(p.connected)
	p.tell()
	p.mu.Unlock()
	p.log.Debug("browser is connected", "remote", conn.RemoteAddr())

	n, err := p.await(ctx, p.iceFailed, closed, idle)
	switch {
	case err != nil:
		return p.ending(err), secure
	case n == 0:
		return p.fail(leg.ICEFailed, "Failed by ICE keep alive", "the browser has been silent for %v (webrtc.disconnect_timeout)", p.service.config.DisconnectTimeout), secure
	case n == 2:
		return p.fail(leg.RTPActivity, "", "no RTP came from the browser for %v (rtp_activity_detecting)", p.service.config.RTPActivity), secure
	}
	return leg.Cause{Kind: leg.Normal, Text: "the browser has closed the connection"}, secure
}

// handshake makes the DTLS connection and its SRTP keys; conn is nil with the
// cause if that fails.
func (p *Peer) handshake(ctx, limit context.Context, work *sync.WaitGroup, pipe *pipe, conn *ice.Conn, remote transportInfo, client bool) (*dtls.Conn, *srtp.Config, leg.Cause) {
	failed := func(err error) (*dtls.Conn, *srtp.Config, leg.Cause) {
		if errors.Is(err, errFingerprint) {
			return nil, nil, p.fail(leg.DTLSFingerprint, "", "%w", err)
		}
		return nil, nil, p.fail(leg.DTLSFailed, "", "DTLS with the browser failed: %w", err)
	}
	var print error // the library's error does not wrap ours
	secure, err := p.service.transport.Handshake(pipe, conn.RemoteAddr(), client, func(der []byte) error {
		print = verify(der, remote.fingerprints)
		return print
	})
	if err != nil {
		return failed(err)
	}
	var result error
	done := make(chan struct{})
	work.Go(func() {
		result = secure.HandshakeContext(limit)
		close(done)
	})
	_, err = p.await(ctx, done, p.iceFailed)
	if err == nil {
		select {
		case <-done:
			if err = result; err != nil && print != nil {
				err = print
			}
		default:
			err = errors.New("the browser fell silent")
		}
	}
	if err != nil {
		_ = secure.Close()
		if errors.Is(err, errHungUp) || errors.Is(err, errShutdown) {
			return nil, nil, p.ending(err)
		}
		return failed(err)
	}
	keys, err := exportKeys(secure, client)
	if err != nil {
		_ = secure.Close()
		return failed(err)
	}
	return secure, keys, leg.Cause{}
}

// exportKeys takes the SRTP keys out of a handshake (RFC 5764 section 4.2).
func exportKeys(c *dtls.Conn, client bool) (*srtp.Config, error) {
	profile, ok := c.SelectedSRTPProtectionProfile()
	if !ok {
		return nil, errors.New("the browser agreed to no SRTP profile")
	}
	state, ok := c.ConnectionState()
	if !ok {
		return nil, errors.New("the handshake has left no state")
	}
	k := &srtp.Config{Profile: srtp.ProtectionProfile(profile)} // the numbers are those of RFC 5764 in both
	if err := k.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, err
	}
	return k, nil
}

// verify compares a certificate with the fingerprints of an SDP, of which one
// must fit (RFC 8122 section 5).
func verify(der []byte, announced []string) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	for _, a := range announced {
		name, want, _ := strings.Cut(strings.TrimSpace(a), " ")
		hash, err := fingerprint.HashFromString(name)
		if err != nil {
			continue
		}
		if got, err := fingerprint.Fingerprint(cert, hash); err == nil && strings.EqualFold(got, strings.TrimSpace(want)) {
			return nil
		}
	}
	return errFingerprint
}

// drain reads a DTLS connection, on which nothing is sent but alerts, until the
// browser closes it.
func drain(c *dtls.Conn) {
	var buf [1500]byte
	for {
		if _, err := c.Read(buf[:]); err != nil {
			return
		}
	}
}

// pipe is the DTLS part of an ICE connection (RFC 7983). It implements
// net.PacketConn.
type pipe struct {
	*packetio.Buffer
	conn *ice.Conn
}

// pipeSize bounds the handshake messages that wait.
const pipeSize = 64 << 10

func newPipe(c *ice.Conn) *pipe {
	b := packetio.NewBuffer()
	b.SetLimitSize(pipeSize)
	return &pipe{b, c}
}

// ReadFrom implements net.PacketConn.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, p.conn.RemoteAddr(), err
}

// WriteTo implements net.PacketConn: it goes where ICE says.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) { return p.conn.Write(b) }

// LocalAddr implements net.PacketConn.
func (p *pipe) LocalAddr() net.Addr { return p.conn.LocalAddr() }

// SetDeadline implements net.PacketConn.
func (p *pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn: writes do not block.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"lineout/calls/forward"
	"lineout/calls/leg"
	"lineout/calls/trace"
	"lineout/calls/transmit"
	"lineout/codecs"
	"lineout/media"
)

// session is the media of a leg: leg.Forwarder. Its sockets are open from Dial to
// the end of the leg; the same session serves early media and the answer.
type session struct {
	log         *slog.Logger
	trace       *trace.Call
	sections    []*section // in the order of our offer
	local       string     // bound address, for statistics
	window      time.Duration
	table       *codecs.Table
	digit       func(string) // telephone-events received
	digitsShown bool         // they may be written down
	signal      signaller
	keys        keyAsker
	kick        chan struct{}
	closed      chan struct{}
	ended       atomic.Bool
	running     atomic.Bool
	buffers     sync.Pool     // of *[1500]byte, for WriteRTP and ForwardRTP
	source      forward.Clock // of those whose packets are forwarded

	mu       sync.Mutex
	expectAt time.Time // since when media should come; zero = it should not
}

// Tracks implements leg.Media.
func (m *session) Tracks() []leg.TrackInfo {
	var out []leg.TrackInfo
	for _, s := range m.sections {
		if t, ok := s.info(); ok {
			out = append(out, t)
		}
	}
	return out
}

// Run implements leg.Media. It owns two readers per section and may run once
// at a time.
func (m *session) Run(ctx context.Context, recv func(leg.Packet)) error {
	if !m.running.CompareAndSwap(false, true) {
		return errors.New("the call's media is being received already")
	}
	defer m.running.Store(false)
	if m.ended.Load() {
		return nil
	}
	conns := m.conns()
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Time{}) // fails on closed sockets only, and then so does the read
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	errs := make(chan error, len(conns))
	for _, s := range m.sections {
		go func() { errs <- m.readRTP(s, recv) }()
		go func() { errs <- m.readRTCP(s, recv) }()
	}
	var first error
	for range conns {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	if ctx.Err() != nil || m.ended.Load() {
		return nil
	}
	return first
}

func (m *session) conns() []*net.UDPConn {
	var out []*net.UDPConn
	for _, s := range m.sections {
		out = append(out, s.pair.rtp, s.pair.rtcp)
	}
	return out
}

// WriteRTP implements leg.Media. Comfort silence pauses for it.
func (m *session) WriteRTP(k media.Kind, p leg.Outgoing) error {
	if m.ended.Load() {
		return leg.ErrEnded
	}
	s := m.section(k)
	if s == nil {
		return fmt.Errorf("the call has no %s section", k)
	}
	buf, _ := m.buffers.Get().(*[1500]byte) // pooled: no allocation per packet
	if buf == nil {
		buf = new([1500]byte)
	}
	defer m.buffers.Put(buf)
	s.mu.Lock()
	to := s.latch.remote()
	fits := len(p.Payload) <= len(buf)-rtpHeader
	var out rtp.Header
	ok := fits && s.active && to.IsValid()
	if ok {
		out, ok = s.tx.Write(&p, time.Now())
	}
	s.mu.Unlock()
	if !fits {
		return fmt.Errorf("a packet of %d bytes does not fit into a datagram of %d", rtpHeader+len(p.Payload), len(buf))
	}
	if !ok {
		return nil
	}
	n, err := out.MarshalTo(buf[:])
	if err != nil {
		return fmt.Errorf("making an RTP header: %w", err)
	}
	n += copy(buf[n:], p.Payload)
	return m.ignoreUnreachable(m.sendRTP(s, buf[:n], to))
}

// sendRTP sends a packet, encrypted if that was agreed. The trace has it as it
// was before, since nobody could read the other.
func (m *session) sendRTP(s *section, b []byte, to netip.AddrPort) error {
	m.trace.Sent(s.kind, false, s.pair.port, to, b, m.content(s, b[1]&0x7f))
	b, err := s.guard.seal(b, false)
	if err != nil {
		return err
	}
	_, err = s.pair.rtp.WriteToUDPAddrPort(b, to)
	return err
}

// content is what the trace is told of a packet with this payload type.
func (m *session) content(s *section, payloadType uint8) trace.Content {
	switch {
	case !m.digitsShown && s.events[payloadType>>6&1].Load()>>(payloadType&63)&1 != 0:
		return trace.Secret
	case s.guard.encrypts.Load():
		return trace.Encrypted
	}
	return trace.Plain
}

// rtpHeader is the length of a header without sources and extensions (RFC 3550
// section 5.1).
const rtpHeader = 12

// ignoreUnreachable hides the ICMP errors of a peer whose port is not open
// (yet): UDP reports them on a later, innocent write.
func (m *session) ignoreUnreachable(err error) error {
	if err == nil || m.ended.Load() || isRefused(err) {
		return nil
	}
	return err
}

func (m *session) section(k media.Kind) *section {
	for _, s := range m.sections {
		if s.kind == k {
			return s
		}
	}
	return nil
}

// Stats implements leg.Media.
func (m *session) Stats() []leg.Stats {
	out := make([]leg.Stats, 0, len(m.sections))
	for _, s := range m.sections {
		if _, agreed := s.info(); !agreed {
			continue
		}
		out = append(out, s.stats(net.JoinHostPort(m.local, strconv.Itoa(s.pair.port))))
	}
	return out
}

// signaller asks for key frames by SIP. It does not block.
type signaller interface {
	offerFree() bool
	infoKeyframe()
	reinviteKeyframe()
}

func (m *session) sendRTCP(s *section, b []byte, to netip.AddrPort) {
	if b == nil || !to.IsValid() {
		return
	}
	socket, port := s.controlSocket()
	m.trace.Sent(s.kind, true, port, to, b, trace.Plain)
	if b, err := s.guard.seal(b, true); err == nil {
		_, _ = socket.WriteToUDPAddrPort(b, to) // lost reports are replaced by the next
	}
}

// pace sends what is due: comfort silence, digits, reports. It ends with ctx or
// the session, and says goodbye by RTCP.
func (m *session) pace(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var buf [1500]byte
	for {
		now := time.Now()
		wait := time.Hour
		for _, s := range m.sections {
			m.flush(s, now, buf[:])
			if at := s.due(); !at.IsZero() {
				wait = min(wait, max(at.Sub(now), time.Millisecond))
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-m.kick:
		case <-ctx.Done():
			return
		case <-m.closed:
			return
		}
	}
}

func (m *session) flush(s *section, now time.Time, buf []byte) {
	for {
		n, to := s.poll(now, buf)
		if n == 0 {
			break
		}
		_ = m.sendRTP(s, buf[:n], to) // a lost comfort packet is no loss
	}
	if b, to := s.report(now); b != nil {
		m.sendRTCP(s, b, to)
	}
}

func (m *session) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// sendDigits queues telephone-events.
func (m *session) sendDigits(digits string) error {
	s := m.section(media.Audio)
	codes, ok := transmit.Codes(digits)
	if !ok {
		return fmt.Errorf("%q is not a row of digits 0-9, *, #, A-D", digits)
	}
	if s == nil {
		return errors.New("the call has no audio section")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.active || !s.tx.TakesEvents():
		return errors.New("the other side did not agree to telephone-event; use type INFO")
	case !s.tx.Sending():
		return errors.New("the audio of this call is receive only, so no RTP event can be sent; use type INFO")
	case !s.tx.Dial(codes, time.Now()):
		return fmt.Errorf("more than %d digits are waiting to be sent", transmit.MaxDigits)
	}
	m.wake()
	return nil
}

// idle is how long no RTP has come although it should; 0 when none should.
func (m *session) idle(now time.Time) time.Duration {
	m.mu.Lock()
	last := m.expectAt
	m.mu.Unlock()
	if last.IsZero() {
		return 0
	}
	for _, s := range m.sections {
		s.mu.Lock()
		if s.lastPacket.After(last) {
			last = s.lastPacket
		}
		s.mu.Unlock()
	}
	return now.Sub(last)
}

// expect records whether media should come from now on.
func (m *session) expect(now time.Time) {
	should := false
	for _, s := range m.sections {
		s.mu.Lock()
		should = should || s.active && s.receive && !s.held
		s.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !should:
		m.expectAt = time.Time{}
	case m.expectAt.IsZero():
		m.expectAt = now
	}
}

// restart counts the wait for media from the answer, not from the ringing.
func (m *session) restart(now time.Time) {
	m.mu.Lock()
	m.expectAt = time.Time{}
	m.mu.Unlock()
	m.expect(now)
}

// farewell sends RTCP BYE on every section.
func (m *session) farewell(now time.Time) {
	for _, s := range m.sections {
		if b, to := s.farewell(now); b != nil {
			m.sendRTCP(s, b, to)
		}
	}
}

// close ends readers and pacing and gives the ports back.
func (m *session) close(pool *portPool) {
	if m.ended.Swap(true) {
		return
	}
	close(m.closed)
	for _, s := range m.sections {
		pool.release(s.pair, time.Now())
	}
}

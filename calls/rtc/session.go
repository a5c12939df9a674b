package rtc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"lineout/calls/forward"
	"lineout/calls/leg"
	"lineout/calls/transmit"
	"lineout/media"
)

// session is the media of a peer: leg.Forwarder. Before the peer is connected
// it sends and receives nothing.
type session struct {
	peer     *Peer
	sections [3]*section // by kind
	byPT     [128]*payload
	buffers  sync.Pool     // of *outBuffer
	source   forward.Clock // of those whose packets are forwarded
	kick     chan struct{}
	done     chan struct{}
	ended    atomic.Bool
	running  atomic.Bool
	secured  atomic.Pointer[secured] // nil until connected

	// deliver keeps recv from being called once Run has returned.
	deliver sync.Mutex
	recv    func(leg.Packet)

	// control guards what RTCP needs.
	control  sync.Mutex
	seal     *srtp.Context
	feedback *twcc.Recorder // nil without it
	reportAt time.Time      // of the next compound; zero = not before something is sent or received
	reports  int
	twccAt   time.Time
}

// secured is what a connected peer has.
type secured struct {
	conn  *ice.Conn
	open  *srtp.Context // used by the reading goroutine only
	since time.Time
}

// payload is a payload type that was agreed on.
type payload struct {
	section *section
	clock   int
	event   bool
}

// outBuffer holds a packet under way, with room for what encryption appends.
type outBuffer [maxOut + 64]byte

// maxOut bounds packets to what an Ethernet frame carries.
const maxOut = 1500

func newSession(p *Peer, as []*agreement) *session {
	m := &session{peer: p, kick: make(chan struct{}, 1), done: make(chan struct{})}
	for _, a := range as {
		s := &section{agreed: a, id: p.streams[a.kind]}
		s.tx = transmit.Transmitter{SSRC: s.id.ssrc, Seq: s.id.seq, Base: s.id.base}
		m.sections[a.kind] = s
		for _, f := range a.formats {
			m.byPT[f.pt] = &payload{section: s, clock: f.clock}
		}
		for _, f := range a.events {
			m.byPT[f.pt] = &payload{section: s, clock: f.clock, event: true}
		}
		if a.twcc != 0 && m.feedback == nil {
			m.feedback = twcc.NewRecorder(s.id.ssrc)
		}
	}
	return m
}

// start lets media flow with the keys of the handshake.
func (m *session) start(conn *ice.Conn, k *srtp.Config) error {
	now := time.Now()
	context := func(local bool, options ...srtp.ContextOption) (*srtp.Context, error) {
		if local {
			return srtp.CreateContext(k.Keys.LocalMasterKey, k.Keys.LocalMasterSalt, k.Profile, options...)
		}
		return srtp.CreateContext(k.Keys.RemoteMasterKey, k.Keys.RemoteMasterSalt, k.Profile, options...)
	}
	open, err := context(false, srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return err
	}
	seal, err := context(true)
	if err != nil {
		return err
	}
	for _, s := range m.sections {
		if s == nil {
			continue
		}
		c, err := context(true) // of its own: state is per SSRC, and sections need not wait for one another
		if err != nil {
			return err
		}
		s.start(c, now)
	}
	m.control.Lock()
	m.seal = seal
	m.control.Unlock()
	m.secured.Store(&secured{conn: conn, open: open, since: now})
	return nil
}

// close ends the session: Run returns, and sending fails.
func (m *session) close() {
	if !m.ended.Swap(true) {
		m.farewell()
		close(m.done)
	}
}

// section is that of a kind, nil if there is none.
func (m *session) section(k media.Kind) *section {
	if int(k) < len(m.sections) {
		return m.sections[k]
	}
	return nil
}

// Tracks implements leg.Media.
func (m *session) Tracks() []leg.TrackInfo {
	var out []leg.TrackInfo
	for _, k := range kinds {
		if s := m.sections[k]; s != nil {
			out = append(out, s.agreed.info())
		}
	}
	return out
}

// Run implements leg.Media. recv is called on the goroutine that reads for the
// whole peer. It may run once at a time.
func (m *session) Run(ctx context.Context, recv func(leg.Packet)) error {
	if !m.running.CompareAndSwap(false, true) {
		return errors.New("the browser's media is being received already")
	}
	defer m.running.Store(false)
	m.setRecv(recv)
	defer m.setRecv(nil)
	select {
	case <-ctx.Done():
	case <-m.done:
	}
	return nil
}

func (m *session) setRecv(recv func(leg.Packet)) {
	m.deliver.Lock()
	m.recv = recv
	m.deliver.Unlock()
}

func (m *session) give(p leg.Packet) {
	m.deliver.Lock()
	defer m.deliver.Unlock()
	if m.recv != nil {
		m.recv(p)
	}
}

var (
	errNoSection = [...]error{errors.New("the browser has no such section"), media.Audio: errors.New("the browser has no audio section"), media.Video: errors.New("the browser has no video section")}
	errNotAgreed = errors.New("the browser has not agreed to this payload type")
	errTooLong   = fmt.Errorf("a packet does not fit into a datagram of %d bytes", maxOut)
)

// place finds what a packet of ours is to be sent by.
func (m *session) place(k media.Kind, payloadType uint8, size int) (*section, *payload, error) {
	if m.ended.Load() {
		return nil, nil, leg.ErrEnded
	}
	s := m.section(k)
	if s == nil {
		return nil, nil, errNoSection[min(int(k), 2)]
	}
	p := m.byPT[payloadType&0x7f]
	switch {
	case p == nil || p.section != s:
		return nil, nil, errNotAgreed
	case size > maxOut-rtpHeader:
		return nil, nil, errTooLong
	}
	return s, p, nil
}

// ForwardRTP implements leg.Forwarder.
func (m *session) ForwardRTP(k media.Kind, payloadType uint8, p *rtp.Packet, at time.Time) error {
	s, f, err := m.place(k, payloadType, len(p.Payload))
	if err != nil {
		return err
	}
	clock := f.clock
	if f.event { // it travels on the timestamps of the sound
		clock = 0
	}
	buf := m.buffer()
	defer m.buffers.Put(buf)
	s.mu.Lock()
	var out []byte
	if h, ok := s.tx.Forward(payloadType, clock, k == media.Audio, p, at, time.Now()); ok {
		out, err = s.pack(buf, &h, p.Payload)
	}
	s.mu.Unlock()
	return m.write(out, err)
}

// ForwardReport implements leg.Forwarder.
func (m *session) ForwardReport(k media.Kind, ssrc uint32, ntp uint64, timestamp uint32) {
	s := m.section(k)
	if s == nil || ntp == 0 {
		return
	}
	at := m.source.Ours(ntp, time.Now())
	s.mu.Lock()
	s.tx.Report(ssrc, timestamp, at)
	s.mu.Unlock()
}

// WriteRTP implements leg.Media.
func (m *session) WriteRTP(k media.Kind, p leg.Outgoing) error {
	s, f, err := m.place(k, p.PayloadType, len(p.Payload))
	if err != nil {
		return err
	}
	buf := m.buffer()
	defer m.buffers.Put(buf)
	now := time.Now()
	s.mu.Lock()
	if f.clock != s.clock && !f.event {
		s.configure(f.clock, now)
	}
	var out []byte
	if h, ok := s.tx.Write(&p, now); ok {
		out, err = s.pack(buf, &h, p.Payload)
	}
	s.mu.Unlock()
	return m.write(out, err)
}

// rtpHeader is the length of a header without sources and extensions (RFC 3550
// section 5.1).
const rtpHeader = 12

func (m *session) buffer() *outBuffer {
	if b, _ := m.buffers.Get().(*outBuffer); b != nil {
		return b
	}
	return new(outBuffer)
}

// write sends a packet to where ICE says, if there is one. Losses of the
// network, and of a network that is gone, are no errors.
func (m *session) write(b []byte, err error) error {
	if err != nil || len(b) == 0 {
		return err
	}
	if c := m.secured.Load(); c != nil {
		_, _ = c.conn.Write(b)
	}
	return nil
}

// hold stops or resumes sending, and what the browser sends.
func (m *session) hold(on bool, now time.Time) {
	for _, s := range m.sections {
		if s != nil {
			s.mu.Lock()
			s.held = on
			s.configure(s.clock, now)
			s.mu.Unlock()
		}
	}
}

// sendDigits queues telephone-events.
func (m *session) sendDigits(digits string) error {
	codes, ok := transmit.Codes(digits)
	if !ok {
		return fmt.Errorf("%q is not a row of digits 0-9, *, #, A-D", digits)
	}
	if m.ended.Load() {
		return leg.ErrEnded
	}
	s := m.section(media.Audio)
	if s == nil {
		return errNoSection[media.Audio]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.tx.TakesEvents():
		return errors.New("the browser did not agree to telephone-event")
	case !s.tx.Sending():
		return errors.New("nothing is sent to this browser now, so no digit can be")
	case !s.tx.Dial(codes, time.Now()):
		return fmt.Errorf("more than %d digits are waiting to be sent", transmit.MaxDigits)
	}
	m.wake()
	return nil
}

func (m *session) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// RequestKeyframe implements leg.Media: a PLI (RFC 4585 section 6.3.1), or a
// FIR (RFC 5104 section 4.3.1) to a browser that knows no PLI. Both are honoured
// by all browsers, so there is nothing to learn from what comes of it.
func (m *session) RequestKeyframe() {
	s := m.section(media.Video)
	if s == nil || m.ended.Load() {
		return
	}
	s.mu.Lock()
	s.keyframes++
	s.wantKey = true
	s.mu.Unlock()
	m.wake()
}

// KeyframeCame implements leg.Media.
func (m *session) KeyframeCame() {}

// Stats implements leg.Media.
func (m *session) Stats() []leg.Stats {
	var local, remote string
	if c := m.secured.Load(); c != nil {
		if a := c.conn.LocalAddr(); a != nil {
			local = a.String()
		}
		if a := c.conn.RemoteAddr(); a != nil {
			remote = a.String()
		}
	}
	var out []leg.Stats
	for _, k := range kinds {
		if s := m.sections[k]; s != nil {
			st := s.stats()
			st.Local, st.Remote = local, remote
			out = append(out, st)
		}
	}
	return out
}

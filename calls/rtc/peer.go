package rtc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/pion/ice/v4"

	"lineout/calls/leg"
	"lineout/media"
)

// gatherLimit bounds the wait for our own candidates, which are those of open
// sockets and there at once.
const gatherLimit = 5 * time.Second

// Peer is one browser: a leg.Inbound when it has called, a leg.Leg when it is
// called, and a source of media when it publishes. Its methods are safe for
// concurrent use. It ends by itself when the browser goes away; Hangup ends it
// from here.
type Peer struct {
	service *Service
	log     *slog.Logger
	send    func(string)
	cname   string
	streams [3]identity // by kind

	agent      *ice.Agent
	ufrag, pwd string
	candidates []string
	iceUp      chan struct{} // closed when a pair is selected
	iceFailed  chan struct{} // closed when the browser is silent for good

	offered *description // what the browser has offered, nil if we do
	offers  []*agreement // what we have offered, nil if the browser does

	begin     chan struct{} // closed when both descriptions are known
	connected chan struct{}
	hang      chan struct{} // closed by Hangup, cause is set
	hangOnce  sync.Once
	cause     leg.Cause
	events    *leg.Queue

	mu                     sync.Mutex
	remote                 transportInfo
	client                 bool // we begin the DTLS handshake
	media                  *session
	early, answered        bool
	toldEarly, toldAnswer  bool
	up, held, begun, ended bool
	err                    *Error
}

// identity is what is ours of one outgoing stream.
type identity struct {
	ssrc, base uint32
	seq        uint16
}

// newPeer takes a place and makes the ICE agent; discard or run must follow.
func (s *Service) newPeer(ctx context.Context, o Options) (*Peer, context.Context, error) {
	run, err := s.enter()
	if err != nil {
		return nil, nil, err
	}
	log := o.Log
	if log == nil {
		log = s.log
	}
	p := &Peer{
		service: s, log: log.With("peer", o.ID, "session", o.SessionID), send: o.SendSDP, cname: uuid.NewString(),
		iceUp: make(chan struct{}), iceFailed: make(chan struct{}), begin: make(chan struct{}),
		connected: make(chan struct{}), hang: make(chan struct{}), events: leg.NewQueue(),
	}
	var b [30]byte
	_, _ = rand.Read(b[:]) // never fails
	for k := range p.streams {
		r := b[10*k:]
		// The first sequence number is in the lower half, so that SRTP's rollover
		// counter cannot be guessed wrong (RFC 3711 section 3.3.1).
		p.streams[k] = identity{ssrc: binary.BigEndian.Uint32(r) | 1, base: binary.BigEndian.Uint32(r[4:]), seq: binary.BigEndian.Uint16(r[8:]) >> 1}
	}
	if err := p.gather(ctx); err != nil {
		p.discard()
		return nil, nil, refused(leg.Setup, err)
	}
	return p, run, nil
}

// gather makes the agent and waits for its candidates.
func (p *Peer) gather(ctx context.Context) error {
	var err error
	if p.agent, err = p.service.transport.NewAgent(p.service.config.DisconnectTimeout); err != nil {
		return err
	}
	done := make(chan struct{})
	var up, failed, all sync.Once
	if err := errors.Join(
		p.agent.OnCandidate(func(c ice.Candidate) {
			if c == nil {
				all.Do(func() { close(done) })
			}
		}),
		p.agent.OnConnectionStateChange(func(s ice.ConnectionState) {
			switch s {
			case ice.ConnectionStateConnected, ice.ConnectionStateCompleted:
				up.Do(func() { close(p.iceUp) })
			case ice.ConnectionStateFailed:
				failed.Do(func() { close(p.iceFailed) })
			}
		}),
		p.agent.GatherCandidates(),
	); err != nil {
		return fmt.Errorf("cannot gather ICE candidates: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, gatherLimit)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("cannot gather ICE candidates: %w", context.Cause(ctx))
	}
	cs, err := p.agent.GetLocalCandidates()
	if err != nil {
		return fmt.Errorf("cannot list ICE candidates: %w", err)
	}
	if len(cs) == 0 {
		return errors.New("there is no address a browser could reach us at (ip_local)")
	}
	for _, c := range cs {
		p.candidates = append(p.candidates, c.Marshal())
	}
	p.ufrag, p.pwd, err = p.agent.GetLocalUserCredentials()
	return err
}

// discard frees what a peer that was never run holds.
func (p *Peer) discard() {
	if p.agent != nil {
		_ = p.agent.GracefulClose()
	}
	p.service.leave()
}

// describe begins our SDP.
func (p *Peer) describe(setup string) *local {
	return &local{session: uint64(p.streams[0].base)<<16 | uint64(p.streams[0].seq), ufrag: p.ufrag, pwd: p.pwd,
		print: p.service.transport.Fingerprint(), candidates: p.candidates, setup: setup, stream: p.cname}
}

func (p *Peer) sendSDP(text string) {
	if p.send != nil {
		p.send(text)
	}
}

// Events implements leg.Leg.
func (p *Peer) Events() <-chan leg.Event { return p.events.Events() }

func (p *Peer) emit(e leg.Event) { p.events.Put(e) }

// Connected is closed when ICE and DTLS are up.
func (p *Peer) Connected() <-chan struct{} { return p.connected }

// Media is what the peer sends and receives; it is there when both sides have
// described theirs, nil before.
func (p *Peer) Media() leg.Forwarder {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.media == nil {
		return nil
	}
	return p.media
}

// Err is why the peer has failed, nil while it has not or if its end was
// somebody's wish.
func (p *Peer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return nil
	}
	return p.err
}

// Hangup implements leg.Leg.
func (p *Peer) Hangup(_ context.Context, c leg.Cause) error {
	p.hangOnce.Do(func() {
		c.Local = true
		p.cause = c
		close(p.hang)
	})
	return nil
}

// Hold implements leg.Leg. The browser is sent nothing more, not even an SDP
// (websdk-protocol 8.4), and what it sends is dropped.
func (p *Peer) Hold(context.Context) error { return p.setHeld(true, leg.Held) }

// Resume implements leg.Leg.
func (p *Peer) Resume(context.Context) error { return p.setHeld(false, leg.Resumed) }

func (p *Peer) setHeld(held bool, t leg.EventType) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return leg.ErrEnded
	}
	if p.held == held {
		return nil
	}
	p.held = held
	if p.media != nil {
		p.media.hold(held, time.Now())
	}
	p.emit(leg.Event{Type: t})
	return nil
}

// SendDTMF implements leg.Leg by telephone-events (RFC 4733), whichever way is
// asked for: a browser knows no other.
func (p *Peer) SendDTMF(_ context.Context, digits string, _ leg.DTMF) error {
	p.mu.Lock()
	m := p.media
	p.mu.Unlock()
	if m == nil {
		return errors.New("no digits can be sent before the browser is connected")
	}
	return m.sendDigits(digits)
}

// install makes the session of what was agreed and lets run connect. The caller
// holds mu.
func (p *Peer) install(as []*agreement, remote transportInfo) {
	p.remote = remote
	p.client = remote.setup == "passive"
	p.media = newSession(p, as)
	if p.held {
		p.media.hold(true, time.Now())
	}
	p.begun = true
	close(p.begin)
}

// tell emits what is due of EarlyMedia and Answered. The caller holds mu.
func (p *Peer) tell() {
	switch {
	case !p.up || p.ended:
	case p.answered && !p.toldAnswer:
		p.toldAnswer = true
		p.emit(leg.Event{Type: leg.Answered, Code: 200, Text: "OK", Media: p.media})
	case p.early && !p.toldEarly && !p.answered:
		p.toldEarly = true
		p.emit(leg.Event{Type: leg.EarlyMedia, Code: 183, Text: "Session Progress", Media: p.media})
	}
}

// digit tells of a telephone-event the browser has sent.
func (p *Peer) digit(d byte) {
	p.emit(leg.Event{Type: leg.DTMFReceived, Digit: string(rune(d)), Text: "RTP"})
}

// kinds are those that have a section, sound first.
var kinds = [...]media.Kind{media.Audio, media.Video}

var _ leg.Inbound = (*Peer)(nil)

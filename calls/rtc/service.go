// Package rtc makes a browser a leg of a call: it agrees on the media by one
// SDP each way, without trickle ICE, and carries RTP both ways over ICE and
// DTLS-SRTP. Who brings the SDP to the browser and back is not its business.
package rtc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"lineout/calls/leg"
	"lineout/calls/rtc/transport"
	"lineout/codecs"
	"lineout/media"
)

// Service makes peers on the shared sockets. It is safe for concurrent use.
type Service struct {
	config    Config
	transport *transport.Transport
	table     *codecs.Table
	log       *slog.Logger

	mu    sync.Mutex
	ctx   context.Context // nil: not running
	peers int
	wg    sync.WaitGroup
}

// New makes a service on sockets that whoever owns them keeps open until Run
// has returned.
func New(c Config, t *transport.Transport, table *codecs.Table, log *slog.Logger) *Service {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Service{config: c, transport: t, table: table, log: log}
}

// Run lets peers be made until ctx ends, then ends them all and waits for them.
func (s *Service) Run(ctx context.Context) error {
	s.transport.Start()
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil // no new peers from here on
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Peers is how many there are.
func (s *Service) Peers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers
}

// Options are what the signalling side knows of a peer.
type Options struct {
	// ID is the call's or stream's id, for logs.
	ID string
	// SessionID names the signalling session, for logs.
	SessionID string
	Log       *slog.Logger
	// SendSDP is called at most once, when our SDP is ready. It must not block,
	// nor call the peer.
	SendSDP func(sdp string)
}

// enter takes a place for one more peer; leave gives it back.
func (s *Service) enter() (run context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ctx == nil || s.ctx.Err() != nil:
		return nil, refused(leg.Setup, errors.New("calls of browsers are not served now: the server is starting or shutting down"))
	case s.config.MaxPeers > 0 && s.peers >= s.config.MaxPeers:
		return nil, refused(leg.Setup, fmt.Errorf("all %d places for browsers are taken (webrtc.max_peers)", s.config.MaxPeers))
	}
	s.peers++
	s.wg.Add(1)
	return s.ctx, nil
}

func (s *Service) leave() {
	s.mu.Lock()
	s.peers--
	s.mu.Unlock()
	s.wg.Done()
}

// Accept takes the offer of a browser that calls. The peer makes its answer by
// Ring with media or Answer, and lives until it has ended, whatever becomes of
// ctx. Errors are *Error.
func (s *Service) Accept(ctx context.Context, offer string, o Options) (*Peer, leg.Incoming, error) {
	d, err := parse(offer)
	if err != nil {
		return nil, leg.Incoming{}, refused(leg.Setup, err)
	}
	in := leg.Incoming{CallID: o.ID, SDP: offer}
	for _, r := range d.sections {
		a := s.agree(r, false, nil)
		if a == nil {
			continue
		}
		in.Tracks = append(in.Tracks, a.info())
		in.HasAudio = in.HasAudio || a.kind == media.Audio
		in.HasVideo = in.HasVideo || a.kind == media.Video
	}
	if in.Tracks == nil {
		return nil, leg.Incoming{}, refused(leg.NoCommonCodecs, errors.New("the browser's offer has no codec in common with us"))
	}
	p, run, err := s.newPeer(ctx, o)
	if err != nil {
		return nil, leg.Incoming{}, err
	}
	p.offered = d
	p.emit(leg.Event{Type: leg.Trying})
	go p.run(run)
	return p, in, nil
}

// Publish answers the offer of a browser that sends only. Answered follows on
// Events once ICE and DTLS are up, or Ended. Errors are *Error.
func (s *Service) Publish(ctx context.Context, offer string, o Options) (*Peer, error) {
	d, err := parse(offer)
	if err != nil {
		return nil, refused(leg.Setup, err)
	}
	p, run, err := s.newPeer(ctx, o)
	if err != nil {
		return nil, err
	}
	p.offered = d
	if err := p.answerOffer(leg.Terms{}); err != nil {
		p.discard()
		return nil, err
	}
	p.answered = true
	go p.run(run)
	return p, nil
}

// Offer makes an offer to a browser that is called, of what like holds; its
// answer is to be given to SetAnswer. Events begin with Ringing. SendSDP has
// been called when it returns. Errors are *Error.
func (s *Service) Offer(ctx context.Context, like []leg.TrackInfo, o Options) (*Peer, error) {
	if like == nil {
		like = []leg.TrackInfo{{Kind: media.Audio}}
	}
	var offers []*agreement
	for _, k := range []media.Kind{media.Audio, media.Video} {
		if l := likeOf(like, k); l != nil {
			if a := s.offering(l, fmt.Sprint(len(offers))); a != nil {
				offers = append(offers, a)
			}
		}
	}
	if len(offers) == 0 {
		return nil, refused(leg.NoCommonCodecs, errors.New("the caller has no codec that browsers know"))
	}
	p, run, err := s.newPeer(ctx, o)
	if err != nil {
		return nil, err
	}
	p.offers = offers
	l := p.describe("actpass")
	for _, a := range offers {
		ssrc := p.streams[a.kind].ssrc
		l.sections = append(l.sections, localSection{word: a.kind.String(), mid: a.mid, agreed: a, ssrc: ssrc, cname: p.cname})
	}
	p.emit(leg.Event{Type: leg.Ringing, Code: 180, Text: "Ringing"})
	p.sendSDP(l.String())
	go p.run(run)
	return p, nil
}

// bundled leaves those agreements that share the transport of the first one.
func (d *description) bundled(as []*agreement) []*agreement {
	first := true
	return slices.DeleteFunc(as, func(a *agreement) bool {
		if first {
			first = false
			return false
		}
		return !slices.Contains(d.bundle, a.mid) || !slices.Contains(d.bundle, as[0].mid)
	})
}

func (d *description) section(mid string) *remoteSection {
	for _, r := range d.sections {
		if r.mid == mid {
			return r
		}
	}
	return nil
}

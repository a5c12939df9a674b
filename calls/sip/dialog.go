package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/transmit"
	"lineout/media"
)

const maxPeerText = 128 // longest reason phrase of a peer that is passed on

// dialog is one call: leg.Leg, and leg.Inbound when it is one to us. Its own goroutine (run) leads it from
// REGISTER or INVITE to the end; requests of the peer come on sipgo's goroutines and
// take mu.
type dialog struct {
	a      *Agent
	log    *slog.Logger
	callID string // unique here; on the wire it is head.callID
	req    leg.Request
	party  *party
	creds  *credentials
	srtp   srtpMode
	media  *session

	events *leg.Queue

	hang      chan struct{} // closed by the first Hangup
	hangOnce  sync.Once
	hangCause leg.Cause
	ended     chan leg.Cause // the peer's BYE
	accepted  chan *sipmsg.Response
	infoBusy  atomic.Bool
	offers    offers
	pacing    atomic.Bool
	done      chan struct{}
	life      context.Context // ends with run

	mu        sync.Mutex
	answered  bool
	head      headers
	target    sipmsg.Uri // remote target
	foreign   bool       // a redirection led to another server than the account's
	next      hop
	home      hop // of the account's server
	source    hop // where the 2xx came from
	flow      hop // where a phone of a user of ours is, with its NAT between; invalid in other calls
	remoteSeq uint32
	remoteTag string
	local     localSession
	unacked   uint32        // CSeq of a re-INVITE of the peer whose 200 waits for its ACK
	acked     chan struct{} // closed when that came
	ackEnds   func()        // ends the peer's turn
	lateOffer bool          // our 200 to it carried the offer
	heldBy    holder
	told      [100]bool          // provisional codes, less 100, that were told
	began     bool               // early media has begun
	earlyTag  string             // whose description it is
	branches  map[string]*branch // by To tag
	update    bool               // the peer lists UPDATE
	referring bool               // a REFER of ours is under way
	referral  chan sipfrag       // progress of the peer's, nil if none is under way
	timer     sessionTimer
	session   time.Duration // interval to ask for
	minSE     time.Duration
	work      sync.WaitGroup
	in        *inbound // nil in calls of ours

	// Of run's goroutine only.
	moved     redirection
	elsewhere bool // another server of the domain may do better
	friends   []func()
}

func (a *Agent) newDialog(r leg.Request, p *party) *dialog {
	d := &dialog{
		a: a, callID: r.CallID, req: r, party: p, srtp: p.srtp, creds: &credentials{user: p.user, password: p.pass},
		log:      a.log.With("call", r.CallID),
		events:   leg.NewQueue(),
		hang:     make(chan struct{}),
		ended:    make(chan leg.Cause, 1),
		accepted: make(chan *sipmsg.Response, 8),
		done:     make(chan struct{}),
		branches: map[string]*branch{},
	}
	d.head.callID, d.head.userAgent, d.head.supported = r.CallID, a.name, a.supported()
	d.session, d.minSE = a.cfg.SessionExpires, a.cfg.MinSession
	d.head.from = sipmsg.FromHeader{DisplayName: p.name, Address: p.from}
	d.head.from.Params.Add("tag", sipmsg.GenerateTagN(16))
	d.head.to = sipmsg.ToHeader{Address: p.target}
	d.target = p.target
	return d
}

// Events implements leg.Leg.
func (d *dialog) Events() <-chan leg.Event { return d.events.Events() }

func (d *dialog) emit(e leg.Event) { d.events.Put(e) }

// Hangup implements leg.Leg. It returns at once; Ended follows.
func (d *dialog) Hangup(_ context.Context, c leg.Cause) error {
	c.Local = true
	d.hangup(c)
	return nil
}

func (d *dialog) hangup(c leg.Cause) {
	d.hangOnce.Do(func() {
		d.hangCause = c
		close(d.hang)
	})
}

// SendDTMF implements leg.Leg. RFC4733 returns when the digits are queued, the
// INFO ways when each digit was answered with 200.
func (d *dialog) SendDTMF(ctx context.Context, digits string, how leg.DTMF) error {
	if _, ok := transmit.Codes(digits); !ok || len(digits) > transmit.MaxDigits {
		return fault.New(fault.BadRequest, "dtmf: want 1 to %d of the digits 0-9, *, #, A-D", transmit.MaxDigits)
	}
	if how == "" {
		how = d.a.dtmf
	}
	d.mu.Lock()
	answered := d.answered
	d.mu.Unlock()
	if !answered {
		return fault.New(fault.Conflict, "the call %s is not established, so no digit can be sent", d.callID)
	}
	switch how {
	case leg.RFC4733:
		if err := d.media.sendDigits(digits); err != nil {
			return fault.New(fault.Conflict, "cannot send digits in call %s: %w", d.callID, err)
		}
		return nil
	case leg.INFO, leg.INFORelay:
	default:
		return fault.New(fault.BadRequest, "the DTMF type %q is not known; use RFC2833, INFO or INFO_RELAY", how)
	}
	for _, c := range strings.ToUpper(digits) {
		kind, body := "application/dtmf", string(c)
		if how == leg.INFORelay {
			kind, body = "application/dtmf-relay", fmt.Sprintf("Signal=%c\r\nDuration=%d\r\n", c, transmit.ToneTime.Milliseconds())
		}
		if err := d.info(ctx, kind, body); err != nil {
			return fmt.Errorf("sending the digit %c by SIP INFO in call %s: %w", c, d.callID, err)
		}
	}
	return nil
}

// info sends an INFO in the dialog and wants a 2xx.
func (d *dialog) info(ctx context.Context, contentType, body string) error {
	res, err := d.request(ctx, sipmsg.INFO, contentType, body)
	if err != nil {
		return err
	}
	if !res.IsSuccess() {
		return fmt.Errorf("the other side answered %d %s", res.StatusCode, plain(res.Reason))
	}
	return nil
}

// request sends a request within the dialog and waits for its final answer,
// answering digest challenges.
func (d *dialog) request(ctx context.Context, method sipmsg.RequestMethod, contentType, body string, extra ...sipmsg.Header) (*sipmsg.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)() // the end of the call ends its requests
	login := d.creds.begin()
	for {
		req, next, err := d.inDialog(method, contentType, body, extra...)
		if err != nil {
			return nil, err
		}
		res, err := d.a.exchange(ctx, req, next)
		if err != nil {
			return nil, err
		}
		if !d.again(login, res, next) {
			return res, nil
		}
	}
}

// again says whether a request in the dialog is worth repeating with
// credentials: only the account's server gets them.
func (d *dialog) again(login *attempt, res *sipmsg.Response, next hop) bool {
	d.mu.Lock()
	trusted := d.trusts(next)
	d.mu.Unlock()
	if !trusted {
		return false
	}
	if res.IsSuccess() {
		d.creds.accepted(res)
	}
	again, err := login.retry(res)
	if err != nil {
		d.log.Debug("SIP challenge cannot be answered", "error", err)
	}
	return again
}

// inDialog makes the next request of the dialog and says where it goes.
func (d *dialog) inDialog(method sipmsg.RequestMethod, contentType, body string, extra ...sipmsg.Header) (*sipmsg.Request, hop, error) {
	d.mu.Lock()
	if !d.answered || d.life.Err() != nil {
		d.mu.Unlock()
		return nil, hop{}, errors.New("the call is not established")
	}
	d.head.cseq++
	req := d.head.request(method, d.target)
	if method == sipmsg.INVITE || method == sipmsg.UPDATE {
		d.timed(req)
	}
	next, trusted := d.next, d.trusts(d.next)
	d.mu.Unlock()
	for _, h := range extra {
		req.AppendHeader(h)
	}
	setBody(req, contentType, body)
	if trusted {
		d.creds.sign(req)
	}
	return req, next, nil
}

func challenged(res *sipmsg.Response) bool {
	return res.StatusCode == sipmsg.StatusUnauthorized || res.StatusCode == sipmsg.StatusProxyAuthRequired
}

// plain makes a peer's reason phrase fit for a log line and an API.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), maxPeerText)], "")
}

// openMedia binds the port pairs of all sections we will offer.
func (d *dialog) openMedia() error {
	formats := d.a.toStream
	if d.req.ToRTMP {
		formats = d.a.toRTMP
	}
	m := &session{log: d.log, local: d.a.local.String(), window: d.a.cfg.LatchWindow, table: d.a.table,
		kick: make(chan struct{}, 1), closed: make(chan struct{}),
		digit:       func(digit string) { d.emit(leg.Event{Type: leg.DTMFReceived, Digit: digit, How: leg.RFC4733}) },
		digitsShown: d.a.cfg.DTMFLog, keys: keyAsker{memory: d.a.phones}, signal: d}
	for _, k := range []media.Kind{media.Audio, media.Video} {
		ours, like := ofKind(formats, k), trackOf(d.req.Like, k)
		if d.req.Like != nil {
			ours = alike(ours, like)
		}
		if len(ours) == 0 || k == media.Video && !d.a.cfg.VideoEnabled {
			continue
		}
		pair, err := d.a.ports.take(time.Now())
		if err != nil {
			m.close(d.a.ports)
			return err
		}
		s := &section{kind: k, pair: pair, ours: ours, cname: fmt.Sprintf("rtp/%s/%s", k, d.callID), want: d.req.SendAudio}
		if k == media.Video {
			s.want = d.req.SendVideo
		}
		if like != nil {
			s.like, s.want = like, s.want || like.Receive
		}
		s.tx.SSRC, s.tx.Seq, s.tx.Base = random32(), uint16(random32()), random32()
		m.sections = append(m.sections, s)
	}
	d.media = m
	return nil
}

package sip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
	"lineout/calls/trace"
)

// inbound is what a dialog has when the other party made it: the UAS side of
// RFC 3261 section 13.3. The dialog's own goroutine (serve) leads it.
type inbound struct {
	req   *sipmsg.Request
	tx    *sipmsg.ServerTx
	from  origin
	offer offered

	replies   chan reply
	cancelled chan struct{} // closed by CANCEL
	ack       chan []byte   // body of the ACK of our 200
	pracked   chan []byte   // body of the PRACK of our reliable response

	// Guarded by the dialog's mu, as is a change of offer.
	agreed bool   // there is media, and an offer was answered or made
	rseq   uint32 // of the reliable response that waits for its PRACK, 0 if none
	trace  *trace.Call

	reliably bool   // the caller wants provisional responses acknowledged
	last     uint32 // RSeq given last
}

// reply is what the receiver wants the caller told.
type reply struct {
	answer, media bool
	terms         leg.Terms
}

// newInbound makes the dialog of an INVITE (RFC 3261 section 12.1.1).
func (a *Agent) newInbound(req *sipmsg.Request, tx *sipmsg.ServerTx, from origin, offer offered) *dialog {
	id := req.CallID().Value()
	source := sourceOf(req)
	p := &party{server: sipServer{transport: source.transport}, target: sipmsg.Uri{Scheme: strings.ToLower(req.Recipient.Scheme)}, from: sipmsg.Uri{Scheme: "sip", User: req.Recipient.User, Host: req.Recipient.Host}, domain: req.Recipient.Host}
	if s := from.account; s != nil { // its proxy may want a login for what we send
		p.user, p.pass, p.login, p.domain = s.key.auth, s.key.pass, s.key.login, s.key.domain
	}
	p.srtp, _ = parseSRTP(a.cfg.SRTP)
	d := a.newDialog(leg.Request{CallID: id}, p)
	if other := a.find(id); other != nil && from.account != nil {
		d.callID = sipmsg.GenerateTagN(24) // a proxy has brought a call of ours back, which has that name
	}
	if s := from.account; s != nil {
		d.home = s.wire.server()
	}
	d.in = &inbound{req: req, tx: tx, from: from, offer: offer, replies: make(chan reply, 4), cancelled: make(chan struct{}),
		ack: make(chan []byte, 1), pracked: make(chan []byte, 1), reliably: requires(req, "100REL")}
	to := req.To()
	d.head.from = sipmsg.FromHeader{DisplayName: to.DisplayName, Address: to.Address, Params: to.Params.Clone()}
	d.head.from.Params.Add("tag", sipmsg.GenerateTagN(16))
	d.head.to = req.From().AsTo()
	d.remoteTag, d.remoteSeq = tagOf(req.From().Params), req.CSeq().SeqNo
	d.source = source
	if from.user != "" {
		d.flow = source
	}
	return d
}

func requires(req *sipmsg.Request, tag string) bool {
	for _, w := range listed(req.GetHeaders("Require")) {
		if w == tag {
			return true
		}
	}
	return false
}

// Ring implements leg.Inbound.
func (d *dialog) Ring(t leg.Terms, media bool) { d.say(reply{media: media, terms: t}) }

// Answer implements leg.Inbound.
func (d *dialog) Answer(t leg.Terms) { d.say(reply{answer: true, terms: t}) }

func (d *dialog) say(r reply) {
	select {
	case d.in.replies <- r:
	default: // four wait: there is nothing more to say
	}
}

func (d *dialog) established() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answered
}

// serve leads a call to us from its INVITE to the end and returns why it ended.
func (d *dialog) serve(ctx context.Context) leg.Cause {
	in := d.in
	if !in.tx.OnCancel(func(*sipmsg.Request) { close(in.cancelled) }) {
		return d.givenUp()
	}
	d.tell(100, "Trying")
	if cause, ok := d.enter(ctx); !ok {
		return cause
	}
	defer d.a.befriend(d.next.addr.Addr())()
	d.emit(leg.Event{Type: leg.Trying, Code: 100, Text: "Trying"})
	if r := d.a.taker().Receive(d.incoming(), d); r != nil {
		if d.a.declined.Allow() {
			d.log.Info("SIP call to us is refused", "from", in.req.Source(), "code", r.Code, "cause", r.Text, "why", r.Why)
		}
		d.refuse(r.Code, r.Text, retryAfter(r.Retry)...)
		return leg.Cause{Kind: leg.Rejected, Code: r.Code, Text: r.Error(), Local: true}
	}
	return d.attend(ctx)
}

// enter fills in the rest of the dialog: routes, target, our own addresses.
func (d *dialog) enter(ctx context.Context) (leg.Cause, bool) {
	req := d.in.req
	fail := func(err error) (leg.Cause, bool) {
		d.refuse(400, "Bad Route")
		return d.failed(leg.Setup, 400, "the call to us cannot be answered: %v", err), false
	}
	at, err := d.a.reach(ctx, d.source)
	if err != nil {
		return fail(err)
	}
	contact := req.GetHeader("Contact").(*sipmsg.ContactHeader) // unfit has seen it
	d.mu.Lock()
	d.head.routes, d.target, err = routesBy(req.GetHeaders("Record-Route"), uriOf(contact.Address))
	if err == nil {
		d.next, err = d.nextHop(ctx)
	}
	d.prepare(at, d.next)
	d.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	d.in.trace = d.a.trace.Open(d.callID)
	d.in.trace.Host(at.host)
	d.a.wire.told(false, d.source.addr, []byte(req.String())) // it came before its call was known
	return leg.Cause{}, true
}

// attend does what the receiver says until the call is answered or over.
func (d *dialog) attend(ctx context.Context) leg.Cause {
	in := d.in
	limit := time.NewTimer(d.a.cfg.RingingTimeout)
	defer limit.Stop()
	var wait provisional
	defer wait.stop()
	for {
		replies := in.replies
		if wait.pending() { // RFC 3262 section 3: one at a time, and none after it
			replies = nil
		}
		select {
		case r := <-replies:
			if r.answer {
				return d.pickUp(ctx, r.terms)
			}
			res, err := d.ring(r)
			if err != nil {
				return d.cannot(err)
			}
			if in.reliably {
				wait.begin(res)
			}
		case body := <-in.pracked:
			wait.stop()
			if err := d.lateAnswer(body); err != nil {
				return d.cannot(err)
			}
		case <-wait.due():
			if !wait.again(in.tx, time.Now()) {
				d.refuse(504, "No PRACK") // section 3
				return leg.Cause{Kind: leg.RequestTimeout, Code: 504, Local: true, Text: "the caller did not acknowledge that it rings (PRACK)"}
			}
		case <-in.cancelled:
			return d.givenUp()
		case c := <-d.ended: // BYE of a call that was not answered (RFC 3261 section 15.1.2)
			d.refuse(487, "Request Terminated")
			return c
		case <-d.hang:
			code, text := d.hangCause.Status()
			d.refuse(code, text, retryAfter(map[bool]time.Duration{true: retryLater}[code == 503])...)
			c := d.hangCause
			c.Code = code
			return c
		case <-limit.C:
			d.refuse(480, "Temporarily Unavailable")
			return leg.Cause{Kind: leg.RequestTimeout, Code: 480, Local: true, Text: fmt.Sprintf("nobody here answered within %v (sip_ringing_timeout)", d.a.cfg.RingingTimeout)}
		case <-ctx.Done():
			d.refuse(503, "Service Unavailable", retryAfter(retryLater)...)
			return d.failed(leg.Internal, 503, "the server stopped before the call was answered")
		}
	}
}

func (d *dialog) givenUp() leg.Cause {
	return leg.Cause{Kind: leg.Normal, Code: 487, Text: "the caller gave up"}
}

// cannot refuses a call whose media cannot be had.
func (d *dialog) cannot(err error) leg.Cause {
	if errors.Is(err, errNoCodec) {
		d.refuse(488, "Not Acceptable Here")
		return d.failed(leg.NoCommonCodecs, 488, "the caller's offer has no codec in common with the settings")
	}
	var bad *badDescription
	if errors.As(err, &bad) {
		d.refuse(488, "Not Acceptable Here")
		return d.failed(leg.Setup, 488, "%v", err)
	}
	d.refuse(503, "Service Unavailable", retryAfter(retryLater)...)
	return d.failed(leg.Setup, 503, "%v", err)
}

// badDescription is a fault of the caller's session description.
type badDescription struct{ error }

// settle opens the media and answers the caller's offer, or makes ours; once.
func (d *dialog) settle(t leg.Terms) error {
	if d.in.agreed {
		return nil
	}
	d.req.SendAudio, d.req.SendVideo, d.req.ToRTMP, d.req.Like = t.SendAudio, t.SendVideo, t.ToRTMP, t.Like
	d.req.Referable = t.Referable
	d.mu.Lock()
	err := d.openMedia()
	if err == nil {
		d.media.trace = d.in.trace
		d.prepare(endpoint{d.head.viaHost, d.head.viaPort}, d.next)
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	d.meet(d.in.req)
	if d.in.offer.any {
		if err := d.applyOffer(d.in.req.Body(), true); err != nil {
			return &badDescription{fmt.Errorf("the offer of the caller cannot be used: %w", err)}
		}
		d.startMedia()
	}
	d.mu.Lock()
	d.in.agreed = true
	d.mu.Unlock()
	return nil
}

// lateAnswer takes the answer to an offer of ours.
func (d *dialog) lateAnswer(body []byte) error {
	if d.in.offer.any || len(body) == 0 {
		return nil
	}
	if err := d.applyAnswer(body, false); err != nil {
		return &badDescription{fmt.Errorf("the caller's answer to our offer cannot be used: %w", err)}
	}
	d.mu.Lock()
	d.in.offer.any = true // there is nothing left to agree on
	d.mu.Unlock()
	if d.startEarly(d.remoteTag) {
		d.emit(leg.Event{Type: leg.EarlyMedia, Code: 183, Text: "Session Progress", Media: d.media})
	}
	return nil
}

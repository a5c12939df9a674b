package sip

import (
	"context"
	"fmt"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// response begins a response to the INVITE that made the call. All but 100 have
// our tag (RFC 3261 section 8.2.6.2).
func (d *dialog) response(code int, text string) *sipmsg.Response {
	res := sipmsg.NewResponseFromRequest(d.in.req, code, text, nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	if code > 100 {
		res.To().Params.Add("tag", tagOf(d.head.from.Params))
	}
	if code > 100 && code < 300 {
		res.AppendHeader(&sipmsg.ContactHeader{Address: d.head.contact})
		res.AppendHeader(sipmsg.NewHeader("Allow", allowed))
		res.AppendHeader(sipmsg.NewHeader("Supported", d.a.supported()))
	}
	res.AppendHeader(sipmsg.NewHeader("Server", d.a.name))
	return res
}

// tell sends a response without body.
func (d *dialog) tell(code int, text string, extra ...sipmsg.Header) {
	res := d.response(code, text)
	for _, h := range extra {
		res.AppendHeader(h)
	}
	if err := d.in.tx.Respond(res); err != nil {
		d.log.Debug("a SIP answer could not be sent", "code", code, "error", err)
	}
}

// refuse ends the transaction; the caller's CANCEL may have done so before.
func (d *dialog) refuse(code int, text string, extra ...sipmsg.Header) { d.tell(code, text, extra...) }

// ring sends 180, or 183 with our description when media may flow before the
// answer. A caller that has made no offer learns ours if it acknowledges it
// (RFC 3262 section 5).
func (d *dialog) ring(r reply) (*sipmsg.Response, error) {
	code, text := 180, "Ringing"
	if r.media {
		code, text = 183, "Session Progress"
	}
	body := ""
	if r.media && (d.in.offer.any || d.in.reliably) {
		if err := d.settle(r.terms); err != nil {
			return nil, err
		}
		d.mu.Lock()
		body = d.local.describe()
		d.mu.Unlock()
	}
	res := d.response(code, text)
	if d.in.reliably {
		d.number(res)
	}
	setBody(res, "application/sdp", body)
	if err := d.in.tx.Respond(res); err != nil {
		d.log.Debug("a SIP answer could not be sent", "code", code, "error", err)
	}
	e := leg.Event{Type: leg.Ringing, Code: code, Text: text}
	if r.media {
		e.Type = leg.EarlyMedia
		if d.in.offer.any && d.startEarly(d.remoteTag) {
			e.Media = d.media
		}
	}
	d.emit(e)
	return res, nil
}

// pickUp answers: 200 until its ACK comes, then the call as any other.
func (d *dialog) pickUp(ctx context.Context, t leg.Terms) leg.Cause {
	in := d.in
	if err := d.settle(t); err != nil {
		return d.cannot(err)
	}
	res := d.response(200, "OK")
	for _, h := range d.timeAsked(in.req) {
		res.AppendHeader(h)
	}
	d.mu.Lock()
	setBody(res, "application/sdp", d.local.describe())
	d.answered = true // requests of the caller may overtake our return from Respond
	d.mu.Unlock()
	end, has := d.offers.begin(theirs)
	if has != nobody { // an UPDATE is just being answered
		end = d.offers.replace(theirs)
	}
	acked := d.expectACK(in.req.CSeq().SeqNo, end)
	if err := in.tx.Respond(res); err != nil {
		d.log.Warn("SIP answer could not be sent", "error", err)
	}
	select {
	case <-in.cancelled: // CANCEL came first, sipgo has sent 487
		d.unanswer(end)
		return d.givenUp()
	default:
	}
	d.log.Debug("SIP call to us answered", "peer", d.next.String())
	if in.offer.any {
		d.up(res)
	}
	if c, ok := d.confirm(ctx, res, acked); !ok {
		return c
	}
	if !in.offer.any {
		if c, ok := d.agreeLate(res); !ok {
			d.bye(c)
			return c
		}
	}
	return d.stay(ctx)
}

func (d *dialog) unanswer(end func()) {
	d.mu.Lock()
	d.answered, d.acked = false, nil
	d.mu.Unlock()
	end()
}

// up tells that the call is established.
func (d *dialog) up(res *sipmsg.Response) {
	d.media.restart(time.Now())
	d.emit(leg.Event{Type: leg.Answered, Code: res.StatusCode, Text: res.Reason, Media: d.media})
}

// agreeLate takes the answer to the offer of our 200 out of the ACK.
func (d *dialog) agreeLate(res *sipmsg.Response) (leg.Cause, bool) {
	var body []byte
	select {
	case body = <-d.in.ack:
	default:
	}
	if err := d.applyAnswer(body, false); err != nil {
		return d.failed(leg.NoCommonCodecs, 488, "the caller's answer to our offer cannot be used: %v", err), false
	}
	d.up(res)
	return leg.Cause{}, true
}

// confirm repeats the 200 until its ACK comes (RFC 3261 section 13.3.1.4). A
// hang-up waits for it: no BYE before the ACK (section 15).
func (d *dialog) confirm(ctx context.Context, res *sipmsg.Response, acked <-chan struct{}) (leg.Cause, bool) {
	wait := timerT1
	timer := time.NewTimer(wait)
	defer timer.Stop()
	d.a.mu.Lock()
	limit := d.a.ackTime
	d.a.mu.Unlock()
	deadline := time.Now().Add(limit)
	for {
		select {
		case <-acked:
			return leg.Cause{}, true
		case ack := <-d.in.tx.Acks():
			d.handleACK(ack)
		case c := <-d.ended:
			if !d.follows(acked) {
				return c, false
			}
			select { // for whoever leads the call from here
			case d.ended <- c:
			default:
			}
			return leg.Cause{}, true
		case <-ctx.Done():
			return d.failed(leg.Internal, 0, "the server stopped before the caller acknowledged our answer"), false
		case now := <-timer.C:
			if !now.Before(deadline) {
				c := leg.Cause{Kind: leg.RequestTimeout, Code: 408, Local: true, Text: fmt.Sprintf("the caller did not acknowledge our answer within %v", limit)}
				d.bye(c)
				return c, false
			}
			_ = d.in.tx.Respond(res) // lost ones are repeated
			wait = min(2*wait, timerT2)
			timer.Reset(min(wait, time.Until(deadline)))
		}
	}
}

// follows says that the ACK is there, or comes at once, although the BYE was
// seen before it: the two can travel together, and each request is handled by a
// goroutine of its own.
func (d *dialog) follows(acked <-chan struct{}) bool {
	timer := time.NewTimer(timerT1)
	defer timer.Stop()
	for {
		select {
		case <-acked:
			return true
		case ack := <-d.in.tx.Acks():
			d.handleACK(ack)
		case <-timer.C:
			return false
		}
	}
}

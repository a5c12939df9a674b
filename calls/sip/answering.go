package sip

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// handleOffer answers a re-INVITE or UPDATE: hold, resume, a new address,
// video that comes or goes.
func (d *dialog) handleOffer(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	if d.tooShort(req) {
		d.a.respond(req, tx, 422, "Session Interval Too Small", sipmsg.NewHeader("Min-SE", strconv.Itoa(int(d.a.cfg.MinSession/time.Second))))
		return
	}
	invite := req.Method == sipmsg.INVITE
	end := func() {}
	if invite || len(req.Body()) > 0 { // an UPDATE without an offer only refreshes
		var has turn
		if end, has = d.offers.begin(theirs); has == ours {
			d.a.respond(req, tx, 491, "Request Pending") // RFC 3261 section 14.2, RFC 3311 section 5.2
			return
		} else if has == theirs {
			if end = d.supersede(); end == nil {
				d.a.respond(req, tx, 500, "Busy With Another Offer", sipmsg.NewHeader("Retry-After", strconv.Itoa(rand.IntN(11))))
				return
			}
		}
	}
	res, err := d.acceptOffer(req)
	if err != nil {
		end()
		d.log.Info("SIP offer of the other side is refused", "method", req.Method, "error", err)
		d.a.respond(req, tx, 488, "Not Acceptable Here")
		return
	}
	var acked chan struct{}
	if invite {
		acked = d.expectACK(req.CSeq().SeqNo, end)
	} else {
		end()
	}
	if err := tx.Respond(res); err != nil {
		d.log.Warn("SIP answer to an offer could not be sent", "method", req.Method, "error", err)
	}
	if acked != nil {
		d.untilACK(tx, res, acked)
	}
}

// supersede takes the turn of an INVITE of the peer whose 200 waits for its
// ACK: a peer that sends another request has seen our 200. nil when there is none.
func (d *dialog) supersede() (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.acked == nil {
		return nil
	}
	close(d.acked)
	d.acked, d.lateOffer = nil, false
	return d.offers.replace(theirs)
}

// acceptOffer takes the offer and makes the 200.
func (d *dialog) acceptOffer(req *sipmsg.Request) (*sipmsg.Response, error) {
	answer, err := d.answerOffer(req)
	if err != nil {
		return nil, err
	}
	d.retarget(req.GetHeader("Contact"), sourceOf(req))
	res := sipmsg.NewResponseFromRequest(req, 200, "OK", nil)
	d.mu.Lock()
	res.AppendHeader(&sipmsg.ContactHeader{Address: d.head.contact})
	d.mu.Unlock()
	res.AppendHeader(sipmsg.NewHeader("Allow", allowed))
	res.AppendHeader(sipmsg.NewHeader("Supported", d.a.supported()))
	for _, h := range d.timeAsked(req) {
		res.AppendHeader(h)
	}
	res.AppendHeader(sipmsg.NewHeader("Server", d.a.name))
	setBody(res, "application/sdp", answer)
	return res, nil
}

// expectACK makes seq the re-INVITE whose 200 is to be acknowledged. With the
// ACK, end ends the peer's turn.
func (d *dialog) expectACK(seq uint32, end func()) chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unacked, d.acked, d.ackEnds = seq, make(chan struct{}), end
	return d.acked
}

// retarget takes a new Contact of the peer (RFC 3261 section 12.2.2).
func (d *dialog) retarget(contact sipmsg.Header, source hop) {
	h, ok := contact.(*sipmsg.ContactHeader)
	if !ok || !isSIP(h.Address.Scheme) || checkHost(h.Address.Host) != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.answered {
		return // the answer names the target
	}
	if len(d.head.routes) > 0 { // the next hop stays the first route
		d.target = uriOf(h.Address)
		return
	}
	old := d.target
	d.target, d.source = uriOf(h.Address), source
	next, err := d.nextHop(d.life)
	if err != nil {
		d.target = old
		return
	}
	d.next = next
}

// untilACK repeats our 200 until the ACK comes; the transaction does not, by
// RFC 6026 section 7.1. It runs on the request's own goroutine, and ends with
// the call.
func (d *dialog) untilACK(tx *sipmsg.ServerTx, res *sipmsg.Response, acked <-chan struct{}) {
	wait := timerT1
	timer := time.NewTimer(wait)
	defer timer.Stop()
	deadline := time.Now().Add(timerH)
	for {
		select {
		case <-acked:
			return
		case ack := <-tx.Acks():
			d.handleACK(ack)
		case <-d.done:
			return
		case now := <-timer.C:
			if now.After(deadline) {
				d.hangup(leg.Cause{Kind: leg.RequestTimeout, Code: 408, Local: true, Text: "the other side did not acknowledge our answer to its re-INVITE"})
				return
			}
			_ = tx.Respond(res) // lost ones are repeated
			wait = min(2*wait, timerT2)
			timer.Reset(wait)
		}
	}
}

func (d *dialog) handleACK(req *sipmsg.Request) {
	d.mu.Lock()
	mine := d.acked != nil && req.CSeq().SeqNo == d.unacked
	late := mine && d.lateOffer
	end := d.ackEnds
	if mine {
		if d.in != nil && req.CSeq().SeqNo == d.in.req.CSeq().SeqNo {
			d.in.ack <- req.Body() // the only one: acked is nil from now on
		}
		close(d.acked)
		d.acked, d.lateOffer = nil, false
	}
	d.mu.Unlock()
	if mine {
		defer end()
	}
	if late {
		if err := d.applyOffer(req.Body(), false); err != nil {
			d.log.Warn("SIP answer in the ACK of a re-INVITE cannot be used", "error", err)
		}
	}
}

// answerOffer makes our description for a request of the peer: the answer to
// its offer, or our offer when it has none.
func (d *dialog) answerOffer(req *sipmsg.Request) (string, error) {
	if len(req.Body()) == 0 {
		d.mu.Lock()
		defer d.mu.Unlock()
		if req.Method == sipmsg.UPDATE {
			return "", nil // a session refresh
		}
		d.lateOffer = true
		return d.local.describe(), nil
	}
	if err := d.applyOffer(req.Body(), true); err != nil {
		return "", fmt.Errorf("offer of the other side: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lateOffer = false
	return d.local.describe(), nil
}

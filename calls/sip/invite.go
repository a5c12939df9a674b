package sip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

const (
	// cancelTime bounds how long a cancelled INVITE may stay unanswered; RFC
	// 3261 section 9.1 allows 32 s, but the ports are wanted back.
	cancelTime = 10 * time.Second
	byeTime    = 3 * time.Second
	// maxForks bounds how many other branches' 2xx are acknowledged and ended.
	maxForks = 8
)

func random32() uint32 { return rand.Uint32() }

// invite sends the INVITE, again with credentials when challenged. It returns
// the 2xx, or nil and the cause.
func (d *dialog) invite() (*sipmsg.Response, leg.Cause) {
	login := d.creds.begin()
	for attempt := 0; ; attempt++ {
		req, next := d.nextInvite()
		if attempt == 0 {
			d.log.Debug("SIP call started", "target", req.Recipient.String(), "server", next.String())
		}
		res, cause := d.await(req, next)
		if res == nil || res.IsSuccess() {
			return res, cause
		}
		if d.trusts(next) && !d.hungUp() {
			again, err := login.retry(res)
			if err != nil {
				return nil, d.refusedLogin(res, err)
			}
			if again {
				continue
			}
		}
		if res.StatusCode == 422 && attempt < 4 && !d.hungUp() && d.tooSmall(res) {
			continue
		}
		if (res.StatusCode == 488 || res.StatusCode == 606) && !d.hungUp() && d.insist() {
			continue
		}
		on, cause := d.follow(res)
		if cause.Text != "" {
			return nil, cause
		}
		if !on {
			d.elsewhere = res.StatusCode == 503
			return nil, d.rejected(res)
		}
		attempt, login = -1, d.creds.begin()
	}
}

// insist turns an offer that leaves encryption to the callee into one that asks
// for it: phones that must encrypt refuse keys under the plain profile. It is
// false when there is nothing to change.
func (d *dialog) insist() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := false
	for i := range d.local.sections {
		if s := &d.local.sections[i]; s.proto == "RTP/AVP" && len(s.cryptos) > 0 {
			s.proto, changed = "RTP/SAVP", true
		}
	}
	return changed
}

// nextInvite makes an INVITE that opens the dialog, with a CSeq of its own.
func (d *dialog) nextInvite() (*sipmsg.Request, hop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.head.cseq++
	req := d.head.request(sipmsg.INVITE, d.target)
	d.timed(req)
	if d.req.Replaces != "" {
		req.AppendHeader(sipmsg.NewHeader("Replaces", d.req.Replaces))
	}
	setBody(req, "application/sdp", d.local.describe())
	if d.trusts(d.next) {
		d.creds.sign(req)
	}
	return req, d.next
}

// trusts says whether a server may see what our password makes: the one of the
// account. Anybody else could collect digests to guess it from.
func (d *dialog) trusts(next hop) bool {
	return !d.foreign && next.addr.Addr() == d.home.addr.Addr() && (d.home.transport != overTLS || next.transport == overTLS)
}

func (d *dialog) hungUp() bool {
	select {
	case <-d.hang:
		return true
	default:
		return false
	}
}

func (d *dialog) refusedLogin(challenge *sipmsg.Response, why error) leg.Cause {
	c := d.failed(leg.Rejected, challenge.StatusCode, "the SIP server wants a login and cannot be answered: %v", why)
	c.Local = d.hungUp()
	return c
}

// await leads one INVITE transaction to its final response, through any number
// of provisional ones, and cancels it when told to.
func (d *dialog) await(req *sipmsg.Request, next hop) (*sipmsg.Response, leg.Cause) {
	if d.hungUp() {
		return nil, d.hangCause
	}
	tx, err := d.a.transact(req, next)
	if err != nil {
		d.elsewhere = true
		return nil, d.failed(leg.Setup, 0, "%v", err)
	}
	tx.OnRetransmission(d.repeated)
	var (
		heard, cancelled bool
		hang             = d.hang
		limit            = time.NewTimer(d.a.cfg.ResponseTimeout)
	)
	defer limit.Stop()
	for {
		select {
		case res := <-tx.Responses():
			if !saneResponse(res) {
				continue
			}
			if !res.IsProvisional() {
				return res, leg.Cause{} // the transaction lives on: it repeats ACK
			}
			if !heard {
				heard = true
				limit.Reset(d.a.cfg.RingingTimeout)
			}
			if hang == nil && !cancelled {
				cancelled = d.cancel(req, next, limit)
			} else if !cancelled {
				d.progress(res)
			}
		case <-hang:
			hang = nil
			if heard { // CANCEL must not overtake the INVITE (RFC 3261 section 9.1)
				cancelled = d.cancel(req, next, limit)
			} else {
				limit.Reset(min(cancelTime, d.a.cfg.ResponseTimeout))
			}
		case <-d.life.Done():
			tx.Terminate()
			return nil, d.failed(leg.Internal, 0, "the server stopped before the INVITE was answered")
		case <-limit.C:
			if heard && !cancelled {
				d.hangup(leg.Cause{Kind: leg.RequestTimeout, Code: 408, Local: true,
					Text: fmt.Sprintf("nobody answered within %v (sip_ringing_timeout)", d.a.cfg.RingingTimeout)})
				hang = nil
				cancelled = d.cancel(req, next, limit)
				continue
			}
			tx.Terminate()
			d.elsewhere = !heard
			return nil, d.failed(leg.RequestTimeout, 408, "%v did not answer the INVITE within %v (sip_response_timeout)", next, d.a.cfg.ResponseTimeout)
		case <-tx.Done():
			d.elsewhere = !heard
			if errors.Is(tx.Err(), sipmsg.ErrTransactionTimeout) {
				return nil, d.failed(leg.RequestTimeout, 408, "%v did not answer the INVITE", next)
			}
			return nil, d.failed(leg.Setup, 0, "the INVITE to %v failed: %v", next, tx.Err())
		}
	}
}

// cancel sends CANCEL; the INVITE's final response is then waited for a while.
func (d *dialog) cancel(invite *sipmsg.Request, next hop, limit *time.Timer) bool {
	limit.Reset(cancelTime)
	d.log.Debug("SIP call is being cancelled", "cause", d.hangCause.Text)
	d.work.Go(func() {
		ctx, cancel := context.WithTimeout(d.life, cancelTime)
		defer cancel()
		req := cancelFor(invite)
		if d.hangCause.Code == 200 { // RFC 3326 section 2: no missed call
			req.AppendHeader(sipmsg.NewHeader("Reason", `SIP;cause=200;text="Call completed elsewhere"`))
		}
		if _, err := d.a.exchange(ctx, req, next); err != nil {
			d.log.Debug("CANCEL was not answered", "error", err)
		}
	})
	return true
}

// progress reports a provisional response, repeated ones once.
func (d *dialog) progress(res *sipmsg.Response) {
	code, text := res.StatusCode, plain(res.Reason)
	if !d.reliable(res) {
		return
	}
	d.mu.Lock()
	news := !d.told[code-100]
	if d.told[code-100] = true; code == 100 {
		// sipgo hands responses on in no sure order: 100 is no news after 180.
		news = news && !slices.Contains(d.told[1:], true)
	}
	d.mu.Unlock()
	if body := res.Body(); len(body) > 0 && code > 100 {
		if err := d.applyAnswer(body, false); err != nil {
			d.log.Debug("the early session description cannot be used", "error", err)
		} else if d.startEarly(tagOf(res.To().Params)) {
			d.log.Debug("SIP early media", "code", code)
			d.emit(leg.Event{Type: leg.EarlyMedia, Code: code, Text: text, Media: d.media})
			return
		}
	}
	if !news {
		return
	}
	switch {
	case code == 100 && d.flow.IsValid(): // nothing a leg.Line tells of
	case code == 100:
		d.emit(leg.Event{Type: leg.Trying, Code: code, Text: text})
	case code == 183:
		d.emit(leg.Event{Type: leg.EarlyMedia, Code: code, Text: text})
	default:
		d.log.Debug("SIP callee rings", "code", code)
		d.emit(leg.Event{Type: leg.Ringing, Code: code, Text: text})
	}
}

// startEarly notes whose description is in force before the answer; it is true
// for the first one.
func (d *dialog) startEarly(tag string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.earlyTag = tag
	if d.began {
		return false
	}
	d.began = true
	return true
}

// repeated takes what comes for the INVITE after its 2xx: the same again
// (our ACK was lost), or the 2xx of another branch of a fork, which is
// acknowledged and ended (RFC 3261 section 13.2.2.4).
func (d *dialog) repeated(res *sipmsg.Response) {
	if !res.IsSuccess() || !saneResponse(res) {
		return
	}
	select {
	case d.accepted <- res:
	default: // eight wait: the peer repeats it
	}
}

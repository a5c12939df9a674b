package sip

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

const (
	// maxProgress bounds what waits to be told of a REFER; more is left out.
	maxProgress = 8
	// referTime is how long the peer is told that more may come (RFC 3515 section 2.4.4).
	referTime = 3 * time.Minute
)

// sipfrag is a status line for the peer (RFC 3420).
type sipfrag struct {
	code int
	text string
}

// handleRefer takes the peer's wish that we call somebody else (RFC 3515). Only
// calls that say so in their request or terms do that: whoever is called would
// else make this server call at its account's cost.
func (d *dialog) handleRefer(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	target, replaces, err := referTarget(req)
	d.mu.Lock()
	allowed, busy := d.req.Referable && d.answered, d.referral != nil
	if allowed && !busy && err == nil {
		d.referral = make(chan sipfrag, maxProgress)
	}
	progress := d.referral
	d.mu.Unlock()
	switch {
	case !allowed:
		d.a.respond(req, tx, 603, "Decline")
		return
	case err != nil:
		d.log.Info("REFER is refused", "err", err)
		d.a.respond(req, tx, 400, "Bad Refer-To")
		return
	case busy:
		d.a.respond(req, tx, 491, "Request Pending")
		return
	}
	d.log.Info("the other side asks to be connected to somebody else", "attended", replaces != "")
	d.a.respond(req, tx, 202, "Accepted")
	d.work.Go(func() { d.reportReferral(progress) })
	d.emit(leg.Event{Type: leg.Referred, Text: target, Replaces: replaces})
}

// Refer implements leg.Referee.
func (d *dialog) Refer(code int, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.referral == nil {
		return
	}
	select {
	case d.referral <- sipfrag{code, text}:
	default:
		if code < 200 {
			return // progress that is old by now
		}
		<-d.referral // the outcome is told in any case
		d.referral <- sipfrag{code, text}
	}
	if code >= 200 {
		close(d.referral)
		d.referral = nil
	}
}

// reportReferral tells the peer by NOTIFY how its REFER goes, until the outcome
// or the end of the call.
func (d *dialog) reportReferral(progress <-chan sipfrag) {
	limit := time.NewTimer(referTime)
	defer limit.Stop()
	for {
		var f sipfrag
		select {
		case f = <-progress:
		case <-limit.C:
			d.Refer(408, "Request Timeout")
			continue
		case <-d.life.Done():
			return
		}
		state := fmt.Sprintf("active;expires=%d", int(referTime/time.Second))
		if f.code >= 200 {
			state = "terminated;reason=noresource"
		}
		ctx, cancel := context.WithTimeout(d.life, timerH)
		_, err := d.request(ctx, sipmsg.NOTIFY, "message/sipfrag;version=2.0", fmt.Sprintf("SIP/2.0 %d %s\r\n", f.code, plain(f.text)),
			sipmsg.NewHeader("Event", "refer"), sipmsg.NewHeader("Subscription-State", state))
		cancel()
		if err != nil {
			d.log.Debug("the other side does not take how its REFER goes", "err", err)
		}
		if f.code >= 200 {
			return
		}
	}
}

// referTarget is whom a REFER is to, and the dialog there whose place the new
// call is to take (RFC 3515 section 2.1, RFC 3891).
func referTarget(req *sipmsg.Request) (target, replaces string, err error) {
	hs := req.GetHeaders("Refer-To")
	if len(hs) != 1 {
		return "", "", fmt.Errorf("it has %d Refer-To headers, wanted is one", len(hs))
	}
	return parseReferTo(hs[0].Value())
}

func parseReferTo(value string) (target, replaces string, err error) {
	if len(value) > 4*maxName {
		return "", "", errors.New("its Refer-To is too long")
	}
	value = strings.TrimSpace(value)
	if i := strings.IndexByte(value, '<'); i >= 0 {
		var closed bool
		if value, _, closed = strings.Cut(value[i+1:], ">"); !closed {
			return "", "", errors.New("its Refer-To has no end")
		}
	}
	target, headers, _ := strings.Cut(value, "?")
	if s := strings.ToLower(target); !strings.HasPrefix(s, "sip:") && !strings.HasPrefix(s, "sips:") && !strings.HasPrefix(s, "tel:") {
		return "", "", errors.New("its Refer-To is no SIP address")
	}
	if _, err := calleeURI(target, "localhost"); err != nil {
		return "", "", fmt.Errorf("its Refer-To: %w", err)
	}
	for h := range strings.SplitSeq(headers, "&") {
		name, v, _ := strings.Cut(h, "=")
		if !strings.EqualFold(name, "Replaces") {
			continue
		}
		if replaces, err = url.PathUnescape(v); err != nil || hasControl(replaces) || !strings.Contains(replaces, ";") {
			return "", "", errors.New("the Replaces in its Refer-To is none")
		}
	}
	return target, replaces, nil
}

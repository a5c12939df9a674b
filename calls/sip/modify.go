package sip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

const (
	// maxGlare bounds how often an offer of ours is repeated after a 491.
	maxGlare = 5
	// reinviteTime is how long a re-INVITE may go unanswered: it needs no person.
	reinviteTime = 32 * time.Second
)

// errRefused says that the other side did not take an offer of ours; the
// session is as before (RFC 3261 section 14.1).
type errRefused struct {
	code   int
	reason string
}

func (e *errRefused) Error() string {
	return fmt.Sprintf("the other side refused the change of the session: %d %s", e.code, e.reason)
}

// errUnanswered says that a re-INVITE of ours met with silence, or with a 408,
// which a proxy makes of it.
var errUnanswered = errors.New("the re-INVITE was not answered in time")

// propose changes the session by a re-INVITE of ours, waiting for its turn and
// again after a collision. change edits a copy of our description; nil leaves
// it as it is. When nobody answers, the call ends (RFC 3261 section 12.2.1.2).
func (d *dialog) propose(ctx context.Context, change func(*localSession)) error {
	for try := 0; ; try++ {
		end, err := d.offers.wait(ctx, ours)
		if err != nil {
			return err
		}
		err = d.proposeNow(ctx, change)
		end()
		if errors.Is(err, errUnanswered) {
			d.lost(err.Error())
		}
		var refused *errRefused
		if !errors.As(err, &refused) || refused.code != 491 || try == maxGlare {
			return err
		}
		d.log.Debug("SIP offers crossed, ours is repeated")
		select {
		case <-time.After(glareWait(true)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// proposeNow is one try of propose; the turn is ours.
func (d *dialog) proposeNow(ctx context.Context, change func(*localSession)) error {
	d.mu.Lock()
	offer := d.local
	offer.sections = slices.Clone(d.local.sections)
	if change != nil {
		change(&offer)
	}
	body := offer.describe()
	d.local.version, d.local.sent = offer.version, offer.sent // said, whatever becomes of it
	d.mu.Unlock()
	res, err := d.reinvite(ctx, body)
	if err != nil {
		return err
	}
	if res.StatusCode == sipmsg.StatusRequestTimeout {
		return fmt.Errorf("%w: 408 %s", errUnanswered, plain(res.Reason))
	}
	d.judge(res)
	if !res.IsSuccess() {
		return &errRefused{res.StatusCode, plain(res.Reason)}
	}
	d.mu.Lock()
	before := d.local.sections
	d.local.sections = offer.sections
	d.mu.Unlock()
	if err := d.applyAnswer(res.Body(), true); err != nil {
		d.mu.Lock()
		d.local.sections = before
		d.mu.Unlock()
		return fmt.Errorf("the answer to our re-INVITE cannot be used: %w", err)
	}
	d.retarget(res.GetHeader("Contact"), sourceOf(res))
	return nil
}

// reinvite leads one INVITE transaction within the dialog to its final answer,
// which it acknowledges; digest challenges are answered.
func (d *dialog) reinvite(ctx context.Context, body string) (*sipmsg.Response, error) {
	res, err := d.sendReinvite(ctx, body)
	if err == nil && res.StatusCode == 422 && d.tooSmall(res) {
		res, err = d.sendReinvite(ctx, body)
	}
	if err == nil && res.IsSuccess() {
		d.timeRefreshed(res)
	}
	return res, err
}

func (d *dialog) sendReinvite(ctx context.Context, body string) (*sipmsg.Response, error) {
	login := d.creds.begin()
	for {
		req, next, err := d.inDialog(sipmsg.INVITE, "application/sdp", body)
		if err != nil {
			return nil, err
		}
		res, err := d.awaitReinvite(ctx, req, next)
		if err != nil || !d.again(login, res, next) {
			return res, err
		}
	}
}

func (d *dialog) awaitReinvite(ctx context.Context, req *sipmsg.Request, next hop) (*sipmsg.Response, error) {
	tx, err := d.a.transact(req, next)
	if err != nil {
		return nil, err
	}
	tx.OnRetransmission(d.repeated)
	limit := time.NewTimer(d.a.reinvite)
	defer limit.Stop()
	for {
		select {
		case res := <-tx.Responses():
			if !saneResponse(res) || res.IsProvisional() {
				continue
			}
			if res.IsSuccess() {
				d.ack(res) // the transaction lives on and hands on repeated ones
			}
			return res, nil
		case <-limit.C:
			cancel, stop := context.WithTimeout(ctx, byeTime)
			_, _ = d.a.exchange(cancel, cancelFor(req), next) // it is given up in any case
			stop()
			tx.Terminate()
			return nil, errUnanswered
		case <-tx.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("%w: %w", errUnanswered, tx.Err())
		case <-ctx.Done():
			tx.Terminate()
			return nil, ctx.Err()
		}
	}
}

// judge ends the call when an answer says that the other side has none (RFC
// 3261 section 12.2.1.2).
func (d *dialog) judge(res *sipmsg.Response) {
	if res.StatusCode == 481 || res.StatusCode == 408 {
		d.lost(fmt.Sprintf("the other side does not know the call any more: %d %s", res.StatusCode, plain(res.Reason)))
	}
}

func (d *dialog) lost(why string) {
	d.hangup(leg.Cause{Kind: leg.RequestTimeout, Code: 408, Local: true, Text: why})
}

// spawn runs f beside the call until it is done; ctx ends with the call. false
// when the call or the server is ending.
func (d *dialog) spawn(f func(ctx context.Context)) bool {
	select {
	case <-d.done:
		return false
	default:
	}
	d.a.mu.Lock()
	stopping := d.a.running == nil
	if !stopping {
		d.a.work.Add(1)
	}
	d.a.mu.Unlock()
	if stopping {
		return false
	}
	go func() {
		defer d.a.work.Done()
		f(d.life)
	}()
	return true
}

// offerFree implements signaller.
func (d *dialog) offerFree() bool { return d.offers.free() }

// infoKeyframe implements signaller: the request of RFC 5168. One at a time.
func (d *dialog) infoKeyframe() {
	if !d.infoBusy.CompareAndSwap(false, true) {
		return
	}
	if !d.spawn(func(ctx context.Context) {
		defer d.infoBusy.Store(false)
		ctx, cancel := context.WithTimeout(ctx, stopTime)
		defer cancel()
		const body = `<?xml version="1.0" encoding="utf-8"?><media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>`
		res, err := d.request(ctx, sipmsg.INFO, "application/media_control+xml", body)
		switch {
		case err != nil:
			d.log.Debug("SIP INFO picture_fast_update was not answered", "error", err)
		case !res.IsSuccess():
			d.log.Debug("SIP INFO picture_fast_update was refused", "code", res.StatusCode)
			d.media.keys.bar(byINFO, true)
		}
	}) {
		d.infoBusy.Store(false)
	}
}

// reinviteKeyframe implements signaller: our description, unchanged. A phone
// that refuses it, or does not answer at all, keeps its call and is not asked
// this way again.
func (d *dialog) reinviteKeyframe() {
	end, has := d.offers.begin(ours)
	if has != nobody {
		return
	}
	d.log.Debug("SIP re-INVITE asks for a key frame")
	if !d.spawn(func(ctx context.Context) {
		defer end()
		err := d.proposeNow(ctx, nil)
		var refused *errRefused
		if errors.Is(err, errUnanswered) || errors.As(err, &refused) && refused.code != 491 {
			d.media.keys.bar(byReINVITE, true)
		}
		if err != nil {
			d.log.Debug("SIP re-INVITE for a key frame failed", "error", err)
		}
	}) {
		end()
	}
}

// meet notes what the peer says of itself in its answer or INVITE.
func (d *dialog) meet(res interface {
	GetHeader(string) sipmsg.Header
	GetHeaders(string) []sipmsg.Header
}) {
	agent := ""
	for _, name := range []string{"Server", "User-Agent"} {
		if h := res.GetHeader(name); h != nil && agent == "" {
			agent = plain(h.Value())
		}
	}
	d.media.keys.meet(agent)
	methods := listed(res.GetHeaders("Allow"))
	d.media.keys.bar(byINFO, len(methods) > 0 && !slices.Contains(methods, "INFO"))
	d.mu.Lock()
	d.update = slices.Contains(methods, "UPDATE")
	d.mu.Unlock()
}

// listed are the comma separated words of headers, in upper case.
func listed(hs []sipmsg.Header) []string {
	var out []string
	for _, h := range hs {
		for _, w := range strings.Split(h.Value(), ",") {
			if w = strings.ToUpper(strings.TrimSpace(w)); w != "" {
				out = append(out, w)
			}
		}
	}
	return out
}

package sip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// run leads the call from its first to its last message.
func (d *dialog) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.life = ctx
	setup, stopSetup := context.WithCancel(ctx)
	d.work.Go(func() { // a hang-up ends name look-ups and REGISTER at once
		select {
		case <-d.hang:
			stopSetup()
		case <-ctx.Done():
		}
	})
	var cause leg.Cause
	if d.in != nil {
		cause = d.serve(ctx)
	} else {
		cause = d.converse(ctx, setup)
	}
	close(d.done)
	cancel()
	stopSetup()
	if d.media != nil { // a call to us may end before it has any
		d.media.farewell(time.Now())
		d.media.close(d.a.ports)
	}
	d.work.Wait()
	d.a.forget(d)
	for _, leave := range d.friends {
		leave()
	}
	d.log.Debug("SIP call ended", "code", cause.Code, "cause", cause.Text, "local", cause.Local) // the call says it aloud
	d.emit(leg.Event{Type: leg.Ended, Code: cause.Code, Text: cause.Text, Cause: cause})
}

// converse registers, invites and talks; it returns why the call ended.
func (d *dialog) converse(ctx, setup context.Context) leg.Cause {
	targets, err := []hop{d.flow}, error(nil)
	if !d.flow.IsValid() {
		targets, err = d.a.targets(setup, d.party.server.host, d.party.server.port, d.party.server.transport)
	}
	if err != nil {
		return d.failed(leg.Setup, 0, "%v", err)
	}
	if d.req.Register {
		release, at, err := d.a.register(setup, d.party, targets)
		if err != nil {
			return d.registerFailed(err)
		}
		defer release()
		targets = preferring(targets, at)
	}
	var cause leg.Cause
	for i, next := range targets { // RFC 3263 section 4.3
		var res *sipmsg.Response
		if res, cause = d.inviteAt(setup, next); res != nil {
			return d.talk(ctx, res)
		}
		if !d.elsewhere || d.hungUp() || i == len(targets)-1 {
			break
		}
		d.log.Info("SIP server cannot be used, another one of its domain is tried", "server", next.String(), "cause", cause.Text)
	}
	return cause
}

// inviteAt sends the INVITE to one server.
func (d *dialog) inviteAt(setup context.Context, next hop) (*sipmsg.Response, leg.Cause) {
	d.elsewhere = false
	d.friends = append(d.friends, d.a.befriend(next.addr.Addr()))
	at, err := d.a.reach(setup, next)
	if err != nil {
		d.elsewhere = true
		return nil, d.failed(leg.Setup, 0, "%v", err)
	}
	if d.aim(at, next) > largeRequest {
		if tcp, at, ok := d.a.overTCPInstead(setup, d.party, next); ok {
			d.aim(at, tcp)
		}
	}
	return d.invite()
}

// aim makes a server the one of the dialog and returns how many bytes the
// INVITE to it will have.
func (d *dialog) aim(at endpoint, next hop) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.home, d.foreign = next, false
	d.prepare(at, next)
	d.media.trace.Host(at.host)
	req := d.head.request(sipmsg.INVITE, d.target)
	d.timed(req)
	setBody(req, "application/sdp", d.local.describe())
	return len(req.String())
}

// prepare fills in our addresses and the offer. The caller holds mu.
func (d *dialog) prepare(at endpoint, next hop) {
	d.next = next
	if d.party.server.loose {
		d.head.routes = []string{d.party.server.route()}
	}
	d.place(at)
	d.local = localSession{name: d.a.name, version: time.Now().UnixMilli(), address: at.host}
	if d.media == nil {
		return
	}
	profile := "RTP/AVP"
	if d.srtp == srtpRequired {
		profile = "RTP/SAVP"
	}
	for _, s := range d.media.sections {
		var keys []crypto
		if d.srtp.offers(next.transport) {
			keys = newCryptos()
		}
		d.local.sections = append(d.local.sections, localSection{
			kind: s.kind, proto: profile, cryptos: keys, port: s.pair.port, formats: localFormats(s.ours),
			dir: makeDirection(s.want, true), ssrc: s.tx.SSRC, cname: s.cname,
		})
	}
}

// place says in requests where we are. The caller holds mu.
func (d *dialog) place(at endpoint) {
	d.head.viaHost, d.head.viaPort = at.host, at.port
	user := d.party.login
	if user == "" {
		user = d.party.from.User
	}
	d.head.contact = at.contact(cmp.Or(d.party.target.Scheme, "sip"), user, d.next.transport)
}

// failed is a cause that comes from this side; a hang-up in the meantime wins.
func (d *dialog) failed(kind leg.CauseKind, code int, format string, args ...any) leg.Cause {
	select {
	case <-d.hang:
		return d.hangCause
	default:
		return leg.Cause{Kind: kind, Code: code, Text: fmt.Sprintf(format, args...), Local: true}
	}
}

func (d *dialog) registerFailed(err error) leg.Cause {
	var refused *refusedError
	if errors.As(err, &refused) {
		return d.failed(leg.Rejected, refused.code, "%v", err)
	}
	if errors.Is(err, sipmsg.ErrTransactionTimeout) || errors.Is(err, context.DeadlineExceeded) {
		return d.failed(leg.RequestTimeout, 408, "the SIP server did not answer the REGISTER of %s in time", d.party.login)
	}
	return d.failed(leg.Setup, 0, "%v", err)
}

package sip

import (
	"context"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/calls/leg"
)

const (
	// maxMessage bounds a text message we send; RFC 3428 section 8 asks for less than 1300
	// bytes over UDP.
	maxMessage = 1300
	// maxTexts bounds the messages outside of calls that are under way.
	maxTexts = 64
	// textTime bounds the wait for an answer: 64 times T1 (RFC 3261 section
	// 17.1.2.2) for each of two tries is the most there can be.
	textTime = 32 * time.Second
)

// SendMessage implements leg.Messenger by MESSAGE within the call (S0-4, RFC 3428).
func (d *dialog) SendMessage(ctx context.Context, text string) error {
	if text == "" || len(text) > maxMessage {
		return fault.New(fault.BadRequest, "a message must have 1 to %d bytes, this one has %d", maxMessage, len(text))
	}
	res, err := d.request(ctx, sipmsg.MESSAGE, "text/plain;charset=UTF-8", text)
	if err != nil {
		return fault.New(fault.Internal, "message in call %s: %w", d.callID, err)
	}
	d.judge(res)
	if !res.IsSuccess() {
		return fault.New(fault.Internal, "message in call %s: the other side answered %d %s", d.callID, res.StatusCode, plain(res.Reason))
	}
	return nil
}

// SendText implements leg.Texter by MESSAGE outside of a dialog (RFC 3428). The
// account is not registered for it; a server that asks for the password gets an
// answer to one challenge.
func (a *Agent) SendText(ctx context.Context, r leg.Request, contentType, text string) error {
	r.CallID = sipmsg.GenerateTagN(24)
	switch contentType {
	case "":
		contentType = "text/plain;charset=UTF-8"
	case "text/plain", "message/cpim":
	default:
		return fault.New(fault.BadRequest, "contentType: want text/plain or message/cpim, got %.80q", contentType)
	}
	if text == "" || len(text) > maxMessage {
		return fault.New(fault.BadRequest, "a message must have 1 to %d bytes, this one has %d", maxMessage, len(text))
	}
	p, err := newParty(r, &a.cfg)
	if err != nil {
		return err
	}
	life, done, err := a.beginText()
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, textTime)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	res, err := a.text(ctx, a.newDialog(r, p).head, p, contentType, text)
	if err != nil {
		return fault.New(fault.Internal, "message to %s: %w", p.target.String(), err)
	}
	if !res.IsSuccess() {
		return fault.New(fault.Internal, "message to %s: the other side answered %d %s", p.target.String(), res.StatusCode, plain(res.Reason))
	}
	return nil
}

// beginText takes one of the places there are; done gives it back.
func (a *Agent) beginText() (life context.Context, done func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.running == nil:
		return nil, nil, fault.New(fault.Unavailable, "the SIP side is not running")
	case a.texts == maxTexts:
		return nil, nil, fault.New(fault.Unavailable, "%d messages are under way, which is the limit", maxTexts)
	}
	a.texts++
	a.work.Add(1)
	return a.running, func() {
		a.mu.Lock()
		a.texts--
		a.mu.Unlock()
		a.work.Done()
	}, nil
}

// text sends the MESSAGE, again with credentials when challenged by the server
// it was sent to.
func (a *Agent) text(ctx context.Context, h headers, p *party, contentType, text string) (*sipmsg.Response, error) {
	targets, err := a.targets(ctx, p.server.host, p.server.port, p.server.transport)
	if err != nil {
		return nil, err
	}
	next := targets[0]
	defer a.befriend(next.addr.Addr())()
	at, err := a.reach(ctx, next)
	if err != nil {
		return nil, err
	}
	h.viaHost, h.viaPort = at.host, at.port
	if p.server.loose {
		h.routes = []string{p.server.route()}
	}
	creds := &credentials{user: p.user, password: p.pass}
	login := creds.begin()
	for {
		req := h.request(sipmsg.MESSAGE, p.target)
		req.RemoveHeader("Contact") // RFC 3428 section 4: it makes no dialog
		setBody(req, contentType, text)
		creds.sign(req)
		res, err := a.exchange(ctx, req, next)
		if err != nil {
			return nil, err
		}
		again, err := login.retry(res)
		if err != nil || !again {
			return res, err
		}
		h.cseq++
	}
}

package sip

import (
	"mime"
	"net/netip"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
	"lineout/calls/limit"
)

const (
	// maxText bounds a text message to us.
	maxText = 8 << 10
	// textTypes are the kinds of text we take (RFC 3428 section 8, RFC 3862).
	textTypes = "text/plain, message/cpim"
)

// TakeTexts has messages to us that belong to no call passed to r; without it
// all are refused.
func (a *Agent) TakeTexts(r leg.TextReceiver) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reader = r
}

// texted takes a MESSAGE outside of calls (RFC 3428 section 7) from those who
// may call us, and from the servers of present calls and registrations. Others
// are refused before their words are looked at.
func (a *Agent) texted(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	source := sourceOf(req).addr
	from, known := a.identify(req, source)
	if !known && a.isPeer(source.Addr()) && !a.servesUser(req, source) {
		known = true
	}
	if !known {
		var answered bool
		if from, known, answered = a.admitted(req, tx, source); answered {
			return
		}
	}
	if !known {
		a.forbid(req, tx, source)
		return
	}
	if !userOnly(req.Recipient.User) || !userOnly(userOf(req.From().Address)) {
		a.respond(req, tx, 400, "Bad User")
		return
	}
	kind, body, r, extra := readText(req)
	if r != nil {
		a.respond(req, tx, r.Code, r.Text, extra...)
		return
	}
	t := leg.Text{ID: plain(req.CallID().Value()), From: userOf(req.From().Address), To: req.Recipient.User,
		DisplayName: plain(strings.Trim(req.From().DisplayName, `"`)), Trunk: from.trunk, Source: req.Source(), ContentType: kind, Body: body}
	if from.user != "" {
		t.Account = from.user
	}
	if from.account != nil {
		t.Account, t.To = from.account.name, from.account.key.login
	}
	a.mu.Lock()
	reader := a.reader
	a.mu.Unlock()
	if reader == nil {
		a.respond(req, tx, 480, "Temporarily Unavailable")
		return
	}
	if r := reader.ReceiveText(t); r != nil {
		if a.declined.Allow() {
			a.log.Info("SIP message to us is refused", "from", req.Source(), "code", r.Code, "cause", r.Text, "why", r.Why)
		}
		a.respond(req, tx, r.Code, r.Text, retryAfter(r.Retry)...)
		return
	}
	a.respond(req, tx, 200, "OK")
}

// forbid refuses a stranger's message, or says nothing to one who comes too often.
func (a *Agent) forbid(req *sipmsg.Request, tx *sipmsg.ServerTx, source netip.AddrPort) {
	if !a.strangers.Take(limit.Host(source.Addr()), time.Now()) {
		tx.Terminate()
		return
	}
	if a.declined.Allow() {
		a.log.Info("SIP message to us is refused: it comes from no trunk (sip_trunks), no account (sip_accounts) and no server of a present call", "from", source)
	}
	a.respond(req, tx, 403, "Forbidden")
}

// handleMessage takes a text message within the call.
func (d *dialog) handleMessage(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	kind, body, r, extra := readText(req)
	if r != nil {
		d.a.respond(req, tx, r.Code, r.Text, extra...)
		return
	}
	d.a.respond(req, tx, 200, "OK")
	d.emit(leg.Event{Type: leg.MessageReceived, Text: body, ContentType: kind})
}

// readText is a MESSAGE's content, or why it is not taken. Characters other
// than those of UTF-8 and its part US-ASCII are not known here.
func readText(req *sipmsg.Request) (kind, body string, r *leg.Refusal, extra []sipmsg.Header) {
	kind = "text/plain"
	var params map[string]string
	if h := req.ContentType(); h != nil {
		var err error
		if kind, params, err = mime.ParseMediaType(h.Value()); err != nil {
			kind = ""
		}
	}
	refuse := func(name, value string) (string, string, *leg.Refusal, []sipmsg.Header) {
		return "", "", &leg.Refusal{Code: 415, Text: "Unsupported Media Type"}, []sipmsg.Header{sipmsg.NewHeader(name, value)}
	}
	if kind != "text/plain" && kind != "message/cpim" {
		return refuse("Accept", textTypes)
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "us-ascii":
	default:
		return refuse("Accept", "text/plain;charset=UTF-8, message/cpim")
	}
	for _, w := range listed(req.GetHeaders("Content-Encoding")) {
		if w != "IDENTITY" {
			return refuse("Accept-Encoding", "identity")
		}
	}
	if len(req.Body()) > maxText {
		return "", "", &leg.Refusal{Code: 413, Text: "Message Too Large"}, nil
	}
	return kind, strings.ToValidUTF8(string(req.Body()), "\uFFFD"), nil, nil
}

package sip

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
	"lineout/calls/limit"
	"lineout/calls/transmit"
)

// handle answers every request that comes in. It runs on a goroutine of sipgo,
// one per request. Default deny: what no call of ours is about is refused.
func (a *Agent) handle(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	if req.Method == sipmsg.ACK {
		a.handleACK(req)
		tx.Terminate() // sipgo would keep it for ever: an ACK gets no answer
		return
	}
	if code, reason := faulty(req); code != 0 {
		a.respond(req, tx, code, reason)
		return
	}
	if tag := tagOf(req.To().Params); tag != "" {
		d := a.dialogOf(req)
		if d == nil {
			a.respond(req, tx, 481, "Call/Transaction Does Not Exist")
			return
		}
		d.handle(req, tx)
		return
	}
	if source := sourceOf(req).addr; req.Method != sipmsg.CANCEL && !a.requests.Take(limit.Host(source.Addr()), time.Now()) {
		if a.declined.Allow() {
			a.log.Warn("SIP requests come too fast and are told to come later (503)", "from", source, "method", req.Method, "most_per_second", requestRate)
		}
		a.respond(req, tx, 503, "Too Many Requests", retryAfter(requestRetry)...)
		return
	}
	if unknown := required(req); unknown != "" && req.Method != sipmsg.CANCEL {
		a.respond(req, tx, 420, "Bad Extension", sipmsg.NewHeader("Unsupported", unknown))
		return
	}
	switch req.Method {
	case sipmsg.OPTIONS:
		a.respond(req, tx, 200, "OK")
	case sipmsg.INVITE:
		a.invited(req, tx)
	case sipmsg.MESSAGE:
		a.texted(req, tx)
	case sipmsg.REGISTER:
		a.registers(req, tx)
	case sipmsg.CANCEL, sipmsg.BYE, sipmsg.INFO, sipmsg.UPDATE, sipmsg.NOTIFY:
		a.respond(req, tx, 481, "Call/Transaction Does Not Exist")
	default:
		a.notAllowed(req, tx)
	}
}

// notAllowed refuses a method: 405 for those we know but do not serve, 501 for
// what no RFC we know of defines (RFC 3261 section 8.2.1).
func (a *Agent) notAllowed(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	switch req.Method {
	case sipmsg.REGISTER, sipmsg.SUBSCRIBE, sipmsg.NOTIFY, sipmsg.PUBLISH, sipmsg.REFER, sipmsg.PRACK:
		a.respond(req, tx, 405, "Method Not Allowed")
	default:
		a.respond(req, tx, 501, "Not Implemented")
	}
}

// respond sends a final answer without body.
func (a *Agent) respond(req *sipmsg.Request, tx *sipmsg.ServerTx, code int, reason string, extra ...sipmsg.Header) {
	res := sipmsg.NewResponseFromRequest(req, code, reason, nil)
	res.SipVersion = "SIP/2.0"
	res.AppendHeader(sipmsg.NewHeader("Server", a.name))
	if code == 405 || code == 501 || req.Method == sipmsg.OPTIONS {
		res.AppendHeader(sipmsg.NewHeader("Allow", allowed))
		res.AppendHeader(sipmsg.NewHeader("Accept", "application/sdp"))
	}
	for _, h := range extra {
		res.AppendHeader(h)
	}
	if err := tx.Respond(res); err != nil {
		a.log.Debug("a SIP answer could not be sent", "method", req.Method, "code", code, "error", err)
		tx.Terminate()
	}
}

func (a *Agent) handleACK(req *sipmsg.Request) {
	if req.CallID() == nil || req.From() == nil || req.To() == nil || req.CSeq() == nil {
		return
	}
	if d := a.dialogOf(req); d != nil {
		d.handleACK(req)
	}
}

// stray takes responses that no transaction waits for: a 2xx repeated after its
// transaction has gone still wants an ACK.
func (a *Agent) stray(res *sipmsg.Response) {
	if !saneResponse(res) || res.CSeq().MethodName != sipmsg.INVITE {
		return
	}
	id, tag := res.CallID().Value(), tagOf(res.From().Params)
	if d := a.find(id); d != nil && tag == tagOf(d.head.from.Params) {
		d.repeated(res)
	} else if d := a.cameBack(id, tag); d != nil {
		d.repeated(res)
	}
}

// matches says whether a request belongs to this dialog (RFC 3261 section 12.2.2).
func (d *dialog) matches(req *sipmsg.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if tagOf(req.To().Params) != tagOf(d.head.from.Params) {
		return false
	}
	tag := tagOf(req.From().Params)
	if !d.answered && d.in == nil { // RFC 3311: UPDATE before the answer
		return d.branches[tag] != nil && (req.Method == sipmsg.UPDATE || req.Method == sipmsg.INFO || req.Method == sipmsg.OPTIONS)
	}
	return tag == d.remoteTag
}

// inOrder checks and notes the CSeq of a request of the peer (RFC 3261 section
// 12.2.2).
func (d *dialog) inOrder(req *sipmsg.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := &d.remoteSeq
	if b := d.branches[tagOf(req.From().Params)]; b != nil && !d.answered {
		last = &b.remoteSeq
	}
	n := req.CSeq().SeqNo
	if *last != 0 && n < *last {
		return false
	}
	*last = n
	return true
}

// handle answers a request of the peer within the dialog.
func (d *dialog) handle(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	if !d.inOrder(req) {
		d.a.respond(req, tx, 500, "CSeq Out Of Order")
		return
	}
	if unknown := required(req); unknown != "" {
		d.a.respond(req, tx, 420, "Bad Extension", sipmsg.NewHeader("Unsupported", unknown))
		return
	}
	switch req.Method {
	case sipmsg.PRACK:
		d.handlePRACK(req, tx)
	case sipmsg.BYE:
		d.a.respond(req, tx, 200, "OK")
		select {
		case d.ended <- leg.Cause{Code: 200, Text: byeText(req), Kind: leg.Normal}:
		default:
		}
	case sipmsg.INVITE, sipmsg.UPDATE:
		if d.unsettled(req.Method) {
			d.a.respond(req, tx, 500, "The Call Is Not Answered", sipmsg.NewHeader("Retry-After", strconv.Itoa(1+rand.IntN(10))))
			return
		}
		d.handleOffer(req, tx)
	case sipmsg.INFO:
		d.handleInfo(req, tx)
	case sipmsg.OPTIONS:
		d.a.respond(req, tx, 200, "OK")
	case sipmsg.NOTIFY:
		d.handleNotify(req, tx)
	case sipmsg.MESSAGE:
		d.handleMessage(req, tx)
	case sipmsg.REFER:
		d.handleRefer(req, tx)
	case sipmsg.CANCEL:
		d.a.respond(req, tx, 481, "Call/Transaction Does Not Exist")
	default:
		d.a.notAllowed(req, tx)
	}
}

// unsettled says that a call to us is not so far that the caller could change
// it: before the answer no re-INVITE (RFC 3261 section 14.2), and no UPDATE until
// its offer was answered (RFC 3311 section 5.2).
func (d *dialog) unsettled(m sipmsg.RequestMethod) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in != nil && !d.answered && (m == sipmsg.INVITE || !d.in.agreed)
}

// required are the extensions a request needs that we do not know (RFC 3261
// section 8.2.2.3), "" if there are none.
func required(req *sipmsg.Request) string {
	var unknown []string
	for _, w := range listed(req.GetHeaders("Require")) {
		if w != "TIMER" && w != "100REL" {
			unknown = append(unknown, strings.ToLower(w))
		}
	}
	return strings.Join(unknown, ", ")
}

func byeText(req *sipmsg.Request) string {
	if h := req.GetHeader("Reason"); h != nil {
		return "the other side hung up: " + plain(h.Value())
	}
	return "the other side hung up"
}

// handleInfo takes digits and requests for a key frame (RFC 5168).
func (d *dialog) handleInfo(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	switch kind := contentType(req); kind {
	case "application/dtmf", "application/dtmf-relay":
		d.a.respond(req, tx, 200, "OK")
		if digit := infoDigit(string(req.Body())); digit != "" {
			how := leg.INFO
			if kind == "application/dtmf-relay" {
				how = leg.INFORelay
			}
			d.emit(leg.Event{Type: leg.DTMFReceived, Digit: digit, How: how})
		}
	case "", "application/media_control+xml":
		d.a.respond(req, tx, 200, "OK")
		if strings.Contains(string(req.Body()), "picture_fast_update") {
			d.emit(leg.Event{Type: leg.KeyframeWanted})
		}
	default:
		d.a.respond(req, tx, 415, "Unsupported Media Type", sipmsg.NewHeader("Accept", "application/dtmf, application/dtmf-relay, application/media_control+xml"))
	}
}

// infoDigit reads both usual bodies: "5" and "Signal=5".
func infoDigit(body string) string {
	for line := range strings.Lines(body[:min(len(body), 256)]) {
		line = strings.TrimSpace(line)
		if k, v, ok := strings.Cut(line, "="); ok {
			if !strings.EqualFold(strings.TrimSpace(k), "signal") {
				continue
			}
			line = strings.TrimSpace(v)
		}
		if codes, ok := transmit.Codes(line); ok && len(codes) == 1 {
			return string(transmit.Digit(codes[0]))
		}
		if line == "10" || line == "11" { // some devices send event codes
			return map[string]string{"10": "*", "11": "#"}[line]
		}
	}
	return ""
}

package sip

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/calls/leg"
)

// Transfer implements leg.Transferer by REFER (RFC 3515). The other side tells
// of its progress by NOTIFY, which becomes Transfer events.
func (d *dialog) Transfer(ctx context.Context, target, replaces string) error {
	to, err := d.referTo(target, replaces)
	if err != nil {
		return err
	}
	d.mu.Lock()
	answered, by := d.answered, d.head.from.Address.String()
	d.mu.Unlock()
	if !answered {
		return fault.New(fault.Conflict, "the call %s is not established, so it cannot be transferred", d.callID)
	}
	d.refers(true) // the first NOTIFY may overtake the 202 (RFC 3515 section 2.4.4)
	res, err := d.request(ctx, sipmsg.REFER, "", "", sipmsg.NewHeader("Refer-To", "<"+to+">"), sipmsg.NewHeader("Referred-By", "<"+by+">"))
	if err != nil {
		d.refers(false)
		return fault.New(fault.Internal, "transfer of call %s: %w", d.callID, err)
	}
	d.judge(res)
	if !res.IsSuccess() {
		d.refers(false)
		return fault.New(fault.Internal, "transfer of call %s: the other side answered %d %s", d.callID, res.StatusCode, plain(res.Reason))
	}
	d.log.Info("SIP call is being transferred", "attended", replaces != "")
	return nil
}

func (d *dialog) refers(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.referring = on
}

// referTo is the address of a transfer: the one given, or that of the party of
// another call of ours, which the new call then replaces (RFC 3891, RFC 5589
// section 7).
func (d *dialog) referTo(target, replaces string) (string, error) {
	if replaces == "" {
		u, err := calleeURI(target, d.party.domain)
		if err != nil {
			return "", fault.New(fault.BadRequest, "target: %w", err)
		}
		return u.String(), nil
	}
	other := d.a.find(replaces)
	if other == nil || other == d {
		return "", fault.New(fault.NotFound, "there is no other call with the Call-ID %s to transfer to", replaces)
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	if !other.answered {
		return "", fault.New(fault.Conflict, "the call %s is not established, so no call can be transferred to it", replaces)
	}
	u := uriOf(other.target)
	value := fmt.Sprintf("%s;to-tag=%s;from-tag=%s", other.head.callID, other.remoteTag, tagOf(other.head.from.Params))
	return u.String() + "?Replaces=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20"), nil
}

// handleNotify takes the progress of a transfer of ours; other events are
// answered and mean nothing here.
func (d *dialog) handleNotify(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	event := ""
	if h := req.GetHeader("Event"); h != nil {
		event, _, _ = strings.Cut(strings.ToLower(h.Value()), ";")
	}
	if strings.TrimSpace(event) != "refer" {
		d.a.respond(req, tx, 200, "OK")
		return
	}
	code, text, ok := statusLine(string(req.Body()))
	d.mu.Lock()
	mine := d.referring
	if mine && ok && code >= 200 {
		d.referring = false
	}
	d.mu.Unlock()
	if !mine { // RFC 6665 section 4.1.3
		d.a.respond(req, tx, 481, "Subscription Does Not Exist")
		return
	}
	d.a.respond(req, tx, 200, "OK")
	if ok {
		d.emit(leg.Event{Type: leg.Transfer, Code: code, Text: text})
	}
}

// statusLine reads the first line of a message/sipfrag (RFC 3420).
func statusLine(body string) (code int, text string, ok bool) {
	line, _, _ := strings.Cut(body[:min(len(body), 512)], "\n")
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "SIP/2.0 ")
	if !ok {
		return 0, "", false
	}
	word, text, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(word)
	if err != nil || code < 100 || code > 699 {
		return 0, "", false
	}
	return code, plain(text), true
}

// contentType is a request's content type in lower case, without parameters.
func contentType(req *sipmsg.Request) string {
	h := req.ContentType()
	if h == nil {
		return ""
	}
	kind, _, _ := strings.Cut(strings.ToLower(h.Value()), ";")
	return strings.TrimSpace(kind)
}

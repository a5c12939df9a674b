package sip

import (
	"fmt"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// rejected turns a final status into a cause.
func (d *dialog) rejected(res *sipmsg.Response) leg.Cause {
	if d.hungUp() {
		return d.hangCause
	}
	code := res.StatusCode
	c := leg.Cause{Code: code, Kind: leg.KindOf(code)}
	c.Text = fmt.Sprintf("%s: %d %s", d.refusal(res), code, plain(res.Reason))
	return c
}

// refusal says in words what a final status of an INVITE means (RFC 3261
// section 21).
func (d *dialog) refusal(res *sipmsg.Response) string {
	switch code := res.StatusCode; {
	case challenged(res) && d.party.pass == "":
		return "the SIP server wants a password and the call has none"
	case challenged(res):
		return "the SIP server refused the login " + d.party.user + ", its name or password is wrong"
	case code < 400:
		return "the callee is to be called elsewhere, and redirection is not followed"
	case code == 403:
		return "the SIP server does not allow this call"
	case code == 404, code == 410, code == 604:
		return "the callee is not known at the SIP server"
	case code == 408:
		return "the callee could not be reached in time"
	case code == 480:
		return "the callee cannot be reached now"
	case code == 486, code == 600:
		return "the callee is busy"
	case code == 487:
		return "the call was cancelled on its way"
	case code == 488, code == 606:
		return "the callee takes none of the offered codecs"
	case code == 603:
		return "the callee declined the call"
	case code >= 500 && code < 600:
		return "the SIP server failed"
	}
	return "the call was refused"
}

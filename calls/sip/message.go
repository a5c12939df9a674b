package sip

import (
	"net/netip"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, NOTIFY, REFER, MESSAGE"

// supported are the extensions we know.
func (a *Agent) supported() string {
	if a.cfg.SessionExpires == 0 {
		return "100rel"
	}
	return "100rel, timer"
}

// headers is what every request of ours carries.
type headers struct {
	callID    string
	from      sipmsg.FromHeader
	to        sipmsg.ToHeader
	cseq      uint32
	contact   sipmsg.Uri
	routes    []string // Route values, topmost first
	userAgent string
	supported string // of INVITE and UPDATE
	viaHost   string
	viaPort   int
}

// request builds a request with a new branch.
func (h *headers) request(method sipmsg.RequestMethod, uri sipmsg.Uri) *sipmsg.Request {
	req := sipmsg.NewRequest(method, uri)
	via := &sipmsg.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: h.viaHost, Port: h.viaPort}
	via.Params.Add("branch", sipmsg.GenerateBranchN(16))
	via.Params.Add("rport", "") // RFC 3581
	req.AppendHeader(via)
	for _, r := range h.routes {
		req.AppendHeader(sipmsg.NewHeader("Route", r))
	}
	maxForwards := sipmsg.MaxForwardsHeader(70)
	callID := sipmsg.CallIDHeader(h.callID)
	from, to := h.from, h.to
	from.Params, to.Params = h.from.Params.Clone(), h.to.Params.Clone()
	req.AppendHeader(&maxForwards)
	req.AppendHeader(&from)
	req.AppendHeader(&to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sipmsg.CSeqHeader{SeqNo: h.cseq, MethodName: method})
	if method != sipmsg.CANCEL && method != sipmsg.BYE && method != sipmsg.ACK {
		req.AppendHeader(&sipmsg.ContactHeader{Address: h.contact})
		req.AppendHeader(sipmsg.NewHeader("Allow", allowed))
	}
	if h.supported != "" && (method == sipmsg.INVITE || method == sipmsg.UPDATE) {
		req.AppendHeader(sipmsg.NewHeader("Supported", h.supported))
	}
	req.AppendHeader(sipmsg.NewHeader("User-Agent", h.userAgent))
	return req
}

func setBody(req interface {
	AppendHeader(sipmsg.Header)
	SetBody([]byte)
}, contentType, body string) {
	if body != "" {
		ct := sipmsg.ContentTypeHeader(contentType)
		req.AppendHeader(&ct)
	}
	req.SetBody([]byte(body))
}

// cancelFor builds the CANCEL of a request: same branch, same routes (RFC 3261 section 9.1).
func cancelFor(invite *sipmsg.Request) *sipmsg.Request {
	req := sipmsg.NewRequest(sipmsg.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	for _, name := range []string{"Route", "Max-Forwards", "From", "To", "Call-ID"} {
		sipmsg.CopyHeaders(name, invite, req)
	}
	req.AppendHeader(&sipmsg.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sipmsg.CANCEL})
	sipmsg.CopyHeaders("User-Agent", invite, req)
	req.SetBody(nil)
	return req
}

// saneResponse says that a response carries what its transaction needs. The
// parser accepts messages without these and its accessors return nil.
func saneResponse(res *sipmsg.Response) bool {
	return res != nil && res.From() != nil && res.To() != nil && res.CallID() != nil && res.CSeq() != nil &&
		res.SipVersion == "SIP/2.0" && res.StatusCode >= 100 && res.StatusCode < 700
}

// faulty says what is wrong with a request, as a status; 0 if nothing is.
func faulty(req *sipmsg.Request) (int, string) {
	switch {
	case req.SipVersion != "SIP/2.0":
		return 505, "Version Not Supported"
	case req.Via() == nil || req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil:
		return 400, "Missing Header Field"
	case !strings.EqualFold(string(req.CSeq().MethodName), string(req.Method)): // the parser has put the latter in upper case
		return 400, "CSeq Method Differs"
	}
	for _, name := range []string{"From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length"} {
		if len(req.GetHeaders(name)) > 1 {
			return 400, "Doubled " + name
		}
	}
	if s := strings.ToLower(req.Recipient.Scheme); s != "sip" && s != "sips" {
		return 416, "Unsupported URI Scheme"
	}
	return 0, ""
}

func tagOf(p sipmsg.HeaderParams) string {
	tag, _ := p.Get("tag")
	return tag
}

// uriOf makes a URI safe to write: what a peer sent is copied into our requests.
func uriOf(u sipmsg.Uri) sipmsg.Uri {
	c := u.Clone()
	c.Headers = nil // not allowed in a Request-URI (RFC 3261 table 1)
	return *c
}

// sourceOf is where a message came from, and how.
func sourceOf(m sipmsg.Message) hop {
	a, _ := netip.ParseAddrPort(m.Source())
	return hop{transport: strings.ToUpper(m.Transport()), addr: netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}
}

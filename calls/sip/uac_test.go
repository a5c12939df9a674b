package sip

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// uac is a uas that calls us.
type uac struct {
	*uas
	callID string
	seq    int
	res    *sipmsg.Response // last response
	to     string           // To of the dialog, with our tag
}

func newUAC(t testing.TB, s *server) *uac {
	u := &uac{uas: newUAS(t), seq: 1}
	u.peer = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.Port()}
	return u
}

// request sends a request of the caller; extra are whole header lines.
func (u *uac) request(method string, seq int, branch, to, body string, extra ...string) {
	u.t.Helper()
	m := fmt.Sprintf("%s sip:line1@%v SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bK%s\r\nFrom: <sip:bob@127.0.0.1>;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:bob@127.0.0.1:%d>\r\nMax-Forwards: 70\r\n",
		method, u.peer, u.uas.port(), branch, u.tag, to, u.callID, seq, method, u.uas.port())
	for _, e := range extra {
		m += e + "\r\n"
	}
	if body != "" && method != "PRACK" {
		m += "Content-Type: application/sdp\r\n"
	}
	u.send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", m, len(body), body))
}

func (u *uac) invite(callID, body string, extra ...string) {
	u.t.Helper()
	u.callID = callID
	u.request("INVITE", u.seq, u.branch(), "<sip:line1@127.0.0.1>", body, extra...)
}

func (u *uac) branch() string { return fmt.Sprintf("i%s-%d", u.callID, u.seq) }

// response skips 100 and returns the next response.
func (u *uac) response(code int) *sipmsg.Response {
	u.t.Helper()
	for {
		m := u.read()
		r, ok := m.(*sipmsg.Response)
		if ok && r.StatusCode == 100 && code != 100 {
			continue
		}
		if !ok || r.StatusCode != code {
			u.t.Fatalf("want a %d, got\n%s", code, m)
		}
		u.res, u.to = r, r.To().Value()
		return r
	}
}

// inside sends a request within the dialog.
func (u *uac) inside(method, body string, extra ...string) {
	u.t.Helper()
	u.seq++
	u.request(method, u.seq, fmt.Sprintf("%s%d", method, u.seq), u.to, body, extra...)
}

// ack acknowledges a 2xx, or by the INVITE's branch another final response.
func (u *uac) ack(body string) {
	u.t.Helper()
	branch := "ack" + u.callID
	if !u.res.IsSuccess() {
		branch, _ = u.res.Via().Params.Get("branch")
		branch = strings.TrimPrefix(branch, "z9hG4bK")
	}
	u.request("ACK", int(u.res.CSeq().SeqNo), branch, u.to, body)
}

// silent says that nothing comes for a while, but what is repeated for want of an
// ACK in the calls told (RFC 3261 section 17.2.1, timer G).
func (u *uac) silent(told ...string) {
	u.t.Helper()
	_ = u.conn.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
	buf := make([]byte, 65535)
	for {
		n, _, err := u.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if !slices.ContainsFunc(told, func(id string) bool { return strings.Contains(string(buf[:n]), "Call-ID: "+id+"\r\n") }) {
			u.t.Fatalf("want silence, got\n%s", buf[:n])
		}
	}
}

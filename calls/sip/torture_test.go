package sip

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// torture reads the messages of RFC 4475 and RFC 5118. They are written anew
// after their descriptions there, with the notations of RFC 4475 section 2; line
// ends are LF in the files and CRLF in what is returned. "Content-Length: auto"
// gets the length the body has, since none of those messages is about it.
func torture(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/torture/*.sip")
	if err != nil || len(names) == 0 {
		t.Fatalf("no messages: %v", err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(name), ".sip")] = expand(b)
	}
	return out
}

var (
	repeated    = regexp.MustCompile(`<repeat count=(\d+)>([^<]*)</repeat>`)
	hexadecimal = regexp.MustCompile(`<hex>([0-9A-F]+)</hex>`)
	automatic   = regexp.MustCompile(`(?m)^((?:Content-Length|l): )auto\r$`)
)

func expand(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	b = repeated.ReplaceAllFunc(b, func(m []byte) []byte {
		p := repeated.FindSubmatch(m)
		n, _ := strconv.Atoi(string(p[1]))
		return bytes.Repeat(p[2], n)
	})
	b = hexadecimal.ReplaceAllFunc(b, func(m []byte) []byte {
		var raw []byte
		_, _ = fmt.Sscanf(string(hexadecimal.FindSubmatch(m)[1]), "%X", &raw)
		return raw
	})
	_, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	return automatic.ReplaceAll(b, fmt.Appendf(nil, "${1}%d\r", len(body)))
}

// Outcomes of a message. The RFCs mostly leave a choice.
const (
	dropped = 0  // no answer
	policy  = -1 // well-formed, and answered as a call or message to nobody: 4xx or 6xx, not 400
)

var tortureWants = map[string][]int{
	"4475-3.1.1.1-wsinv":       {481, 400}, // it has a To tag; sipgo does not take blanks round the = of its From tag
	"4475-3.1.1.2-intmeth":     {501},
	"4475-3.1.1.3-esc01":       {policy},
	"4475-3.1.1.4-escnull":     {405},
	"4475-3.1.1.5-esc02":       {501},
	"4475-3.1.1.6-lwsdisp":     {200},
	"4475-3.1.1.7-longreq":     {policy},
	"4475-3.1.1.8-dblreq":      {405},
	"4475-3.1.1.9-semiuri":     {200},
	"4475-3.1.1.10-transports": {200},
	"4475-3.1.1.11-mpart01":    {policy},
	"4475-3.1.1.12-unreason":   {dropped},
	"4475-3.1.1.13-noreason":   {dropped},
	"4475-3.1.2.1-badinv01":    {400, dropped},
	"4475-3.1.2.2-clerr":       {400, dropped},
	"4475-3.1.2.3-ncl":         {400, dropped},
	"4475-3.1.2.4-scalar02":    {400, dropped},
	"4475-3.1.2.5-scalarlg":    {dropped},
	"4475-3.1.2.6-quotbal":     {400, dropped},
	"4475-3.1.2.7-ltgtruri":    {400, dropped},
	"4475-3.1.2.8-lwsruri":     {400, dropped},
	"4475-3.1.2.9-lwsstart":    {400, dropped},
	"4475-3.1.2.10-trws":       {400, dropped},
	"4475-3.1.2.11-escruri":    {400, policy}, // the header part may be ignored
	"4475-3.1.2.12-baddate":    {400, policy}, // or the Date, which says nothing to us
	"4475-3.1.2.13-regbadct":   {400, 405},
	"4475-3.1.2.14-badaspec":   {400, 200, dropped}, // being liberal is allowed
	"4475-3.1.2.15-baddn":      {400, 200, dropped},
	"4475-3.1.2.16-badvers":    {505},
	"4475-3.1.2.17-mismatch01": {400},
	"4475-3.1.2.18-mismatch02": {400, 501},
	"4475-3.1.2.19-bigcode":    {dropped},
	"4475-3.2.1-badbranch":     {200, 400},
	"4475-3.3.1-insuf":         {400},
	"4475-3.3.2-unkscm":        {416},
	// sipgo does not parse a scheme with a dot.
	"4475-3.3.3-novelsc":   {416, dropped},
	"4475-3.3.4-unksm2":    {400, 405},
	"4475-3.3.5-bext01":    {420},
	"4475-3.3.6-invut":     {415, policy},
	"4475-3.3.7-regaut01":  {405},
	"4475-3.3.8-multi01":   {400},
	"4475-3.3.9-mcl01":     {400, dropped},
	"4475-3.3.10-bcast":    {dropped},
	"4475-3.3.11-zeromf":   {200},
	"4475-3.3.12-cparam01": {405},
	"4475-3.3.13-cparam02": {405},
	"4475-3.3.14-regescrt": {405},
	"4475-3.3.15-sdp01":    {406, policy},
	// Calls without a From tag went out of use with RFC 2543; sipgo refuses them.
	"4475-3.4.1-inv2543": {policy, 400},

	"5118-4.1-ipv6-good":                     {405},
	"5118-4.2-ipv6-bad":                      {400, dropped},
	"5118-4.3-port-ambiguous":                {405},
	"5118-4.4-port-unambiguous":              {405},
	"5118-4.5-via-received-param-with-delim": {481},
	"5118-4.5-via-received-param-no-delim":   {200},
	"5118-4.6-ipv6-in-sdp":                   {policy},
	"5118-4.7-mult-ip-in-header":             {481},
	"5118-4.8-mult-ip-in-sdp":                {policy},
	"5118-4.9-ipv4-mapped-ipv6":              {policy},
	"5118-4.10-ipv6-bug-abnf-3-colons":       {200, 400, dropped}, // may be taken as meant
	"5118-4.10-ipv6-correct-abnf-2-colons":   {200},
}

// TestTorture sends the messages of RFC 4475 and RFC 5118 to the SIP port. Each
// is answered as the RFC says, and none leaves anything behind.
func TestTorture(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	messages := torture(t)
	if len(messages) != len(tortureWants) {
		t.Errorf("%d messages, %d expectations", len(messages), len(tortureWants))
	}
	to := s.wire.LocalAddr().(*net.UDPAddr)
	names := slices.Sorted(maps.Keys(messages))
	judge := func(name string, code int) {
		want := tortureWants[name]
		ok := slices.Contains(want, code) || slices.Contains(want, policy) && code > 400 && code < 700 && (code < 500 || code >= 600)
		t.Logf("%-42s want %-14v got %d", name, want, code)
		if !ok {
			t.Errorf("%s: got %d, want one of %v", name, code, want)
		}
	}
	silent := map[string]*uas{} // senders that may get no answer
	for _, name := range names {
		u := newUAS(t)
		u.peer = to
		u.send(string(messages[name]))
		if slices.Contains(tortureWants[name], dropped) {
			silent[name] = u
		} else {
			judge(name, u.outcome())
		}
	}
	s.mu.Lock()
	if len(s.dialogs)+len(s.regs)+len(s.peers) > 0 {
		t.Errorf("left behind: %d dialogs, %d registrations, %d peers", len(s.dialogs), len(s.regs), len(s.peers))
	}
	s.mu.Unlock()
	// After the agent's end no answer is on its way: what is not there was dropped.
	s.stop()
	for name, u := range silent {
		if _, err := u.conn.WriteTo([]byte(noMore), u.conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		judge(name, u.outcome())
	}
}

// noMore is the last thing a sender of torture gets.
const noMore = "no more"

// outcome is the status of the final answer, or dropped if none comes before noMore.
func (u *uas) outcome() int {
	u.t.Helper()
	buf := make([]byte, 65535)
	_ = u.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		k, _, err := u.conn.ReadFromUDP(buf)
		if err != nil {
			u.t.Errorf("neither an answer nor an end: %v", err)
			return dropped
		}
		if string(buf[:k]) == noMore {
			return dropped
		}
		if f := strings.Fields(string(buf[:k])); len(f) > 1 {
			if code, _ := strconv.Atoi(f[1]); code >= 200 || code == 0 {
				return code
			}
		}
	}
}

// FuzzMessage: whatever the parser takes can be judged and answered.
func FuzzMessage(f *testing.F) {
	for _, m := range torture(f) {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := sipmsg.ParseMessage(b)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *sipmsg.Request:
			if code, _ := faulty(m); code == 0 {
				_ = sipmsg.NewResponseFromRequest(m, 200, "OK", nil).String()
				_, _ = required(m), contentType(m)
				_ = infoDigit(string(m.Body()))
				_, _ = parseSDP(m.Body())
			}
		case *sipmsg.Response:
			_ = saneResponse(m)
		}
	})
}

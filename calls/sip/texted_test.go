package sip

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/test/peers"
)

// reader takes messages as the test says.
type reader struct {
	refuse *leg.Refusal
	mu     sync.Mutex
	texts  []leg.Text
}

func (r *reader) ReceiveText(t leg.Text) *leg.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, t)
	return r.refuse
}

// last is the newest text, without what differs from run to run.
func (r *reader) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.texts) == 0 {
		return ""
	}
	t := r.texts[len(r.texts)-1]
	return fmt.Sprintf("%s>%s %q trunk=%s account=%s %s %q", t.From, t.To, t.DisplayName, t.Trunk, t.Account, t.ContentType, t.Body)
}

// texter sends a MESSAGE outside of calls and returns the answer's status.
func (u *uas) text(s *server, n int, to, body string, extra ...string) string {
	u.t.Helper()
	u.peer = s.wire.LocalAddr().(*net.UDPAddr)
	u.send(fmt.Sprintf("MESSAGE sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bKt%d\r\nFrom: \"Bob B\" <sip:bob@x>;tag=%[3]d\r\nTo: <sip:%[1]s>\r\nCall-ID: t%[3]d\r\nCSeq: 1 MESSAGE\r\n%[4]sContent-Length: %[5]d\r\n\r\n%[6]s",
		to, u.port(), n, lines(extra...), len(body), body))
	return strings.SplitN(fmt.Sprint(u.read()), "\r\n", 2)[0]
}

// TestTextToUs: messages outside of calls from a trunk are handed on, with what
// cannot be taken refused by its reason (RFC 3428 section 7); nobody's are 480.
func TestTextToUs(t *testing.T) {
	t.Parallel()
	u := newUAS(t)
	s := start(t, func(c *Config) { c.Trunks = []string{"name=home from=127.0.0.0/8"} })
	r := &reader{}
	if got := u.text(s, 0, "line1@here", "hi", "Content-Type: text/plain"); !strings.Contains(got, "480") {
		t.Errorf("nobody reads: %s", got)
	}
	s.TakeTexts(r)
	for n, c := range []struct {
		kind, body string
		more       string
		code       int
		want       string
	}{
		{"text/plain", "good day", "", 200, `bob>line1 "Bob B" trunk=home account= text/plain "good day"`},
		{"text/plain; charset=UTF-8", "gr\u00fc\u00df \xff", "", 200, `bob>line1 "Bob B" trunk=home account= text/plain "grüß ` + "\uFFFD" + `"`},
		{"message/cpim", "From: <im:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\nhi", "", 200, `bob>line1 "Bob B" trunk=home account= message/cpim "From: <im:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\nhi"`},
		{"text/html", "<b>", "", 415, ""},
		{"text/plain; charset=utf-16", "x", "", 415, ""},
		{"text/plain", "x", "Content-Encoding: gzip", 415, ""},
		{"application/im-iscomposing+xml", "<x/>", "", 415, ""},
		{"text/plain;;=", "x", "", 415, ""},
		{"text/plain", strings.Repeat("x", maxText+1), "", 413, ""},
	} {
		extra := []string{"Content-Type: " + c.kind}
		if c.more != "" {
			extra = append(extra, c.more)
		}
		was := r.last()
		if got := u.text(s, 1+n, "line1@here", c.body, extra...); !strings.Contains(got, fmt.Sprint(c.code)) {
			t.Errorf("%s %.20q: %s", c.kind, c.body, got)
		}
		if got := r.last(); c.want != "" && got != c.want || c.want == "" && got != was {
			t.Errorf("told %s, want %s", got, c.want)
		}
	}
	s.TakeTexts(&reader{refuse: &leg.Refusal{Code: 480, Text: "Temporarily Unavailable"}})
	if got := u.text(s, 99, "line1@here", "hi"); !strings.Contains(got, "480") {
		t.Errorf("refused: %s", got)
	}
	if strings.Contains(s.log.String(), "level=INFO msg=\"good day") {
		t.Error("the words are in the log")
	}
}

// TestTextOfStrangers: nobody but those who may call us; too many get no answer.
func TestTextOfStrangers(t *testing.T) {
	t.Parallel()
	u, s, r := newUAS(t), start(t, nil), &reader{}
	s.TakeTexts(r)
	for n := range strangerCallBurst {
		if got := u.text(s, n, "line1@here", "buy"); !strings.Contains(got, "403") {
			t.Errorf("a stranger: %s", got)
		}
	}
	if r.last() != "" {
		t.Error("a stranger's words were handed on")
	}
	// While a call with its host is up, it is none.
	c := u.establish(t, s, nil)
	u.ask("MESSAGE", "in the call", "Content-Type: message/cpim")
	u.response(200)
	if e := c.wait(leg.MessageReceived); e.ContentType != "message/cpim" || e.Text != "in the call" {
		t.Errorf("event %+v", e)
	}
	if got := u.text(s, 100, "line1@here", "hi"); !strings.Contains(got, "200") || r.last() != `bob>line1 "Bob B" trunk= account= text/plain "hi"` {
		t.Errorf("the host of a call: %s, told %s", got, r.last())
	}
}

// TestBaresipWritesToUs: a real phone's text comes through, and it hears that.
func TestBaresipWritesToUs(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.Trunks = []string{"name=home from=127.0.0.0/8"} })
	r := &reader{}
	s.TakeTexts(r)
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None, Contact: s.uri("line1")})
	phone.Command(t, "message", "good day to you")
	peers.Eventually(t, "the text", 10*time.Second, func() bool {
		return r.last() == `10006>line1 "" trunk=home account= text/plain "good day to you"`
	})
}

// TestSippWritesToUs: with the login of a trunk.
func TestSippWritesToUs(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		c.Trunks = []string{"name=office user=sipp password=secret"}
		c.DigestAlgorithms = []string{"MD5"}
	})
	r := &reader{}
	s.TakeTexts(r)
	x := &callerScript{}
	x.send("MESSAGE", sippTo, "hello", true, "Content-Type: text/plain").gets(401, ` auth="true"`).
		send("MESSAGE", sippTo, "hello", true, "Content-Type: text/plain", "[authentication username=sipp password=secret]").gets(200, "")
	x.run(t, s)
	if got := r.last(); !strings.HasPrefix(got, `sipp>line1 "" trunk=office account= text/plain "hello`) {
		t.Errorf("told %s", got)
	}
}

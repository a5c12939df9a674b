package sip

import (
	"context"
	"strings"
	"testing"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/test/peers"
)

// TestText: a text outside of a call, with a login, refused, and wrong.
func TestText(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	done := make(chan error, 1)
	send := func(kind, text string) {
		go func() { done <- s.SendText(context.Background(), u.request(), kind, text) }()
	}
	send("message/cpim", "From: <im:a@b>\r\n\r\nhi")
	first := u.next(sipmsg.MESSAGE)
	u.answer(first, 401, "", `WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5, qop="auth"`)
	m := u.next(sipmsg.MESSAGE)
	if m.ContentType().Value() != "message/cpim" || !strings.HasSuffix(string(m.Body()), "hi") || m.GetHeader("Authorization") == nil || m.Contact() != nil ||
		tagOf(m.To().Params) != "" || m.CSeq().SeqNo != first.CSeq().SeqNo+1 || m.CallID().Value() != first.CallID().Value() {
		t.Errorf("MESSAGE\n%s", m)
	}
	u.answer(m, 202, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	send("", "hi")
	m = u.next(sipmsg.MESSAGE)
	if !strings.HasPrefix(m.ContentType().Value(), "text/plain") {
		t.Errorf("MESSAGE\n%s", m)
	}
	u.answer(m, 404, "")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("refused: %v", err)
	}
	for _, bad := range [][2]string{{"text/html", "x"}, {"", ""}, {"", strings.Repeat("x", maxMessage+1)}, {"a\r\nb", "x"}} {
		if err := s.SendText(t.Context(), u.request(), bad[0], bad[1]); fault.CodeOf(err) != fault.BadRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s.mu.Lock()
	s.texts = maxTexts
	s.mu.Unlock()
	if err := s.SendText(t.Context(), u.request(), "", "x"); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("one too many: %v", err)
	}
}

// TestBaresipTexts: a phone takes a text outside of a call, and refuses what it
// does not know.
func TestBaresipTexts(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None})
	s := start(t, nil)
	r := direct(phone)
	if err := s.SendText(t.Context(), r, "", "good day to you"); err != nil {
		t.Error(err)
	}
	if err := s.SendText(t.Context(), r, "message/cpim", "good day to you"); err == nil || !strings.Contains(err.Error(), "415") {
		t.Errorf("CPIM, which this phone does not know: %v", err)
	}
}

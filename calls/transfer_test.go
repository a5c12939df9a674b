package calls

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"lineout/api/fault"
	"lineout/calls/leg"
)

func (p *puppet) Transfer(_ context.Context, target, replaces string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dtmf = append(p.dtmf, "transfer "+target+replaces)
	return nil
}

// TestTransfer: a call goes on while its transfer is tried and when it fails,
// and ends once it has worked.
func TestTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		events := r.phones.leg("c").events
		events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		synctest.Wait()
		for _, bad := range [][2]string{{"", ""}, {"1", "2"}} {
			if err := r.m.Transfer(t.Context(), "c", bad[0], bad[1]); code(err) != fault.BadRequest {
				t.Errorf("%q: %v", bad, err)
			}
		}
		if err := r.m.Transfer(t.Context(), "none", "1", ""); code(err) != fault.NotFound {
			t.Error(err)
		}
		if err := r.m.SendMessage(t.Context(), "c", "hi"); code(err) != fault.Internal {
			t.Errorf("a leg without messages: %v", err)
		}
		info := func() Info {
			synctest.Wait()
			if l := r.m.Find(Filter{CallID: "c"}); len(l) == 1 {
				return l[0]
			}
			return Info{}
		}
		for _, end := range []int{486, 200} {
			if err := r.m.Transfer(t.Context(), "c", "10007", ""); err != nil {
				t.Fatal(err)
			}
			events <- leg.Event{Type: leg.Transfer, Code: 100}
			if i := info(); i.Target != "10007" || i.Status != Established {
				t.Errorf("while it is tried: %+v", i)
			}
			events <- leg.Event{Type: leg.Transfer, Code: end}
			if i := info(); end == 486 && (i.Target != "" || i.Status != Established) || end == 200 && i.CallID != "" {
				t.Errorf("after %d: %+v", end, i)
			}
		}
	})
}

type pager struct {
	*phones
	sent []string
}

func (p *pager) SendText(_ context.Context, r leg.Request, contentType, text string) error {
	p.sent = append(p.sent, r.Login+" "+r.Callee+" "+contentType+" "+text)
	return nil
}

// TestSendText: texts outside of calls go to a dialer that can send them.
func TestSendText(t *testing.T) {
	p := &pager{phones: &phones{}}
	m := NewManager(Deps{Dialer: p})
	if err := m.SendText(t.Context(), Request{Callee: "10007", SIPLogin: "ann"}, "text/plain", "hi"); err != nil || len(p.sent) != 1 || p.sent[0] != "ann 10007 text/plain hi" {
		t.Errorf("%v, sent %q", err, p.sent)
	}
	if err := m.SendText(t.Context(), Request{}, "", "hi"); code(err) != fault.BadRequest {
		t.Errorf("to nobody: %v", err)
	}
	m = NewManager(Deps{Dialer: p.phones})
	if err := m.SendText(t.Context(), Request{Callee: "10007"}, "", "hi"); code(err) != fault.Internal {
		t.Errorf("by a dialer without messages: %v", err)
	}
}

// TestMessagesReceived: texts within and outside of calls go to who takes them;
// one outside that nobody takes is refused.
func TestMessagesReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Message
		takes := true
		r := newRig(t, func(d *Deps) {
			d.Message = func(m Message) bool { got = append(got, m); return takes }
		})
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		p := r.phones.leg("c")
		p.events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		p.events <- leg.Event{Type: leg.MessageReceived, Text: "hi", ContentType: "text/plain"}
		synctest.Wait()
		if len(got) != 1 || got[0].Call == nil || got[0].Call.CallID != "c" || got[0].Body != "hi" || got[0].From != got[0].Call.Callee || got[0].To != got[0].Call.Caller {
			t.Fatalf("told %+v", got)
		}
		if r := r.m.ReceiveText(leg.Text{From: "a", Body: "x"}); r != nil || got[1].Call != nil || got[1].Body != "x" {
			t.Errorf("refused %v, told %+v", r, got)
		}
		takes = false
		if r := r.m.ReceiveText(leg.Text{}); r == nil || r.Code != 480 || !strings.Contains(r.Why, "call_app_urls") {
			t.Errorf("nobody takes it: %v", r)
		}
	})
}

package hooks

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"lineout/calls"
	"lineout/calls/leg"
)

// TestTextsAndDigits: each goes to its own method, within a call in order with its
// status, and none that call_app_methods does not name.
func TestTextsAndDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		n, _, stop := start(t, settings(t.TempDir()), r)
		defer stop()
		sent := func() (path, body string) {
			synctest.Wait()
			return r.last.URL.Path, regexp.MustCompile(`"nodeId":"[^"]*","appKey":"callApp","sessionId":"127.0.0.1:\d+",`).ReplaceAllString(r.body, "")
		}
		text := leg.Text{ID: "m1", From: "10006", To: "10005", DisplayName: "Ann", ContentType: "text/plain", Body: "a <b> \"c\"\n"}
		if !n.Message(calls.Message{Text: text}) {
			t.Error("nobody takes a message")
		}
		if path, body := sent(); path != "/CallApp/OnMessageEvent" ||
			body != `{"id":"m1","from":"10006","to":"10005","visibleName":"Ann","contentType":"text/plain","body":"a \u003cb\u003e \"c\"\n"}` {
			t.Errorf("to %s\n%s", path, body)
		}
		call := info("c", calls.Established, 200, "")
		n.Notify(call)
		n.Message(calls.Message{Text: leg.Text{From: "3002", To: "3000", ContentType: "text/plain", Body: "hi"}, Call: &call})
		if path, body := sent(); path != "/CallApp/OnMessageEvent" || body != `{"callId":"c","from":"3002","to":"3000","contentType":"text/plain","body":"hi"}` {
			t.Errorf("to %s\n%s", path, body)
		}
		n.Digit(call, "#", leg.RFC4733)
		if path, body := sent(); path != "/CallApp/OnDTMFEvent" || body != `{"callId":"c","incoming":false,"caller":"3000","callee":"3002","dtmf":"#","type":"RFC2833"}` {
			t.Errorf("to %s\n%s", path, body)
		}
		if len(r.tries) != 4 {
			t.Errorf("%d requests", len(r.tries))
		}
		c := settings("")
		c.Methods = []string{callStatus}
		r2 := &receiver{}
		n2, _, stop2 := start(t, c, r2)
		defer stop2()
		n2.Digit(call, "#", leg.RFC4733)
		if n2.Message(calls.Message{Text: text}) {
			t.Error("a message is taken that goes nowhere")
		}
		n2.Notify(call)
		synctest.Wait()
		if len(r2.tries) != 1 || r2.last.URL.Path != "/CallApp/CallStatusEvent" {
			t.Errorf("%d requests", len(r2.tries))
		}
	})
}

// TestCallsBrokenOff: calls that were up when the process was killed get their end
// from the next one, after what was not delivered of them; once.
func TestCallsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder, copied := t.TempDir(), t.TempDir()
		r := &receiver{}
		n, _, stop := start(t, settings(folder), r)
		defer stop()
		whole(n, "over")
		n.Notify(info("up", calls.Established, 200, calls.RTMPActive))
		n.Digit(info("up", calls.Established, 200, ""), "5", leg.INFO)
		synctest.Wait()
		n.targets[0].q.writeAnew() // what was delivered is not in it any more
		synctest.Wait()
		r.answers(func(int, string) (int, error) { return 0, errDown })
		n.Notify(info("rings", calls.Ring, 180, ""))
		synctest.Wait()
		copyFiles(t, folder, copied) // as a kill would leave it

		again := &receiver{}
		_, l, stop2 := start(t, settings(copied), again)
		synctest.Wait()
		stop2()
		got := again.got()
		slices.Sort(got)
		if want := []string{"rings FINISH", "rings RING", "up FINISH/RTMP_STREAM_ACTIVE"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if i, j := slices.Index(again.got(), "rings RING"), slices.Index(again.got(), "rings FINISH"); i > j {
			t.Errorf("order: %q", again.got())
		}
		if l.count("calls_broken_off=2") != 1 {
			t.Errorf("log:\n%s", l)
		}
		third := &receiver{}
		_, _, stop3 := start(t, settings(copied), third)
		synctest.Wait()
		stop3()
		if len(third.tries) != 0 {
			t.Errorf("told again: %q", third.got())
		}
	})
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	names, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFolderOfAnother: a second server on the same folder does not start.
func TestFolderOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settings(t.TempDir())
		_, _, stop := start(t, c, &receiver{})
		other := New(c, "h", slog.New(slog.DiscardHandler))
		if err := other.Open(); err == nil || !strings.Contains(err.Error(), "another server keeps its notifications in "+c.Folder) {
			t.Errorf("a second server: %v", err)
		}
		stop()
		_, _, stop = start(t, c, &receiver{})
		stop()
	})
}

// What browser sessions do is told if the settings name it, each session's in order, and
// survives a restart as all else.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(int, string) (int, error) { return 0, errDown }}
		c := settings(t.TempDir())
		c.Methods = []string{callStatus, "connect", "sendData"}
		n, _, stop := start(t, c, r)
		for i := range 5 {
			n.Session("s-1", "sendData", map[string]any{"sessionId": "s-1", "callId": fmt.Sprint(i), "status": "x"})
		}
		n.Session("s-1", "call", map[string]any{"sessionId": "s-1", "callId": "c"})           // is not asked for
		n.Session("s-1", "OnMessageEvent", map[string]any{"sessionId": "s-1", "callId": "m"}) // is none of a session's
		synctest.Wait()
		stop()
		again := &receiver{}
		_, l, stop2 := start(t, c, again)
		synctest.Wait()
		stop2()
		if got, want := again.got(), []string{"0 x", "1 x", "2 x", "3 x", "4 x"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q\n%s", got, want, l)
		}
		if again.last == nil || again.last.URL.Path != "/CallApp/sendData" || !strings.Contains(again.body, `"nodeId":"`) {
			t.Errorf("the last one: %s", again.body)
		}
	})
	r := &receiver{}
	synctest.Test(t, func(t *testing.T) {
		n, _, stop := start(t, settings(""), r)
		defer stop()
		for _, m := range ofSessions {
			n.Session("s-1", m, map[string]any{})
		}
		synctest.Wait()
		if len(r.tries) != 0 {
			t.Errorf("%d were told that nobody has asked for", len(r.tries))
		}
	})
}

package hooks

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lineout/calls"
)

// The body has the keys of the sample, in its order, and no others (S2-37).
func TestBodyIsTheSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		n, _, stop := start(t, settings(""), r)
		defer stop()
		n.Notify(info("Xq2tlLcX89tTjaji_3", calls.Trying, 100, calls.RTMPWait))
		synctest.Wait()
		body := regexp.MustCompile(`"nodeId":"[A-Z2-7]+@`).ReplaceAllString(r.body, `"nodeId":"ID@`)
		body = regexp.MustCompile(`"127.0.0.1:\d+"`).ReplaceAllString(body, `"127.0.0.1:N"`)
		const want = `{"nodeId":"ID@192.168.88.101","appKey":"callApp","sessionId":"127.0.0.1:N","callId":"Xq2tlLcX89tTjaji_3","incoming":false,` +
			`"status":"TRYING","sipStatus":100,"rtmpUrl":"rtmp://rtmp.example.com:1935/live","rtmpStream":"streamName2","rtmpStreamStatus":"RTMP_STREAM_WAIT",` +
			`"caller":"3000","callee":"3002","hasAudio":true,"hasVideo":true,"visibleName":"3000","mediaProvider":"Flash","isMsrp":false}`
		if body != want {
			t.Errorf("body\n%s, want\n%s", body, want)
		}
		if got := r.last.URL.String(); got != "http://localhost:9091/CallApp/CallStatusEvent" {
			t.Errorf("sent to %s", got)
		}
		if got := r.last.Header.Get("Content-Type"); got != "application/json;charset=UTF-8" {
			t.Errorf("Content-Type %q", got)
		}
		// Without a push and a SIP status the keys are left out.
		n.Notify(info("b", calls.Failed, 0, ""))
		synctest.Wait()
		if strings.Contains(r.body, "rtmp") || strings.Contains(r.body, "sipStatus") || strings.Contains(r.body, "null") {
			t.Errorf("unset keys are not left out: %s", r.body)
		}
	})
}

// Each change of status or rtmpStreamStatus is told once, in order (S2-39).
func TestSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		n, _, stop := start(t, settings(t.TempDir()), r)
		defer stop()
		for _, i := range []calls.Info{
			info("a", calls.Pending, 0, calls.RTMPWait), // where a call begins
			info("a", calls.Trying, 100, calls.RTMPWait), info("a", calls.Ring, 180, calls.RTMPWait), info("a", calls.Ring, 180, calls.RTMPWait),
			info("a", calls.Established, 200, calls.RTMPWait), info("a", calls.Established, 200, calls.RTMPActive),
			info("a", calls.Established, 200, calls.RTMPLost), info("a", calls.Finish, 200, calls.RTMPLost),
			info("a", calls.Trying, 100, ""), // another call, the id is free again
		} {
			n.Notify(i)
		}
		synctest.Wait()
		want := []string{"a TRYING/RTMP_STREAM_WAIT", "a RING/RTMP_STREAM_WAIT", "a ESTABLISHED/RTMP_STREAM_WAIT", "a ESTABLISHED/RTMP_STREAM_ACTIVE",
			"a ESTABLISHED/RTMP_CONNECTION_LOST", "a FINISH/RTMP_CONNECTION_LOST", "a TRYING"}
		// The second call may be on another lane; it is told apart by having no push.
		got := r.got()
		if i := slices.Index(got, "a TRYING"); i >= 0 {
			got = append(slices.Delete(got, i, i+1), "a TRYING")
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A dead receiver is tried after 1, 2, 4 … 60 s; the operator hears of it once,
// and once that it is back; nothing is lost and the order is kept.
func TestDeadReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(int, string) (int, error) { return 0, errDown }}
		n, l, stop := start(t, settings(t.TempDir()), r)
		defer stop()
		begin := time.Now()
		want := whole(n, "a")
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("the call waited %v", waited)
		}
		time.Sleep(200 * time.Second)
		synctest.Wait()
		var at []int
		for _, x := range r.tries {
			at = append(at, int(x.Sub(begin).Seconds()))
		}
		if want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183}; !slices.Equal(at, want) {
			t.Errorf("tries after %v s, want %v", at, want)
		}
		if got := metric(t, n, "oldest_seconds", ""); got != 200 {
			t.Errorf("the oldest is %v s old", got)
		}
		if got := metric(t, n, "queued", ""); got != 4 {
			t.Errorf("%v queued", got)
		}
		r.answers(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.got(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if bad, good := l.count("do not get through"), l.count("get through again"); bad != 1 || good != 1 {
			t.Errorf("%d lines that it fails and %d that it works again:\n%s", bad, good, l)
		}
	})
}

// A receiver that takes connections and never answers is given up after
// rest_request_timeout, each time, and holds up nobody at a stop.
func TestSilentReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(int, string) (int, error) { return 0, nil }}
		n, l, stop := start(t, settings(t.TempDir()), r)
		begin := time.Now()
		whole(n, "a")
		time.Sleep(40 * time.Second) // 15 + 1 + 15 + 2 …
		synctest.Wait()
		if got := r.tries[len(r.tries)-1].Sub(begin); len(r.tries) != 3 || got != 33*time.Second {
			t.Errorf("%d tries, the last after %v", len(r.tries), got)
		}
		if l.count("no answer within 15s (rest_request_timeout)") != 1 {
			t.Errorf("log:\n%s", l)
		}
		stopping := time.Now()
		stop()
		if took := time.Since(stopping); took != lastTime {
			t.Errorf("the stop took %v", took)
		}
		if l.count("left undelivered\" call_app=http://localhost:9091/CallApp count=4 kept_for_next_start=true") != 1 {
			t.Errorf("log:\n%s", l)
		}
	})
}

// What was not delivered is delivered by the next run, in order, and only that.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		r := &receiver{answer: func(n int, _ string) (int, error) {
			if n < 2 {
				return 200, nil
			}
			return 0, errDown
		}}
		n, _, stop := start(t, settings(folder), r)
		want := whole(n, "a")
		synctest.Wait()
		if got := r.got(); !slices.Equal(got, want[:2]) {
			t.Fatalf("got %q before the restart", got)
		}
		// As kill -9 leaves it: no stop, and the last line torn.
		files, err := filepath.Glob(filepath.Join(folder, "*.journal"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		stop()
		if err := os.WriteFile(files[0], append(b, []byte(`01234567 {"n":9,"at"`)...), 0o600); err != nil {
			t.Fatal(err)
		}
		r.answers(nil)
		n, l, stop := start(t, settings(folder), r)
		defer stop()
		synctest.Wait()
		if got := r.got(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if l.count("count=2 damaged_lines=1") != 1 {
			t.Errorf("log:\n%s", l)
		}
		want = append(want, whole(n, "b")...)
		synctest.Wait()
		if got := r.got(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		stop()
		_, l, stop = start(t, settings(folder), r)
		defer stop()
		synctest.Wait()
		if got := r.got(); len(got) != len(want) {
			t.Errorf("sent again: %q", got)
		}
		if l.count("earlier run") != 0 {
			t.Errorf("log:\n%s", l)
		}
	})
}

// A stop delivers what it can.
func TestStopDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(int, string) (int, error) { time.Sleep(300 * time.Millisecond); return 200, nil }}
		n, _, stop := start(t, settings(""), r)
		want := whole(n, "a")
		stop()
		if got := r.got(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A full queue drops the oldest of ended calls, says so once and counts; what
// running calls have to say stays.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(int, string) (int, error) { return 0, errDown }}
		c := settings(t.TempDir())
		c.MaxBytes = 64 << 10
		n, l, stop := start(t, c, r)
		defer stop()
		n.Notify(info("running", calls.Trying, 100, ""))
		n.Notify(info("running", calls.Ring, 180, ""))
		var want []string
		for i := range 400 {
			want = append(want, whole(n, fmt.Sprintf("c%03d", i))...)
			synctest.Wait()
		}
		n.Notify(info("running", calls.Established, 200, ""))
		q := n.targets[0].q
		if q.bytes > c.MaxBytes {
			t.Errorf("%d bytes queued, allowed are %d", q.bytes, c.MaxBytes)
		}
		if l.count("too many notifications") != 1 {
			t.Errorf("said %d times", l.count("too many notifications"))
		}
		synctest.Wait()
		if f, err := os.Stat(n.targets[0].journal.path); err != nil || f.Size() > int64(3*c.MaxBytes) {
			t.Errorf("the journal has %d bytes, %v", f.Size(), err)
		}
		r.answers(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		byCall := map[string][]string{}
		for _, s := range r.got() {
			id, status, _ := strings.Cut(s, " ")
			byCall[id] = append(byCall[id], status)
		}
		if got := byCall["running"]; !slices.Equal(got, []string{"TRYING", "RING", "ESTABLISHED"}) {
			t.Errorf("running call: %q", got)
		}
		if got := byCall["c399"]; !slices.Equal(got, []string{"TRYING", "RING", "ESTABLISHED", "FINISH"}) {
			t.Errorf("newest call: %q", got)
		}
		if lost := len(want) + 3 - len(r.got()); lost == 0 || float64(lost) != metric(t, n, "dropped_total", queueFull) {
			t.Errorf("%d lost, %v counted", lost, metric(t, n, "dropped_total", queueFull))
		}
		for id, st := range byCall {
			if !slices.IsSortedFunc(st, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) }) {
				t.Errorf("call %s: %q", id, st)
			}
		}
	})
}

var order = []string{"TRYING", "RING", "ESTABLISHED", "FINISH"}

func TestTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(int, string) (int, error) { return 0, errDown }}
		c := settings(t.TempDir())
		c.MaxAge = 10 * time.Minute
		n, _, stop := start(t, c, r)
		defer stop()
		whole(n, "a")
		time.Sleep(8 * time.Minute)
		want := whole(n, "b")
		time.Sleep(4 * time.Minute)
		r.answers(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := r.got(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := metric(t, n, "dropped_total", tooOld); got != 4 {
			t.Errorf("%v counted", got)
		}
	})
}

// Refusals: a server error is tried again rest_client_request_retry_count
// times, a client error not at all; the answer's body does not matter, and the
// next notification goes out all the same (hooks reference, section 4).
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		change func(*Config)
		tries  int
	}{
		{"server error", 500, func(*Config) {}, 4 + 3},
		{"too many", 429, func(*Config) {}, 4 + 3},
		{"forbidden", 403, func(*Config) {}, 1 + 3},
		{"redirect", 302, func(*Config) {}, 1 + 3},
		{"no retries", 500, func(c *Config) { c.Retry = false }, 1 + 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{answer: func(_ int, body string) (int, error) {
					if strings.Contains(body, "TRYING") {
						return c.status, nil
					}
					return 200, nil
				}}
				cfg := settings(t.TempDir())
				c.change(&cfg)
				n, _, stop := start(t, cfg, r)
				defer stop()
				want := whole(n, "a")[1:]
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := r.got(); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if len(r.tries) != c.tries {
					t.Errorf("%d tries, want %d", len(r.tries), c.tries)
				}
				if got := metric(t, n, "dropped_total", refused); got != 1 {
					t.Errorf("%v given up", got)
				}
			})
		})
	}
}

// A call whose notification waits for an answer does not hold up all others.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(_ int, body string) (int, error) {
			if strings.Contains(body, `"callId":"slow"`) {
				time.Sleep(10 * time.Second)
			}
			return 200, nil
		}}
		n, _, stop := start(t, settings(""), r)
		defer stop()
		n.Notify(info("slow", calls.Trying, 100, ""))
		synctest.Wait()
		for i := range 20 {
			n.Notify(info(fmt.Sprint("c", i), calls.Trying, 100, ""))
		}
		synctest.Wait()
		if got := len(r.got()); got < 8 {
			t.Errorf("%d of 20 calls got through", got)
		}
	})
}

// The signature is HMAC-MD5 of the body in hexadecimal digits (hooks reference,
// section 2; RFC 2104). The value was made by openssl dgst -md5 -hmac.
func TestSignature(t *testing.T) {
	req, err := newRequest(t.Context(), "http://h/", []byte(`{"callId":"a"}`), Config{SendHash: true, HashSecret: "the key"})
	if err != nil {
		t.Fatal(err)
	}
	if got := req.Header.Get("Authorization"); got != "WCS 10e8552355e3e1db3edbb7be063060e4" {
		t.Errorf("Authorization: %s", got)
	}
}

// No password, no key of an address or of the HMAC is in a log line, a metric,
// or a file's name.
func TestSecretsStayInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		r := &receiver{answer: func(n int, _ string) (int, error) {
			if n < 3 {
				return 0, errDown
			}
			return 403, nil
		}}
		c := settings(folder)
		c.URLs = []string{"http://user:pa55word@back.example/CallApp?token=t0ken"}
		n, l, stop := start(t, c, r)
		whole(n, "a")
		time.Sleep(5 * time.Minute)
		stop()
		if u, p, _ := r.last.BasicAuth(); u != "user" || p != "pa55word" {
			t.Errorf("user %q, password %q", u, p)
		}
		files, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		all := l.String() + fmt.Sprint(n.Metrics(), files)
		for _, secret := range []string{"pa55word", "t0ken"} {
			if strings.Contains(all, secret) {
				t.Errorf("%q is shown:\n%s", secret, all)
			}
		}
		if l.count("do not get through") != 1 {
			t.Errorf("log:\n%s", l)
		}
	})
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]Config{
		"no address": {URLs: []string{"localhost:9091"}}, "other scheme": {URLs: []string{"ftp://h/"}}, "not an address": {URLs: []string{"http://pa55word@h:port/"}},
		"twice": {URLs: []string{"http://h/a", "http://u:pa55word@h/a"}}, "two authorizations": {URLs: []string{"http://u:pa55word@h/"}, SendHash: true, HashSecret: "k"},
		"no key": {SendHash: true},
	} {
		err := c.Validate()
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "pa55word") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c := settings(""); c.Validate() != nil {
		t.Error(c.Validate())
	}
}

// Nobody is told when notifications are off, and no folder is made.
func TestOff(t *testing.T) {
	for _, change := range []func(*Config){func(c *Config) { c.Disable = true }, func(c *Config) { c.URLs = nil }} {
		folder := filepath.Join(t.TempDir(), "notifications")
		c := settings(folder)
		change(&c)
		n, _, stop := start(t, c, http.DefaultTransport)
		n.Notify(info("a", calls.Trying, 100, ""))
		stop()
		if _, err := os.Stat(folder); err == nil || len(n.Metrics()) > 0 {
			t.Errorf("%v, %d metrics", err, len(n.Metrics()))
		}
	}
}

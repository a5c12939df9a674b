package rtmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"lineout/api/fault"
	"lineout/test/peers"
)

// fakeDNS knows some names.
type fakeDNS map[string]bool

func (f fakeDNS) LookupHost(_ context.Context, host string) ([]string, error) {
	if f[strings.ToLower(host)] || net.ParseIP(host) != nil {
		return []string{"127.0.0.1"}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func restRig(t *testing.T) *rig {
	r := newRig(t, testConfig())
	r.resolver = fakeDNS{"localhost": true}
	return r
}

func TestStartupRefuses(t *testing.T) {
	r := restRig(t)
	r.stream(t, "s")
	for name, c := range map[string]struct {
		body string
		code fault.Code
		says string
	}{
		"no url":          {`{"streamName":"s"}`, 400, "rtmpUrl is missing"},
		"null url":        {`{"streamName":"s","rtmpUrl":null}`, 400, "rtmpUrl is missing"},
		"malformed":       {`{"streamName":"s","rtmpUrl":"http://h/live"}`, 400, "rtmp://"},
		"unresolvable":    {`{"streamName":"s","rtmpUrl":"rtmp://nowhere.invalid/live"}`, 400, "nowhere.invalid"},
		"no stream name":  {`{"rtmpUrl":"rtmp://localhost/live"}`, 400, "streamName"},
		"no such stream":  {`{"streamName":"x","rtmpUrl":"rtmp://localhost/live"}`, 404, `"x"`},
		"unknown action":  {`{"streamName":"s","rtmpUrl":"rtmp://localhost/live","options":{"action":"sound_on"}}`, 400, "sound_on"},
		"full but no key": {`{"streamName":"s","rtmpUrl":"rtmp://localhost/live","rtmpTransponderFullUrl":"true"}`, 400, "full"},
		"long flash":      {`{"streamName":"s","rtmpUrl":"rtmp://localhost/live","rtmpFlashVersion":"` + strings.Repeat("x", 2000) + `"}`, 400, "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.call("push/startup", c.body)
			if err == nil || fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%d), want %d and %q", err, fault.CodeOf(err), c.code, c.says)
			}
		})
	}
	for _, m := range []string{"push/terminate", "push/mute", "push/unmute"} {
		if _, err := r.call(m, `{"mediaSessionId":"x"}`); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%s of an unknown push: %v", m, err)
		}
		if _, err := r.call(m, `{}`); fault.CodeOf(err) != fault.BadRequest {
			t.Errorf("%s of nothing: %v", m, err)
		}
	}
	for _, m := range []string{"push/find", "push/find_all"} {
		if _, err := r.call(m, `{}`); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%s without pushes: %v", m, err)
		}
	}
}

// A push on a name reserved by a call that has not been answered is found in
// all the ways the pages use, and ends by REST.
func TestRESTLife(t *testing.T) {
	r := restRig(t)
	r.stream(t, "call_stream1")
	answer, err := r.call("push/startup", `{"streamName":"call_stream1","rtmpUrl":" rtmp://joe:pw123@localhost:1/live/ ","options":{"action":"mute"},"rtmpTransponderFullUrl":"false","unknown":1}`)
	if err != nil {
		t.Fatal(err)
	}
	tr := answer.(Transponder)
	raw, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"mediaSessionId":"%s","streamName":"rtmp_call_stream1","rtmpUrl":"rtmp://***:***@localhost:1/live/","width":0,"height":0,"muted":true,"soundEnabled":false,"options":{}}`, tr.MediaSessionID)
	if string(raw) != want {
		t.Errorf("answer %s\nwant   %s", raw, want)
	}
	p := r.get(tr.MediaSessionID)
	if p.Status() != StatusWait {
		t.Errorf("status %s before the call is answered", p.Status())
	}
	for body, found := range map[string]bool{
		`{"streamName":"rtmp_call_stream1","rtmpUrl":"rtmp://joe:pw123@localhost:1/live/"}`: true,
		`{"streamName":"call_stream1","rtmpUrl":"rtmp://localhost:1/live"}`:                 true,
		`{"rtmpUrl":"rtmp://***:***@localhost:1/live/"}`:                                    true,
		`{"streamName":"rtmp_call_stream1"}`:                                                true,
		`{}`:                                                                                true,
		`{"streamName":"other"}`:                                                            false,
		`{"streamName":"call_stream1","rtmpUrl":"rtmp://localhost:1/live2"}`:                false,
	} {
		list, err := r.call("push/find", body)
		if (err == nil) != found || found && len(list.([]Transponder)) != 1 || !found && fault.CodeOf(err) != fault.NotFound {
			t.Errorf("find %s: %v, %v", body, list, err)
		}
	}
	if _, err := r.Start(p.stream, Target{URL: "rtmp://localhost:1/live", Name: "direct"}); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"rtmp_call_stream1": 1, "call_stream1": 2, "rtmp_direct": 1, "direct": 1} {
		list, err := r.call("push/find", fmt.Sprintf(`{"streamName":%q}`, name))
		if err != nil || len(list.([]Transponder)) != n {
			t.Errorf("find %s: %v, %v, want %d", name, list, err, n)
		}
	}
	if err := r.list()[1].Terminate(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := r.call("push/unmute", fmt.Sprintf(`{"mediaSessionId":%q}`, tr.MediaSessionID)); err != nil || p.Muted() {
		t.Errorf("unmute: %v, muted %v", err, p.Muted())
	}
	if body, err := r.call("push/terminate", fmt.Sprintf(`{"mediaSessionId":%q}`, tr.MediaSessionID)); err != nil || body != nil {
		t.Errorf("terminate: %v, %v", body, err)
	}
	if _, err := r.call("push/terminate", fmt.Sprintf(`{"mediaSessionId":%q}`, tr.MediaSessionID)); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("second terminate: %v", err)
	}
	if _, err := r.call("push/find_all", `{}`); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("find_all after terminate: %v", err)
	}
	if log := r.log.String(); strings.Contains(log, "pw123") || strings.Contains(log, "joe") {
		t.Errorf("credentials in the log:\n%s", log)
	}
}

// Of many identical requests at the same time exactly one succeeds, and again
// after the push has ended.
func TestSamePushOnce(t *testing.T) {
	r := restRig(t)
	s := r.stream(t, "s")
	r.stream(t, "other")
	for range 3 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[fault.Code]int{}
		for i := range 100 {
			wg.Go(func() {
				url := []string{"rtmp://localhost:1/live", "rtmp://LOCALHOST:1/live/"}[i%2]
				_, err := r.call("push/startup", fmt.Sprintf(`{"streamName":"s","rtmpUrl":%q}`, url))
				code := fault.Code(200)
				if err != nil {
					code = fault.CodeOf(err)
				}
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
			})
		}
		wg.Wait()
		if codes[200] != 1 || codes[fault.Conflict] != 99 {
			t.Errorf("answers %v, want one 200 and 99 times 409", codes)
		}
		for _, p := range r.list() {
			if err := p.Terminate(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	for _, body := range []string{
		`{"streamName":"s","rtmpUrl":"rtmp://localhost:1/live"}`,
		`{"streamName":"s","rtmpUrl":"rtmp://localhost:1/live2"}`,
		`{"streamName":"s","rtmpUrl":"rtmp://localhost:1/live?a=b"}`,
		`{"streamName":"other","rtmpUrl":"rtmp://localhost:1/live"}`,
	} {
		if _, err := r.call("push/startup", body); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	s.Close("test")
	<-s.Done()
	peers.Eventually(t, "pushes of the ended stream are gone", eventually, func() bool { return len(r.list()) == 1 })
}

// A stream's name may be taken anew at once; its pushes do not stand in the way.
func TestNewStreamOfTheSameName(t *testing.T) {
	r := restRig(t)
	s := r.stream(t, "s")
	target := Target{URL: "rtmp://localhost:1/live", Name: "s"}
	if _, err := r.Start(s, target); err != nil {
		t.Fatal(err)
	}
	s.Close("test")
	if _, err := r.Start(s, Target{URL: "rtmp://localhost:1/other", Name: "s"}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("start on an ended stream: %v", err)
	}
	again := r.stream(t, "s")
	p, err := r.Start(again, target)
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if r.get(p.ID()) != p {
		t.Error("the end of the old push took the new one along")
	}
}

// A push that gives up is gone from listings, and its last status stays that
// of its history.
func TestGivesUp(t *testing.T) {
	cfg := testConfig()
	cfg.RetryTries = 2
	r := newRig(t, cfg)
	stream := r.stream(t, "s")
	src := newSource(t, stream)
	src.answer()
	src.play(t)
	p, err := r.Start(stream, Target{URL: "rtmp://127.0.0.1:1/live", Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	peers.Eventually(t, "it gives up", eventually, func() bool { return len(r.list()) == 0 })
	if p.Status() != StatusFailed {
		t.Errorf("status %s", p.Status())
	}
	if err := p.Terminate(t.Context()); err != nil {
		t.Errorf("terminate after the end: %v", err)
	}
}

func TestMetricsAreFree(t *testing.T) {
	r := restRig(t)
	s := r.stream(t, "s")
	if _, err := r.Start(s, Target{URL: "rtmp://u:hidden1@localhost/live/hidden2?hidden3=1", FullURL: true}); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(r.Metrics())
	if strings.Contains(text, "hidden") || !strings.Contains(text, "lineout_rtmp_push_frames_total") {
		t.Errorf("metrics %s", text)
	}
}

func TestConfig(t *testing.T) {
	bad := Config{RetryMax: -1, RetryTries: -1, KeyframeInterval: -1}
	err := bad.Validate()
	for _, name := range []string{"rtmp_push_connect_timeout", "rtmp_push_write_timeout", "rtmp_push_queue",
		"rtmp_push_retry_min", "rtmp_push_retry_max", "rtmp_push_retry_tries", "rtmp_push_keyframe_interval"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %v", name, err)
		}
	}
	missing := testConfig()
	missing.CAFile = t.TempDir() + "/none.pem"
	if _, err := missing.tlsConfig(); err == nil {
		t.Error("a missing rtmp_push_tls_ca_file is accepted")
	}
	k := Kind()
	if _, ok := k.Config().(*Config); !ok || k.Name != "rtmp" {
		t.Errorf("kind %+v", k)
	}
	var perr *json.SyntaxError
	if err := (&startOptions{}).UnmarshalJSON([]byte(`{`)); !errors.As(err, &perr) {
		t.Errorf("broken options: %v", err)
	}
}

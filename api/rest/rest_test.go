package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lineout/api/fault"
	"lineout/calls"
	"lineout/outputs"
	"lineout/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeCalls keeps the rules a client can see: ids are unique, unknown ones are not found.
type fakeCalls struct {
	mu      sync.Mutex
	started map[string]calls.Request
	infos   []calls.Info
	dtmf    []string
	stats   map[string]calls.Stats
	taps    []calls.Tap
}

func (f *fakeCalls) Startup(_ context.Context, r calls.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.ContainsAny(r.SIPLogin+r.SIPAuthName, "<> @") {
		return fault.New(fault.Internal, "SIP login or authentication name contains reserved symbols")
	}
	if _, ok := f.started[r.CallID]; ok {
		return fault.New(fault.Conflict, "a call with callId %q exists", r.CallID)
	}
	if f.started == nil {
		f.started = map[string]calls.Request{}
	}
	f.started[r.CallID] = r
	return nil
}

func (f *fakeCalls) Find(q calls.Filter) []calls.Info {
	var out []calls.Info
	for _, i := range f.infos {
		if (q.CallID == "" || q.CallID == i.CallID) && (q.Status == "" || q.Status == string(i.Status)) {
			out = append(out, i)
		}
	}
	return out
}

func (f *fakeCalls) Terminate(_ context.Context, id string) error {
	if len(f.Find(calls.Filter{CallID: id})) == 0 {
		return fault.New(fault.NotFound, "there is no call with callId %q", id)
	}
	return nil
}

func (f *fakeCalls) SendDTMF(_ context.Context, id, digits, how string) error {
	if err := f.Terminate(context.Background(), id); err != nil {
		return err
	}
	f.dtmf = append(f.dtmf, digits+" "+how)
	return nil
}

func (f *fakeCalls) Hold(_ context.Context, id string, hold bool) error {
	if err := f.Terminate(context.Background(), id); err != nil {
		return err
	}
	f.dtmf = append(f.dtmf, fmt.Sprintf("hold %v", hold))
	return nil
}

func (f *fakeCalls) Transfer(_ context.Context, id, target, replaces string) error {
	f.dtmf = append(f.dtmf, "transfer "+target+replaces)
	return f.Terminate(context.Background(), id)
}

func (f *fakeCalls) SendMessage(_ context.Context, id, text string) error {
	f.dtmf = append(f.dtmf, "message "+text)
	return f.Terminate(context.Background(), id)
}

func (f *fakeCalls) Answer(_ context.Context, a calls.Answer) error {
	f.dtmf = append(f.dtmf, fmt.Sprintf("answer %s %v %v", a.ToStream, a.HasAudio != nil && *a.HasAudio, a.HasVideo == nil))
	return f.Terminate(context.Background(), a.CallID)
}

func (f *fakeCalls) Reject(_ context.Context, id string, code int) error {
	f.dtmf = append(f.dtmf, fmt.Sprintf("reject %d", code))
	return f.Terminate(context.Background(), id)
}

func (f *fakeCalls) SendText(_ context.Context, r calls.Request, contentType, text string) error {
	f.dtmf = append(f.dtmf, fmt.Sprint("text ", r.Callee, r.SIPLogin, r.SIPPort, contentType, text))
	return nil
}

func (f *fakeCalls) InjectStream(_ context.Context, id, name string) error {
	f.dtmf = append(f.dtmf, "stream "+name)
	return f.Terminate(context.Background(), id)
}

func (f *fakeCalls) InjectSound(_ context.Context, id, name string) error {
	f.dtmf = append(f.dtmf, "sound "+name)
	return f.Terminate(context.Background(), id)
}

func (f *fakeCalls) EndInjection(_ context.Context, id string) error {
	f.dtmf = append(f.dtmf, "no injection")
	return f.Terminate(context.Background(), id)
}

func (f *fakeCalls) Tap(_ context.Context, t calls.Tap) error {
	f.taps = append(f.taps, t)
	return nil
}

func (f *fakeCalls) Untap(_ context.Context, id, name string) error {
	f.taps = append(f.taps, calls.Tap{CallID: id, ToStream: name, Side: "-"})
	return nil
}

func (f *fakeCalls) Stats(id string) (calls.Stats, error) {
	if s, ok := f.stats[id]; ok {
		return s, nil
	}
	return calls.Stats{}, fault.New(fault.NotFound, "there is no call with callId %q", id)
}

// box is an output that brings one method of each kind.
type box struct{ outputs.Base }

func (box) Methods() map[string]outputs.Method {
	return map[string]outputs.Method{
		"box/startup": func(_ context.Context, decode func(any) error) (any, error) {
			var q struct {
				Name  string         `json:"name"`
				Count int            `json:"count"`
				More  map[string]any `json:"more"`
			}
			if err := decode(&q); err != nil {
				return nil, err
			}
			return map[string]any{"name": q.Name}, nil
		},
		"box/find_all": func(context.Context, func(any) error) (any, error) { return []string{"<&>"}, nil },
		"box/plain":    func(context.Context, func(any) error) (any, error) { return nil, errors.New("disk full") },
		"box/panic":    func(context.Context, func(any) error) (any, error) { panic("secret") },
		"box/busy": func(context.Context, func(any) error) (any, error) {
			return nil, fault.New(fault.Unavailable, "shutting down")
		},
	}
}

var clock = time.UnixMilli(1559029484840)

func newAPI(t testing.TB, cfg Config, c Calls, hub *pipeline.Hub) *API {
	t.Helper()
	if c == nil {
		c = &fakeCalls{}
	}
	if hub == nil {
		hub = pipeline.NewHub(pipeline.HubConfig{})
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 20
	}
	if cfg.AllowOrigin == "" {
		cfg.AllowOrigin, cfg.AllowHeader, cfg.AllowMethod, cfg.DTMF = "*", "content-type,x-requested-with,authorization", "GET,POST,OPTIONS", "rfc2833"
	}
	a, err := New(cfg, Deps{Calls: c, Streams: hub, Outputs: []outputs.Output{box{}}, Now: func() time.Time { return clock }})
	require.NoError(t, err)
	return a
}

// ask sends one request from this machine, as curl would.
func ask(a http.Handler, method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8081"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:40000"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

func post(a http.Handler, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	return ask(a, http.MethodPost, path, body, change...)
}

const sample = `{"callId":"123456711","callee":"10000","toStream":"stream1",
 "rtmpUrl":"rtmp://localhost:1935/live/","rtmpStream":"rtmp_stream1","hasAudio":"true","hasVideo":"true",
 "sipLogin":"10009","sipAuthenticationName":"10009","sipPassword":"1234","sipDomain":"226.226.225.226",
 "sipOutboundProxy":"226.226.225.226","sipPort":"5060","appKey":"defaultApp","sipRegisterRequired":"false"}`

// The sample of S2-10, all strings, becomes a typed request and an empty answer.
func TestCallStartupSample(t *testing.T) {
	f := &fakeCalls{}
	a := newAPI(t, Config{}, f, nil)
	w := post(a, "/rest-api/call/startup", sample)
	require.Equal(t, 200, w.Code)
	require.Empty(t, w.Body.String())
	require.Equal(t, "0", w.Header().Get("Content-Length"))
	require.Empty(t, w.Header().Get("Content-Type"))
	require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	require.Equal(t, calls.Request{CallID: "123456711", Callee: "10000", ToStream: "stream1", RTMPURL: "rtmp://localhost:1935/live/", RTMPStream: "rtmp_stream1",
		HasAudio: true, HasVideo: true, SIPLogin: "10009", SIPAuthName: "10009", SIPPassword: "1234", SIPDomain: "226.226.225.226",
		SIPProxy: "226.226.225.226", SIPPort: 5060, AppKey: "defaultApp", Register: false}, f.started["123456711"])

	w = post(a, "/rest-api/call/startup", `{"callId":7,"callee":10,"sipPort":5070,"hasAudio":false,"visibleName":"A B","custom":{"k":[1]},"unknown":{"x":1}}`,
		func(r *http.Request) { r.Header.Set("Content-Type", "application/json;charset=UTF-8") })
	require.Equal(t, 200, w.Code, w.Body)
	require.Equal(t, calls.Request{CallID: "7", Callee: "10", SIPPort: 5070, VisibleName: "A B", Register: true, Custom: map[string]any{"k": []any{1.0}}}, f.started["7"],
		"registration is on unless it is turned off (S2-12)")
}

func TestLegacyPage(t *testing.T) {
	f := &fakeCalls{infos: []calls.Info{{CallID: "c", Status: calls.Established}}}
	a := newAPI(t, Config{}, f, nil)
	w := post(a, "/RESTCall/call", `{"callId":"x","callee":"1","hasAudio":"true","connection":{"sipLogin":"10","sipDomain":"d","sipPort":"5080","sipRegisterRequired":"false","appKey":"callApp"}}`)
	require.Equal(t, 200, w.Code)
	require.Equal(t, calls.Request{CallID: "x", Callee: "1", HasAudio: true, SIPLogin: "10", SIPDomain: "d", SIPPort: 5080, AppKey: "callApp"}, f.started["x"])
	w = post(a, "/RESTCall/getStatus", `{"callId":"c"}`)
	require.Equal(t, "ESTABLISHED", w.Body.String())
	require.Equal(t, "text/plain;charset=UTF-8", w.Header().Get("Content-Type"))
	require.Equal(t, 404, post(a, "/RESTCall/getStatus", `{"callId":"d"}`).Code)
	require.Equal(t, 200, post(a, "/RESTCall/sendDTMF", `{"callId":"c","dtmf":"5","type":"RFC2833"}`).Code)
	require.Equal(t, 200, post(a, "/RESTCall/hangup", `{"callId":"c"}`).Code)
	require.Equal(t, []string{"5 RFC2833"}, f.dtmf)
}

// The call object has the keys of S2-13 in its order, unset ones as null.
func TestCallObject(t *testing.T) {
	f := &fakeCalls{infos: []calls.Info{{CallID: "R08NQya", Status: calls.Established, SIPStatus: 200, Caller: "001", Callee: "002",
		HasAudio: true, VisibleName: "001", MediaProvider: "Flash"}}}
	a := newAPI(t, Config{}, f, nil)
	const want = `[{"custom":{},"nodeId":null,"appKey":null,"sessionId":null,"callId":"R08NQya","parentCallId":null,"incoming":false,` +
		`"status":"ESTABLISHED","sipStatus":200,"rtmpUrl":null,"rtmpStream":null,"streamName":null,"rtmpStreamStatus":null,"caller":"001","callee":"002",` +
		`"hasAudio":true,"hasVideo":false,"sdp":null,"visibleName":"001","inviteParameters":null,"mediaProvider":"Flash","sipMessageRaw":null,` +
		`"isMsrp":false,"target":null,"holdForTransfer":false}]`
	for _, w := range []*httptest.ResponseRecorder{
		post(a, "/rest-api/call/find", `{"status":"ESTABLISHED"}`), post(a, "/rest-api/call/find", `{"callId":"R08NQya"}`),
		post(a, "/rest-api/call/find_all", `{}`), post(a, "/rest-api/call/find_all", ``), ask(a, http.MethodGet, "/rest-api/call/find_all?x=1", ``),
	} {
		require.Equal(t, 200, w.Code)
		require.Equal(t, want, w.Body.String())
		require.Equal(t, "application/json;charset=UTF-8", w.Header().Get("Content-Type"))
	}
	require.Equal(t, 404, post(a, "/rest-api/call/find", `{"callId":"other"}`).Code)
	require.Equal(t, 404, post(newAPI(t, Config{}, nil, nil), "/rest-api/call/find_all", `{}`).Code)
}

// Every class of error has the body of S2-47, byte by byte.
func TestErrorBodies(t *testing.T) {
	a := newAPI(t, Config{MaxBody: 2048}, nil, nil)
	body := func(status int, text, exception, message, path string) string {
		return fmt.Sprintf(`{"error":%q,"exception":"com.flashphoner.rest.server.exception.%s","message":%q,"path":%q,"status":%d,"timestamp":1559029484840}`,
			text, exception, message, path, status)
	}
	for _, tc := range []struct {
		method, path, send string
		status             int
		want               string
	}{
		{"POST", "/rest-api/call/startup", `{"callId":"1","callee":"2","sipLogin":"Ralf C12441@host.com"}`, 500,
			body(500, "Internal Server Error", "InternalErrorException", "SIP login or authentication name contains reserved symbols", "/rest-api/call/startup")},
		{"POST", "/rest-api/call/terminate", `{"callId":"1"}`, 404, body(404, "Not Found", "NotFoundException", `there is no call with callId "1"`, "/rest-api/call/terminate")},
		{"POST", "/rest-api/no/such", `{}`, 404, body(404, "Not Found", "NotFoundException", "there is no method /rest-api/no/such", "/rest-api/no/such")},
		{"GET", "/rest-api/call/startup", ``, 405, body(405, "Method Not Allowed", "MethodNotAllowedException", "GET is not possible here; use POST, OPTIONS", "/rest-api/call/startup")},
		{"DELETE", "/rest-api/call/find_all", ``, 405, body(405, "Method Not Allowed", "MethodNotAllowedException", "DELETE is not possible here; use GET, HEAD, POST, OPTIONS", "/rest-api/call/find_all")},
		{"POST", "/rest-api/call/find", `{"a":1`, 400, body(400, "Bad Request", "BadRequestException", "the body is not JSON: unexpected end of JSON input at byte 6", "/rest-api/call/find")},
		{"POST", "/rest-api/call/find", `{"a":tru}`, 400, body(400, "Bad Request", "BadRequestException", "the body is not JSON: invalid character '}' in literal true (expecting 'e') at byte 9", "/rest-api/call/find")},
		{"POST", "/rest-api/call/find", `[1]`, 400, body(400, "Bad Request", "BadRequestException", "the body has to be a JSON object {...}", "/rest-api/call/find")},
		{"POST", "/rest-api/call/find", "{\"a\":\"\xff\"}", 400, body(400, "Bad Request", "BadRequestException", "the body is not UTF-8, which JSON has to be", "/rest-api/call/find")},
		{"POST", "/rest-api/call/find", `{"callId":"` + strings.Repeat("x", 3000) + `"}`, 413, body(413, "Request Entity Too Large", "PayloadTooLargeException", "the body is larger than 2048 bytes (setting rest_max_body)", "/rest-api/call/find")},
		{"POST", "/rest-api/call/startup", `{"hasAudio":"maybe"}`, 400, body(400, "Bad Request", "BadRequestException", `key "hasAudio": want true or false, got "maybe"`, "/rest-api/call/startup")},
		{"POST", "/rest-api/call/startup", `{"sipPort":[1]}`, 400, body(400, "Bad Request", "BadRequestException", `key "sipPort": want a number: got an object or a list`, "/rest-api/call/startup")},
		{"POST", "/rest-api/call/startup", `{"custom":"text"}`, 400, body(400, "Bad Request", "BadRequestException", `key "custom": want an object, got string`, "/rest-api/call/startup")},
		{"POST", "/rest-api/call/startup", `{"connection":{"sipPort":"x"},"callId":{}}`, 400, body(400, "Bad Request", "BadRequestException", `key "callId": want a string: got an object or a list`, "/rest-api/call/startup")},
		{"POST", "/rest-api/box/startup", `{"count":"7"}`, 400, body(400, "Bad Request", "BadRequestException", `key "count": want a number, got string`, "/rest-api/box/startup")},
		{"POST", "/rest-api/box/plain", `{}`, 500, body(500, "Internal Server Error", "InternalErrorException", "disk full", "/rest-api/box/plain")},
		{"POST", "/rest-api/box/panic", `{}`, 500, body(500, "Internal Server Error", "InternalErrorException", "the server met a fault of its own while it ran /rest-api/box/panic", "/rest-api/box/panic")},
		{"POST", "/rest-api/box/busy", `{}`, 503, body(503, "Service Unavailable", "ServiceUnavailableException", "shutting down", "/rest-api/box/busy")},
	} {
		w := ask(a, tc.method, tc.path, tc.send)
		require.Equal(t, tc.status, w.Code, tc.path+" "+tc.send)
		require.Equal(t, tc.want, w.Body.String())
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"), "errors have the header too (S2-47)")
	}
	require.Equal(t, "5", post(a, "/rest-api/box/busy", "{}").Header().Get("Retry-After"))
}

// Every method meets the same bad requests.
func TestEveryMethodRefusesBadBodies(t *testing.T) {
	a := newAPI(t, Config{}, nil, nil)
	require.Len(t, a.Methods(), 21+3+5+5)
	for _, path := range a.Methods() {
		require.Equal(t, 400, post(a, path, `{"callId":`).Code, path)
		require.Equal(t, 400, post(a, path, `"text"`).Code, path)
		require.Equal(t, 400, post(a, path, strings.Repeat(`{"a":`, 100000)).Code, path)
		want := 405
		if strings.HasSuffix(path, "/find_all") {
			want = 404
			if strings.Contains(path, "box") {
				want = 200
			}
		}
		require.Equal(t, want, ask(a, http.MethodGet, path, "").Code, path)
	}
	for path, bodies := range map[string][]string{
		"/rest-api/call/find":        {`{"callId":[]}`, `{"status":{}}`},
		"/rest-api/call/terminate":   {`{}`, ``, `null`, `{"callId":null}`, `{"callId":""}`, `{"callId":[1]}`},
		"/rest-api/call/stats":       {`{}`, `{"callId":{}}`},
		"/rest-api/call/send_dtmf":   {`{}`, `{"callId":"1"}`, `{"callId":"1","dtmf":"x"}`, `{"callId":"1","dtmf":"1","type":"SMOKE"}`, `{"callId":"1","dtmf":"` + strings.Repeat("1", 65) + `"}`},
		"/rest-api/stream/find":      {`{"name":{}}`, `{"published":"perhaps"}`, `{"mediaSessionIds":[{}]}`, `{"display":{}}`},
		"/rest-api/stream/terminate": {`{"mediaSessionIds":{"a":1}}`, `{"published":[]}`},
		"/rest-api/call/startup":     {`{"callee":[]}`, `{"sipRegisterRequired":"often"}`, `{"sipPort":"50x"}`, `{"connection":[1]}`},
	} {
		for _, b := range bodies {
			w := post(a, path, b)
			require.Equal(t, 400, w.Code, path+" "+b)
			require.Contains(t, w.Body.String(), `key \"`, path+" "+b)
		}
	}
	for path, b := range map[string]string{
		"/rest-api/call/find": `{"callId":"none"}`, "/rest-api/call/terminate": `{"callId":"none"}`, "/rest-api/stream/find": `{"name":"none"}`,
		"/rest-api/call/send_dtmf": `{"callId":"none","dtmf":"1"}`, "/rest-api/stream/terminate": `{"mediaSessionId":"none"}`,
	} {
		require.Equal(t, 404, post(a, path, b).Code, path)
	}
}

func TestSendDTMF(t *testing.T) {
	f := &fakeCalls{infos: []calls.Info{{CallID: "c"}}}
	a := newAPI(t, Config{DTMF: "info", AllowOrigin: "*"}, f, nil)
	for _, b := range []string{`{"callId":"c","dtmf":"9","type":"RFC2833"}`, `{"callId":"c","dtmf":9}`, `{"callId":"c","dtmf":"*#aD","type":"info_relay"}`} {
		w := post(a, "/rest-api/call/send_dtmf", b)
		require.Equal(t, 200, w.Code, w.Body)
		require.Empty(t, w.Body.String())
	}
	require.Equal(t, []string{"9 RFC2833", "9 INFO", "*#AD INFO_RELAY"}, f.dtmf)
}

func TestTap(t *testing.T) {
	f := &fakeCalls{infos: []calls.Info{{CallID: "c"}}}
	a := newAPI(t, Config{AllowOrigin: "*"}, f, nil)
	require.Equal(t, 200, post(a, "/rest-api/call/tap", `{"callId":"c","toStream":"s","side":"dual","record":"true"}`).Code)
	require.Equal(t, 200, post(a, "/rest-api/call/tap", `{"callId":"c"}`).Code)
	require.Equal(t, 200, post(a, "/rest-api/call/untap", `{"callId":"c","toStream":"s"}`).Code)
	require.Equal(t, []calls.Tap{{CallID: "c", ToStream: "s", Side: "dual", Record: true}, {CallID: "c"}, {CallID: "c", ToStream: "s", Side: "-"}}, f.taps)
	for _, path := range []string{"/rest-api/call/tap", "/rest-api/call/untap"} {
		require.Equal(t, 400, post(a, path, `{"toStream":"s"}`).Code)
	}
}

func TestHold(t *testing.T) {
	f := &fakeCalls{infos: []calls.Info{{CallID: "c"}}}
	a := newAPI(t, Config{AllowOrigin: "*"}, f, nil)
	for _, path := range []string{"/rest-api/call/hold", "/rest-api/call/unhold"} {
		w := post(a, path, `{"callId":"c"}`)
		require.Equal(t, 200, w.Code, w.Body)
		require.Empty(t, w.Body.String())
		require.Equal(t, 404, post(a, path, `{"callId":"none"}`).Code)
		require.Equal(t, 400, post(a, path, `{}`).Code)
	}
	for path, body := range map[string]string{"/rest-api/call/transfer": `"target":"5"`, "/rest-api/call/send_message": `"body":"hi"`} {
		require.Equal(t, 404, post(a, path, `{"callId":"none",`+body+`}`).Code)
		require.Equal(t, 200, post(a, path, `{"callId":"c",`+body+`}`).Code)
		for _, bad := range []string{`{"callId":"c"}`, `{` + body + `}`, `{"callId":"c","target":"1","replaces":"2"}`, `{"callId":"c","body":{},"target":[]}`} {
			require.Equal(t, 400, post(a, path, bad).Code, path+bad)
		}
	}
	require.Equal(t, 200, post(a, "/rest-api/message/send", `{"callee":"5","sipLogin":"ann","sipPort":"5070","contentType":"message/cpim","body":"hi"}`).Code)
	require.Contains(t, f.dtmf, "text 5ann5070message/cpimhi")
	require.Equal(t, 400, post(a, "/rest-api/message/send", `{"callee":"5","sipLogin":"ann"}`).Code)
	for path, body := range map[string]string{"call/inject_stream": `"streamName":"s"`, "call/inject_stream/startup": `"streamName":5`,
		"call/inject_sound": `"fileName":"a.wav"`, "call/inject_stream/terminate": `"x":1`} {
		require.Equal(t, 404, post(a, "/rest-api/"+path, `{"callId":"none",`+body+`}`).Code, path)
		w := post(a, "/rest-api/"+path, `{"callId":"c",`+body+`}`)
		require.Equal(t, 200, w.Code, path)
		require.Empty(t, w.Body.String())
		require.Equal(t, 400, post(a, "/rest-api/"+path, `{`+body+`}`).Code, path)
		if !strings.HasSuffix(path, "terminate") {
			require.Equal(t, 400, post(a, "/rest-api/"+path, `{"callId":"c"}`).Code, path)
		}
	}
	for _, done := range []string{"stream s", "stream 5", "sound a.wav", "no injection"} {
		require.Contains(t, f.dtmf, done)
	}
	require.Contains(t, f.dtmf, "hold true")
	require.Contains(t, f.dtmf, "hold false")
	require.Contains(t, f.dtmf, "transfer 5")
	require.Contains(t, f.dtmf, "message hi")
	require.Equal(t, 200, post(a, "/rest-api/call/answer", `{"callId":"c","toStream":"x","hasAudio":"true"}`).Code)
	require.Equal(t, 404, post(a, "/rest-api/call/answer", `{"callId":"none"}`).Code)
	require.Equal(t, 400, post(a, "/rest-api/call/answer", `{}`).Code)
	require.Equal(t, 200, post(a, "/rest-api/call/reject", `{"callId":"c","code":"486"}`).Code)
	require.Equal(t, 400, post(a, "/rest-api/call/reject", `{"callId":"c","code":200}`).Code)
	require.Equal(t, 200, post(a, "/rest-api/call/reject", `{"callId":"c"}`).Code)
	require.Contains(t, f.dtmf, "answer x true true")
	require.Contains(t, f.dtmf, "reject 486")
	require.Contains(t, f.dtmf, "reject 0")
}

func TestAnswerForms(t *testing.T) {
	a := newAPI(t, Config{}, nil, nil)
	w := post(a, "/rest-api/box/startup", "\xef\xbb\xbf {\"NAME\":\"x\",\"more\":{\"a\":{}}} \n")
	require.Equal(t, `{"name":"x"}`, w.Body.String(), "a byte order mark is tolerated")
	w = ask(a, http.MethodGet, "/rest-api/box/find_all", "")
	var list []string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
	require.Equal(t, []string{"<&>"}, list)
	require.Equal(t, 200, post(a, "/rest-api/box/find_all/", "{}").Code, "a slash at the end is tolerated")
	require.Equal(t, 404, post(a, "/rest-api/", "{}").Code)
	m := a.Metrics()
	require.NotEmpty(t, m)
	for _, x := range m {
		require.Equal(t, "lineout_rest_answers_total", x.Name)
		require.Contains(t, []string{"box/startup", "box/find_all", "unknown"}, x.Labels["method"])
	}
}

func TestTwoPartsWithOneMethod(t *testing.T) {
	_, err := New(Config{}, Deps{Calls: &fakeCalls{}, Streams: pipeline.NewHub(pipeline.HubConfig{}), Outputs: []outputs.Output{box{}, box{}}})
	require.ErrorContains(t, err, `the REST method "box/`)
}

// Exactly one of many equal requests is accepted, over real connections.
func TestManyEqualRequests(t *testing.T) {
	srv := httptest.NewServer(newAPI(t, Config{}, nil, nil))
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			res, err := client.Post(srv.URL+"/rest-api/call/startup", "application/json", strings.NewReader(sample))
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			mu.Lock()
			got[res.StatusCode]++
			mu.Unlock()
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{200: 1, 409: 99}, got)
}

// Patterns have to live beside those of HLS on one mux.
func TestRoutesLiveBesideStreams(t *testing.T) {
	a := newAPI(t, Config{}, nil, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("/{stream}/{file}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for p, h := range a.Routes() {
		mux.Handle(p, h)
	}
	require.Equal(t, 404, post(mux, "/rest-api/call/find_all", "{}").Code)
	require.Contains(t, post(mux, "/rest-api/x", "{}").Body.String(), "there is no method")
	require.Equal(t, 400, post(mux, "/RESTCall/hangup", "{}").Code)
	require.Equal(t, http.StatusTeapot, post(mux, "/s/s.m3u8", "").Code)
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{sample, `{}`, ``, `null`, `{"hasAudio":1e400}`, `{"callId":"\ud800"}`, `{"sipPort":-0.0}`, `{"connection":{"connection":{}}}`, `{"CALLID":1,"callId":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBody(data)
		if err != nil {
			if fault.CodeOf(err) != fault.BadRequest {
				t.Fatalf("class of %v", err)
			}
			return
		}
		var q callRequest
		if err := b.decode(&q); err != nil && fault.CodeOf(err) != fault.BadRequest {
			t.Fatalf("class of %v", err)
		}
		var s streamFilter
		if err := b.decode(&s); err != nil && fault.CodeOf(err) != fault.BadRequest {
			t.Fatalf("class of %v", err)
		}
	})
}

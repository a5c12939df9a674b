package rest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/calls"
	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/pipeline"
)

// What is waited for is another goroutine's next step; the limit only ends a broken test.
const (
	testTimeout = 10 * time.Second
	testTick    = time.Millisecond
)

// ringing is a phone that rings until somebody hangs up.
type ringing struct {
	events chan leg.Event
	once   sync.Once
}

func (r *ringing) Dial(context.Context, leg.Request) (leg.Leg, error) {
	l := &ringing{events: make(chan leg.Event, 4)}
	l.events <- leg.Event{Type: leg.Ringing, Code: 180}
	return l, nil
}
func (r *ringing) Events() <-chan leg.Event                         { return r.events }
func (r *ringing) SendDTMF(context.Context, string, leg.DTMF) error { return nil }
func (r *ringing) Hold(context.Context) error                       { return nil }
func (r *ringing) Resume(context.Context) error                     { return nil }
func (r *ringing) Hangup(_ context.Context, c leg.Cause) error {
	r.once.Do(func() {
		r.events <- leg.Event{Type: leg.Ended, Cause: c}
		close(r.events)
	})
	return nil
}

// managed is the API in front of the real call manager.
func managed(t *testing.T) http.Handler {
	t.Helper()
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: codecs.NewTable(nil, nil)})
	m := calls.NewManager(calls.Deps{Dialer: &ringing{}, Streams: hub, Codecs: codecs.NewTable(nil, nil),
		StartPush: func(*pipeline.Stream, string, string, func(string)) error { return nil }})
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = hub.Run(ctx) })
	wg.Go(func() { _ = m.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
	a := newAPI(t, Config{}, m, hub)
	// Run takes calls as soon as it has started.
	require.Eventually(t, func() bool { return post(a, "/rest-api/call/startup", callBody("probe", "probe")).Code == 200 }, testTimeout, testTick)
	require.Equal(t, 200, post(a, "/rest-api/call/terminate", `{"callId":"probe"}`).Code)
	return a
}

func callBody(id, stream string) string {
	return `{"callId":"` + id + `","callee":"1","toStream":"` + stream + `","sipLogin":"2","sipDomain":"d","sipRegisterRequired":"false"}`
}

// Of many equal requests at once exactly one makes a call; the rest get 409.
func TestRacesWithTheRealManager(t *testing.T) {
	a := managed(t)
	srv := httptest.NewServer(a)
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	for name, request := range map[string]func(i int) string{
		"same call id": func(int) string { return callBody("c1", "") },
		"same stream":  func(i int) string { return callBody("s"+strings.Repeat("x", i), "stream1") },
		"same target": func(i int) string {
			return `{"callId":"t` + strings.Repeat("x", i) + `","callee":"1","rtmpUrl":"rtmp://127.0.0.1:1/live","rtmpStream":"r1","sipLogin":"2","sipDomain":"d"}`
		},
	} {
		var mu sync.Mutex
		got := map[int]int{}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				res, err := client.Post(srv.URL+"/rest-api/call/startup", "application/json", strings.NewReader(request(i)))
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
		require.Equal(t, map[int]int{200: 1, 409: 99}, got, name)
	}
}

// A call through its life as a page polls it.
func TestCallThroughTheRealManager(t *testing.T) {
	a := managed(t)
	require.Equal(t, 200, post(a, "/rest-api/call/startup", callBody("c1", "stream1")).Code)
	require.Eventually(t, func() bool {
		return strings.Contains(post(a, "/rest-api/call/find", `{"callId":"c1"}`).Body.String(), `"status":"RING","sipStatus":180`)
	}, testTimeout, testTick)
	require.Contains(t, post(a, "/rest-api/stream/find", `{"name":"stream1"}`).Body.String(), `"status":"PENDING"`)
	require.Equal(t, 409, post(a, "/rest-api/call/startup", callBody("c2", "stream1")).Code)

	w := post(a, "/rest-api/call/startup", `{"callId":"c3","callee":"1","sipLogin":"<10>","sipDomain":"d"}`)
	require.Equal(t, 500, w.Code)
	require.Equal(t, `{"error":"Internal Server Error","exception":"com.flashphoner.rest.server.exception.InternalErrorException",`+
		`"message":"SIP login or authentication name contains reserved symbols","path":"/rest-api/call/startup","status":500,"timestamp":1559029484840}`, w.Body.String())

	// Ending the stream ends the call (rest-api 4).
	require.Equal(t, 200, post(a, "/rest-api/stream/terminate", `{"name":"stream1"}`).Code)
	require.Eventually(t, func() bool { return post(a, "/rest-api/call/find", `{"callId":"c1"}`).Code == 404 }, testTimeout, testTick)
	require.Equal(t, 200, post(a, "/rest-api/call/startup", callBody("c1", "stream1")).Code, "id and name are free again")
	require.Equal(t, 200, post(a, "/rest-api/call/terminate", `{"callId":"c1"}`).Code)
	require.Equal(t, 404, post(a, "/rest-api/call/terminate", `{"callId":"c1"}`).Code)
}

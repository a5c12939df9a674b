package web

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/stretchr/testify/require"
)

var shots = flag.String("shots", "", "folder to write screenshots of the pages to")

// stub answers like the server does in each state a player can meet.
type stub struct {
	t    testing.TB
	mode atomic.Value // string
	mu   sync.Mutex
	pcs  []*webrtc.PeerConnection
	wg   sync.WaitGroup
	done chan struct{}
}

func (s *stub) set(mode string) { s.mode.Store(mode) }

func newStub(t testing.TB) (*stub, string) {
	s := &stub{t: t, done: make(chan struct{})}
	s.set("missing")
	mux := site(t)
	mux.HandleFunc("/whep/{stream}", s.whep)
	mux.HandleFunc("/whep/{stream}/{id}", func(w http.ResponseWriter, _ *http.Request) {
		if s.mode.Load() == "missing" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	mux.HandleFunc("/rest-api/{group}/{method}", s.rest)
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		close(s.done)
		s.hangUp()
		s.wg.Wait()
		srv.Close()
	})
	return s, srv.URL
}

// hangUp ends all sessions from the server's side.
func (s *stub) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pc := range s.pcs {
		if err := pc.GracefulClose(); err != nil {
			s.t.Error(err)
		}
	}
	s.pcs = nil
}

func (s *stub) whep(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	switch mode := s.mode.Load().(string); mode {
	case "missing":
		http.Error(w, "Stream not found", http.StatusNotFound)
	case "ringing":
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the call is not answered yet", http.StatusConflict)
	case "forbidden":
		http.Error(w, "not for you", http.StatusForbidden)
	case "codecs":
		http.Error(w, "No common codecs: the stream has VP9", http.StatusNotAcceptable)
	case "audio":
		s.play(w, r)
	default:
		s.t.Errorf("mode %q", mode)
	}
}

// play answers with a real peer connection that sends Opus silence.
func (s *stub) play(w http.ResponseWriter, r *http.Request) {
	offer, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var setting webrtc.SettingEngine
	setting.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(setting), withDefaultCodecs(s.t)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	s.pcs = append(s.pcs, pc)
	s.mu.Unlock()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "stub")
	if err == nil {
		_, err = pc.AddTrack(track)
	}
	if err == nil {
		err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)})
	}
	var answer webrtc.SessionDescription
	if err == nil {
		answer, err = pc.CreateAnswer(nil)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err == nil {
		err = pc.SetLocalDescription(answer)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	<-gathered
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-s.done:
				return
			case <-tick.C:
				if track.WriteSample(media.Sample{Data: []byte{0xf8, 0xff, 0xfe}, Duration: 20 * time.Millisecond}) != nil {
					return
				}
			}
		}
	}()
	w.Header().Set("Location", r.URL.Path+"/1")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, pc.LocalDescription().SDP)
}

func withDefaultCodecs(t testing.TB) func(*webrtc.API) {
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Error(err)
	}
	return webrtc.WithMediaEngine(m)
}

func (s *stub) rest(w http.ResponseWriter, r *http.Request) {
	switch s.mode.Load().(string) {
	case "forbidden":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message":"no REST users are set; set rest_users=user:password"}`)
	case "missing":
		w.WriteHeader(http.StatusNotFound)
	default:
		if r.PathValue("group") == "call" {
			fmt.Fprint(w, `[{"callId":"call1","status":"ESTABLISHED","sipStatus":200,"caller":"10006","callee":"10005","rtmpStreamStatus":null}]`)
			return
		}
		fmt.Fprintf(w, `[{"name":"call_stream1","published":true,"status":"PUBLISHING","videoCodec":"H264","audioCodec":"PCMA","width":640,"height":360,"record":true,"createDate":%d},
			{"name":"a <b>/ö","published":true,"status":"PENDING","createDate":%d},{"name":"call_stream1","published":false}]`, time.Now().UnixMilli(), time.Now().UnixMilli())
	}
}

// browser starts one headless Chromium for a test.
func browser(t testing.TB, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "these tests need Chromium: apt-get install chromium")
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-features", "WebRtcHideLocalIpsWithMdns"), chromedp.Flag("autoplay-policy", "document-user-activation-required"))
	opts = append(opts, more...)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits for the browser to exit
			t.Logf("close the browser: %v", err)
		}
		cancel()
		stop()
	})
	require.NoError(t, chromedp.Do(ctx)) // the browser lives as long as this first context
	limited, done := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(done)
	return limited
}

func do(t testing.TB, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(ctx, steps...))
}

func eval[T any](t testing.TB, ctx context.Context, js string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	require.NoError(t, err, js)
	return v
}

// wait waits until a JavaScript condition holds.
func wait(t testing.TB, ctx context.Context, js string) {
	t.Helper()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](js)); err != nil {
		now, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
		require.NoError(t, err, "waited for %s, the page shows %q", js, now)
	}
}

func text(id string) string { return `document.getElementById("` + id + `").textContent` }

func shot(t testing.TB, ctx context.Context, name string) {
	t.Helper()
	if *shots == "" {
		return
	}
	for _, size := range [][2]int64{{1280, 720}, {390, 844}} {
		do(t, ctx, chromedp.EmulateViewport(size[0], size[1]), chromedp.Sleep(300*time.Millisecond))
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(*shots, fmt.Sprintf("%s-%d.png", name, size[0])), png, 0o644))
	}
}

// until waits for the page to show a state and returns its two lines of text.
func until(t testing.TB, ctx context.Context, state string) string {
	t.Helper()
	wait(t, ctx, `document.getElementById("stage")?.dataset.state === "`+state+`"`)
	return eval[string](t, ctx, text("headline")+` + "|" + `+text("detail"))
}

const refuseSound = `
	const play = HTMLMediaElement.prototype.play;
	HTMLMediaElement.prototype.play = function () {
		return this.muted ? play.call(this) : Promise.reject(new DOMException("touch me first", "NotAllowedError"));
	};`

const videoMuted = `document.getElementById("video").muted`

// A player page goes through all states a call's life brings.
func TestPlayerStates(t *testing.T) {
	s, url := newStub(t)
	ctx := browser(t)
	// The test's own scripts count as a visitor's touch, which would let the
	// page make sound; refuse as the browser does before the first touch.
	do(t, ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: refuseSound})
		return err
	}), chromedp.Navigate(url+"/player?stream=call_stream1"))
	require.Contains(t, until(t, ctx, "waiting"), "There is no stream “call_stream1” yet")
	shot(t, ctx, "missing")

	s.set("ringing")
	wait(t, ctx, text("headline")+`.includes("answered")`)
	require.Contains(t, eval[string](t, ctx, text("detail")), "not answered yet")
	shot(t, ctx, "ringing")

	s.set("audio")
	until(t, ctx, "playing")
	wait(t, ctx, `!document.getElementById("audio").hidden && !document.getElementById("unmute").hidden`)
	wait(t, ctx, text("stats")+`.includes("Opus")`)
	shot(t, ctx, "audio")

	do(t, ctx, chromedp.Click(chromedp.CSS("#unmute")))
	wait(t, ctx, `document.getElementById("unmute").hidden`)
	require.False(t, eval[bool](t, ctx, videoMuted))
	do(t, ctx, chromedp.Click(chromedp.CSS("#mute")))
	require.True(t, eval[bool](t, ctx, videoMuted))

	s.set("missing")
	s.hangUp()
	require.Contains(t, until(t, ctx, "stopped"), "The stream has ended")
	shot(t, ctx, "ended")

	s.set("audio")
	until(t, ctx, "playing")
	do(t, ctx, chromedp.Click(chromedp.CSS("#play")))
	require.Contains(t, until(t, ctx, "stopped"), "Stopped")
}

func TestPlayerErrors(t *testing.T) {
	s, url := newStub(t)
	ctx := browser(t)
	s.set("forbidden")
	do(t, ctx, chromedp.Navigate(url+"/player?stream=x"))
	require.Equal(t, "The server does not allow this|not for you", until(t, ctx, "error"))
	shot(t, ctx, "forbidden")

	do(t, ctx, chromedp.Navigate(url+"/player"))
	require.Contains(t, until(t, ctx, "error"), "/player?stream=NAME")

	// WebRTC refused, then HLS, which the stub does not have.
	s.set("codecs")
	do(t, ctx, chromedp.Navigate(url+"/player?stream=x"))
	require.Contains(t, until(t, ctx, "waiting"), "There is no stream")

	// A name is only ever text.
	s.set("missing")
	do(t, ctx, chromedp.Navigate(url+"/player?stream=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"))
	require.Equal(t, "<img src=x onerror=alert(1)>", eval[string](t, ctx, text("name")))
	require.Zero(t, eval[int](t, ctx, `document.querySelectorAll("h1 img").length`))
}

func TestLandingPage(t *testing.T) {
	s, url := newStub(t)
	ctx := browser(t)
	s.set("audio")
	do(t, ctx, chromedp.Navigate(url+"/"))
	wait(t, ctx, `document.querySelectorAll("#streams li").length === 2 && document.querySelectorAll("#calls li").length === 1`)
	require.Equal(t, []string{"/player?stream=call_stream1", "/call_stream1/call_stream1.m3u8", "/debug/graph/call_stream1",
		"/player?stream=a%20%3Cb%3E%2F%C3%B6", "/a%20%3Cb%3E%2F%C3%B6/a%20%3Cb%3E%2F%C3%B6.m3u8", "/debug/graph/a%20%3Cb%3E%2F%C3%B6"},
		eval[[]string](t, ctx, `[...document.querySelectorAll("#streams a")].map((a) => a.getAttribute("href"))`))
	shot(t, ctx, "index")

	s.set("forbidden")
	do(t, ctx, chromedp.Navigate(url+"/"))
	wait(t, ctx, text("note")+`.includes("rest_users")`)
	require.Contains(t, eval[string](t, ctx, text("note")), "The list cannot be shown")
	shot(t, ctx, "index-forbidden")
}

package peers

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is a running headless Chromium.
type Browser struct {
	ctx context.Context
}

// StartBrowser starts Chromium (or the program CHROMIUM names), by default without a camera.
func StartBrowser(t testing.TB, more ...chromedp.ExecAllocatorOption) *Browser {
	t.Helper()
	exe := os.Getenv("CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); exe == "" && err == nil {
			exe = p
		}
	}
	if exe == "" {
		t.Fatal("no Chromium is installed: run tools/install-test-deps.sh")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(exe),
		chromedp.NoSandbox, // tests may run as root
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("disable-gpu", true),
		// A page that is not in front must go on showing frames.
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-background-timer-throttling", true),
	)
	options = append(options, more...)
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("close the browser: %v", err)
		}
		stop()
		stopAlloc()
	})
	// No time limit here: the browser lives as long as the context of the first run.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", exe, err)
	}
	return &Browser{ctx: ctx}
}

// Kill ends the browser and all its tabs with a signal it cannot see (SIGKILL).
func (b *Browser) Kill(t testing.TB) {
	t.Helper()
	if err := chromedp.FromContext(b.ctx).Browser.Process().Kill(); err != nil {
		t.Fatalf("kill the browser: %v", err)
	}
}

//go:embed probe.js
var probe string

// Page is one tab, 900x600 unless [Page.Resize] changes it.
type Page struct {
	ctx context.Context

	mu      sync.Mutex
	console []string
}

// pageTimeout bounds one action on a page.
const pageTimeout = 30 * time.Second

// Open opens an address in a new tab, with the probe in place before the page's own scripts.
func (b *Browser) Open(t testing.TB, url string) *Page {
	t.Helper()
	return b.open(t, url, probe)
}

func (b *Browser) open(t testing.TB, url, script string) *Page {
	t.Helper()
	ctx, stop := chromedp.NewContext(b.ctx, chromedp.WithNewWindow(true))
	p := &Page{ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console of %s: %q", url, p.Console())
		}
		stop()
	})
	// Without a time limit: the tab lives as long as the context of its first use.
	if err := chromedp.Listen(ctx, p.heard); err != nil {
		t.Fatalf("browser: open a tab: %v", err)
	}
	p.do(t, "install the probe", func(ctx context.Context) error {
		// The probe's audio worklet comes from a blob, which a page's content security policy may forbid.
		if _, err := chromedp.Call(ctx, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	})
	p.Resize(t, 900, 600)
	p.do(t, "open "+url, func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Navigate(url)) })
	return p
}

func (p *Page) do(t testing.TB, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, pageTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("browser: %s: %v; console: %q", what, err, p.Console())
	}
}

// heard keeps what pages write to the console, and their uncaught exceptions.
func (p *Page) heard(ev any) {
	var line string
	switch e := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, a := range e.Args {
			words = append(words, string(a.Value)+a.Description)
		}
		line = string(e.Type) + " " + strings.Join(words, " ")
	case *runtime.EventExceptionThrown:
		line = "exception " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			line += " " + x.Description
		}
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.console) < 200 {
		p.console = append(p.console, line)
	}
}

// Console is what the page has written to the console.
func (p *Page) Console() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.console...)
}

// Crash ends the tab's process in the middle of what it does; the page cannot be used any more.
func (p *Page) Crash(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	_, _ = chromedp.Call(ctx, page.Crash, cdp.Empty{}) // nobody is left to answer it
}

// Close closes the tab.
func (p *Page) Close(t testing.TB) {
	t.Helper()
	if err := chromedp.Cancel(p.ctx); err != nil {
		t.Fatalf("browser: close the tab: %v", err)
	}
}

// Resize sets the viewport.
func (p *Page) Resize(t testing.TB, width, height int) {
	t.Helper()
	p.do(t, "resize", func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.EmulateViewport(int64(width), int64(height)))
	})
}

// Click clicks the element a CSS selector finds, waiting for it to be visible.
func (p *Page) Click(t testing.TB, selector string) {
	t.Helper()
	p.do(t, "click "+selector, func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector))) })
}

// Fill replaces the value of an input.
func (p *Page) Fill(t testing.TB, selector, value string) {
	t.Helper()
	p.do(t, "fill "+selector, func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.SetValue(chromedp.CSS(selector), value))
	})
}

// Eval evaluates a JavaScript expression in the page; a promise is awaited. The result must fit T.
func Eval[T any](t testing.TB, p *Page, expression string) (v T) {
	t.Helper()
	p.do(t, "evaluate "+expression, func(ctx context.Context) (err error) {
		v, err = chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
		return err
	})
	return v
}

// WaitFor waits until a JavaScript expression, or what its promise resolves to, is true in the page.
func (p *Page) WaitFor(t testing.TB, expression string, timeout time.Duration) {
	t.Helper()
	if err := poll(timeout, func() (bool, error) { return Eval[bool](t, p, "Promise.resolve("+expression+").then(Boolean)"), nil }); err != nil {
		p.Screenshot(t, "failed")
		t.Fatalf("browser: waiting for %s: %v; console: %q", expression, err, p.Console())
	}
}

// Screenshot writes the top of the page as NAME.png to the test's artefacts and returns its path.
func (p *Page) Screenshot(t testing.TB, name string) string {
	t.Helper()
	file := filepath.Join(Artefacts(t), name+".png")
	p.do(t, "take a screenshot", func(ctx context.Context) error {
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void]("scrollTo(0, 0)")); err != nil {
			return err
		}
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			return err
		}
		return os.WriteFile(file, png, 0o644)
	})
	return file
}

// OpenWith is [Browser.Open] with a script that runs before the page's own.
func (b *Browser) OpenWith(t testing.TB, url, script string) *Page {
	t.Helper()
	return b.open(t, url, probe+";\n"+script)
}

// View is what the probe has measured since the page was opened.
type View struct {
	Seconds float64      `json:"seconds"`
	Errors  []string     `json:"errors"` // of scripts
	Media   []ViewMedia  `json:"media"`  // the <video> and <audio> elements
	RTP     []ViewStream `json:"rtp"`    // received by WebRTC
}

// ViewMedia is what one element shows and sounds. Frame numbers are those of the test clips.
type ViewMedia struct {
	Tag              string    `json:"tag"`
	Size             string    `json:"size"`
	CurrentTime      float64   `json:"currentTime"`
	ReadyState       int       `json:"readyState"`
	Paused           bool      `json:"paused"`
	Muted            bool      `json:"muted"`
	Presented        int       `json:"presented"` // frames
	Numbered         int       `json:"numbered"`
	Last             int       `json:"last"`
	Lost             int       `json:"lost"`
	Repeated         int       `json:"repeated"`
	Backward         int       `json:"backward"`
	Restarts         int       `json:"restarts"`
	MaxGapMillis     float64   `json:"maxGapMillis"`
	FPS              float64   `json:"fps"`
	FirstFrameMillis float64   `json:"firstFrameMillis"` // since the page was opened, 0: none
	FirstSoundMillis float64   `json:"firstSoundMillis"`
	Flashes          int       `json:"flashes"`
	Beeps            int       `json:"beeps"`
	Sync             *ViewSync `json:"sync"` // nil: nothing to compare
	RMS              float64   `json:"rms"`  // of the last quarter of a second of sound
	Events           []string  `json:"events"`
	Error            string    `json:"error"` // of the probe itself
}

// ViewSync is the offset of sound against picture as displayed; positive: sound is
// late. The browser tells when a frame is shown only to one screen refresh, so
// single values err by up to 55 ms and the median by up to 25 ms.
type ViewSync struct {
	Pairs        int     `json:"pairs"`
	MedianMillis float64 `json:"medianMillis"`
	MinMillis    float64 `json:"minMillis"`
	MaxMillis    float64 `json:"maxMillis"`
}

// String is for logs.
func (s *ViewSync) String() string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%.0f ms (%.0f to %.0f, %d pairs)", s.MedianMillis, s.MinMillis, s.MaxMillis, s.Pairs)
}

// ViewStream is one received RTP stream by the statistics of WebRTC (W3C webrtc-stats, inbound-rtp).
type ViewStream struct {
	Kind                   string  `json:"kind"`  // "audio", "video"
	Codec                  string  `json:"codec"` // "video/H264"
	PacketsReceived        int     `json:"packetsReceived"`
	PacketsLost            int     `json:"packetsLost"`
	FramesReceived         int     `json:"framesReceived"`
	FramesDecoded          int     `json:"framesDecoded"`
	FramesDropped          int     `json:"framesDropped"`
	KeyFramesDecoded       int     `json:"keyFramesDecoded"`
	FreezeCount            int     `json:"freezeCount"`
	FreezeSeconds          float64 `json:"freezeSeconds"`
	NACKCount              int     `json:"nackCount"`
	PLICount               int     `json:"pliCount"`
	ConcealedSamples       int     `json:"concealedSamples"`
	SilentConcealedSamples int     `json:"silentConcealedSamples"`
	TotalSamplesReceived   int     `json:"totalSamplesReceived"`
	PlayoutMillis          float64 `json:"playoutMillis"` // the sender's clock (NTP) of what is being played, 0: unknown
	JitterBufferMillis     float64 `json:"jitterBufferMillis"`
}

// View reads the probe.
func (p *Page) View(t testing.TB) *View {
	t.Helper()
	v := Eval[View](t, p, "__probe.report()")
	return &v
}

// Stream is the received stream of a kind with the most packets, the zero value if there is none.
func (v *View) Stream(kind string) (s ViewStream) {
	for _, r := range v.RTP {
		if r.Kind == kind && r.PacketsReceived >= s.PacketsReceived {
			s = r
		}
	}
	return s
}

// Playing is the element that has shown the most frames or, when none has, makes the most sound; the zero value if there is none.
func (v *View) Playing() (m ViewMedia) {
	for _, e := range v.Media {
		if e.Presented > m.Presented || e.Presented == m.Presented && e.RMS > m.RMS {
			m = e
		}
	}
	return m
}

// String is the view in lines.
func (v *View) String() string {
	s := fmt.Sprintf("after %.1f s, errors %q", v.Seconds, v.Errors)
	for _, m := range v.Media {
		s += fmt.Sprintf("\n%+v", m)
		if m.Sync != nil {
			s += fmt.Sprintf(" sync %+v", *m.Sync)
		}
	}
	for _, r := range v.RTP {
		s += fmt.Sprintf("\n%+v", r)
	}
	return s
}

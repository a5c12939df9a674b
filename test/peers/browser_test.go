package peers

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lineout/test/media"
)

// TestProbe shows what the browser's measurement is worth, on a page that sends
// a clip to itself by WebRTC: it finds the picture and the sound, and a known
// delay of the sound.
func TestProbe(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("/clips/", http.StripPrefix("/clips/", http.FileServer(http.Dir(Clips(t)))))
	mux.Handle("/", http.FileServer(http.Dir("testdata")))
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	b := StartBrowser(t)
	for _, c := range []struct {
		name, query string
		codec       string
		offset      float64 // ms
	}{
		{"H264", "?codec=H264&clip=clips/" + media.MP4, "video/H264", 0},
		{"VP8 late", "?codec=VP8&delay=300&clip=clips/" + media.WebM, "video/VP8", 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.Open(t, site.URL+"/loopback.html"+c.query)
			p.WaitFor(t, "__probe.report().then(r => r.media.length && r.media[0].sync && r.media[0].sync.pairs >= 6)", 30*time.Second)
			p.Screenshot(t, "page")
			v := p.View(t)
			m := v.Playing()
			t.Logf("sync %+v", m.Sync)
			if m.Sync == nil || m.Sync.MedianMillis < c.offset-80 || m.Sync.MedianMillis > c.offset+80 {
				t.Errorf("offset is not %v ms: %v", c.offset, v)
			}
			if m.Numbered < 100 || m.FPS < 15 || m.RMS < 0.01 || m.Size != "640x360" {
				t.Errorf("picture or sound is missing: %v", v)
			}
			if s := v.Stream("video"); s.Codec != c.codec || s.FramesDecoded < 100 || v.Stream("audio").PacketsReceived < 200 {
				t.Errorf("received streams: %v", v)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		p := b.Open(t, site.URL+"/nothing.html")
		Eval[bool](t, p, "console.warn('hello from the page') || true")
		if v := p.View(t); v.Playing().Presented != 0 || v.Stream("video").PacketsReceived != 0 || v.Playing().RMS != 0 {
			t.Errorf("a page without media shows %v", v)
		}
		if !strings.Contains(strings.Join(p.Console(), "\n"), "hello from the page") {
			t.Errorf("console %q", p.Console())
		}
	})
}

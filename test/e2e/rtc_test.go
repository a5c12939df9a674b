//go:build e2e

package e2e

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"lineout/calls/leg"
	"lineout/calls/rtc"
	"lineout/calls/rtc/transport"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/test/peers"
)

// echoPage calls, or is called, with a tone and a moving picture. It sends its
// SDP as created, without candidates, as the SDK does.
const echoPage = `<!doctype html><video id=v autoplay playsinline width=320></video><script>
let pc;
function source() {
  const c = document.createElement('canvas'); c.width = 640; c.height = 360;
  const g = c.getContext('2d'); let n = 0;
  setInterval(() => { n++; for (let i = 0; i < 60; i++) { g.fillStyle = 'hsl(' + (n * 7 + i * 31) % 360 + ',80%,50%)'; g.fillRect((i * 97 + n * 5) % 640, (i * 53) % 360, 90, 60) } }, 40);
  const ac = new AudioContext(), o = ac.createOscillator(), d = ac.createMediaStreamDestination();
  o.frequency.value = 440; o.connect(d); o.start();
  return new MediaStream([...d.stream.getAudioTracks(), ...c.captureStream(25).getVideoTracks()]);
}
const post = async (path, body) => { const r = await fetch(path, {method: 'POST', body}); if (!r.ok) throw new Error(await r.text()); return r.text() };
async function begin() {
  pc = new RTCPeerConnection();
  pc.ontrack = e => { v.srcObject = e.streams[0] };
}
async function call() {
  await begin();
  const s = source(); for (const t of s.getTracks()) pc.addTrack(t, s);
  const o = await pc.createOffer();
  await pc.setLocalDescription(o);
  await pc.setRemoteDescription({type: 'answer', sdp: await post('/accept', o.sdp)});
  return true;
}
async function called() {
  await begin();
  await pc.setRemoteDescription({type: 'offer', sdp: await post('/offer', '')});
  const s = source(); for (const t of s.getTracks()) pc.addTrack(t, s);
  const a = await pc.createAnswer();
  await pc.setLocalDescription(a);
  await post('/answer', a.sdp);
  return true;
}
async function report() {
  const out = {state: pc.connectionState, frames: 0, energy: 0, streams: v.srcObject ? v.srcObject.getTracks().length : 0, kbps: 0, codec: '', nacks: 0, freezes: 0, sentKbps: 0, rtt: 0, lost: 0};
  const codecs = {};
  const all = await pc.getStats();
  all.forEach(r => { if (r.type == 'codec') codecs[r.id] = r.mimeType });
  all.forEach(r => {
    if (r.type == 'inbound-rtp' && r.kind == 'video') { out.frames = r.framesDecoded || 0; out.codec += codecs[r.codecId] + ' '; out.nacks = r.nackCount || 0; out.freezes = r.freezeCount || 0; out.lost += r.packetsLost }
    if (r.type == 'inbound-rtp' && r.kind == 'audio') { out.energy = r.totalAudioEnergy || 0; out.codec += codecs[r.codecId] + ' '; out.lost += r.packetsLost }
    if (r.type == 'candidate-pair' && r.nominated) out.kbps = Math.round((r.availableOutgoingBitrate || 0) / 1000);
    if (r.type == 'outbound-rtp' && r.kind == 'video') out.sentKbps = Math.round((r.targetBitrate || 0) / 1000);
    if (r.type == 'remote-inbound-rtp') out.rtt = Math.max(out.rtt, r.roundTripTime || 0);
  });
  return out;
}
</script>`

type echoReport struct {
	State    string  `json:"state"`
	Frames   int     `json:"frames"`
	Energy   float64 `json:"energy"`
	Streams  int     `json:"streams"`
	Kbps     int     `json:"kbps"`
	SentKbps int     `json:"sentKbps"`
	Codec    string  `json:"codec"`
	Nacks    int     `json:"nacks"`
	Freezes  int     `json:"freezes"`
	Lost     int     `json:"lost"`
	RTT      float64 `json:"rtt"`
}

// echoSite serves the page and echoes what browsers send.
type echoSite struct {
	*httptest.Server
	svc *rtc.Service

	mu   sync.Mutex
	peer *rtc.Peer
	ends []leg.Cause
	wg   sync.WaitGroup
}

func newEchoSite(t *testing.T) *echoSite {
	log := slog.New(slog.DiscardHandler)
	tr, err := transport.Listen(transport.Config{}, log)
	if err != nil {
		t.Fatal(err)
	}
	table := codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMU, g711.CodecPCMA, g722.Codec}, nil)
	e := &echoSite{svc: rtc.New(rtc.DefaultConfig(), tr, table, log)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.svc.Run(ctx) }()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, echoPage)
	})
	mux.HandleFunc("/accept", e.accept)
	mux.HandleFunc("/offer", e.offer)
	mux.HandleFunc("/answer", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		defer e.mu.Unlock()
		if err := e.peer.SetAnswer(string(b)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	e.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		e.Close()
		cancel()
		<-ended
		e.wg.Wait()
		if n := e.svc.Peers(); n != 0 {
			t.Errorf("%d peers are left", n)
		}
		_ = tr.Close()
	})
	return e
}

func (e *echoSite) accept(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	sdp := make(chan string, 1)
	p, _, err := e.svc.Accept(r.Context(), string(b), rtc.Options{SendSDP: func(s string) { sdp <- s }})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.take(p)
	p.Answer(leg.Terms{SendAudio: true, SendVideo: true})
	_, _ = io.WriteString(w, <-sdp)
}

func (e *echoSite) offer(w http.ResponseWriter, r *http.Request) {
	sdp := make(chan string, 1)
	like := []leg.TrackInfo{
		{Kind: media.Audio, Formats: []leg.Format{{Codec: opus.Name, ClockRate: 48000, Channels: 2}}},
		{Kind: media.Video, Formats: []leg.Format{{Codec: h264.Name, ClockRate: 90000, Fmtp: "packetization-mode=1; profile-level-id=420020"}, {Codec: vp8.Name, ClockRate: 90000}}},
	}
	p, err := e.svc.Offer(r.Context(), like, rtc.Options{SendSDP: func(s string) { sdp <- s }})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.take(p)
	_, _ = io.WriteString(w, <-sdp)
}

// take echoes a peer from its answer to its end.
func (e *echoSite) take(p *rtc.Peer) {
	e.mu.Lock()
	e.peer = p
	e.mu.Unlock()
	e.wg.Go(func() {
		for ev := range p.Events() {
			switch ev.Type {
			case leg.Answered:
				m := p.Media()
				e.wg.Go(func() { _ = m.Run(context.Background(), func(k leg.Packet) { echo(m, k) }) })
			case leg.Ended:
				e.mu.Lock()
				e.ends = append(e.ends, ev.Cause)
				e.mu.Unlock()
			}
		}
	})
}

func echo(m leg.Forwarder, k leg.Packet) {
	if k.RTP != nil {
		_ = m.ForwardRTP(k.Kind, k.RTP.PayloadType, k.RTP, k.At)
		return
	}
	for _, r := range k.RTCP {
		switch r := r.(type) {
		case *rtcp.SenderReport:
			m.ForwardReport(k.Kind, r.SSRC, r.NTPTime, r.RTPTime)
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			m.RequestKeyframe()
		}
	}
}

// A real browser calls and is called: its sound and picture come back.
func TestBrowserEcho(t *testing.T) {
	browser, site := peers.StartBrowser(t), newEchoSite(t)
	for _, way := range []string{"call()", "called()"} {
		t.Run(way, func(t *testing.T) {
			page := browser.Open(t, site.URL)
			began := time.Now()
			peers.Eval[bool](t, page, way)
			page.WaitFor(t, "report().then(r => r.frames > 0)", 15*time.Second)
			t.Logf("first picture after %v", time.Since(began).Round(10*time.Millisecond))
			page.WaitFor(t, "report().then(r => r.frames > 75 && r.energy > 0.01)", 15*time.Second)
			r := peers.Eval[echoReport](t, page, "report()")
			t.Logf("%+v", r)
			if r.State != "connected" || r.Streams != 2 || r.Codec == "" {
				t.Errorf("%+v", r)
			}
			site.mu.Lock()
			p := site.peer
			site.mu.Unlock()
			for _, s := range p.Media().Stats() {
				t.Logf("%+v", s)
			}
			peers.Eval[bool](t, page, "pc.close() || true")
			site.gone(t)
			peers.Eval[bool](t, page, "(location.href = 'about:blank') != ''") // it would go on painting
		})
	}
}

// gone waits for the end of the browser's peer.
func (e *echoSite) gone(t *testing.T) {
	t.Helper()
	for range 100 {
		if e.svc.Peers() == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("a browser has closed its connection, and its peer is still there")
}

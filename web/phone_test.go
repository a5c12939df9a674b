package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/stretchr/testify/require"
)

// exchange is a server with one telephone line, scripted by the test: what the
// page sends is read by want, what the server says is written by say.
type exchange struct {
	t    testing.TB
	got  chan sent
	mu   sync.Mutex
	conn *websocket.Conn
	pcs  []*webrtc.PeerConnection
	wg   sync.WaitGroup
	done chan struct{}
}

type sent struct {
	Message string `json:"message"`
	Data    []struct {
		CallID, SDP, Callee, SIPLogin, AuthToken, DTMF, Target string
		HasVideo, HoldForTransfer                              bool
	} `json:"data"`
}

func newExchange(t testing.TB) (*exchange, string) {
	x := &exchange{t: t, got: make(chan sent, 64), done: make(chan struct{})}
	mux := site(t)
	mux.HandleFunc("/whep/{stream}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			mux.ServeHTTP(w, r)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		x.mu.Lock()
		x.conn = conn
		x.mu.Unlock()
		for {
			_, b, err := conn.Read(context.Background())
			if err != nil {
				return
			}
			var m sent
			if err := json.Unmarshal(b, &m); err != nil || len(m.Data) != 1 {
				t.Errorf("the page sent %s", b)
			}
			x.got <- m
		}
	}))
	t.Cleanup(func() {
		close(x.done)
		x.mu.Lock()
		if x.conn != nil {
			_ = x.conn.CloseNow()
		}
		for _, pc := range x.pcs {
			if err := pc.GracefulClose(); err != nil {
				t.Error(err)
			}
		}
		x.mu.Unlock()
		x.wg.Wait()
		srv.Close()
	})
	return x, srv.URL
}

// want reads the next message, which must have this name.
func (x *exchange) want(name string) sent {
	x.t.Helper()
	select {
	case m := <-x.got:
		require.Equal(x.t, name, m.Message)
		return m
	case <-time.After(30 * time.Second):
		x.t.Fatalf("the page never sent %s", name)
	}
	return sent{}
}

func (x *exchange) say(name string, args ...any) {
	x.t.Helper()
	b, err := json.Marshal(map[string]any{"message": name, "data": args})
	require.NoError(x.t, err)
	x.mu.Lock()
	defer x.mu.Unlock()
	require.NoError(x.t, x.conn.Write(context.Background(), websocket.MessageText, b))
}

func (x *exchange) status(name, id, status string, more ...any) {
	m := map[string]any{"callId": id, "status": status}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	x.say(name, m)
}

// peer is the other end of a call's media: it sends silence in Opus.
func (x *exchange) peer() *webrtc.PeerConnection {
	x.t.Helper()
	var setting webrtc.SettingEngine
	setting.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(setting), withDefaultCodecs(x.t)).NewPeerConnection(webrtc.Configuration{})
	require.NoError(x.t, err)
	x.mu.Lock()
	x.pcs = append(x.pcs, pc)
	x.mu.Unlock()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "far")
	require.NoError(x.t, err)
	_, err = pc.AddTrack(track)
	require.NoError(x.t, err)
	x.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-x.done:
				return
			case <-tick.C:
				if track.WriteSample(media.Sample{Data: []byte{0xf8, 0xff, 0xfe}, Duration: 20 * time.Millisecond}) == io.ErrClosedPipe {
					return
				}
			}
		}
	})
	return pc
}

// describe makes a local description with all candidates.
func (x *exchange) describe(pc *webrtc.PeerConnection, d webrtc.SessionDescription, err error) string {
	x.t.Helper()
	require.NoError(x.t, err)
	gathered := webrtc.GatheringCompletePromise(pc)
	require.NoError(x.t, pc.SetLocalDescription(d))
	<-gathered
	return pc.LocalDescription().SDP
}

func (x *exchange) answer(offer string) string {
	x.t.Helper()
	pc := x.peer()
	require.NoError(x.t, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}))
	d, err := pc.CreateAnswer(nil)
	return x.describe(pc, d, err)
}

// signIn opens the page and registers 1001.
func (x *exchange) signIn(t *testing.T, url string) context.Context {
	t.Helper()
	ctx := browser(t, chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-fake-ui-for-media-stream", true))
	do(t, ctx, chromedp.Navigate(url+"/phone"))
	shot(t, ctx, "phone-account")
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("[name=login]"), "1001"), chromedp.SendKeys(chromedp.CSS("[name=password]"), "s3cret"), chromedp.Click(chromedp.CSS("#account .primary")))
	require.Equal(t, "1001", x.want("connection").Data[0].SIPLogin)
	x.say("getUserData", map[string]any{"authToken": "token", "sipLogin": "1001", "sipRegisterRequired": true})
	x.say("registered", map[string]any{"sipLogin": "1001"})
	wait(t, ctx, text("line")+` === "Registered"`)
	return ctx
}

func click(t testing.TB, ctx context.Context, selector string) {
	t.Helper()
	do(t, ctx, chromedp.Click(chromedp.CSS(selector)))
}

const hidden = `document.getElementById("%").hidden`

func isHidden(id string) string { return strings.ReplaceAll(hidden, "%", id) }

// A whole life of calls on the phone page, the server's part being scripted.
func TestPhone(t *testing.T) {
	x, url := newExchange(t)
	ctx := x.signIn(t, url)
	shot(t, ctx, "phone-dial")

	for _, d := range []string{"1", "0", "0", "2"} {
		click(t, ctx, `#pad button[aria-label="`+d+`"]`)
	}
	require.Equal(t, "1002", eval[string](t, ctx, `document.getElementById("number").value`))
	click(t, ctx, "#call")
	call := x.want("call").Data[0]
	require.Equal(t, "1002", call.Callee)
	require.False(t, call.HasVideo)
	require.NotContains(t, call.SDP, "m=video")
	x.status("notifyTryingResponse", call.CallID, "TRYING")
	x.status("ring", call.CallID, "RING")
	wait(t, ctx, text("status")+` === "Ringing…"`)
	shot(t, ctx, "phone-ringing")
	x.say("setRemoteSDP", call.CallID, x.answer(call.SDP))
	x.status("talk", call.CallID, "ESTABLISHED")
	wait(t, ctx, text("status")+`.startsWith("00:0")`)
	wait(t, ctx, text("quality")+`.includes("Good") && `+text("quality")+`.includes("Opus")`)
	shot(t, ctx, "phone-talk")

	click(t, ctx, "#holdb")
	x.want("hold")
	x.status("hold", call.CallID, "HOLD")
	wait(t, ctx, text("status")+` === "On hold"`)
	click(t, ctx, "#holdb")
	x.want("unhold")
	x.status("talk", call.CallID, "ESTABLISHED")
	wait(t, ctx, text("status")+`.startsWith("00:")`)
	click(t, ctx, "#keys")
	click(t, ctx, `#tonepad button[aria-label="5"]`)
	require.Equal(t, "5", x.want("sendDtmf").Data[0].DTMF)
	shot(t, ctx, "phone-keypad")
	click(t, ctx, "#mic")
	require.False(t, eval[bool](t, ctx, `document.getElementById("mic").getAttribute("aria-pressed") !== "true"`))

	// A second call comes: taking it holds the first.
	pc := x.peer()
	_, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo)
	require.NoError(t, err)
	d, err := pc.CreateOffer(nil)
	x.say("setRemoteSDP", "in-1", x.describe(pc, d, err))
	x.say("notifyIncomingCall", map[string]any{"callId": "in-1", "incoming": true, "caller": "1003", "callee": "1001", "visibleName": "Alice <b>"})
	x.status("ring", "in-1", "RING")
	wait(t, ctx, `document.getElementById("ring").open && `+text("ringer")+` === "Alice <b>" && !`+isHidden("answervideo"))
	shot(t, ctx, "phone-incoming")
	click(t, ctx, "#answervideo")
	require.Equal(t, call.CallID, x.want("hold").Data[0].CallID)
	x.status("hold", call.CallID, "HOLD")
	answered := x.want("answer").Data[0]
	require.Equal(t, "in-1", answered.CallID)
	require.NoError(t, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answered.SDP}))
	x.status("talk", "in-1", "ESTABLISHED")
	wait(t, ctx, text("peer")+` === "Alice <b>" && `+text("status")+`.startsWith("00:0") && !`+isHidden("self")+` && document.querySelectorAll("#others button").length === 1`)
	shot(t, ctx, "phone-two")

	// It is moved on, and the first one comes back.
	click(t, ctx, "#move")
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("[name=target]"), "1004\r"))
	require.True(t, x.want("hold").Data[0].HoldForTransfer)
	require.Equal(t, "1004", x.want("transfer").Data[0].Target)
	x.status("finish", "in-1", "FINISH")
	require.Equal(t, call.CallID, x.want("unhold").Data[0].CallID)
	x.status("talk", call.CallID, "ESTABLISHED")
	wait(t, ctx, text("peer")+` === "1002"`)
	click(t, ctx, "#hang")
	require.Equal(t, call.CallID, x.want("hangup").Data[0].CallID)
	wait(t, ctx, `!`+isHidden("dialler")+` && document.querySelectorAll("#calls li").length === 2`)
	shot(t, ctx, "phone-recent")

	// A call that fails says why.
	do(t, ctx, chromedp.SendKeys(chromedp.CSS("#number"), "1009\r"))
	call = x.want("call").Data[0]
	x.status("finish", call.CallID, "FAILED", "sipStatus", 486, "info", "Busy Here")
	wait(t, ctx, text("notice")+` === "1009 is busy (SIP 486)"`)
	shot(t, ctx, "phone-busy")

	click(t, ctx, "#leave")
	wait(t, ctx, text("line")+` === "Signed out" && !`+isHidden("account"))
}

// The page takes its session up again when the network was gone, and says why it
// could not sign in.
func TestPhoneLine(t *testing.T) {
	x, url := newExchange(t)
	ctx := x.signIn(t, url)
	x.mu.Lock()
	require.NoError(t, x.conn.CloseNow())
	x.mu.Unlock()
	require.Equal(t, "token", x.want("connection").Data[0].AuthToken)
	x.say("getUserData", map[string]any{"authToken": "token", "sipLogin": "1001", "sipRegisterRequired": true})
	x.say("registered", map[string]any{"sipLogin": "1001"})
	wait(t, ctx, text("line")+` === "Registered"`)
	click(t, ctx, "#leave")
	wait(t, ctx, `!`+isHidden("account"))

	click(t, ctx, "#account .primary")
	x.want("connection")
	x.say("getUserData", map[string]any{"authToken": "token2", "sipLogin": "1001", "sipRegisterRequired": true})
	x.say("fail", map[string]any{"apiMethod": "RegistrationStatusEvent", "status": "FAILED", "info": "The server pbx.example refused the password (403)"})
	x.mu.Lock()
	require.NoError(t, x.conn.Close(websocket.StatusNormalClosure, ""))
	x.mu.Unlock()
	wait(t, ctx, text("notice")+`.includes("refused the password") && !`+isHidden("account"))
	shot(t, ctx, "phone-refused")
}

func TestDevelopersPage(t *testing.T) {
	_, url := newExchange(t)
	ctx := browser(t)
	do(t, ctx, chromedp.Navigate(url+"/developers"))
	wait(t, ctx, `document.querySelectorAll("#addresses tr").length === 6 && `+text("sdk")+`.includes(location.host)`)
	shot(t, ctx, "developers")
}

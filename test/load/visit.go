//go:build e2e

package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/pion/webrtc/v4"
)

// visit is one session of a scripted browser: what the SDK does, in its protocol
// (websdk-protocol 3, 4 and 8).
type visit struct {
	swarm *swarm
	login string
	sick  bool // its ICE never connects
	shy   bool // it never answers

	conn *websocket.Conn
	tcp  *net.TCPConn
	work sync.WaitGroup
	stop context.CancelFunc // of the reader

	ready  chan struct{} // closed when the account is registered
	frozen atomic.Bool   // nothing is read any more

	mu         sync.Mutex
	registered bool
	token      string
	called     string            // callId of the newest call made
	offers     map[string]string // by callId
	media      map[string]*medium
}

type frame struct {
	Message string            `json:"message"`
	Data    []json.RawMessage `json:"data"`
}

// open connects and signs in; with a token it goes on with that session.
func (v *visit) open(ctx context.Context, token string) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			v.tcp = c.(*net.TCPConn)
		}
		return c, err
	}}
	limit, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(limit, v.swarm.url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return fmt.Errorf("scripted browser %s: %w", v.login, err)
	}
	conn.SetReadLimit(1 << 20)
	v.conn, v.ready = conn, make(chan struct{})
	v.registered, v.offers, v.media = false, map[string]string{}, map[string]*medium{}
	reading, stop := context.WithCancel(ctx)
	v.stop = stop
	v.work.Go(func() { v.read(reading) })
	hello := map[string]any{"appKey": "defaultApp", "mediaProviders": []string{"WebRTC"}, "clientVersion": "2.0", "keepAlive": true,
		"sipLogin": v.login, "sipDomain": "127.0.0.1", "sipRegisterRequired": true}
	if token != "" {
		hello["authToken"] = token
	}
	v.say("connection", hello)
	select {
	case <-v.ready:
		return nil
	case <-limit.Done():
		return fmt.Errorf("scripted browser %s: not registered: %w", v.login, limit.Err())
	}
}

// say sends one message; that the socket may be gone by then is what this is about.
func (v *visit) say(name string, arg any) {
	b, err := json.Marshal(map[string]any{"message": name, "data": []any{arg}})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = v.conn.Write(ctx, websocket.MessageText, b)
}

func (v *visit) read(ctx context.Context) {
	for {
		_, b, err := v.conn.Read(ctx)
		if err != nil {
			return
		}
		if v.frozen.Load() {
			<-ctx.Done()
			return
		}
		var f frame
		if err := json.Unmarshal(b, &f); err != nil {
			v.swarm.fail(fmt.Errorf("scripted browser %s: %q: %w", v.login, b, err))
			return
		}
		v.heard(f)
	}
}

func (v *visit) heard(f frame) {
	var m struct {
		AuthToken, CallID, MediaSessionID, Status, Info string
		Incoming                                        bool
	}
	if len(f.Data) == 1 {
		_ = json.Unmarshal(f.Data[0], &m)
	}
	switch f.Message {
	case "ping":
		v.say("pong", nil)
	case "getUserData":
		v.mu.Lock()
		v.token = m.AuthToken
		v.mu.Unlock()
	case "registered":
		v.mu.Lock()
		if !v.registered {
			v.registered = true
			close(v.ready)
		}
		v.mu.Unlock()
	case "setRemoteSDP":
		v.described(f.Data)
	case "notifyIncomingCall":
		v.incoming(m.CallID)
	case "talk":
		v.swarm.count("talks")
	case "finish":
		v.drop(m.CallID)
	case "notifyStreamStatusEvent":
		v.swarm.count(m.Status)
		if m.Status != "PLAYING" && m.Status != "PUBLISHING" {
			v.drop(m.MediaSessionID)
		}
	}
}

// described takes the server's SDP: its answer, or its offer of a call to come.
func (v *visit) described(data []json.RawMessage) {
	var id, sdp string
	if len(data) != 2 || json.Unmarshal(data[0], &id) != nil || json.Unmarshal(data[1], &sdp) != nil {
		v.swarm.fail(errors.New("scripted browser: a setRemoteSDP without an id and an SDP"))
		return
	}
	v.mu.Lock()
	m := v.media[id]
	if m == nil {
		v.offers[id] = sdp
	}
	v.mu.Unlock()
	if m == nil || v.sick {
		return
	}
	if err := m.accept(sdp); err != nil && m.pc.ConnectionState() != webrtc.PeerConnectionStateClosed {
		v.swarm.fail(fmt.Errorf("scripted browser: the server's answer: %w\n%s", err, sdp))
	}
}

// incoming answers the call, rejects it, or lets it ring.
func (v *visit) incoming(id string) {
	v.swarm.count("rings")
	v.mu.Lock()
	offer := v.offers[id]
	v.mu.Unlock()
	chance := rand.IntN(10)
	if v.shy || chance == 0 {
		return
	}
	if chance == 1 {
		v.say("hangup", map[string]any{"callId": id})
		return
	}
	m, err := newMedium(webrtc.RTPTransceiverDirectionSendrecv)
	if err != nil {
		v.swarm.fail(err)
		return
	}
	sdp, err := m.answer(offer, !v.sick)
	if err != nil {
		v.swarm.fail(fmt.Errorf("scripted browser: answer: %w\n%s", err, offer))
		m.close(false)
		return
	}
	v.keep(id, m)
	v.say("answer", map[string]any{"callId": id, "incoming": true, "hasAudio": true, "hasVideo": true, "status": "PENDING", "mediaProvider": "WebRTC", "sdp": sdp})
}

// begin offers media for a call or a stream and sends the message that asks for
// it, whose id is the value of key.
func (v *visit) begin(message, key string, direction webrtc.RTPTransceiverDirection, arg map[string]any) (id string) {
	id = uuid.NewString()
	m, err := newMedium(direction)
	if err != nil {
		v.swarm.fail(err)
		return id
	}
	sdp, err := m.offer()
	if err != nil {
		v.swarm.fail(fmt.Errorf("scripted browser: offer: %w", err))
		m.close(false)
		return id
	}
	v.keep(id, m)
	arg[key], arg["sdp"], arg["status"], arg["mediaProvider"] = id, sdp, "PENDING", "WebRTC"
	v.swarm.count(message)
	v.say(message, arg)
	return id
}

func (v *visit) keep(id string, m *medium) {
	v.mu.Lock()
	v.media[id] = m
	v.mu.Unlock()
}

// drop closes the media of what has ended.
func (v *visit) drop(id string) {
	v.mu.Lock()
	m := v.media[id]
	delete(v.media, id)
	v.mu.Unlock()
	if m != nil {
		m.close(true)
	}
}

func (v *visit) mute() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.media {
		m.muted.Store(true)
	}
}

// unplug has the media stop without a word.
func (v *visit) unplug() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.media {
		_ = m.socket.Close()
	}
}

// gone ends what is left on this side, the server being told by the way of the
// end or not at all.
func (v *visit) gone(goodbye bool) {
	v.stop()
	v.work.Wait()
	v.mu.Lock()
	l := v.media
	v.media = map[string]*medium{}
	v.mu.Unlock()
	for _, m := range l {
		m.close(goodbye)
	}
}

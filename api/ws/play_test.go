package ws

import (
	"errors"
	"testing"

	"github.com/coder/websocket"
)

const playS1 = `{"message":"playStream","data":[{"mediaSessionId":"s-1","name":"call","published":false,"hasVideo":true,"hasAudio":true,"status":"PENDING","width":"0","height":0,"mediaProvider":"WebRTC","sdp":"offer"}]}`

func TestPlay(t *testing.T) {
	r := newRig(t, nil)
	st := r.stream(t, "call", true)
	c := r.session(t)
	c.send(playS1)
	c.expect("setRemoteSDP", `["s-1","answer to offer"]`)
	p := r.playback(t, 0)
	if p.request.Stream != st || p.request.ID != "s-1" || p.request.SessionID == "" {
		t.Errorf("Play got %+v", p.request)
	}
	select {
	case <-p.started:
		t.Error("media was started before the connection was up")
	default:
	}
	close(p.connected)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"s-1","name":"call","status":"PLAYING"}]`)
	<-p.started
	c.send(`{"message":"stopStream","data":[{"mediaSessionId":"s-1","name":"call","status":"PLAYING"}]}`)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"s-1","status":"STOPPED","info":"Stopped by user"}]`)
	// The id is free again, and a stop of nothing is answered too.
	c.send(`{"message":"stopStream","data":[{"mediaSessionId":"s-1"}]}`)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"s-1","status":"STOPPED"}]`)
	c.send(playS1)
	c.expect("setRemoteSDP", `["s-1","answer to offer"]`)
}

func TestPlayRefused(t *testing.T) {
	for name, x := range map[string]struct {
		err        error
		send, info string
	}{
		"unknown stream":  {nil, `{"message":"playStream","data":[{"mediaSessionId":"s-1","name":"none"}]}`, "Stream not found"},
		"no id":           {nil, `{"message":"playStream","data":[{"name":"call"}]}`, "MediaSessionId is null"},
		"MSE":             {nil, `{"message":"playStream","data":[{"mediaSessionId":"s-1","name":"call","mediaProvider":"MSE"}]}`, "No common codecs"},
		"WSPlayer":        {nil, `{"message":"playStream","data":[{"mediaSessionId":"s-1","name":"call","mediaProvider":"WSPlayer"}]}`, "No common codecs"},
		"no codec":        {infoError("No common codecs"), playS1, "No common codecs"},
		"any other error": {errors.New("x"), playS1, "Failed by error"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.stream(t, "call", true)
			r.err = x.err
			c := r.session(t)
			c.send(x.send)
			c.expect("notifyStreamStatusEvent", `[{"status":"FAILED","info":"`+x.info+`"}]`)
		})
	}
}

func TestPlayEnds(t *testing.T) {
	for reason, status := range map[string]string{
		"Stopped by publisher stop":  "FAILED",
		"Failed by ICE timeout":      "FAILED",
		"Failed by DTLS error":       "FAILED",
		"Stopped by rest /terminate": "STOPPED",
		"Stopped by user":            "STOPPED",
	} {
		t.Run(reason, func(t *testing.T) {
			r := newRig(t, nil)
			r.stream(t, "call", true)
			c := r.session(t)
			c.send(playS1)
			c.expect("setRemoteSDP", `["s-1","answer to offer"]`)
			r.playback(t, 0).Stop(reason)
			c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"s-1","status":"`+status+`","info":"`+reason+`"}]`)
		})
	}
}

func TestStopWhileWaiting(t *testing.T) {
	r := newRig(t, nil)
	r.stream(t, "call", false)
	r.hold = make(chan struct{})
	c := r.session(t)
	c.send(playS1)
	c.send(`{"message":"stopStream","data":[{"mediaSessionId":"s-1","name":"call"}]}`)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"s-1","status":"STOPPED","info":"Stopped by user"}]`)
}

func TestSocketCloseFreesPlayers(t *testing.T) {
	r := newRig(t, nil)
	r.stream(t, "call", true)
	c := r.session(t)
	c.send(playS1)
	c.expect("setRemoteSDP", `["s-1","answer to offer"]`)
	p := r.playback(t, 0)
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	<-p.Ended()
	if p.Reason() != "Stopped by session disconnect" {
		t.Errorf("ended with %q", p.Reason())
	}
	waitFor(t, func() bool { return r.server.Sessions() == 0 })
}

func TestStreamsPerSession(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxStreams = 1 })
	r.stream(t, "call", true)
	c := r.session(t)
	c.send(playS1)
	c.expect("setRemoteSDP", `["s-1","answer to offer"]`)
	c.send(playS1) // the same id again must not end the player that has it
	c.send(`{"message":"playStream","data":[{"mediaSessionId":"s-2","name":"call","sdp":"o"}]}`)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"s-2","status":"FAILED"}]`)
}

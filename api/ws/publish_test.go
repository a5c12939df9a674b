package ws

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"lineout/media"
)

const publishP1 = `{"message":"publishStream","data":[{"mediaSessionId":"p-1","name":"cam","published":true,"hasVideo":true,"hasAudio":true,"status":"PENDING","record":true,"mediaProvider":"WebRTC","sdp":"offer","bitrate":0,"rtmpUrl":"rtmp://host:1935/live"}]}`

const unpublishP1 = `{"message":"unPublishStream","data":[{"mediaSessionId":"p-1","name":"cam","published":true,"status":"PUBLISHING","record":false}]}`

// fakePublication does what the test says.
type fakePublication struct {
	request        PublishRequest
	started, ended chan struct{}
	once           sync.Once
	reason         string
}

func (p *fakePublication) Started() <-chan struct{} { return p.started }
func (p *fakePublication) Ended() <-chan struct{}   { return p.ended }
func (p *fakePublication) Reason() string           { return p.reason }
func (p *fakePublication) RecordName() string {
	if p.request.Record {
		return "cam.mp4"
	}
	return ""
}
func (p *fakePublication) Stop(reason string) {
	p.once.Do(func() { p.reason = reason; close(p.ended) })
}

// studio answers publishers.
type studio struct {
	asked chan *fakePublication
	err   error
	hold  bool // until the context ends
}

func (s *studio) publish(ctx context.Context, r PublishRequest) (Publication, error) {
	if s.hold {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	r.SendSDP("answer to " + r.Offer)
	p := &fakePublication{request: r, started: make(chan struct{}), ended: make(chan struct{})}
	s.asked <- p
	return p, nil
}

func newStudio(t *testing.T, edit func(*Config)) (*rig, *studio) {
	r, s := newRig(t, edit), &studio{asked: make(chan *fakePublication, 10)}
	r.server.deps.Publish = s.publish
	return r, s
}

func TestPublish(t *testing.T) {
	r, s := newStudio(t, func(c *Config) { c.MaxStreams = 1 })
	c := r.session(t)
	c.send(publishP1)
	c.expect("setRemoteSDP", `["p-1","answer to offer"]`)
	p := <-s.asked
	if q := p.request; q.Name != "cam" || q.ID != "p-1" || q.SessionID == "" || q.AppKey != "defaultApp" || !q.Record || q.RTMPURL != "rtmp://host:1935/live" {
		t.Errorf("Publish got %+v", q)
	}
	close(p.started)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"p-1","name":"cam","published":true,"status":"PUBLISHING"}]`)
	c.send(publishP1) // the same id again must not end the publisher that has it
	c.send(`{"message":"publishStream","data":[{"mediaSessionId":"p-2","name":"cam2","sdp":"o"}]}`)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"p-2","status":"FAILED"}]`)
	c.send(unpublishP1)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"p-1","name":"cam","status":"UNPUBLISHED","info":"Stopped by user","recordName":"cam.mp4"}]`)
	// The id is free again, and a stop of nothing is answered too.
	c.send(unpublishP1)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"p-1","status":"UNPUBLISHED"}]`)
	c.send(publishP1)
	c.expect("setRemoteSDP", `["p-1","answer to offer"]`)
	told := r.phone.told()
	for _, want := range []string{"defaultApp publishStream ", "defaultApp StreamStatusEvent ", `"status":"PUBLISHING"`, `"recordName":"cam.mp4"`} {
		if !strings.Contains(told, want) {
			t.Errorf("the application was told %s, want %s", told, want)
		}
	}
}

func TestPublishRefused(t *testing.T) {
	for name, x := range map[string]struct {
		err, hook  error
		send, info string
	}{
		"name in use":    {infoError("Stream name is already in use"), nil, publishP1, "Stream name is already in use"},
		"no id":          {nil, nil, `{"message":"publishStream","data":[{"name":"call"}]}`, "MediaSessionId is null"},
		"by the program": {nil, errors.New("403"), publishP1, "Restricted access"},
		"any other":      {errors.New("x"), nil, publishP1, "Failed by error"},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := newStudio(t, nil)
			s.err = x.err
			r.phone.hookErr = map[string]error{"publishStream": x.hook}
			c := r.session(t)
			c.send(x.send)
			c.expect("notifyStreamStatusEvent", `[{"status":"FAILED","published":true,"info":"`+x.info+`"}]`)
		})
	}
}

func TestPublishEnds(t *testing.T) {
	for reason, status := range map[string]string{
		"Failed by ICE error":        "FAILED",
		"Failed by RTP activity":     "FAILED",
		"Stopped by rest /terminate": "UNPUBLISHED",
		"Stopped by user":            "UNPUBLISHED",
	} {
		t.Run(reason, func(t *testing.T) {
			r, s := newStudio(t, nil)
			c := r.session(t)
			c.send(publishP1)
			c.expect("setRemoteSDP", `["p-1","answer to offer"]`)
			(<-s.asked).Stop(reason)
			c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"p-1","status":"`+status+`","info":"`+reason+`","recordName":"cam.mp4"}]`)
		})
	}
}

func TestUnpublishWhileWaiting(t *testing.T) {
	r, s := newStudio(t, nil)
	s.hold = true
	c := r.session(t)
	c.send(publishP1)
	c.send(unpublishP1)
	c.expect("notifyStreamStatusEvent", `[{"mediaSessionId":"p-1","status":"UNPUBLISHED","info":"Stopped by user"}]`)
}

func TestSocketCloseEndsPublishers(t *testing.T) {
	r, s := newStudio(t, nil)
	c := r.session(t)
	c.send(publishP1)
	c.expect("setRemoteSDP", `["p-1","answer to offer"]`)
	p := <-s.asked
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	<-p.Ended()
	if p.Reason() != "Stopped by session disconnect" {
		t.Errorf("ended with %q", p.Reason())
	}
}

// The events of a publisher reach its players as long as it publishes.
func TestMuteIsPassedOn(t *testing.T) {
	r, s := newStudio(t, nil)
	st := r.stream(t, "cam", true)
	c, player := r.session(t), r.session(t)
	player.send(strings.Replace(playS1, `"call"`, `"cam"`, 1))
	player.expect("setRemoteSDP", `["s-1","answer to offer"]`)
	c.send(publishP1)
	c.expect("setRemoteSDP", `["p-1","answer to offer"]`)
	close((<-s.asked).started)
	c.expect("notifyStreamStatusEvent", `[{"status":"PUBLISHING"}]`)
	// At once: nothing may be lost of a fast page.
	c.send(`{"message":"sendStreamEvent","data":[{"mediaSessionId":"p-1","type":"videoMuted"}]}`)
	player.expect("notifyStreamEvent", `[{"mediaSessionId":"s-1","type":"videoMuted"}]`)
	if !st.Muted(media.Video) || st.Muted(media.Audio) {
		t.Errorf("listed as muted: video %v, audio %v", st.Muted(media.Video), st.Muted(media.Audio))
	}
}

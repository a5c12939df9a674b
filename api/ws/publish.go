package ws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"lineout/api/loose"
)

// infoRestricted is what a page is told whose program refuses.
const infoRestricted = "Restricted access"

// PublishRequest is one publishStream.
type PublishRequest struct {
	// Name is the stream's, ID the publisher's mediaSessionId, SessionID the
	// WebSocket session's and AppKey its application.
	Name, ID, SessionID, AppKey string
	// Offer is the publisher's SDP; SendSDP is called once with the answer.
	Offer   string
	SendSDP func(sdp string)
	// Record asks for a recording, RTMPURL for a push to an RTMP server.
	Record  bool
	RTMPURL string
}

// Publication is a publisher that was answered.
type Publication interface {
	// Started is closed when the first media has come.
	Started() <-chan struct{}
	// Stop ends it with one of the info texts, the first of which stays.
	Stop(reason string)
	// Ended is closed when the name is free and the recording complete; then Reason
	// is the info text and RecordName the file's name, "" if there is none.
	Ended() <-chan struct{}
	Reason() string
	RecordName() string
}

// publishMessage is a publishStream. Its hasAudio, hasVideo and bitrates say
// nothing that its SDP or the SDK itself does not do.
type publishMessage struct {
	streamMessage
	Record  loose.Bool      `json:"record"`
	RTMPURL loose.String    `json:"rtmpUrl"`
	Custom  json.RawMessage `json:"custom"`
}

// publishing is one publishStream of a session.
type publishing struct {
	cancel context.CancelCauseFunc
	p      Publication // nil until it is answered; guarded by session.mu
}

// publishStream always answers with a status (P6).
func publishStream(s *session, arg json.RawMessage) error {
	var m publishMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	id, name := string(m.MediaSessionID), string(m.Name)
	failed := func(info string) { s.published(id, name, "FAILED", info, "") }
	if id == "" {
		failed(infoNoID)
		return nil
	}
	if s.server.deps.Publish == nil {
		failed("Publishing from a browser is not available on this server")
		return nil
	}
	k := s.current()
	if k == nil { // the browser is gone, and with it its media
		return nil
	}
	ctx, cancel := context.WithCancelCause(k.ctx)
	p := &publishing{cancel: cancel}
	s.mu.Lock()
	_, used := s.publishes[id]
	full := len(s.publishes) >= s.server.config.MaxStreams
	if !used && !full {
		s.publishes[id] = p
	}
	s.mu.Unlock()
	switch {
	case used:
		cancel(nil)
		// No status: it would end the publisher that has this id.
		return fmt.Errorf("mediaSessionId %q: %s", id, infoIDInUse)
	case full:
		cancel(nil)
		failed(fmt.Sprintf("This session publishes %d streams already", s.server.config.MaxStreams))
		return nil
	}
	if !k.work.run(func() {
		defer cancel(nil)
		s.publish(ctx, p, m)
	}) {
		cancel(nil)
		s.unlist(id)
	}
	return nil
}

// publish is a publisher's goroutine: PUBLISHING once media comes, then its end.
func (s *session) publish(ctx context.Context, own *publishing, m publishMessage) {
	id, name := string(m.MediaSessionID), string(m.Name)
	p, err := s.openPublication(ctx, own, m)
	if err != nil {
		s.unlist(id)
		status, info := "FAILED", streamInfo(err)
		if errors.Is(context.Cause(ctx), errStopped) {
			status, info = "UNPUBLISHED", infoStoppedByUser
		}
		s.log.Info("publisher refused", "stream", name, "info", info, "err", err)
		s.published(id, name, status, info, "")
		return
	}
	started, stop := p.Started(), ctx.Done()
	for ended := false; !ended; {
		select {
		case <-started:
			started = nil
			s.began(id, name, m.Custom) // first: the page may send events once it knows
			s.published(id, name, "PUBLISHING", "", "")
		case <-stop:
			stop = nil
			if errors.Is(context.Cause(ctx), errStopped) {
				p.Stop(infoStoppedByUser)
			} else {
				p.Stop(infoStoppedByDisconnect)
			}
		case <-p.Ended():
			ended = true
		}
	}
	status := "FAILED"
	if endStatus(p.Reason()) == "STOPPED" {
		status = "UNPUBLISHED"
	}
	s.unlist(id)
	s.published(id, name, status, p.Reason(), p.RecordName())
	s.ceased(id, status)
}

// openPublication asks the application's program and answers the offer.
func (s *session) openPublication(ctx context.Context, own *publishing, m publishMessage) (Publication, error) {
	id, name := string(m.MediaSessionID), string(m.Name)
	if err := s.ask("publishStream", s.describe("mediaSessionId", id, "name", name, "published", true, "record", m.Record.Value,
		"status", "PENDING", "mediaProvider", "WebRTC")); err != nil {
		return nil, restricted{err}
	}
	p, err := s.server.deps.Publish(ctx, PublishRequest{Name: name, ID: id, SessionID: s.id, AppKey: s.app, Offer: string(m.SDP),
		SendSDP: func(sdp string) { s.send("setRemoteSDP", id, sdp) }, Record: m.Record.Value, RTMPURL: string(m.RTMPURL)})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	own.p = p
	s.mu.Unlock()
	return p, nil
}

// restricted is the refusal of an application's program.
type restricted struct{ error }

func (restricted) StreamInfo() string { return infoRestricted }

// published tells the page of a publisher's status, and before it its program,
// so that the program hears of what the page does next after it.
func (s *session) published(id, name, status, info, record string) {
	s.inform("StreamStatusEvent", s.describe("mediaSessionId", id, "name", name, "published", true, "status", status, "info", info,
		"recordName", record, "mediaProvider", "WebRTC", "mediaType", "publish"))
	s.send("notifyStreamStatusEvent", streamStatus{MediaSessionID: id, Name: name, Published: true, Status: status, Info: info, RecordName: record,
		MediaProvider: "WebRTC"})
}

func (s *session) unlist(id string) {
	s.mu.Lock()
	delete(s.publishes, id)
	s.mu.Unlock()
}

// unPublishStream ends a publisher, whose name is on its way to be free when it
// returns: the page's next message may ask for it.
func unPublishStream(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	s.inform("unPublishStream", s.describe("mediaSessionId", string(m.MediaSessionID), "name", string(m.Name), "published", true))
	s.mu.Lock()
	own := s.publishes[string(m.MediaSessionID)]
	var p Publication
	if own != nil {
		p = own.p
	}
	s.mu.Unlock()
	switch {
	case own == nil:
		s.published(string(m.MediaSessionID), string(m.Name), "UNPUBLISHED", infoStoppedByUser, "")
	case p == nil:
		own.cancel(errStopped)
	default:
		p.Stop(infoStoppedByUser)
	}
	return nil
}

package ws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// The texts of STREAM_STATUS_INFO the server sends itself. Pages compare them.
const (
	infoStoppedByUser       = "Stopped by user"
	infoStoppedByDisconnect = "Stopped by session disconnect"
	infoStoppedByTerminate  = "Stopped by rest /terminate"
	infoFailedByError       = "Failed by error"
	infoNotFound            = "Stream not found"
	infoNotReady            = "Publish stream is not ready"
	infoNoCommonCodecs      = "No common codecs"
	infoNoID                = "MediaSessionId is null"
	infoIDInUse             = "MediaSessionId is already in use"
)

// errStopped cancels a player that stops while it still waits for its stream.
var errStopped = errors.New("stopped by the player")

// play is one playStream of a session.
type play struct {
	id, name string
	cancel   context.CancelCauseFunc
}

func (s *session) status(id, name, status, info string) {
	s.tellPlayer(id, name, status, info)
	s.send("notifyStreamStatusEvent", streamStatus{MediaSessionID: id, Name: name, Status: status, Info: info})
}

// tellPlayer tells the session's program of a player's status.
func (s *session) tellPlayer(id, name, status, info string) {
	s.inform("StreamStatusEvent", s.describe("mediaSessionId", id, "name", name, "published", false, "status", status, "info", info,
		"mediaProvider", "WebRTC", "mediaType", "play"))
}

// playStream always answers with a status: without one the SDK's stop() would
// try again for ever (P6).
func playStream(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	id, name := string(m.MediaSessionID), string(m.Name)
	s.inform("playStream", s.describe("mediaSessionId", id, "name", name, "published", false))
	if id == "" {
		s.status(id, name, "FAILED", infoNoID)
		return nil
	}
	if p := string(m.MediaProvider); p != "" && p != "WebRTC" {
		s.status(id, name, "FAILED", infoNoCommonCodecs)
		return nil
	}
	st := s.server.deps.Stream(name)
	if st == nil {
		s.status(id, name, "FAILED", infoNotFound)
		return nil
	}
	k := s.current()
	if k == nil { // the browser is gone, and with it its player
		return nil
	}
	ctx, cancel := context.WithCancelCause(k.ctx)
	p := &play{id: id, name: name, cancel: cancel}
	s.mu.Lock()
	_, used := s.plays[id]
	full := len(s.plays) >= s.server.config.MaxStreams
	if !used && !full {
		s.plays[id] = p
	}
	s.mu.Unlock()
	switch {
	case used:
		cancel(nil)
		// No status: it would end the player that has this id.
		return fmt.Errorf("mediaSessionId %q: %s", id, infoIDInUse)
	case full:
		cancel(nil)
		s.status(id, name, "FAILED", fmt.Sprintf("This session plays %d streams already", s.server.config.MaxStreams))
		return nil
	}
	if !k.work.run(func() {
		defer cancel(nil)
		s.play(ctx, p, PlayRequest{Stream: st, Offer: string(m.SDP), ID: id, SessionID: s.id})
	}) {
		cancel(nil)
		s.drop(p)
	}
	return nil
}

// play is a player's goroutine: answer, PLAYING once connected, then its end.
func (s *session) play(ctx context.Context, p *play, r PlayRequest) {
	v, answer, err := s.server.deps.Play(ctx, r)
	if err != nil {
		s.drop(p)
		status, info := "FAILED", streamInfo(err)
		if errors.Is(context.Cause(ctx), errStopped) {
			status, info = "STOPPED", infoStoppedByUser
		}
		s.log.Info("player refused", "stream", p.name, "viewer", p.id, "info", info, "err", err)
		s.status(p.id, p.name, status, info)
		return
	}
	s.send("setRemoteSDP", p.id, answer)
	connected, stop := v.Connected(), ctx.Done()
	for ended := false; !ended; {
		select {
		case <-connected:
			connected = nil
			s.tellPlayer(p.id, p.name, "PLAYING", "")
			// On the wire before the first packet: pages look at the video
			// element in their PLAYING callback.
			s.sendNow("notifyStreamStatusEvent", streamStatus{MediaSessionID: p.id, Name: p.name, Status: "PLAYING", MediaProvider: "WebRTC"})
			v.Start()
		case <-stop:
			stop = nil
			if errors.Is(context.Cause(ctx), errStopped) {
				v.Stop(infoStoppedByUser)
			} else {
				v.Stop(infoStoppedByDisconnect)
			}
		case <-v.Ended():
			ended = true
		}
	}
	s.drop(p)
	s.status(p.id, p.name, endStatus(v.Reason()), v.Reason())
	<-v.Done()
}

func (s *session) drop(p *play) {
	s.mu.Lock()
	delete(s.plays, p.id)
	s.mu.Unlock()
}

// endStatus is STOPPED for what somebody asked for. Everything else, the end
// of the source included, is FAILED: that is what pages restart on.
func endStatus(info string) string {
	switch info {
	case infoStoppedByUser, infoStoppedByDisconnect, infoStoppedByTerminate:
		return "STOPPED"
	}
	return "FAILED"
}

func streamInfo(err error) string {
	var i interface{ StreamInfo() string }
	if errors.As(err, &i) {
		return i.StreamInfo()
	}
	return infoFailedByError
}

func stopStream(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	s.inform("stopStream", s.describe("mediaSessionId", string(m.MediaSessionID), "name", string(m.Name), "published", false))
	s.mu.Lock()
	p := s.plays[string(m.MediaSessionID)]
	s.mu.Unlock()
	if p == nil {
		s.status(string(m.MediaSessionID), string(m.Name), "STOPPED", infoStoppedByUser)
		return nil
	}
	p.cancel(errStopped)
	return nil
}

func availableStream(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	a := available{ID: string(m.MediaSessionID), Status: "false", Info: infoNotFound}
	if st := s.server.deps.Stream(string(m.Name)); st != nil {
		select {
		case <-st.Ready():
			a.Status, a.Info = "true", ""
		default:
			a.Info = infoNotReady
		}
	}
	s.send("availableStream", a)
	return nil
}

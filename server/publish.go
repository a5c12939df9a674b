package server

import (
	"context"

	"lineout/api/ws"
	"lineout/calls/rtc"
	"lineout/codecs"
	"lineout/inputs/publish"
	"lineout/pipeline"
)

// newPublishing joins publishing to those who answer, record and push.
func (s *Server) newPublishing(table *codecs.Table) (*publish.Service, error) {
	return publish.New(s.settings.Publish, publish.Deps{
		Answer: func(ctx context.Context, offer string, o rtc.Options) (publish.Peer, error) {
			p, err := s.rtc.Publish(ctx, offer, o)
			if err != nil {
				return nil, err
			}
			return p, nil
		},
		Streams: s.hub, Codecs: table, RTPIn: s.settings.RTPIn, Record: s.recorder.RecordNamed,
		Push:  func(st *pipeline.Stream, url string) error { return s.startPush(st, url, st.Name(), nil) },
		Links: s.player.Links, Log: s.log})
}

// publish is the publishStream of a browser session.
func (s *Server) publish(ctx context.Context, r ws.PublishRequest) (ws.Publication, error) {
	p, err := s.publishing.Publish(ctx, publish.Request{Name: r.Name, ID: r.ID, SessionID: r.SessionID, AppKey: r.AppKey,
		Offer: r.Offer, SendSDP: r.SendSDP, Record: r.Record, RTMPURL: r.RTMPURL})
	if err != nil {
		return nil, err
	}
	return p, nil
}

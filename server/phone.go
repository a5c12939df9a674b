package server

import (
	"context"
	"strings"

	"lineout/api/ws"
	"lineout/calls"
	"lineout/calls/leg"
	"lineout/calls/rtc"
)

// phone is what makes browser sessions telephones.
func (s *Server) phone() *ws.Phone {
	return &ws.Phone{Calls: s.calls, Accept: s.accept, Offer: s.offer, Local: s.ownAccount,
		Account: func(a calls.Account) string { return s.users.Account(a.Login) },
		Check:   s.users.Check, Register: s.agent.Register}
}

// ownAccount says whether a browser's account is one of this server: its
// domain and proxy are, and its port is ours, SIP's usual one or not given.
// Another port is that of another SIP server on this machine.
func (s *Server) ownAccount(a calls.Account) bool {
	switch a.Port {
	case 0, 5060, s.agent.Port():
	default:
		return false
	}
	return s.users.Local(a.Domain) && (a.Proxy == "" || s.users.Local(strings.TrimPrefix(a.Proxy, "sip:")))
}

// known says whether a user of this server could exist.
func (s *Server) known(account string) bool {
	login, _, _ := strings.Cut(account, "@")
	return s.users.Known(login)
}

func (s *Server) peerOptions(o ws.PeerOptions) rtc.Options {
	return rtc.Options{ID: o.ID, SessionID: o.SessionID, Log: s.log, SendSDP: o.SendSDP}
}

func (s *Server) accept(ctx context.Context, offer string, o ws.PeerOptions) (leg.Inbound, leg.Incoming, error) {
	p, in, err := s.rtc.Accept(ctx, offer, s.peerOptions(o))
	if err != nil {
		return nil, in, err
	}
	return p, in, nil
}

func (s *Server) offer(ctx context.Context, like []leg.TrackInfo, o ws.PeerOptions) (ws.Peer, error) {
	p, err := s.rtc.Offer(ctx, like, s.peerOptions(o))
	if err != nil {
		return nil, err
	}
	return p, nil
}

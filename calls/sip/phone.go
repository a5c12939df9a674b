package sip

import (
	"context"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/media"
)

// phone is a SIP phone that is registered here, as a leg.Line.
type phone struct {
	a *Agent
	l *location
}

// Ring implements leg.Line: it sends an INVITE to where the phone is. The INVITE
// has the invitation's Call-ID if no other call has it.
func (p *phone) Ring(_ context.Context, i leg.Invitation) (leg.Leg, error) {
	at, ok := p.a.located.find(p.l, time.Now())
	if !ok {
		return nil, fault.New(fault.NotFound, "the phone of %s is not registered any more", p.l.login)
	}
	caller, err := escapeUser(i.Caller)
	if err != nil {
		caller = "anonymous"
	}
	flow := p.a.wayTo(at.flow, at.uri)
	r := leg.Request{CallID: i.CallID, Callee: p.l.login, Caller: caller, DisplayName: i.DisplayName, Like: i.Like, Referable: true,
		SendAudio: i.Like == nil || sends(i.Like, media.Audio), SendVideo: sends(i.Like, media.Video)}
	if checkCallID(r.CallID) != nil || p.a.find(r.CallID) != nil {
		r.CallID = sipmsg.GenerateTagN(24)
	}
	who := &party{target: at.uri, from: sipmsg.Uri{Scheme: "sip", User: caller, Host: at.domain}, name: escapeQuoted(plain(i.DisplayName)),
		domain: at.domain, server: sipServer{transport: flow.transport}}
	who.srtp, _ = parseSRTP(p.a.cfg.SRTP) // Validate has read it
	d := p.a.newDialog(r, who)
	d.head.to = sipmsg.ToHeader{Address: sipmsg.Uri{Scheme: "sip", User: p.l.login, Host: at.domain}}
	d.flow = flow
	return p.a.begin(d)
}

// sends says whether a leg we are to be joined to sends something of a kind.
func sends(like []leg.TrackInfo, k media.Kind) bool {
	for _, t := range like {
		if t.Kind == k && t.Receive {
			return true
		}
	}
	return false
}

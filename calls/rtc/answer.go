package rtc

import (
	"errors"
	"fmt"

	"lineout/calls/leg"
	"lineout/media"
)

// Ring implements leg.Inbound. With media our answer is sent at once and
// EarlyMedia follows when the browser is connected; without, nothing is sent.
func (p *Peer) Ring(t leg.Terms, media bool) { p.proceed(t, media, false) }

// Answer implements leg.Inbound. Answered follows when the browser is
// connected, or Ended.
func (p *Peer) Answer(t leg.Terms) { p.proceed(t, true, true) }

func (p *Peer) proceed(t leg.Terms, media, answer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offered == nil || p.ended {
		return
	}
	p.early, p.answered = p.early || media && !answer, p.answered || answer
	if media && !p.begun {
		if err := p.answerOffer(t); err != nil {
			p.hangUp(err)
			return
		}
	}
	p.tell()
}

// hangUp ends the peer because of an error.
func (p *Peer) hangUp(err error) {
	c := leg.Cause{Kind: leg.Internal, Text: err.Error(), Local: true}
	if e := (*Error)(nil); errors.As(err, &e) {
		c.Kind, p.err = e.Kind, e
	}
	p.hangOnce.Do(func() {
		p.cause = c
		close(p.hang)
	})
}

// answerOffer agrees on media by the terms and sends our answer: the m= lines
// are those of the offer in its order (RFC 3264 section 6). Of each kind the
// first that suits is taken. The caller holds mu, or nobody knows p yet.
func (p *Peer) answerOffer(t leg.Terms) error {
	var as []*agreement
	var taken [3]bool
	for _, r := range p.offered.sections {
		if r.kind == 0 || taken[r.kind] {
			continue
		}
		a := p.service.agree(r, t.Like != nil, likeOf(t.Like, r.kind))
		if a == nil {
			continue
		}
		a.send = a.send && (r.kind == media.Audio && t.SendAudio || r.kind == media.Video && t.SendVideo)
		if !a.send && !a.receive {
			continue
		}
		taken[r.kind] = true
		as = append(as, a)
	}
	if len(as) == 0 {
		return refused(leg.NoCommonCodecs, errors.New("the browser's offer has no codec in common with what it is to be joined to"))
	}
	as = p.offered.bundled(as)
	remote := p.offered.section(as[0].mid).transport
	if err := remote.check(); err != nil {
		return refused(leg.Setup, err)
	}
	setup := "passive" // the browser begins, as all want to
	if remote.setup == "passive" {
		setup = "active"
	}
	l := p.describe(setup)
	for _, r := range p.offered.sections {
		s := localSection{word: r.word, mid: r.mid, cname: p.cname}
		for _, a := range as {
			if a.mid == r.mid {
				s.agreed, s.ssrc = a, p.streams[a.kind].ssrc
			}
		}
		l.sections = append(l.sections, s)
	}
	p.install(as, remote)
	p.sendSDP(l.String())
	return nil
}

// SetAnswer takes the browser's answer to Offer, once. Answered follows on
// Events when ICE and DTLS are up, or Ended. A refusal does not end the peer.
func (p *Peer) SetAnswer(sdp string) error {
	d, err := parse(sdp)
	if err != nil {
		return refused(leg.Setup, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.offers == nil || p.begun:
		return refused(leg.Setup, errors.New("an answer of this browser is not awaited"))
	case p.ended:
		return leg.ErrEnded
	}
	var as []*agreement
	for i, o := range p.offers {
		if i >= len(d.sections) || d.sections[i].mid != o.mid {
			return refused(leg.Setup, fmt.Errorf("the answer's m= lines are not those of our offer"))
		}
		if a := o.accepted(d.sections[i]); a != nil {
			as = append(as, a)
		}
	}
	if len(as) == 0 {
		return refused(leg.NoCommonCodecs, errors.New("the browser's answer has no codec in common with our offer"))
	}
	as = d.bundled(as)
	remote := d.section(as[0].mid).transport
	if err := remote.check(); err != nil {
		return refused(leg.Setup, err)
	}
	p.answered = true
	p.install(as, remote)
	return nil
}

// accepted is what a section of the browser's answer leaves of our offer, nil
// for nothing.
func (a *agreement) accepted(r *remoteSection) *agreement {
	if !r.usable() || r.kind != a.kind {
		return nil
	}
	out := *a
	out.formats, out.events = nil, nil
	out.send, out.receive, out.rsize, out.twcc = r.takes, r.sends, r.rsize, 0
	if id := r.extensions[transportCC]; id == a.twcc {
		out.twcc = id
	}
	for i := range r.formats {
		f := &r.formats[i]
		take := func(from []agreedFormat, to *[]agreedFormat) {
			for _, o := range from {
				if o.pt == f.pt && o.same(f) {
					o.theirs, o.feedback = f.fmtp, common(f)
					*to = append(*to, o)
				}
			}
		}
		take(a.formats, &out.formats)
		take(a.events, &out.events)
	}
	if len(out.formats) == 0 {
		return nil
	}
	return &out
}

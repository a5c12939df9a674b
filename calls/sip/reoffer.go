package sip

import (
	"net/netip"
	"time"

	"lineout/media"
)

// applyOffer takes the peer's description of a running call and writes ours in
// return: same sections in the same order, unknown ones refused (RFC 3264
// section 6). answering is false when the description itself is the answer to
// an offer of ours in a 200. With an error nothing has changed.
func (d *dialog) applyOffer(body []byte, answering bool) error {
	sdp, err := parseSDP(body)
	if err != nil {
		return err
	}
	plans, err := d.planOffer(sdp, answering)
	if err != nil {
		return err
	}
	defer d.tellMedia(d.media.Tracks(), true)
	now := time.Now()
	var offered []localSection
	done := map[*section]bool{}
	held := false
	for i, p := range plans {
		m, s := p.m, p.s
		if s != nil {
			done[s] = true
		}
		if p.a == nil {
			if s != nil {
				s.refuse()
			}
			offered = append(offered, refusal(m))
			continue
		}
		p.commit()
		if answering {
			s.setMux(m.mux)
		}
		dir := makeDirection(m.dir.receives() && s.want && !m.held(), m.dir.sends() && !m.held())
		d.adopt(s, m, p.a, dir, p.rtp, p.ctl, now)
		onHold := m.held() || m.dir == inactive || m.dir == sendonly && s.want
		s.setHeld(onHold)
		if m.kind == media.Audio || i == 0 { // the sound decides
			held = onHold
		}
		offered = append(offered, localSection{kind: s.kind, proto: m.proto, port: s.pair.port,
			formats: p.a.echo(m, s.ours), dir: dir, ssrc: s.tx.SSRC, cname: s.cname, cryptos: p.cryptos, mux: m.mux && answering})
	}
	for _, s := range d.media.sections {
		if !done[s] {
			s.refuse()
		}
	}
	d.media.expect(now)
	d.media.wake()
	if answering {
		d.mu.Lock()
		d.local.sections = offered
		d.mu.Unlock()
	}
	d.setHeld(byThem, held)
	return nil
}

// sectionPlan is what becomes of one section of an offer: with an agreement it
// is taken, without it is refused, and without a section of ours it is none of
// what we know.
type sectionPlan struct {
	m        *sdpMedia
	s        *section
	a        *agreement
	rtp, ctl netip.AddrPort
	cryptos  []crypto
	commit   func() // of the keys
}

// planOffer finds out whether the whole of an offer can be taken before any of
// it is, so that a refused one leaves the session as it was (RFC 3261 section 14.1).
func (d *dialog) planOffer(sdp *sdpSession, answering bool) (plans []sectionPlan, err error) {
	seen := map[*section]bool{}
	any := false
	for i := range sdp.media {
		m := &sdp.media[i]
		p := sectionPlan{m: m}
		if s := d.media.section(m.kind); m.kind != 0 && s != nil && !seen[s] {
			seen[s], p.s = true, s
			if a, ok := agree(m, s.ours, !answering); ok && m.usable() {
				a.favour(s.like)
				a.prefer(s.codec())
				p.a, any = a, true
				if answering {
					p.cryptos, p.commit, err = s.guard.offered(d.srtp, m)
				} else {
					p.commit, err = s.guard.answered(d.offeredCryptos(s.kind), d.srtp == srtpRequired, m)
				}
				if err == nil {
					p.rtp, p.ctl, err = d.destination(m)
				}
				if err != nil {
					return nil, err
				}
			}
		}
		plans = append(plans, p)
	}
	if !any {
		return nil, errNoCodec
	}
	return plans, nil
}

func refusal(m *sdpMedia) localSection {
	return localSection{kind: m.kind, refused: true, word: m.word, proto: m.proto, refuse: m.fmtWords}
}

// setHeld says that nothing is to be expected from the peer here.
func (s *section) setHeld(h bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = h
}

func (s *section) setMux(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mux = on
}

// offeredCryptos are the keys our description offers for a section.
func (d *dialog) offeredCryptos(k media.Kind) []crypto {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.local.sections {
		if s.kind == k && !s.refused {
			return s.cryptos
		}
	}
	return nil
}

// codec is what the peer sends here, "" if nothing was agreed yet.
func (s *section) codec() media.Codec {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agreed == nil {
		return ""
	}
	return s.agreed.formats[0].Codec
}

package sip

import (
	"time"

	"lineout/media"
)

// applyOffer takes the peer's description of a running call and writes ours in
// return: same sections in the same order, unknown ones refused (RFC 3264
// section 6). answering is false when the description itself is the answer to
// an offer of ours in a 200.
func (d *dialog) applyOffer(body []byte, answering bool) error {
	sdp, err := parseSDP(body)
	if err != nil {
		return err
	}
	defer d.tellMedia(d.media.Tracks(), true)
	now := time.Now()
	var offered []localSection
	done := map[*section]bool{}
	held, any := false, false
	for i := range sdp.media {
		m := &sdp.media[i]
		s := d.media.section(m.kind)
		if m.kind == 0 || s == nil || done[s] {
			offered = append(offered, refusal(m))
			continue
		}
		done[s] = true
		var cryptos []crypto
		a, ok := agree(m, s.ours, !answering)
		if ok {
			a.favour(s.like)
			a.prefer(s.codec())
		}
		if !m.usable() || !ok {
			s.refuse()
			offered = append(offered, refusal(m))
			continue
		}
		if answering {
			keys, err := s.guard.offered(d.srtp, m)
			if err != nil {
				return err
			}
			s.setMux(m.mux)
			cryptos = keys
		} else if err := s.guard.answered(d.offeredCryptos(s.kind), d.srtp == srtpRequired, m); err != nil {
			return err
		}
		dir := makeDirection(m.dir.receives() && s.want && !m.held(), m.dir.sends() && !m.held())
		if err := d.configure(s, m, a, dir, now); err != nil {
			return err
		}
		any = true
		onHold := m.held() || m.dir == inactive || m.dir == sendonly && s.want
		s.setHeld(onHold)
		if m.kind == media.Audio || i == 0 { // the sound decides
			held = onHold
		}
		offered = append(offered, localSection{kind: s.kind, proto: m.proto, port: s.pair.port,
			formats: a.echo(m, s.ours), dir: dir, ssrc: s.tx.SSRC, cname: s.cname, cryptos: cryptos, mux: m.mux && answering})
	}
	if !any {
		return errNoCodec
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

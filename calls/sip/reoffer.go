package sip

import (
	"time"

	"lineout/calls/leg"
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
	now := time.Now()
	var ours []localSection
	done := map[*section]bool{}
	held, any := false, false
	for i := range sdp.media {
		m := &sdp.media[i]
		s := d.media.section(m.kind)
		if m.kind == 0 || s == nil || done[s] {
			ours = append(ours, refusal(m))
			continue
		}
		done[s] = true
		formats := s.inUse()
		a, ok := agree(m, formats, !answering)
		if !m.usable() || !ok {
			s.refuse()
			ours = append(ours, refusal(m))
			continue
		}
		dir := makeDirection(m.dir.receives() && s.want && !m.held(), m.dir.sends() && !m.held())
		if err := d.configure(s, m, a, dir, now); err != nil {
			return err
		}
		any = true
		onHold := m.held() || m.dir == inactive || m.dir == sendonly && s.want
		s.setHeld(onHold && !(m.dir == sendonly && !m.held()))
		if m.kind == media.Audio || i == 0 { // the sound decides
			held = onHold
		}
		ours = append(ours, localSection{kind: s.kind, proto: m.proto, port: s.pair.port,
			formats: a.echo(m, formats), dir: dir, ssrc: s.tx.ssrc, cname: s.cname})
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
	d.mu.Lock()
	changed := held != d.heldNow
	d.heldNow = held
	if answering {
		d.local.sections = ours
		d.local.version++
	}
	d.mu.Unlock()
	if changed {
		d.tellHold(held)
	}
	return nil
}

func (d *dialog) tellHold(held bool) {
	if held {
		d.log.Info("SIP call is held by the other side")
		d.emit(leg.Event{Type: leg.Held})
		return
	}
	d.log.Info("SIP call is resumed by the other side")
	d.emit(leg.Event{Type: leg.Resumed})
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

// inUse are our formats for a new offer of the peer: the codec the track has
// stays, because a stream's track cannot change its codec; all formats when
// nothing was agreed yet.
func (s *section) inUse() []wireFormat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agreed == nil {
		return s.ours
	}
	keep := map[media.Codec]bool{telephoneEvent: true}
	for _, f := range s.agreed.formats {
		keep[f.Codec] = true
	}
	var out []wireFormat
	for _, f := range s.ours {
		if keep[f.codec] {
			out = append(out, f)
		}
	}
	return out
}

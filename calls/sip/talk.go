package sip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/media"
)

// Times of RFC 3261 for what this side repeats itself: the 2xx to a re-INVITE.
const (
	timerT1 = 500 * time.Millisecond
	timerT2 = 4 * time.Second
	timerH  = 64 * timerT1
)

// watchEvery is how often a call is checked for missing RTP and its session timer.
const watchEvery = 250 * time.Millisecond

// errNoCodec says that offer and answer have no codec in common.
var errNoCodec = errors.New("no common codec")

// talk leads an answered call: ACK, media, and whatever ends it.
func (d *dialog) talk(ctx context.Context, res *sipmsg.Response) leg.Cause {
	if err := d.establish(ctx, res); err != nil {
		return d.failed(leg.Setup, 0, "the answer of the callee cannot be used: %v", err)
	}
	defer d.a.befriend(d.next.addr.Addr())()
	d.meet(res)
	d.timeGranted(res)
	d.ack(res)
	if d.hungUp() { // CANCEL and 200 crossed
		d.bye(d.hangCause)
		return d.hangCause
	}
	if err := d.applyAnswer(res.Body(), false); err != nil {
		cause := d.failed(leg.Setup, 488, "the session description of the callee cannot be used: %v", err)
		if errors.Is(err, errNoCodec) {
			cause = d.failed(leg.NoCommonCodecs, 488, "the callee's answer has no codec in common with the offer")
		}
		d.bye(cause)
		return cause
	}
	d.media.restart(time.Now())
	d.log.Debug("SIP call answered", "code", res.StatusCode, "peer", d.next.String())
	d.emit(leg.Event{Type: leg.Answered, Code: res.StatusCode, Text: plain(res.Reason), Media: d.media})
	return d.stay(ctx)
}

// stay waits for the end of an answered call.
func (d *dialog) stay(ctx context.Context) leg.Cause {
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	forks := map[string]bool{} // by To tag
	for {
		select {
		case c := <-d.ended:
			return c
		case <-d.hang:
			d.bye(d.hangCause)
			return d.hangCause
		case res := <-d.accepted:
			if tagOf(res.To().Params) == d.remoteTag {
				d.ack(res) // ours was lost
			} else if tag := tagOf(res.To().Params); forks[tag] || len(forks) < maxForks {
				d.endFork(ctx, res, forks[tag])
				forks[tag] = true
			}
		case now := <-watch.C:
			if c, expired := d.checkTimer(now); expired {
				d.bye(c)
				return c
			}
			if limit := d.a.activity; limit > 0 && d.media.idle(now) > limit {
				c := leg.Cause{Kind: leg.RTPActivity, Code: 200, Local: true, Text: fmt.Sprintf("no RTP came for %v (rtp_activity_detecting)", limit)}
				d.bye(c)
				return c
			}
		}
	}
}

// ack acknowledges a 2xx of the INVITE: its CSeq, the dialog's route set.
func (d *dialog) ack(res *sipmsg.Response) {
	d.mu.Lock()
	h := d.head
	h.cseq = res.CSeq().SeqNo
	req, next := h.request(sipmsg.ACK, d.target), d.next
	d.mu.Unlock()
	req.SetBody(nil)
	if err := d.a.write(req, next); err != nil {
		d.log.Warn("SIP ACK could not be sent", "error", err)
	}
}

// endFork takes a second branch that answered too out of the way. One that
// repeats its 2xx (again) has not got our ACK; its BYE is under way.
func (d *dialog) endFork(ctx context.Context, res *sipmsg.Response, again bool) {
	d.mu.Lock()
	h := d.head
	d.mu.Unlock()
	routes, target, err := routeSet(res, d.party.target)
	if err != nil {
		return
	}
	h.to, h.routes, h.cseq = *res.To(), routes, res.CSeq().SeqNo
	fork := &dialog{a: d.a, party: d.party, head: h, target: target, source: sourceOf(res)}
	next, err := fork.nextHop(ctx)
	if err != nil {
		return
	}
	ack := h.request(sipmsg.ACK, target)
	ack.SetBody(nil)
	_ = d.a.write(ack, next) // the branch repeats its 2xx if this is lost
	if again {
		return
	}
	h.cseq++
	bye := h.request(sipmsg.BYE, target)
	bye.SetBody(nil)
	d.log.Info("SIP second answer of a forked call is ended", "peer", next.String())
	d.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, byeTime)
		defer cancel()
		_, _ = d.a.exchange(ctx, bye, next) // nothing to do when it is deaf
	})
}

// bye ends the dialog and waits for the answer, bounded; a BYE of the peer that
// crosses it will do.
func (d *dialog) bye(c leg.Cause) {
	ctx, cancel := context.WithTimeout(d.life, byeTime)
	defer cancel()
	var reason []sipmsg.Header
	if c.Kind != leg.Normal { // RFC 3326
		reason = append(reason, sipmsg.NewHeader("Reason", fmt.Sprintf(`SIP;cause=%d;text="%s"`, reasonCode(c), c.Kind.Info())))
	}
	answered := make(chan error, 1)
	d.work.Go(func() {
		_, err := d.request(ctx, sipmsg.BYE, "", "", reason...)
		answered <- err
	})
	select {
	case err := <-answered:
		if err != nil {
			d.log.Warn("SIP BYE was not answered", "error", err)
		}
	case <-d.ended:
	}
}

func reasonCode(c leg.Cause) int {
	switch c.Kind {
	case leg.RTPActivity, leg.RequestTimeout:
		return 408
	case leg.NoCommonCodecs:
		return 488
	}
	return 500
}

// applyAnswer takes the peer's answer to our offer: sections are matched by
// kind, so that reordered and left-out ones do no harm. again says that the call
// is up: then an answer can show a hold.
func (d *dialog) applyAnswer(body []byte, again bool) error {
	if len(body) == 0 {
		if d.wasEarly() {
			return nil // the answer came reliably enough in a 183
		}
		return errors.New("the answer holds no session description")
	}
	sdp, err := parseSDP(body)
	if err != nil {
		return err
	}
	defer d.tellMedia(d.media.Tracks(), again)
	d.mu.Lock()
	offered := slices.Clone(d.local.sections)
	d.mu.Unlock()
	now, any, held, telling := time.Now(), false, false, false
	used := map[int]bool{}
	for n := range offered {
		o := &offered[n]
		s := d.media.section(o.kind)
		if o.refused || s == nil {
			continue
		}
		ok := false
		for i := range sdp.media {
			m := &sdp.media[i]
			if used[i] || m.kind != s.kind {
				continue
			}
			used[i] = true
			a, common := agree(m, s.ours, true)
			if !m.usable() || !common {
				break
			}
			commit, err := s.guard.answered(o.cryptos, d.srtp == srtpRequired, m)
			if err != nil {
				return err
			}
			commit()
			dir := makeDirection(m.dir.receives() && o.dir.sends(), m.dir.sends() && o.dir.receives())
			if err := d.configure(s, m, a, dir, now); err != nil {
				return err
			}
			onHold := again && (o.dir == sendrecv && !m.dir.receives() || o.dir.receives() && (!m.dir.sends() || m.held()))
			s.setHeld(onHold)
			if s.kind == media.Audio || len(offered) == 1 { // the sound decides
				held, telling = onHold, again && o.dir.receives() // else the answer does not say
			}
			ok, any = true, true
			break
		}
		if !ok {
			s.refuse()
			o.refused, o.word, o.refuse = true, o.kind.String(), strconv.Itoa(int(o.formats[0].pt))
		}
	}
	if !any {
		return errNoCodec
	}
	d.media.expect(now)
	d.mu.Lock()
	d.local.sections = offered
	d.mu.Unlock()
	if telling {
		d.setHeld(byThem, held)
	}
	d.startMedia()
	return nil
}

// tellMedia tells of another outcome of offer and answer than before.
func (d *dialog) tellMedia(before []leg.TrackInfo, again bool) {
	if again && !reflect.DeepEqual(before, d.media.Tracks()) {
		d.emit(leg.Event{Type: leg.MediaChanged, Media: d.media})
	}
}

// wasEarly says that the party that answered sent its description before.
func (d *dialog) wasEarly() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.began && d.earlyTag == d.remoteTag
}

// configure gives a section what was agreed, with names resolved.
func (d *dialog) configure(s *section, m *sdpMedia, a *agreement, dir direction, now time.Time) error {
	rtp, ctl, err := d.destination(m)
	if err == nil {
		d.adopt(s, m, a, dir, rtp, ctl, now)
	}
	return err
}

// destination is where a section's media and its control packets go, with names
// resolved; nowhere while it is held.
func (d *dialog) destination(m *sdpMedia) (rtp, ctl netip.AddrPort, err error) {
	if m.held() {
		return rtp, ctl, nil
	}
	if rtp, err = d.a.mediaAddr(d.life, m.host, m.port); err != nil {
		return rtp, ctl, err
	}
	if rtp.Addr().IsMulticast() || rtp.Addr() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return rtp, ctl, fmt.Errorf("media to the group address %v is not sent", rtp.Addr())
	}
	ctl = netip.AddrPortFrom(rtp.Addr(), rtp.Port()+1)
	if m.mux {
		ctl = rtp
	}
	if m.rtcpPort != 0 {
		ctl = netip.AddrPortFrom(rtp.Addr(), uint16(m.rtcpPort))
	}
	if m.rtcpHost != "" && m.rtcpHost != m.host {
		if at, err := d.a.mediaAddr(d.life, m.rtcpHost, int(ctl.Port())); err == nil && !at.Addr().IsMulticast() && !at.Addr().IsUnspecified() {
			ctl = at
		}
	}
	return rtp, ctl, nil
}

// adopt gives a section what was agreed.
func (d *dialog) adopt(s *section, m *sdpMedia, a *agreement, dir direction, rtp, ctl netip.AddrPort, now time.Time) {
	var silence []byte
	if c, ok := d.a.table.Get(a.send.codec).(codecs.Silencer); ok {
		silence = c.Silence()
	}
	s.configure(a, rtp, ctl, dir, silence, m.ssrc, d.media.window, now)
	if s.kind == media.Video { // a list that names one only leaves the other out; none says nothing (plain RTP/AVP)
		d.media.keys.bar(byPLI, m.fir && !m.pli)
		d.media.keys.bar(byFIR, m.pli && !m.fir)
	}
}

// startMedia starts the pacing of the session, once.
func (d *dialog) startMedia() {
	if d.pacing.CompareAndSwap(false, true) {
		d.work.Go(func() { d.media.pace(d.life) })
	} else {
		d.media.wake()
	}
}

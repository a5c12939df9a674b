package sip

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"

	"lineout/calls/leg"
)

// sessionTimer is the session timer of a call (RFC 4028): who refreshes the
// call, when, and when it is dead. Passive: time is an argument, the owner
// holds its lock. The zero value is off.
type sessionTimer struct {
	interval time.Duration
	refresh  bool // we are the refresher
	start    time.Time
	asked    bool      // a refresh is under way
	again    time.Time // not before
	crossed  bool      // the peer has refreshed since our newest request was made
}

// begin starts an interval: after each 2xx that carries one.
func (t *sessionTimer) begin(interval time.Duration, refresh bool, now time.Time) {
	*t = sessionTimer{interval: interval, refresh: refresh, start: now}
}

// timerAct is what a session timer wants done.
type timerAct uint8

const (
	timerIdle    timerAct = iota
	timerRefresh          // half the interval has passed
	timerExpired          // nobody refreshed in time (section 10)
)

// due says what is to be done now.
func (t *sessionTimer) due(now time.Time) timerAct {
	if t.interval == 0 {
		return timerIdle
	}
	age := now.Sub(t.start)
	switch {
	case age >= t.interval-min(32*time.Second, t.interval/3):
		return timerExpired
	case t.refresh && !t.asked && age >= t.interval/2 && !now.Before(t.again):
		t.asked = true
		return timerRefresh
	}
	return timerIdle
}

// retry lets a refresh that failed be tried again, several times before the end.
func (t *sessionTimer) retry(now time.Time) { t.asked, t.again = false, now.Add(t.interval/20) }

// sessionExpires reads Session-Expires: its interval and refresher, "" if it
// names none. ok is false without a usable header.
func sessionExpires(h sipmsg.Header) (interval time.Duration, refresher string, ok bool) {
	if h == nil {
		return 0, "", false
	}
	value, params, _ := strings.Cut(h.Value(), ";")
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
	if err != nil || n == 0 {
		return 0, "", false
	}
	for p := range strings.SplitSeq(params, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, "refresher") {
			refresher = strings.ToLower(strings.TrimSpace(v))
		}
	}
	return time.Duration(min(n, uint64(maxExpires/time.Second))) * time.Second, refresher, true
}

// sessionHeader finds Session-Expires in a message, in full or as x.
func sessionHeader(m interface{ GetHeader(string) sipmsg.Header }) sipmsg.Header {
	if h := m.GetHeader("Session-Expires"); h != nil {
		return h
	}
	return m.GetHeader("x")
}

// timed adds the timer an INVITE or UPDATE of ours asks for. The caller holds mu.
func (d *dialog) timed(req *sipmsg.Request) {
	d.timer.crossed = false
	if d.a.cfg.SessionExpires == 0 {
		return
	}
	refresher := "" // the first INVITE leaves it to the other side
	switch {
	case d.timer.interval > 0 && d.timer.refresh:
		refresher = "uac"
	case d.timer.interval > 0:
		refresher = "uas"
	case d.answered:
		return // the other side wants no timer
	}
	v := strconv.Itoa(int(d.session / time.Second))
	if refresher != "" {
		v += ";refresher=" + refresher
	}
	req.AppendHeader(sipmsg.NewHeader("Session-Expires", v))
	req.AppendHeader(sipmsg.NewHeader("Min-SE", strconv.Itoa(int(d.minSE/time.Second))))
}

// tooSmall takes a 422: the interval becomes what the other side allows (RFC
// 4028 section 7.3). false when that is not larger.
func (d *dialog) tooSmall(res *sipmsg.Response) bool {
	h := res.GetHeader("Min-SE")
	least, _, ok := sessionExpires(h)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !ok || least <= d.session {
		return false
	}
	d.session, d.minSE = least, max(least, d.minSE)
	return true
}

// timeRefreshed is [dialog.timeGranted] for a request within the call. A refresh
// of the peer that was seen before this answer is the newer word: on a busy
// machine it may overtake the answer, and where both crossed the peer's is as good.
func (d *dialog) timeRefreshed(res *sipmsg.Response) {
	d.mu.Lock()
	crossed := d.timer.crossed
	d.mu.Unlock()
	if !crossed {
		d.timeGranted(res)
	}
}

// timeGranted starts the timer that a 2xx names; without one there is none
// (section 7.2).
func (d *dialog) timeGranted(res *sipmsg.Response) {
	interval, refresher, ok := sessionExpires(sessionHeader(res))
	d.mu.Lock()
	defer d.mu.Unlock()
	if !ok {
		d.timer = sessionTimer{}
		return
	}
	d.timer.begin(interval, refresher != "uas", time.Now())
}

// timeAsked judges the timer that a refresh of the peer asks for, and returns
// the headers of our 2xx (section 9).
func (d *dialog) timeAsked(req *sipmsg.Request) (hs []sipmsg.Header) {
	interval, refresher, ok := sessionExpires(sessionHeader(req))
	able := supports(req, "timer")
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.a.cfg.SessionExpires == 0:
		return nil
	case !ok && d.timer.interval == 0:
		return nil
	case !ok: // it goes on, and we look after it
		interval, refresher = d.timer.interval, "uas"
	case !able || refresher == "":
		refresher = "uas"
	}
	d.timer.begin(interval, refresher == "uas", time.Now())
	d.timer.crossed = true
	hs = append(hs, sipmsg.NewHeader("Session-Expires", fmt.Sprintf("%d;refresher=%s", interval/time.Second, refresher)))
	if able {
		hs = append(hs, sipmsg.NewHeader("Require", "timer"))
	}
	return hs
}

// tooShort says that a refresh of the peer asks for less than the settings allow.
func (d *dialog) tooShort(req *sipmsg.Request) bool {
	interval, _, ok := sessionExpires(sessionHeader(req))
	return ok && d.a.cfg.SessionExpires != 0 && supports(req, "timer") && interval < d.a.cfg.MinSession
}

// supports says whether a request's Supported names an extension.
func supports(req *sipmsg.Request, tag string) bool {
	for _, name := range []string{"Supported", "k", "Require"} {
		for _, w := range listed(req.GetHeaders(name)) {
			if strings.EqualFold(w, tag) {
				return true
			}
		}
	}
	return false
}

// checkTimer does what the session timer wants; it returns the cause when the
// session has expired.
func (d *dialog) checkTimer(now time.Time) (leg.Cause, bool) {
	d.mu.Lock()
	act, interval := d.timer.due(now), d.timer.interval
	d.mu.Unlock()
	switch act {
	case timerRefresh:
		d.spawn(d.refresh)
	case timerExpired:
		return leg.Cause{Kind: leg.RequestTimeout, Code: 408, Local: true,
			Text: fmt.Sprintf("the session timer of %v ran out: nobody refreshed the call", interval)}, true
	}
	return leg.Cause{}, false
}

// refresh is one refresh of the session by us: an UPDATE without an offer when
// the peer knows UPDATE, else a re-INVITE with the description as it is.
func (d *dialog) refresh(ctx context.Context) {
	d.mu.Lock()
	update := d.update
	d.mu.Unlock()
	var err error
	if update {
		err = d.refreshByUpdate(ctx)
	} else {
		err = d.propose(ctx, nil)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	d.log.Warn("SIP session could not be refreshed", "error", err)
	var refused *errRefused
	if errors.As(err, &refused) && update && refused.code == 405 {
		d.mu.Lock()
		d.update = false
		d.mu.Unlock()
	}
	d.mu.Lock()
	d.timer.retry(time.Now())
	d.mu.Unlock()
}

func (d *dialog) refreshByUpdate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reinviteTime)
	defer cancel()
	for range 2 {
		res, err := d.request(ctx, sipmsg.UPDATE, "", "")
		if err != nil {
			return err
		}
		d.judge(res)
		switch {
		case res.IsSuccess():
			d.timeRefreshed(res)
			return nil
		case res.StatusCode == 422 && d.tooSmall(res):
			continue
		}
		return &errRefused{res.StatusCode, plain(res.Reason)}
	}
	return errors.New("the other side wants ever longer sessions")
}

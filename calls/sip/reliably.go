package sip

import (
	"fmt"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// provisional is a reliable provisional response of ours that waits for its
// PRACK (RFC 3262 section 3). Of the dialog's goroutine only; the zero value
// waits for nothing.
type provisional struct {
	res      *sipmsg.Response
	timer    *time.Timer
	wait     time.Duration
	deadline time.Time
}

func (p *provisional) begin(res *sipmsg.Response) {
	p.res, p.wait = res, timerT1
	p.timer, p.deadline = time.NewTimer(p.wait), time.Now().Add(timerH)
}

func (p *provisional) pending() bool { return p.res != nil }

func (p *provisional) due() <-chan time.Time {
	if p.timer == nil {
		return nil
	}
	return p.timer.C
}

// again repeats the response; false when it was repeated for long enough.
func (p *provisional) again(tx *sipmsg.ServerTx, now time.Time) bool {
	if !now.Before(p.deadline) {
		return false
	}
	_ = tx.Respond(p.res)
	p.wait *= 2
	p.timer.Reset(min(p.wait, p.deadline.Sub(now)))
	return true
}

func (p *provisional) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
	*p = provisional{}
}

// number makes a response a reliable one.
func (d *dialog) number(res *sipmsg.Response) {
	in := d.in
	if in.last == 0 {
		in.last = random32()>>2 | 1 // below 2^31 (RFC 3262 section 3)
	}
	in.last++
	d.mu.Lock()
	in.rseq = in.last
	d.mu.Unlock()
	res.AppendHeader(sipmsg.NewHeader("Require", "100rel"))
	res.AppendHeader(sipmsg.NewHeader("RSeq", fmt.Sprint(in.last)))
}

// handlePRACK answers the acknowledgement of a reliable response of ours.
func (d *dialog) handlePRACK(req *sipmsg.Request, tx *sipmsg.ServerTx) {
	rack := ""
	if h := req.GetHeader("RAck"); h != nil {
		rack = strings.Join(strings.Fields(h.Value()), " ")
	}
	d.mu.Lock()
	mine := d.in != nil && d.in.rseq != 0 && rack == fmt.Sprintf("%d %d INVITE", d.in.rseq, d.in.req.CSeq().SeqNo)
	if mine {
		d.in.rseq = 0
	}
	further := mine && len(req.Body()) > 0 && d.in.offer.any
	d.mu.Unlock()
	switch {
	case !mine:
		d.a.respond(req, tx, 481, "No Such Provisional Response")
	case further: // a further offer
		d.a.respond(req, tx, 488, "Not Acceptable Here")
		d.in.pracked <- nil
	default:
		d.a.respond(req, tx, 200, "OK")
		d.in.pracked <- req.Body()
	}
}

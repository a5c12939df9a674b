package sip

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	sipmsg "github.com/emiago/sipgo/sip"
)

// branch is a party that has answered our INVITE provisionally with a tag of
// its own: an early dialog (RFC 3261 section 12.1). A forked call has several.
type branch struct {
	rseq      uint32 // newest reliable response acknowledged
	remoteSeq uint32
}

// early finds or makes the branch of a provisional response. nil when it has
// no tag, or there are too many.
func (d *dialog) early(res *sipmsg.Response) *branch {
	tag := tagOf(res.To().Params)
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.branches[tag]
	if b == nil && tag != "" && len(d.branches) < maxForks {
		b = &branch{}
		d.branches[tag] = b
	}
	return b
}

// reliable acknowledges a provisional response that asks for it by PRACK (RFC
// 3262 section 4). It says whether the response may be looked at: not one that
// was seen before, or that one is missing before.
func (d *dialog) reliable(res *sipmsg.Response) bool {
	b := d.early(res)
	seq, ok := responseSeq(res)
	if !ok {
		return true
	}
	if b == nil {
		return false
	}
	d.mu.Lock()
	if b.rseq != 0 && seq != b.rseq+1 {
		d.mu.Unlock()
		return false
	}
	b.rseq = seq
	h := d.head
	d.head.cseq++
	h.cseq = d.head.cseq
	fork := &dialog{a: d.a, party: d.party, head: h, source: sourceOf(res)}
	routes, target, err := routeSet(res, d.target)
	d.mu.Unlock()
	if err != nil {
		d.log.Debug("a reliable provisional response cannot be acknowledged", "error", err)
		return false
	}
	fork.head.to, fork.head.routes, fork.target = *res.To(), routes, target
	rack := fmt.Sprintf("%d %d %s", seq, res.CSeq().SeqNo, res.CSeq().MethodName)
	d.work.Go(func() { d.prack(fork, rack) })
	return true
}

func (d *dialog) prack(fork *dialog, rack string) {
	next, err := fork.nextHop(d.life)
	if err != nil {
		d.log.Debug("PRACK could not be sent", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(d.life, cancelTime)
	defer cancel()
	req := fork.head.request(sipmsg.PRACK, fork.target)
	req.AppendHeader(sipmsg.NewHeader("RAck", rack))
	req.SetBody(nil)
	if res, err := d.a.exchange(ctx, req, next); err != nil {
		d.log.Debug("PRACK was not answered", "error", err)
	} else if !res.IsSuccess() {
		d.log.Debug("PRACK was refused", "code", res.StatusCode)
	}
}

// responseSeq is the RSeq of a reliable provisional response.
func responseSeq(res *sipmsg.Response) (uint32, bool) {
	if res.StatusCode == 100 || !slices.Contains(listed(res.GetHeaders("Require")), "100REL") {
		return 0, false
	}
	h := res.GetHeader("RSeq")
	if h == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(h.Value()), 10, 32)
	return uint32(n), err == nil && n > 0
}

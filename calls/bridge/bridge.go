// Package bridge joins the media of two legs. What both have agreed on is
// passed on as it is, on the goroutine that received it; the rest is converted
// packet by packet, behind no more delay than it takes to put packets in order.
// It knows leg.Forwarder and no protocol.
package bridge

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pion/rtcp"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/media"
)

// Options are what a bridge may be told. The zero value is fine.
type Options struct {
	// Log is for what an operator must know; nil for nothing.
	Log *slog.Logger
}

// Bridge joins two legs, A and B. Its methods are safe for concurrent use, but
// packets of one kind come from one goroutine, as Media.Run delivers them.
type Bridge struct {
	log   *slog.Logger
	table *codecs.Table
	aToB  direction
	bToA  direction
	poke  chan struct{} // a key frame is wanted; capacity 1

	planning sync.Mutex // never taken by those who bring packets

	mu      sync.Mutex
	ctx     context.Context // of Run, nil outside of it
	work    sync.WaitGroup
	waiting []func(context.Context) // to be started by Run
}

// direction is all that flows from one leg to the other.
type direction struct {
	from, to     leg.Forwarder
	audio, video *flow
}

func (d *direction) flow(k media.Kind) *flow {
	switch k {
	case media.Audio:
		return d.audio
	case media.Video:
		return d.video
	}
	return nil
}

// New joins two legs whose media was agreed on. Receiving stays with the
// caller, who gives what a's Run delivers to FromA and what b's does to FromB.
// What is converted flows while Run does.
func New(a, b leg.Forwarder, table *codecs.Table, o Options) *Bridge {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	br := &Bridge{log: log, table: table, poke: make(chan struct{}, 1)}
	br.aToB, br.bToA = br.direct(a, b, "a to b"), br.direct(b, a, "b to a")
	br.MediaChanged()
	return br
}

func (b *Bridge) direct(from, to leg.Forwarder, name string) direction {
	return direction{from: from, to: to, audio: newFlow(b, media.Audio, from, to, name), video: newFlow(b, media.Video, from, to, name)}
}

// FromA takes a packet that A received. It does not block.
func (b *Bridge) FromA(p leg.Packet) { b.take(p, &b.aToB, &b.bToA) }

// FromB takes a packet that B received. It does not block.
func (b *Bridge) FromB(p leg.Packet) { b.take(p, &b.bToA, &b.aToB) }

// take handles a packet of one leg: on is the way its media goes, back is where
// what it asks for comes from.
func (b *Bridge) take(p leg.Packet, on, back *direction) {
	f := on.flow(p.Kind)
	if f == nil {
		return
	}
	if p.RTP != nil {
		f.packet(p.RTP, p.At)
		return
	}
	for _, r := range p.RTCP {
		switch r := r.(type) {
		case *rtcp.SenderReport:
			f.report(r.SSRC, r.NTPTime, r.RTPTime, p.At)
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			back.video.wantKeyframe(urgent)
		case *rtcp.TransportLayerNack: // what was lost is not kept here
			if p.Kind == media.Video {
				back.video.wantKeyframe(mild)
			}
		}
	}
}

// Run converts, and sees to requests for key frames, until ctx ends. It owns the
// goroutines of the bridge and is called once.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	b.ctx = ctx
	for _, f := range b.waiting {
		b.work.Go(func() { f(ctx) })
	}
	b.waiting = nil
	b.mu.Unlock()
	b.ask(ctx)
	b.mu.Lock()
	b.ctx = nil // nothing is started from here on
	b.mu.Unlock()
	cancel()
	b.work.Wait()
	return nil
}

// begin has f run as part of Run, from now or from when that is called.
func (b *Bridge) begin(f func(context.Context)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx := b.ctx; ctx != nil {
		b.work.Go(func() { f(ctx) })
		return
	}
	b.waiting = append(b.waiting, f) // one for each flow at most
}

// ask sends requests for key frames, and repeats them.
func (b *Bridge) ask(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		wait := time.Hour
		for _, f := range []*flow{b.aToB.video, b.bToA.video} {
			if next, again := f.askKeyframe(now); again {
				wait = min(wait, max(next.Sub(now), time.Millisecond))
			}
		}
		timer.Reset(wait)
		select {
		case <-b.poke:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Bridge) wake() {
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// MediaChanged is to be called when a leg's media was agreed on anew
// (leg.MediaChanged, leg.Held, leg.Resumed). Kinds that stay as they are go on
// undisturbed.
func (b *Bridge) MediaChanged() {
	b.planning.Lock()
	defer b.planning.Unlock()
	for _, d := range []*direction{&b.aToB, &b.bToA} {
		from, to := d.from.Tracks(), d.to.Tracks()
		d.audio.use(makePlan(b.table, media.Audio, from, to))
		d.video.use(makePlan(b.table, media.Video, from, to))
	}
}

// KeyframeWantedByA passes on a request for a key frame that A's leg told of by
// leg.KeyframeWanted. Those by RTCP are seen in FromA.
func (b *Bridge) KeyframeWantedByA() { b.bToA.video.wantKeyframe(urgent) }

// KeyframeWantedByB is KeyframeWantedByA for B.
func (b *Bridge) KeyframeWantedByB() { b.aToB.video.wantKeyframe(urgent) }

// PassesEvents says whether telephone-events that come by RTP are passed on to
// the other leg by RTP. If not, digits are to be sent by its SendDTMF when
// leg.DTMFReceived tells of them.
func (b *Bridge) PassesEvents() (aToB, bToA bool) {
	return b.aToB.audio.plan.Load().events, b.bToA.audio.plan.Load().events
}

package calls

import (
	"context"
	"slices"
	"sync/atomic"

	"lineout/calls/leg"
	"lineout/calls/tap"
)

// receiver takes what one side of a user's call sends and hands each packet to
// the other side, and to those who listen in.
type receiver struct {
	md     leg.Forwarder
	cancel context.CancelFunc
	// forward is the bridge's end, nil while there is no other side.
	forward atomic.Pointer[func(leg.Packet)]
	// held says of a packet that something else is sent in its place.
	held func(leg.Packet) bool
	taps atomic.Pointer[[]*tap.Tap]
}

// hear begins to take a side's media. A leg has one receiver at a time.
func (c *call) hear(s *side, md leg.Forwarder) {
	if s.rx != nil {
		if s.rx.md == md {
			return
		}
		s.rx.cancel()
	}
	ctx, cancel := context.WithCancel(c.ctx)
	r := &receiver{md: md, cancel: cancel, held: func(leg.Packet) bool { return false }}
	if old := s.rx; old != nil {
		r.taps.Store(old.taps.Load())
		defer c.moved(s)
	}
	if s.name == near {
		r.held = c.inject.replaces
	}
	s.rx = r
	c.helpers.Go(func() {
		defer cancel()
		if err := md.Run(ctx, r.take); err != nil && ctx.Err() == nil {
			c.log.Error("receive media", "side", s.name, "err", err)
			c.end(leg.Cause{Local: true, Kind: leg.Internal, Text: "media could not be received"})
		}
	})
}

// moved follows a side whose media is another in the middle of a conversation.
func (c *call) moved(s *side) {
	if f := c.user.follows(s == c.far); f.now.Load() != nil && (s == c.far || s == c.near) {
		f.set(s.rx.md)
	}
}

// take is called by the sockets' goroutines and never waits.
func (r *receiver) take(p leg.Packet) {
	if f := r.forward.Load(); f != nil && !r.held(p) {
		(*f)(p)
	}
	if l := r.taps.Load(); l != nil {
		for _, t := range *l {
			t.Receive(p)
		}
	}
}

// listen adds or takes away a tap; the call's goroutine only.
func (r *receiver) listen(t *tap.Tap, on bool) {
	var l []*tap.Tap
	if old := r.taps.Load(); old != nil {
		l = slices.DeleteFunc(slices.Clone(*old), func(x *tap.Tap) bool { return x == t })
	}
	if on {
		l = append(l, t)
	}
	r.taps.Store(&l)
}

// mediaChanged tells the taps that the media was agreed on anew.
func (r *receiver) mediaChanged() {
	if l := r.taps.Load(); l != nil {
		for _, t := range *l {
			t.MediaChanged()
		}
	}
}

package calls

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"lineout/api/fault"
	"lineout/calls/mix"
	"lineout/calls/tap"
	"lineout/media"
	"lineout/pipeline"
)

// What of a user's call a stream is made of.
const (
	TapRemote = "remote" // what the other party sends
	TapLocal  = "local"  // what the user sends
	TapMix    = "mix"    // the sound of both in one channel, and the other party's pictures
	TapDual   = "dual"   // the caller's sound to the left, the callee's to the right, and those pictures
)

// maxTaps bounds the streams of one call.
const maxTaps = 4

// Tap asks for a named stream of a user's call.
type Tap struct {
	CallID string
	// ToStream is the stream's name, the callId if it is empty.
	ToStream string
	// Side is one of TapRemote, TapLocal, TapMix and TapDual; TapMix if it is empty.
	Side string
	// Record records it.
	Record bool
}

// tapping is one stream of a user's call.
type tapping struct {
	c      *call
	side   string
	stream *pipeline.Stream
	hidden []*pipeline.Stream // each party's sound, of what is mixed
	taps   []*partyTap
	cancel context.CancelFunc // of the mix
	mixed  chan struct{}      // closed at its end
	once   sync.Once
}

// partyTap is what listens to one side.
type partyTap struct {
	side   *side
	tap    *tap.Tap
	cancel context.CancelFunc
	done   chan struct{}
}

// Tap makes a named stream of a user's call while that goes on (S1, S2-1).
func (m *Manager) Tap(ctx context.Context, t Tap) error {
	c, err := m.get(t.CallID)
	if err != nil {
		return err
	}
	t.Side = cmp.Or(t.Side, TapMix)
	if !slices.Contains([]string{TapRemote, TapLocal, TapMix, TapDual}, t.Side) {
		return fault.New(fault.BadRequest, "side %q is not one of remote, local, mix, dual", t.Side)
	}
	if c.user == nil {
		return fault.New(fault.Conflict, "call %q has no user on this side: what the other party sends is the stream %q already", t.CallID, c.stream.Name())
	}
	t.ToStream = cmp.Or(t.ToStream, t.CallID)
	if err := checkStreamName("toStream", t.ToStream); err != nil {
		return err
	}
	return c.do(ctx, func() error { return c.tapUser(t) })
}

// Untap ends such a stream, or all of the call if the name is empty. The call
// goes on. It returns when files of it are complete.
func (m *Manager) Untap(ctx context.Context, id, name string) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	if c.user == nil {
		return fault.New(fault.Conflict, "call %q has no user on this side: its stream ends with it", id)
	}
	var ended []*tapping
	err = c.do(ctx, func() error {
		for _, t := range slices.Clone(c.user.taps) {
			if name == "" || t.stream.Name() == name {
				ended = append(ended, t)
				c.untap(t)
			}
		}
		if ended == nil {
			return fault.New(fault.NotFound, "call %q has no such stream", id)
		}
		return nil
	})
	for _, t := range ended {
		select {
		case <-t.stream.Done():
		case <-ctx.Done():
		}
	}
	return err
}

// do has something done by the call's goroutine and waits for it.
func (c *call) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	h := happening{do: func() { done <- f() }}
	select {
	case c.inbox <- h:
	case <-c.done:
		return fault.New(fault.NotFound, "there is no call with callId %q", c.req.CallID)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-c.done:
		return fault.New(fault.NotFound, "call %q has ended", c.req.CallID)
	}
}

// tapUser begins a stream; the call's goroutine only.
func (c *call) tapUser(t Tap) error {
	u := c.user
	switch {
	case u.over || !c.far.phase.talks() || c.near == nil || !c.near.phase.talks():
		return fault.New(fault.Conflict, "call %q is %s: it can be tapped once it is ESTABLISHED", t.CallID, c.Info().Status)
	case len(u.taps) >= maxTaps:
		return fault.New(fault.Conflict, "call %q has %d streams already, which is the limit", t.CallID, maxTaps)
	case t.Record && c.m.d.StartRecord == nil:
		return fault.New(fault.BadRequest, "a recording is asked for but this server records nothing")
	}
	s, err := c.createStream(t.ToStream)
	if err != nil {
		return err
	}
	x := &tapping{c: c, side: t.Side, stream: s}
	if t.Record {
		err = c.m.d.StartRecord(s)
	}
	if err == nil {
		err = x.begin()
	}
	if err != nil {
		x.end("nothing to be tapped")
		return fault.New(fault.Conflict, "tap call %q: %w", t.CallID, err)
	}
	u.taps = append(u.taps, x)
	c.log.Info("call is tapped", "stream", s.Name(), "side", t.Side)
	c.helpers.Go(func() { // one that is terminated leaves the call alone
		<-s.Closing()
		c.post(happening{do: func() { c.untap(x) }})
	})
	c.showTap()
	return nil
}

// endTaps ends all streams of a call that is over.
func (c *call) endTaps() {
	for len(c.user.taps) > 0 {
		c.untap(c.user.taps[0])
	}
}

// record makes the stream that is recorded of every conversation, if they are
// (sip_record_stream). One between two users of this server is recorded once.
func (c *call) record() {
	d := &c.m.d
	if !d.RecordUsers || c.info.ParentCallID != "" {
		return
	}
	if err := c.tapUser(Tap{CallID: c.req.CallID, ToStream: c.req.CallID, Side: cmp.Or(d.RecordAudio, TapMix)}); err != nil {
		c.log.Error("a user's call cannot be recorded", "err", err)
	}
}

// showTap lets the call's first stream be seen.
func (c *call) showTap() {
	name, id := "", ""
	if l := c.user.taps; len(l) > 0 {
		name, id = l[0].stream.Name(), l[0].stream.ID()
	}
	c.update(func(i *Info) { i.StreamName, i.MediaSessionID = name, id })
}

// untap ends a stream without waiting.
func (c *call) untap(t *tapping) {
	u := c.user
	i := slices.Index(u.taps, t)
	if i < 0 {
		return
	}
	u.taps = slices.Delete(u.taps, i, i+1)
	for _, p := range t.taps {
		if p.side.rx != nil {
			p.side.rx.listen(p.tap, false)
		}
	}
	c.helpers.Go(func() { t.end("Stopped by publisher stop") })
	c.showTap()
}

// begin hangs taps on the sides that are wanted.
func (t *tapping) begin() error {
	c := t.c
	switch t.side {
	case TapRemote:
		return t.listen(c.far, t.stream, nil)
	case TapLocal:
		return t.listen(c.near, t.stream, nil)
	}
	caller, callee, video := c.near, c.far, 1
	if !c.user.calls {
		caller, callee, video = c.far, c.near, 0
	}
	var silent []error
	for _, s := range []*side{caller, callee} {
		h, err := c.m.hide(c.req.CallID)
		if err != nil {
			return err
		}
		t.hidden = append(t.hidden, h)
		var kinds []media.Kind
		if s == c.near {
			kinds = []media.Kind{media.Audio}
		}
		if err := t.listen(s, h, kinds); errors.Is(err, tap.ErrNoMedia) {
			silent = append(silent, err)
		} else if err != nil {
			return err
		}
	}
	if len(silent) == len(t.hidden) {
		return silent[0]
	}
	m := mix.New(mix.Config{Parties: [2]*pipeline.Stream(t.hidden), Dual: t.side == TapDual, Video: video,
		VideoCodecs: c.m.videoCodecs(), Out: t.stream, Log: c.log})
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
	t.cancel, t.mixed = cancel, make(chan struct{})
	c.helpers.Go(func() {
		defer close(t.mixed)
		if err := m.Run(ctx); err != nil {
			c.log.Error("mix the sound of both parties", "err", err)
		}
	})
	return nil
}

// listen makes a stream of what a side sends.
func (t *tapping) listen(s *side, to *pipeline.Stream, kinds []media.Kind) error {
	c := t.c
	x, err := tap.New(tap.Config{Media: c.user.follows(s == c.far), Stream: to, Codecs: c.m.d.Codecs, RTPIn: c.m.d.RTPIn,
		Kinds: kinds, MidCall: true, Log: c.log})
	if err != nil {
		return fmt.Errorf("%s side: %w", s.name, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
	p := &partyTap{side: s, tap: x, cancel: cancel, done: make(chan struct{})}
	t.taps = append(t.taps, p)
	s.rx.listen(x, true)
	c.helpers.Go(func() {
		defer close(p.done)
		if err := x.Run(ctx); err != nil {
			c.log.Error("tap a call", "side", s.name, "err", err)
		}
	})
	return nil
}

// end ends a stream from its sources on, so that all that was said is in it.
func (t *tapping) end(reason string) {
	t.once.Do(func() {
		for _, p := range t.taps {
			p.cancel()
			<-p.done
		}
		for _, h := range t.hidden {
			h.Close(reason)
			<-h.Done()
		}
		if t.cancel != nil {
			t.cancel()
			<-t.mixed
		}
		t.stream.Close(reason)
	})
}

// hide makes a stream nobody else sees.
func (m *Manager) hide(callID string) (*pipeline.Stream, error) {
	s, err := m.sounds.Create(fmt.Sprintf("%s/%d", callID, m.hidden.Add(1)), pipeline.Meta{CallID: callID})
	if err != nil {
		return nil, fault.New(fault.Unavailable, "mix call %q: %w", callID, err)
	}
	return s, nil
}

func (m *Manager) videoCodecs() (out []media.Codec) {
	for _, c := range m.d.Codecs.All() {
		if c.Kind() == media.Video {
			out = append(out, c.Name())
		}
	}
	return out
}

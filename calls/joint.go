package calls

import (
	"context"
	"slices"

	"lineout/calls/bridge"
	"lineout/calls/leg"
	"lineout/media"
)

// joint is the media of both sides, joined. A is the near side.
type joint struct {
	near, far *receiver
	bridge    *bridge.Bridge
	cancel    context.CancelFunc
}

// join connects both sides' media as soon as both have some, and again when a
// side is another one.
func (c *call) join() {
	u := c.user
	if c.near == nil || c.near.rx == nil || c.far.rx == nil {
		return
	}
	audio, video := c.carries(media.Audio), c.carries(media.Video)
	c.mu.Lock()
	c.info.HasAudio, c.info.HasVideo = audio, video
	c.mu.Unlock()
	if j := u.joint.Load(); j != nil {
		if j.near == c.near.rx && j.far == c.far.rx {
			j.bridge.MediaChanged()
			return
		}
		j.cancel()
	}
	ctx, cancel := context.WithCancel(c.ctx)
	j := &joint{near: c.near.rx, far: c.far.rx, cancel: cancel,
		bridge: bridge.New(c.near.rx.md, c.far.rx.md, c.m.d.Codecs, bridge.Options{Log: c.log})}
	u.joint.Store(j)
	c.helpers.Go(func() {
		defer cancel()
		if err := j.bridge.Run(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("bridge", "err", err)
			c.end(leg.Cause{Local: true, Kind: leg.Internal, Text: "the media of both sides could not be joined"})
		}
	})
	fromNear, fromFar := j.bridge.FromA, j.bridge.FromB
	j.near.forward.Store(&fromNear)
	j.far.forward.Store(&fromFar)
}

// carries says that both sides have agreed on a kind.
func (c *call) carries(k media.Kind) bool {
	has := func(s *side) bool {
		return slices.ContainsFunc(s.rx.md.Tracks(), func(t leg.TrackInfo) bool { return t.Kind == k })
	}
	return has(c.near) && has(c.far)
}

// part ends the media of a call that is over, or of a side that left it.
func (c *call) part() {
	if j := c.user.joint.Swap(nil); j != nil {
		j.near.forward.Store(nil)
		j.far.forward.Store(nil)
		j.cancel()
	}
}

// like describes a side to the leg that is joined to it.
func (s *side) like() []leg.TrackInfo {
	if s.rx != nil {
		return s.rx.md.Tracks()
	}
	return nil
}

package calls

import (
	"context"

	"lineout/calls/leg"
	"lineout/calls/tap"
)

// reception is the call's receiving of what the other party sends.
type reception struct {
	*tap.Tap
	cancel context.CancelFunc
	done   chan struct{}
	failed chan struct{} // closed when the sockets failed
}

// startTap declares the stream's tracks from the answer and starts receiving.
func (c *call) startTap(md leg.Media) error {
	if c.tap != nil || md == nil {
		return nil
	}
	c.mu.Lock()
	c.md = md
	c.mu.Unlock()
	t, err := tap.New(tap.Config{Media: md, Stream: c.stream, Codecs: c.m.d.Codecs, RTPIn: c.m.d.RTPIn, Log: c.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	r := &reception{Tap: t, cancel: cancel, done: make(chan struct{}), failed: make(chan struct{})}
	c.mu.Lock()
	c.tap = r // written here only: the call's goroutine reads it without the lock
	c.mu.Unlock()
	go c.receive(ctx, r, md)
	return nil
}

func (c *call) receive(ctx context.Context, r *reception, md leg.Media) {
	defer close(r.done)
	defer r.cancel()
	err := tap.Run(ctx, md, r.Tap, func(p leg.Packet) {
		c.inject.asked(p.RTCP)
		r.Receive(p)
	})
	if err != nil {
		c.log.Error("receive media", "err", err)
		close(r.failed)
	}
}

func (c *call) stopTap() {
	if c.tap != nil {
		c.tap.cancel()
		<-c.tap.done
	}
}

func (c *call) tapFailed() <-chan struct{} {
	if c.tap == nil {
		return nil
	}
	return c.tap.failed
}

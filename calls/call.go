package calls

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"lineout/api/fault"
	"lineout/api/mask"
	"lineout/calls/leg"
	"lineout/pipeline"
)

// call is one call: made by REST, to us, or of a user. Its goroutine owns the
// state machine; REST and the legs only send it events.
type call struct {
	m       *Manager
	req     Request
	created time.Time
	log     *slog.Logger
	stream  *pipeline.Stream // of what the other party sends; nil in calls of users
	in      *incoming        // what a route of sip_routes wants; nil in all other calls
	user    *user            // nil when the server itself is the party on this side
	tap     *reception
	inject  *injection

	// far is the other party, near the user, nil while there is none. The call's
	// goroutine changes them, under mu.
	far, near *side
	live      int // legs that have not ended; the call's goroutine only
	inbox     chan happening
	helpers   sync.WaitGroup

	ctx    context.Context // ends when the call has ended
	cancel context.CancelFunc
	done   chan struct{}

	endOnce sync.Once
	endWith chan leg.Cause // capacity 1: somebody on our side wants the end

	order sync.Mutex // held over a change and its announcement, so that observers see changes in order

	mu      sync.Mutex // guards what follows
	info    Info
	hanging bool // the end was asked for on our side
	// dismissed says that somebody here wanted the call gone, not that it
	// failed: it is not listed any more, however it ends.
	dismissed bool
	md        leg.Media
	watchers  []*func(Info)
}

func newCall(m *Manager, r Request) *call {
	caller := r.Caller
	if caller == "" {
		caller = r.SIPLogin
	}
	visible := r.VisibleName
	if visible == "" {
		visible = caller
	}
	c := &call{m: m, req: r, created: time.Now(), done: make(chan struct{}), endWith: make(chan leg.Cause, 1),
		inbox: make(chan happening, 16), log: m.d.Log.With("call", r.CallID)}
	c.ctx, c.cancel = context.WithCancel(m.ctx)
	c.inject = newInjection(c)
	c.info = Info{Custom: r.Custom, NodeID: m.d.NodeID, AppKey: r.AppKey, CallID: r.CallID, Status: Pending,
		RTMPURL: mask.URL(r.RTMPURL), rtmpURL: r.RTMPURL, RTMPStream: r.RTMPStream, StreamName: r.ToStream,
		Caller: caller, Callee: r.Callee, HasAudio: r.HasAudio, HasVideo: r.HasVideo,
		VisibleName: visible, MediaProvider: "Flash"}
	if r.RTMPURL != "" {
		c.info.RTMPStreamStatus = RTMPWait
	} else {
		c.info.RTMPURL = ""
	}
	return c
}

// claimStream reserves the stream's name. A call that names none gets one
// after its callId, which is unique.
func (c *call) claimStream() error {
	name := c.req.ToStream
	if name == "" {
		name = c.req.CallID
		if err := checkStreamName("callId (which names the stream when toStream is missing)", name); err != nil {
			return err
		}
	}
	s, err := c.createStream(name)
	if err != nil {
		return err
	}
	c.stream, c.info.MediaSessionID = s, s.ID()
	return nil
}

// createStream reserves a name.
func (c *call) createStream(name string) (*pipeline.Stream, error) {
	s, err := c.m.d.Streams.Create(name, pipeline.Meta{AppKey: c.req.AppKey, Login: c.req.SIPLogin,
		CallID: c.req.CallID, Caller: c.info.Caller, Callee: c.info.Callee, Provider: "SIP"})
	switch {
	case errors.Is(err, pipeline.ErrNameInUse):
		return nil, fault.New(fault.Conflict, "toStream %q: %w", name, err)
	case err != nil:
		return nil, fault.New(fault.Unavailable, "create stream %q: %w", name, err)
	}
	return s, nil
}

// start makes the leg and the push and starts the call's goroutine.
func (c *call) start() error {
	r := c.req
	if err := c.equip(r.RTMPURL, r.RTMPStream, false); err != nil {
		c.cancel()
		return err
	}
	l, err := c.m.d.Dialer.Dial(c.ctx, leg.Request{CallID: r.CallID, Callee: r.Callee, Caller: r.Caller,
		DisplayName: r.VisibleName, Login: r.SIPLogin, AuthName: r.SIPAuthName, Password: r.SIPPassword,
		Domain: r.SIPDomain, Proxy: r.SIPProxy, Port: r.SIPPort, Transport: r.SIPTransport, SRTP: r.SIPSRTP, Register: r.Register,
		SendAudio: r.HasAudio, SendVideo: r.HasVideo, ToRTMP: r.RTMPURL != ""})
	if err != nil {
		c.log.Warn("call could not be started", "callee", r.Callee, "err", err)
		c.cancel()
		return err
	}
	c.begin(l)
	c.log.Info("call started", "callee", r.Callee, "caller", c.info.Caller, "stream", c.stream.Name(),
		"sip_server", cmp.Or(r.SIPProxy, r.SIPDomain), "register", r.Register,
		"rtmp", r.RTMPURL != "") // not the URL: its query or path may be a stream key
	go c.run()
	return nil
}

// Info is a snapshot.
func (c *call) Info() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}

func (c *call) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hanging || c.info.Status.Final()
}

// listed says whether the call is to be found: until it is dismissed or has
// ended well.
func (c *call) listed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dismissed && c.info.Status != Finish
}

// end asks the call to end; only the first cause counts. It does not wait.
func (c *call) end(cause leg.Cause) {
	c.endOnce.Do(func() {
		c.mu.Lock()
		c.hanging = true
		c.dismissed = cause.Kind == leg.Normal
		c.mu.Unlock()
		c.endWith <- cause
	})
}

// run is the call's goroutine.
func (c *call) run() {
	defer close(c.done) // after release: who waited for the end may use the names again
	defer c.m.release(c)
	defer c.helpers.Wait()
	defer c.cancel()
	defer c.stopTap()
	defer c.inject.close()
	defer func() {
		if r := recover(); r != nil {
			c.log.Error("call panicked and is ended", "panic", r, "stack", string(debug.Stack()))
			cause := leg.Cause{Local: true, Kind: leg.Internal, Text: fmt.Sprintf("internal error: %v", r)}
			c.finish(Failed, leg.Event{Cause: cause})
			if c.user != nil {
				c.endTaps()
			}
			c.dismiss(nil, cause)
		}
	}()
	var closing <-chan struct{}
	switch {
	case c.user != nil:
		defer c.greetUser()()
	case c.in != nil:
		c.greet()
		defer c.in.due.Stop()
	}
	if c.stream != nil {
		closing = c.stream.Closing()
	}
	for c.live > 0 {
		select {
		case h := <-c.inbox:
			c.happened(h)
		case cause := <-c.endWith:
			c.hangup(cause)
		case <-c.due():
			c.timeUp()
		case q := <-c.asked():
			q.done <- c.decide(q.a)
			closing = c.stream.Closing() // it may be another one
		case <-closing:
			closing = nil
			c.end(leg.Cause{Local: true, Text: c.stream.Reason()})
		case <-c.tapFailed():
			c.end(leg.Cause{Local: true, Kind: leg.Internal, Text: "media could not be received"})
		}
	}
}

// happened does what an event asks for.
func (c *call) happened(h happening) {
	switch {
	case h.do != nil:
		h.do()
	case c.user != nil:
		c.converse(h.side, h.event)
	default:
		if h.event.Type == leg.Ended {
			c.live--
		}
		c.handle(h.event)
	}
}

// hangup tells the leg to end; Ended follows on its events. The stream ends at
// once, so that its files are finished while the BYE travels.
func (c *call) hangup(cause leg.Cause) {
	if c.user != nil {
		c.conclude(nil, cause)
		return
	}
	c.inject.close()
	c.stopTap()
	c.stream.Close(c.closeReason())
	c.far.hangup(cause)
}

// handle takes one event of a call whose party on this side is the server.
func (c *call) handle(e leg.Event) {
	if e.Type == leg.DTMFReceived {
		c.dialled(e)
		return
	}
	switch e.Type {
	case leg.Transfer:
		c.transferred(e)
		return
	case leg.MessageReceived:
		c.wrote(e)
		return
	case leg.MediaChanged:
		if c.tap != nil {
			c.tap.MediaChanged()
		}
		c.inject.refresh()
		return
	case leg.KeyframeWanted:
		c.inject.keyframeWanted()
		return
	}
	c.mu.Lock()
	from := c.info.Status
	hanging := c.hanging
	c.mu.Unlock()
	to, ok := next(from, e)
	if e.Type == leg.Ended {
		c.finish(to, e)
		return
	}
	if e.Type == leg.EarlyMedia && c.m.d.EarlyMedia && !hanging {
		if err := c.startTap(e.Media); err != nil {
			c.log.Info("early media cannot be used", "err", err)
		}
	}
	if !ok {
		return
	}
	if e.Type == leg.Answered && !hanging {
		if c.tap != nil {
			c.tap.MediaChanged() // the answer may differ from the early description
		}
		if err := c.startTap(e.Media); err != nil {
			c.end(leg.Cause{Local: true, Kind: leg.NoCommonCodecs, Text: err.Error()})
		}
		c.m.mu.Lock()
		c.m.established++
		c.m.mu.Unlock()
	}
	c.update(func(i *Info) {
		i.Status = to
		if e.Code != 0 {
			i.SIPStatus = e.Code
		}
	})
	c.log.Info("call status", "status", to, "sip", e.Code)
	return
}

// finish records the end and says it once, with its cause.
func (c *call) finish(to Status, e leg.Event) {
	c.update(func(i *Info) {
		i.Status, i.Cause = to, e.Cause
		if e.Cause.Code != 0 {
			i.SIPStatus = e.Cause.Code
		}
	})
	lvl := slog.LevelInfo
	if to != Finish {
		lvl = slog.LevelWarn
		c.m.mu.Lock()
		c.m.rejected++
		c.m.mu.Unlock()
	}
	c.log.Log(context.Background(), lvl, "call ended", "status", to, "sip", e.Cause.Code, "cause", e.Cause.Text,
		"by_us", e.Cause.Local, "seconds", int(time.Since(c.created).Seconds()))
}

// update changes the call and tells the observer, unless it is over already:
// nothing comes after its last status.
func (c *call) update(change func(*Info)) {
	c.order.Lock()
	defer c.order.Unlock()
	c.mu.Lock()
	if c.info.Status.Final() {
		c.mu.Unlock()
		return
	}
	change(&c.info)
	info := c.info
	watchers := slices.Clone(c.watchers)
	c.mu.Unlock()
	if c.m.d.Observe != nil {
		c.m.d.Observe(info)
	}
	for _, f := range watchers {
		(*f)(info)
	}
}

// watch adds who is told of changes.
func (c *call) watch(f func(Info)) (stop func()) {
	p := &f
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, p)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watchers = slices.DeleteFunc(slices.Clone(c.watchers), func(x *func(Info)) bool { return x == p })
	}
}

// setRTMP records the push's status (S2-28); the call lives on whatever it is.
func (c *call) setRTMP(status string) {
	c.update(func(i *Info) { i.RTMPStreamStatus = status })
}

// closeReason is what players of the stream are told.
func (c *call) closeReason() string {
	if c.stream == nil {
		return ""
	}
	if r := c.stream.Reason(); r != "" {
		return r
	}
	return "Stopped by publisher stop"
}

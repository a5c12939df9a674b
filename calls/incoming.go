package calls

import (
	"cmp"
	"context"
	"strings"
	"time"

	"lineout/api/fault"
	"lineout/api/mask"
	"lineout/calls/leg"
)

// checkTime bounds the look at a push's address before a call is taken.
const checkTime = 2 * time.Second

// incoming is what a call to us has besides.
type incoming struct {
	leg   leg.Inbound
	route *route
	due   *time.Timer // answer, or the end of the wait for an answer
	asked bool        // the REST API decides
	taken bool        // Answer was said
	// answers of the REST API, for the call's goroutine
	answers chan answering
}

type answering struct {
	a    Answer
	done chan error // capacity 1
}

// Answer is what /call/answer asks for: zero values leave what the route says.
type Answer struct {
	CallID              string
	ToStream            string
	RTMPURL, RTMPStream string
	HasAudio, HasVideo  *bool
	Record              *bool
}

// Receive implements leg.Receiver. A user of this server who calls is one more
// user's call; a call to one who can be reached rings; of all others the first
// route that matches decides (S1-6, rest-api 2.11).
func (m *Manager) Receive(in leg.Incoming, l leg.Inbound) *leg.Refusal {
	if in.User != "" {
		login, domain, _ := strings.Cut(in.User, "@")
		return m.Place(context.Background(), in, l, Account{Login: login, Domain: domain, Local: true}, nil)
	}
	return m.receive(in, l, "")
}

// receive takes a call from elsewhere, or from the call parent of another user.
func (m *Manager) receive(in leg.Incoming, l leg.Inbound, parent string) *leg.Refusal {
	if devices := m.lines.find(in.Account); len(devices) > 0 {
		return m.summon(in, l, parent, devices)
	}
	r := findRoute(m.routes, &in)
	switch {
	case r == nil && m.isUser(in.Account):
		return &leg.Refusal{Code: 480, Text: "Temporarily Unavailable", Why: "no device of the user is connected"}
	case r == nil && parent != "":
		return &leg.Refusal{Code: 404, Text: "Not Found", Why: "there is no such user, and no route of sip_routes matches"}
	case r == nil:
		return &leg.Refusal{Code: 603, Text: "Decline", Why: "no route of sip_routes matches"}
	case r.reject != 0:
		return &leg.Refusal{Code: r.reject, Text: "Refused", Why: "a route of sip_routes says so"}
	}
	c, err := m.reserveIncoming(in, l, r)
	if err != nil {
		return m.refusal(in, err)
	}
	if err := c.equip(r.rtmpURL, r.rtmpStream, r.record); err != nil {
		c.cancel()
		m.release(c)
		return m.refusal(in, err)
	}
	c.begin(l)
	c.log.Info("call came in", "caller", in.Caller, "callee", in.Callee, "trunk", in.Trunk, "account", in.Account, "from", in.Source,
		"stream", c.stream.Name(), "ask", r.ask)
	go c.run()
	return nil
}

// refusal says to a caller what went wrong here.
func (m *Manager) refusal(in leg.Incoming, err error) *leg.Refusal {
	m.d.Log.Warn("call to us cannot be taken", "call", in.CallID, "caller", in.Caller, "callee", in.Callee, "err", err)
	switch fault.CodeOf(err) {
	case fault.Conflict:
		return &leg.Refusal{Code: 486, Text: "Busy Here", Why: err.Error()}
	case fault.Unavailable:
		return &leg.Refusal{Code: 503, Text: "Service Unavailable", Why: err.Error(), Retry: 5 * time.Second}
	}
	return &leg.Refusal{Code: 480, Text: "Temporarily Unavailable", Why: err.Error()}
}

// reserveIncoming claims what a call to us needs: its id, its stream's name and its target.
func (m *Manager) reserveIncoming(in leg.Incoming, l leg.Inbound, r *route) (*call, error) {
	name := r.name(&in)
	if err := checkStreamName("the stream name made by sip_routes", name); err != nil {
		return nil, err
	}
	if r.rtmpURL != "" && m.d.CheckPush != nil {
		ctx, cancel := context.WithTimeout(context.Background(), checkTime)
		defer cancel()
		if err := m.d.CheckPush(ctx, r.rtmpURL, r.rtmpStream); err != nil {
			return nil, err
		}
	}
	return m.claim(Request{CallID: in.CallID, Callee: in.Callee, Caller: cmp.Or(in.Caller, "anonymous"), VisibleName: in.DisplayName,
		ToStream: name, RTMPURL: r.rtmpURL, RTMPStream: r.rtmpStream, SIPLogin: loginOf(in.Account), AppKey: r.appKey}, nil, func(c *call) {
		c.in = &incoming{leg: l, route: r, asked: r.ask, answers: make(chan answering)}
		c.info.Incoming, c.info.SDP, c.info.SIPMessage = true, in.SDP, in.Message
		c.info.HasAudio, c.info.HasVideo = in.HasAudio, in.HasVideo
	})
}

// equip starts the push and the recording a route or an answer asks for.
func (c *call) equip(url, name string, record bool) error {
	if url != "" {
		if c.m.d.StartPush == nil {
			return fault.New(fault.BadRequest, "rtmpUrl is given but this server has no RTMP output")
		}
		if err := c.m.d.StartPush(c.stream, url, name, c.setRTMP); err != nil {
			return err
		}
	}
	if record {
		if c.m.d.StartRecord == nil {
			return fault.New(fault.BadRequest, "a recording is asked for but this server records nothing")
		}
		return c.m.d.StartRecord(c.stream)
	}
	return nil
}

// greet begins a call to us as its route says.
func (c *call) greet() {
	r := c.in.route
	if r.ring != 0 {
		c.in.leg.Ring(r.terms, r.ring == 183)
	}
	wait := r.delay
	if r.ask {
		wait = c.m.d.AnswerLimit
	}
	c.in.due = time.NewTimer(wait)
}

// due fires when a call to us is to be answered, or has waited or rung for long
// enough.
func (c *call) due() <-chan time.Time {
	switch {
	case c.user != nil && c.user.limit != nil:
		return c.user.limit.C
	case c.in == nil || c.in.due == nil || c.in.taken:
		return nil
	}
	return c.in.due.C
}

func (c *call) asked() <-chan answering {
	if c.in == nil {
		return nil
	}
	return c.in.answers
}

// timeUp is what becomes of a call to us when its time has come.
func (c *call) timeUp() {
	if c.user != nil {
		c.conclude(nil, leg.Cause{Kind: leg.RequestTimeout, Code: 480, Text: "nobody answered within user_ringing_timeout"})
		return
	}
	if c.in.asked {
		c.end(leg.Cause{Local: true, Kind: leg.RequestTimeout, Code: 480, Text: "nobody decided within sip_answer_timeout whether to take the call"})
		return
	}
	c.take(c.in.route.terms)
}

// shutdown is what a call is told when the server stops.
func (c *call) shutdown() leg.Cause {
	cause := leg.Cause{Local: true, Text: "server shutdown"}
	called := c.in != nil || c.user != nil && !c.user.calls
	if st := c.Info().Status; called && st != Established && st != Hold {
		cause.Code = 503 // a caller may try another server
	}
	return cause
}

func (c *call) take(t leg.Terms) {
	c.in.taken = true
	c.in.due.Stop()
	c.in.leg.Answer(t)
}

// Answer takes a call to us that its route leaves to the REST API.
func (m *Manager) Answer(ctx context.Context, a Answer) error {
	c, err := m.get(a.CallID)
	if err != nil {
		return err
	}
	if c.in == nil {
		return fault.New(fault.Conflict, "call %q was made by this server, so there is nothing to answer", a.CallID)
	}
	if (a.RTMPURL == "") != (a.RTMPStream == "") {
		return fault.New(fault.BadRequest, "rtmpUrl and rtmpStream belong together: give both or neither")
	}
	if err := checkStreamName("toStream", a.ToStream); err != nil {
		return err
	}
	if a.RTMPURL != "" && m.d.CheckPush != nil {
		if err := m.d.CheckPush(ctx, a.RTMPURL, a.RTMPStream); err != nil {
			return err
		}
	}
	q := answering{a, make(chan error, 1)}
	select {
	case c.in.answers <- q:
	case <-c.done:
		return fault.New(fault.NotFound, "there is no call with callId %q", a.CallID)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-q.done:
		return err
	case <-c.done:
		return fault.New(fault.NotFound, "call %q has ended", a.CallID)
	}
}

// decide answers for the REST API, on the call's goroutine.
func (c *call) decide(a Answer) error {
	if st := c.Info().Status; c.in.taken || c.ending() || st == Established || st == Hold {
		return fault.New(fault.Conflict, "call %q is %s: it has been answered already", a.CallID, st)
	}
	if err := c.rename(a.ToStream); err != nil {
		return err
	}
	if err := c.retarget(a.RTMPURL, a.RTMPStream); err != nil {
		return err
	}
	if err := c.equip(a.RTMPURL, a.RTMPStream, a.Record != nil && *a.Record && !c.in.route.record); err != nil {
		return err
	}
	t := c.in.route.terms
	if a.HasAudio != nil {
		t.SendAudio = *a.HasAudio
	}
	if a.HasVideo != nil {
		t.SendVideo = *a.HasVideo
	}
	t.ToRTMP = t.ToRTMP || a.RTMPURL != ""
	c.take(t)
	return nil
}

// rename gives a call whose media has not begun a stream of another name.
func (c *call) rename(name string) error {
	if name == "" || name == c.stream.Name() {
		return nil
	}
	if c.tap != nil {
		return fault.New(fault.Conflict, "toStream: the stream of call %q runs under the name %q already (ring=183)", c.req.CallID, c.stream.Name())
	}
	if c.in.route.rtmpURL != "" || c.in.route.record {
		return fault.New(fault.Conflict, "toStream: the route of call %q pushes or records the stream %q already", c.req.CallID, c.stream.Name())
	}
	s, err := c.createStream(name)
	if err != nil {
		return err
	}
	c.stream.Close("the call's stream got another name")
	c.update(func(i *Info) {
		c.stream = s
		i.StreamName, i.MediaSessionID = name, s.ID()
	})
	return nil
}

// retarget claims the RTMP target of an answer.
func (c *call) retarget(url, name string) error {
	if url == "" {
		return nil
	}
	m, t := c.m, target{url, name}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.req.RTMPURL != "" {
		return fault.New(fault.Conflict, "rtmpUrl: the route of call %q pushes it already", c.req.CallID)
	}
	if m.targets[t] != nil {
		return fault.New(fault.Conflict, "call %q is pushed to this rtmpUrl and rtmpStream already", m.targets[t].req.CallID)
	}
	m.targets[t] = c
	c.req.RTMPURL, c.req.RTMPStream = url, name
	c.mu.Lock()
	c.info.RTMPURL, c.info.rtmpURL, c.info.RTMPStream, c.info.RTMPStreamStatus = mask.URL(url), url, name, RTMPWait
	c.mu.Unlock()
	return nil
}

// Reject refuses a call to us that was not answered, with a SIP status; 0 is 603.
func (m *Manager) Reject(_ context.Context, id string, code int) error {
	c, err := m.get(id)
	if err != nil {
		return err
	}
	st := c.Info().Status
	if c.in == nil || st == Established || st == Hold {
		return fault.New(fault.Conflict, "call %q is %s: only a call to this server that was not answered can be rejected; use /call/terminate", id, st)
	}
	if code = cmp.Or(code, 603); code < 400 || code > 699 {
		return fault.New(fault.BadRequest, "code %d is not a SIP status from 400 to 699", code)
	}
	c.end(leg.Cause{Local: true, Code: code, Text: "rejected by REST"})
	return nil
}

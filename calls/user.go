package calls

import (
	"cmp"
	"context"
	"strings"
	"sync/atomic"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/local"
	"lineout/media"
)

// Account is how a user of this server reaches whom it calls.
type Account struct {
	// Login, AuthName and Password are the SIP account, Domain is that of From and
	// To; Proxy, Port and Transport say where requests go, as in leg.Request.
	Login, AuthName, Password string
	Domain, Proxy             string
	Port                      int
	Transport                 string
	// Local says that the account is one of this server: calls to other such
	// accounts stay inside.
	Local bool
	// DisplayName is told to the callee; the caller's own, if it is empty.
	DisplayName string
	// SessionID is that of the browser that calls, "" for a phone. AppKey and
	// Custom are shown with the call.
	SessionID, AppKey string
	Custom            map[string]any
}

// Caller is a Line that can also call, and by which account it does.
type Caller interface {
	leg.Line
	Via() Account
}

// user is what a call of a user has besides: two sides, of which the near one is
// the user.
type user struct {
	via     Account
	account string // login@domain, for limits
	in      leg.Incoming
	calls   bool // the user has called; else it is called

	// What follows belongs to the call's goroutine.
	lines   []leg.Line     // to ring
	rings   map[*side]bool // that ring, and have neither answered nor refused
	waiting int            // lines that were asked to ring and are not in rings yet
	refusal leg.Cause      // the best of theirs
	limit   *time.Timer    // of ringing
	next    *side          // whom the far side is being replaced by
	told    phase          // the furthest the side that began was told of
	talked  bool           // it was ESTABLISHED
	over    bool
	asker   bool // the user's phone waits for the outcome of a transfer

	taps []*tapping

	joint     atomic.Pointer[joint]
	nearMedia follow
	farMedia  follow
}

// follows is the media of a side for those who listen in.
func (u *user) follows(far bool) *follow {
	if far {
		return &u.farMedia
	}
	return &u.nearMedia
}

// Place makes a call for a user of this server: l has called, a browser or a
// registered phone. in.CallID is the user's. watch, if not nil, is told of each
// change of the call in order, from its first status on; it must not block. The
// leg's events are to be left to the manager if Place returns nil.
func (m *Manager) Place(_ context.Context, in leg.Incoming, l leg.Inbound, via Account, watch func(Info)) *leg.Refusal {
	account := cmp.Or(via.Login, in.Caller) + "@" + via.Domain
	c, err := m.claimUser(in, account, true, func(c *call) {
		c.user.via = via
		c.info.VisibleName = cmp.Or(via.DisplayName, in.DisplayName, c.info.VisibleName)
		c.info.SessionID, c.info.AppKey, c.info.Custom = via.SessionID, via.AppKey, via.Custom
		c.info.MediaProvider = provider(via.SessionID)
		if watch != nil {
			c.watchers = append(c.watchers, &watch)
		}
	})
	if err != nil {
		return m.refusal(in, err)
	}
	far, err := c.dial(in.CallID, in.Callee, "", in.Tracks)
	if err != nil {
		c.cancel()
		m.release(c)
		return m.refusal(in, err)
	}
	c.near = c.attend(near, l)
	c.near.in, c.near.session = l, via.SessionID
	c.begin(far)
	c.log.Info("user calls", "caller", c.info.Caller, "callee", in.Callee, "account", account, "session", via.SessionID)
	go c.run()
	return nil
}

// near is the name of the user's side.
const near = "near"

// provider is what a user is called in answers (S2-13).
func provider(session string) string {
	if session == "" {
		return "SIP"
	}
	return "WebRTC"
}

// claimUser reserves a call of a user.
func (m *Manager) claimUser(in leg.Incoming, account string, calls bool, prepare func(*call)) (*call, error) {
	r := Request{CallID: in.CallID, Callee: in.Callee, Caller: cmp.Or(in.Caller, "anonymous"), VisibleName: in.DisplayName}
	r.SIPLogin, _, _ = strings.Cut(account, "@") // in the names of recordings
	if err := r.checkNames(); err != nil {
		return nil, err
	}
	r.HasAudio, r.HasVideo = in.HasAudio || has(in.Tracks, media.Audio), in.HasVideo || has(in.Tracks, media.Video) // of the offer, until the answer
	return m.claim(r, &user{account: m.lines.key(account), in: in, calls: calls, rings: map[*side]bool{}}, prepare)
}

// dial calls somebody for the user, as one of this server's own if it is.
func (c *call) dial(id, callee, replaces string, like []leg.TrackInfo) (leg.Leg, error) {
	v := &c.user.via
	r := leg.Request{CallID: id, Callee: callee, Caller: c.info.Caller, DisplayName: cmp.Or(v.DisplayName, c.user.in.DisplayName),
		Login: v.Login, AuthName: v.AuthName, Password: v.Password, Domain: v.Domain, Proxy: v.Proxy, Port: v.Port, Transport: v.Transport,
		SendAudio: like == nil || has(like, media.Audio), SendVideo: has(like, media.Video), Like: like,
		Referable: true, Replaces: replaces}
	if account, ok := c.inside(callee); ok && replaces == "" {
		return c.pair(account, r), nil
	}
	l, err := c.m.d.Dialer.Dial(c.ctx, r)
	if err != nil {
		c.log.Warn("call could not be started", "callee", callee, "err", err)
	}
	return l, err
}

// inside says which account of this server a callee is, if it is one.
func (c *call) inside(callee string) (account string, ok bool) {
	if !c.user.via.Local {
		return "", false
	}
	name := strings.TrimPrefix(strings.TrimPrefix(callee, "sips:"), "sip:")
	name, _, _ = strings.Cut(name, ";")
	login, domain, named := strings.Cut(name, "@")
	if !named {
		return login + "@" + c.user.via.Domain, true
	}
	host, _, _ := strings.Cut(domain, ":")
	if strings.EqualFold(host, c.user.via.Domain) || c.m.lines.local != nil && c.m.lines.local(host) {
		return login + "@" + host, true
	}
	return "", false
}

// pair calls an account of this server: what is a call from here comes in at the
// door where calls from elsewhere do.
func (c *call) pair(account string, r leg.Request) leg.Leg {
	caller, called := local.NewPair(r)
	login, _, _ := strings.Cut(account, "@")
	in := leg.Incoming{CallID: newCallID(), Caller: c.info.Caller, Callee: login, DisplayName: r.DisplayName, Account: account,
		HasAudio: r.SendAudio, HasVideo: r.SendVideo, Tracks: r.Like}
	parent := c.req.CallID
	c.helpers.Go(func() {
		refusal := c.m.receive(in, called, parent)
		if refusal == nil {
			return
		}
		_ = called.Hangup(c.ctx, leg.Cause{Code: refusal.Code, Kind: kindOf(refusal.Code), Text: refusal.Error(), Local: true})
		for range called.Events() {
		}
	})
	return caller
}

// kindOf groups a refusal.
func kindOf(code int) leg.CauseKind {
	switch code {
	case 486, 600:
		return leg.Busy
	case 408:
		return leg.RequestTimeout
	}
	return leg.Rejected
}

func has(tracks []leg.TrackInfo, k media.Kind) bool {
	for _, t := range tracks {
		if t.Kind == k && t.Receive {
			return true
		}
	}
	return false
}

// Attach implements leg.Switchboard.
func (m *Manager) Attach(account string, l leg.Line) (detach func()) {
	return m.lines.attach(account, l)
}

// isUser says that an account is of a user of this server, here or not.
func (m *Manager) isUser(account string) bool {
	_, domain, _ := strings.Cut(account, "@")
	return domain != "" && m.d.Local != nil && m.d.Local(domain) && (m.d.Known == nil || m.d.Known(account))
}

// roomFor says whether a user may have one more call; under the lock.
func (m *Manager) roomFor(u *user) error {
	n := 0
	for _, c := range m.calls {
		if c.user != nil && c.user.account == u.account {
			n++
		}
	}
	if n < m.d.UserCalls {
		return nil
	}
	if u.calls {
		return fault.New(fault.Unavailable, "account %s has %d calls already, which is the limit (user_calls_max)", u.account, n)
	}
	return fault.New(fault.Conflict, "account %s has %d calls already, which is the limit (user_calls_max)", u.account, n)
}

// Watch calls f on each change of a call, in order, from now on until stop or
// the call's end. f must not block. Of a call that rings several lines it says
// by SessionID which of them has it, once one has answered. An unknown call
// changes no more.
func (m *Manager) Watch(callID string, f func(Info)) (stop func()) {
	m.mu.Lock()
	c := m.calls[callID]
	m.mu.Unlock()
	if c == nil {
		return func() {}
	}
	return c.watch(f)
}

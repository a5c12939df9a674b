package ws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"lineout/calls"
	"lineout/calls/leg"
)

// phone stands for the registry of calls, browsers' media and accounts: the
// test says what becomes of each call.
type phone struct {
	mu       sync.Mutex
	lines    map[string][]leg.Line
	placed   chan *placed
	watchers map[string]map[int]func(calls.Info)
	log      []string // what was asked
	hooks    []string
	late     bool                  // the test itself tells of holds
	offering chan chan struct{}    // nil, or told when an offer is about to be made: closing what it is told lets it
	refuse   error                 // of Accept, Offer or Hold, as the test wants
	hookErr  map[string]error      // by method
	reg      chan error            // what Register returns; nil: success at once
	code     int                   // of a refused registration
	holds    map[string]bool       // by callId
	peers    map[string]*peer      // by callId
	bound    map[string]int        // registrations by account
	outcome  chan leg.Registration // what the SIP server answers first
	changed  func(leg.Registration)
	refusal  *leg.Refusal
	requests []leg.Request
	next     int
}

// placed is a call a browser makes.
type placed struct {
	in    leg.Incoming
	leg   leg.Inbound
	via   calls.Account
	watch func(calls.Info)
}

func newPhone() *phone {
	return &phone{outcome: make(chan leg.Registration), lines: map[string][]leg.Line{}, placed: make(chan *placed, 8), watchers: map[string]map[int]func(calls.Info){},
		hookErr: map[string]error{}, holds: map[string]bool{}, peers: map[string]*peer{}, bound: map[string]int{}}
}

func (p *phone) deps() *Phone {
	return &Phone{Calls: p, Accept: p.accept, Offer: p.offer,
		Local:   func(a calls.Account) bool { return a.Domain == "localhost" },
		Account: func(a calls.Account) string { return a.Login + "@" + a.Domain },
		Check: func(login, domain, password string, remote netip.Addr) error {
			if password != "right" {
				return errors.New("the login or the password is wrong")
			}
			return nil
		},
		Register: p.register}
}

func (p *phone) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

func (p *phone) asked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.log, "; ")
}

func (p *phone) register(ctx context.Context, r leg.Request, changed func(leg.Registration)) (string, func(), error) {
	p.mu.Lock()
	p.requests = append(p.requests, r)
	p.mu.Unlock()
	select {
	case first := <-p.outcome:
		changed(first)
		if !first.Registered {
			return "", nil, errors.New(first.Error)
		}
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = changed
	name := r.Login + "@" + r.Domain
	p.bound[name]++
	return name, func() { p.mu.Lock(); defer p.mu.Unlock(); p.bound[name]-- }, nil
}

func (p *phone) Attach(account string, l leg.Line) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines[account] = append(p.lines[account], l)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, x := range p.lines[account] {
			if x == l {
				p.lines[account] = append(p.lines[account][:i:i], p.lines[account][i+1:]...)
			}
		}
	}
}

func (p *phone) count(account string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines[account])
}

func (p *phone) Watch(id string, f func(calls.Info)) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watchers[id] == nil {
		p.watchers[id] = map[int]func(calls.Info){}
	}
	p.next++
	n := p.next
	p.watchers[id][n] = f
	return func() { p.mu.Lock(); defer p.mu.Unlock(); delete(p.watchers[id], n) }
}

// tell is a change of a call to its browsers.
func (p *phone) tell(i calls.Info) {
	p.mu.Lock()
	l := slices.Collect(maps.Values(p.watchers[i.CallID]))
	p.mu.Unlock()
	for _, f := range l {
		f(i)
	}
}

func (p *phone) Place(_ context.Context, in leg.Incoming, l leg.Inbound, via calls.Account, watch func(calls.Info)) *leg.Refusal {
	if p.refusal != nil {
		return p.refusal
	}
	p.Watch(in.CallID, watch)
	p.placed <- &placed{in, l, via, watch}
	return nil
}

func (p *phone) Hold(_ context.Context, id string, hold bool) error {
	p.note("hold %s %v", id, hold)
	if p.refuse != nil {
		return p.refuse
	}
	st := calls.Established
	if hold {
		st = calls.Hold
	}
	p.mu.Lock()
	same := p.holds[id] == hold
	p.holds[id] = hold
	late := p.late
	p.mu.Unlock()
	if !same && !late {
		p.tell(calls.Info{CallID: id, Status: st})
	}
	return nil
}

func (p *phone) SendDTMF(_ context.Context, id, digits, how string) error {
	p.note("dtmf %s %s %s", id, digits, how)
	return nil
}

func (p *phone) Transfer(_ context.Context, id, target, _ string) error {
	p.note("transfer %s %s", id, target)
	return p.refuse
}

func (p *phone) Ask(_ context.Context, session, method string, body map[string]any) error {
	p.Tell(session, method, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hookErr[method]
}

func (p *phone) Tell(session, method string, body map[string]any) {
	if body["sessionId"] != session {
		panic("another session's")
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks = append(p.hooks, fmt.Sprint(body["appKey"], " ", method, " ", string(b)))
}

func (p *phone) told() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.hooks, "\n")
}

// peer is a browser's media.
type peer struct {
	p      *phone
	o      PeerOptions
	events chan leg.Event
	once   sync.Once
	cause  leg.Cause
	ended  chan struct{}
}

func (p *phone) newPeer(o PeerOptions) *peer {
	x := &peer{p: p, o: o, events: make(chan leg.Event, 8), ended: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers[o.ID] = x
	return x
}

func (p *phone) peer(id string) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peers[id]
}

func (p *phone) accept(_ context.Context, offer string, o PeerOptions) (leg.Inbound, leg.Incoming, error) {
	if p.refuse != nil {
		return nil, leg.Incoming{}, p.refuse
	}
	return p.newPeer(o), leg.Incoming{SDP: offer, HasAudio: true}, nil
}

func (p *phone) offer(_ context.Context, _ []leg.TrackInfo, o PeerOptions) (Peer, error) {
	if p.refuse != nil {
		return nil, p.refuse
	}
	if p.offering != nil {
		wait := make(chan struct{})
		p.offering <- wait
		<-wait
	}
	o.SendSDP("offer for " + o.ID)
	return p.newPeer(o), nil
}

func (x *peer) Events() <-chan leg.Event                         { return x.events }
func (x *peer) SendDTMF(context.Context, string, leg.DTMF) error { return nil }
func (x *peer) Hold(context.Context) error                       { return nil }
func (x *peer) Resume(context.Context) error                     { return nil }
func (x *peer) Ring(leg.Terms, bool)                             {}
func (x *peer) Answer(leg.Terms)                                 { x.o.SendSDP("answer for " + x.o.ID) }
func (x *peer) SetAnswer(sdp string) error {
	if strings.HasPrefix(sdp, "bad") {
		return callError("No common codecs")
	}
	x.p.note("answered %s %s", x.o.ID, sdp)
	return nil
}

// Hangup ends the call as the registry would: it tells the watchers.
func (x *peer) Hangup(_ context.Context, c leg.Cause) error {
	x.once.Do(func() {
		x.cause = c
		x.events <- leg.Event{Type: leg.Ended, Cause: c}
		close(x.events)
		close(x.ended)
		x.p.tell(calls.Info{CallID: x.o.ID, Status: calls.Finish, Cause: c})
	})
	return nil
}

type callError string

func (e callError) Error() string    { return "refused: " + string(e) }
func (e callError) CallInfo() string { return string(e) }

//go:build e2e

package load

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/webrtc/v4"
)

// visitors is how many scripted browsers come and go at a time.
const visitors = 10

// swarm is the scripted browsers, users 200 to 209 of the server. Each opens one
// session after another, calls, publishes and plays in it, and leaves it in one of
// the ways of endings.
type swarm struct {
	url string

	mu     sync.Mutex
	counts map[string]int
	errs   []error // the first ones
}

// endings are the ways a browser leaves, each with what it does before.
var endings = []struct {
	name  string
	sick  bool // ICE never connects
	shy   bool // calls are not answered
	leave func(context.Context, *visit)
}{
	{name: "hangup", leave: func(_ context.Context, v *visit) { v.hangup(); v.farewell(true) }},
	{name: "goodbye", leave: func(_ context.Context, v *visit) { v.farewell(false) }},
	{name: "cut", leave: func(_ context.Context, v *visit) { v.cut() }},
	{name: "frozen", leave: func(ctx context.Context, v *visit) { v.freeze(ctx) }},
	{name: "silent", leave: func(ctx context.Context, v *visit) { v.mute(); pause(ctx, 6*time.Second); v.farewell(false) }},
	{name: "no ICE", sick: true, leave: func(ctx context.Context, v *visit) { pause(ctx, 5*time.Second); v.cut() }},
	{name: "no answer", shy: true, leave: func(ctx context.Context, v *visit) {
		pause(ctx, time.Duration(rand.IntN(14000))*time.Millisecond)
		v.farewell(false)
	}},
	{name: "resumed", leave: func(ctx context.Context, v *visit) { v.cut(); v.resume(ctx) }},
}

// run lets the browsers come and go until ctx ends, and returns when all are gone.
func (s *swarm) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range visitors {
		all.Go(func() {
			for ctx.Err() == nil {
				if leave := s.visit(ctx, fmt.Sprint(200+i)); leave != nil {
					all.Go(leave)
				}
				pause(ctx, time.Duration(rand.IntN(500))*time.Millisecond)
			}
		})
	}
	all.Wait()
}

// visit is one session up to its end, which is returned: a browser opens the next
// one while the server still waits for this one.
func (s *swarm) visit(ctx context.Context, login string) (leave func()) {
	way := endings[rand.IntN(len(endings))]
	v := &visit{swarm: s, login: login, sick: way.sick, shy: way.shy}
	s.count("sessions")
	// A visit that has begun goes on to its end when the time is over.
	whole := context.WithoutCancel(ctx)
	if err := v.open(whole, ""); err != nil {
		if v.conn != nil {
			v.cut()
		}
		s.fail(err)
		return nil
	}
	v.busy(whole)
	s.count("left: " + way.name)
	return func() { way.leave(whole, v) }
}

// busy does a few things, some of which will not have been finished when it returns.
func (v *visit) busy(ctx context.Context) {
	if rand.IntN(3) == 0 {
		v.begin("publishStream", "mediaSessionId", webrtc.RTPTransceiverDirectionSendonly,
			map[string]any{"name": stream(v.login), "published": true, "hasAudio": true, "hasVideo": false, "record": rand.IntN(2) == 0})
	}
	if rand.IntN(6) != 0 {
		v.called = v.begin("call", "callId", webrtc.RTPTransceiverDirectionSendrecv,
			map[string]any{"callee": anybody(), "caller": v.login, "incoming": false, "hasAudio": true, "hasVideo": false})
	}
	pause(ctx, time.Duration(rand.IntN(1500))*time.Millisecond)
	if rand.IntN(3) == 0 {
		v.begin("playStream", "mediaSessionId", webrtc.RTPTransceiverDirectionRecvonly,
			map[string]any{"name": stream(anybody()), "published": false, "hasAudio": true, "hasVideo": true})
	}
	if v.called != "" && rand.IntN(3) == 0 {
		v.say("hold", map[string]any{"callId": v.called})
		pause(ctx, time.Duration(rand.IntN(800))*time.Millisecond)
		if rand.IntN(2) == 0 {
			v.say("unhold", map[string]any{"callId": v.called})
		}
	}
	pause(ctx, time.Duration(rand.IntN(2500))*time.Millisecond)
}

func anybody() string            { return fmt.Sprint(200 + rand.IntN(visitors)) }
func stream(login string) string { return "visit-" + login }

// hangup ends the call that was made and waits a little for the server to say so.
func (v *visit) hangup() {
	if v.called != "" {
		v.say("hangup", map[string]any{"callId": v.called})
		time.Sleep(100 * time.Millisecond)
	}
}

// farewell closes the socket in good order (RFC 6455 section 7.1.1), as a page does that is left.
func (v *visit) farewell(media bool) {
	_ = v.conn.Close(websocket.StatusGoingAway, "")
	v.gone(media)
}

// cut resets the connection and has the media stop without a word.
func (v *visit) cut() {
	_ = v.tcp.SetLinger(0)
	_ = v.tcp.Close()
	_ = v.conn.CloseNow()
	v.gone(false)
}

// freeze is a network that lets nothing through: nothing is read, nothing comes,
// and the connection lives on until the server gives it up.
func (v *visit) freeze(ctx context.Context) {
	v.frozen.Store(true)
	v.unplug()
	pause(ctx, 8*time.Second)
	v.cut()
}

// resume comes back with the session's token, in time or too late, and is cut off again or leaves.
func (v *visit) resume(ctx context.Context) {
	pause(ctx, time.Duration(rand.IntN(7000))*time.Millisecond)
	v.mu.Lock()
	token := v.token
	v.mu.Unlock()
	if err := v.open(ctx, token); err != nil {
		v.swarm.fail(err)
		v.cut()
		return
	}
	v.mu.Lock()
	same := v.token == token
	v.mu.Unlock()
	if same {
		v.swarm.count("gone on with")
	}
	pause(ctx, time.Duration(rand.IntN(2000))*time.Millisecond)
	if rand.IntN(2) == 0 {
		v.cut()
	} else {
		v.farewell(false)
	}
}

func (s *swarm) count(what string) {
	s.mu.Lock()
	s.counts[what]++
	s.mu.Unlock()
}

func (s *swarm) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts["errors"]++
	if len(s.errs) < 10 {
		s.errs = append(s.errs, err)
	}
}

// String tells what was done so far.
func (s *swarm) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l []string
	for _, k := range slices.Sorted(maps.Keys(s.counts)) {
		l = append(l, fmt.Sprintf("%s %d", k, s.counts[k]))
	}
	return strings.Join(l, ", ")
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

package local

import (
	"context"
	"strings"
	"time"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/transmit"
)

const (
	// maxMessage bounds a text message, as SIP does (RFC 3428 section 8).
	maxMessage = 1300
	// referTime bounds how long the other side may take to say whether it tries to
	// call somebody else.
	referTime = 10 * time.Second
)

// end is one of the two legs of a pair.
type end struct {
	pair   *pair
	other  *end
	name   string
	events *leg.Queue
	media  endMedia

	// Guarded by the pair's mu.
	holds bool        // this side has put the other on hold
	refer chan status // a Transfer of this side waits for its first answer
	asked bool        // the other side was told who to call, and has not said the outcome
}

type status struct {
	code int
	text string
}

func newEnd(p *pair, name string) *end {
	e := &end{pair: p, name: name, events: leg.NewQueue()}
	e.media.end = e
	return e
}

// Events implements leg.Leg.
func (e *end) Events() <-chan leg.Event { return e.events.Events() }

// established takes the lock; without an error the caller gives it back.
func (e *end) established(what string) error {
	e.pair.mu.Lock()
	if e.pair.answered && !e.pair.ended {
		return nil
	}
	e.pair.mu.Unlock()
	return fault.New(fault.Conflict, "the call %s is not established, so %s", e.pair.req.CallID, what)
}

// SendDTMF implements leg.Leg. Whichever the way, the digits come as they are.
func (e *end) SendDTMF(_ context.Context, digits string, how leg.DTMF) error {
	if _, ok := transmit.Codes(digits); !ok || len(digits) > transmit.MaxDigits {
		return fault.New(fault.BadRequest, "dtmf: want 1 to %d of the digits 0-9, *, #, A-D", transmit.MaxDigits)
	}
	way := "INFO"
	switch how {
	case "", leg.RFC4733:
		way = "RTP"
	case leg.INFO, leg.INFORelay:
	default:
		return fault.New(fault.BadRequest, "the DTMF type %q is not known; use RFC2833, INFO or INFO_RELAY", how)
	}
	if err := e.established("no digit can be sent"); err != nil {
		return err
	}
	defer e.pair.mu.Unlock()
	for _, d := range strings.ToUpper(digits) {
		e.other.events.Put(leg.Event{Type: leg.DTMFReceived, Digit: string(d), Text: way})
	}
	return nil
}

// Hold implements leg.Leg.
func (e *end) Hold(context.Context) error { return e.hold(true, "it cannot be put on hold") }

// Resume implements leg.Leg.
func (e *end) Resume(context.Context) error { return e.hold(false, "it cannot be resumed") }

func (e *end) hold(on bool, what string) error {
	if err := e.established(what); err != nil {
		return err
	}
	p := e.pair
	defer p.mu.Unlock()
	if e.holds == on {
		return nil
	}
	before := e.holds || e.other.holds
	e.holds = on
	after := e.holds || e.other.holds
	e.media.listen(!on)
	for _, x := range []*end{e, e.other} {
		x.events.Put(leg.Event{Type: leg.MediaChanged, Media: &x.media})
		switch {
		case !before:
			x.events.Put(leg.Event{Type: leg.Held})
		case !after:
			x.events.Put(leg.Event{Type: leg.Resumed})
		}
	}
	return nil
}

// SendMessage implements leg.Messenger.
func (e *end) SendMessage(_ context.Context, text string) error {
	if text == "" || len(text) > maxMessage {
		return fault.New(fault.BadRequest, "a message must have 1 to %d bytes, this one has %d", maxMessage, len(text))
	}
	if err := e.established("no message can be sent"); err != nil {
		return err
	}
	defer e.pair.mu.Unlock()
	e.other.events.Put(leg.Event{Type: leg.MessageReceived, Text: strings.ToValidUTF8(text, "\uFFFD")})
	return nil
}

// Transfer implements leg.Transferer: the other end has Referred, and says by
// Refer how it goes.
func (e *end) Transfer(ctx context.Context, target, replaces string) error {
	if replaces != "" {
		return fault.New(fault.BadRequest, "the call %s is between users of this server: it can be transferred to somebody, not to another call", e.pair.req.CallID)
	}
	if err := e.established("it cannot be transferred"); err != nil {
		return err
	}
	if e.refer != nil || e.other.asked {
		e.pair.mu.Unlock()
		return fault.New(fault.Conflict, "a transfer of the call %s is under way", e.pair.req.CallID)
	}
	first := make(chan status, 1)
	e.refer, e.other.asked = first, true
	e.other.events.Put(leg.Event{Type: leg.Referred, Text: target})
	e.pair.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, referTime)
	defer cancel()
	why := ""
	select {
	case s := <-first:
		if s.code < 300 {
			return nil
		}
		return fault.New(fault.Internal, "transfer of call %s: the other side answered %d %s", e.pair.req.CallID, s.code, s.text)
	case <-ctx.Done():
		why = "the other side does not answer"
	case <-e.pair.done:
		why = "the call has ended"
	}
	e.pair.mu.Lock()
	e.refer, e.other.asked = nil, false
	e.pair.mu.Unlock()
	return fault.New(fault.Internal, "transfer of call %s: %s", e.pair.req.CallID, why)
}

// Refer implements leg.Referee.
func (e *end) Refer(code int, text string) {
	p := e.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	if !e.asked || p.ended {
		return
	}
	e.asked = code < 200
	if first := e.other.refer; first != nil {
		e.other.refer = nil
		first <- status{code, text}
		if code >= 300 {
			return // refused, and told so
		}
	}
	e.other.events.Put(leg.Event{Type: leg.Transfer, Code: code, Text: text})
}

var (
	_ leg.Inbound    = calledEnd{}
	_ leg.Transferer = calledEnd{}
	_ leg.Referee    = calledEnd{}
	_ leg.Messenger  = calledEnd{}
)

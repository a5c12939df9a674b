package leg

import (
	"fmt"
	"time"
)

// Incoming is what is known of a call to us when it comes.
type Incoming struct {
	CallID string
	// Caller and Callee are the user parts of From and of the address called.
	Caller, Callee string
	// DisplayName is the caller's, "" if none.
	DisplayName string
	// Trunk or Account names what the call came through.
	Trunk, Account string
	// Source is the address it came from, host:port.
	Source string
	// SDP is the caller's offer, "" if we are to make one.
	SDP string
	// Message is the whole request, without secrets.
	Message string
	// HasAudio and HasVideo say what the offer holds with a codec we know.
	HasAudio, HasVideo bool
	// Tracks is what the offer holds with codecs we know, the caller's preference
	// first; nil if we are to make the offer.
	Tracks []TrackInfo
	// User is the account, login@domain, of a user of this server who calls and
	// has proved to be that; "" for calls from elsewhere.
	User string
}

// Terms are what this side wants of the media of a call it takes.
type Terms struct {
	// SendAudio and SendVideo make a section sendrecv instead of recvonly.
	SendAudio, SendVideo bool
	// ToRTMP says that the call goes straight to RTMP, as in Request.
	ToRTMP bool
	// Like, when not nil, describes the leg this one will be joined to. Of the
	// caller's formats those it has are agreed on first, of video those only.
	Like []TrackInfo
	// Referable is as in Request.
	Referable bool
}

// Inbound is a Leg that calls us. Its events begin with Trying. Until Answer,
// Hangup refuses the call, with the cause's Code if that is a SIP status of 300
// or more. The terms by which media is agreed on first hold.
type Inbound interface {
	Leg
	// Ring tells the caller that it rings (180); with media (183) the session
	// is agreed on at once, and EarlyMedia follows. It does not wait.
	Ring(t Terms, media bool)
	// Answer takes the call. It does not wait: Answered follows, or Ended.
	Answer(t Terms)
}

// Receiver is told of calls to us. It runs on the call's own goroutine and may
// take a second; the leg's events are to be read if it returns nil.
type Receiver interface {
	Receive(in Incoming, l Inbound) *Refusal
}

// Text is a message to us that belongs to no call (RFC 3428).
type Text struct {
	// ID is the message's own; From and To are user parts, as in Incoming.
	ID, From, To, DisplayName string
	// Trunk or Account names what it came through, or the user of this server who
	// wrote it; both are empty when it came from the server of a present call or
	// registration.
	Trunk, Account string
	Source         string
	// ContentType is text/plain or message/cpim.
	ContentType string
	// Body is valid UTF-8; that of message/cpim holds the headers of RFC 3862.
	Body string
}

// TextReceiver is told of messages to us. It must not block.
type TextReceiver interface {
	ReceiveText(t Text) *Refusal
}

// Refusal is why a call or message to us is not taken.
type Refusal struct {
	// Code is a SIP status of 300 to 699.
	Code int
	// Text is the reason for the caller; Why is for the log, "" if it says nothing more.
	Text, Why string
	// Retry is when it makes sense to try again, 0 if unknown.
	Retry time.Duration
}

func (r *Refusal) Error() string {
	if r.Why == "" {
		return fmt.Sprintf("%d %s", r.Code, r.Text)
	}
	return fmt.Sprintf("%d %s: %s", r.Code, r.Text, r.Why)
}

// Registration is the state of one binding of an account.
type Registration struct {
	Login, Domain, Server string
	// Standing says that the settings ask for it, not a call.
	Standing bool
	// Registered says that the server has our address now, until Expires.
	Registered bool
	Expires    time.Time
	// Failures counts attempts that failed since the last that did not; the
	// next one is at Next. Code is the SIP status of the last failure, if any.
	Failures int
	Next     time.Time
	Error    string
	Code     int
	// Calls are those made and taken with the account now.
	Calls int
}

// Phone is a SIP phone of a user of this server that is registered here.
type Phone struct {
	Login, Domain string
	// Contact is the address it gives, Source where it was heard from.
	Contact, Source string
	// Agent is what it calls itself.
	Agent   string
	Expires time.Time
}

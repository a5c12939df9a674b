package leg

import (
	"context"
	"time"

	"github.com/pion/rtp"

	"lineout/media"
)

// Forwarder is a Media that can be joined to another one: what that received
// is sent on as it is, or converted, without the wait of a stream.
type Forwarder interface {
	Media
	// ForwardRTP sends a packet of another leg at once and keeps neither it nor
	// its payload. SSRC is this leg's own and payloadType one of its Formats;
	// sequence numbers and timestamps keep the distances they have in p, so that
	// the remote party sees the same order, losses and jitter. When p.SSRC changes,
	// or after this leg sent something else, they go on where it was, by the clock.
	// at is when p arrived. What may not be sent now (hold, a digit that sounds)
	// is dropped without an error; the error is ErrEnded once the leg has ended.
	// One goroutine per kind calls it.
	ForwardRTP(k media.Kind, payloadType uint8, p *rtp.Packet, at time.Time) error
	// ForwardReport tells which moment of the source's wall clock (NTP format, RFC
	// 3550 section 4) a timestamp of the packets of that SSRC stands for. Sender
	// reports to the remote party say the same of what was forwarded.
	ForwardReport(k media.Kind, ssrc uint32, ntp uint64, timestamp uint32)
}

// Invitation is what a user who is called is told.
type Invitation struct {
	// CallID is that of the call as this user sees it, unique on this server.
	CallID string
	// Caller and Callee are user parts, DisplayName is the caller's, "" if none.
	Caller, Callee, DisplayName string
	// Like describes what the caller can receive and send; see Request.Like.
	Like []TrackInfo
}

// Line is a device by which a user of this server can be called: a browser's
// session, or a phone that is registered here.
type Line interface {
	// Ring calls the device. The leg's events begin with Ringing or Ended; its
	// Hangup before it was answered takes the call back.
	Ring(ctx context.Context, i Invitation) (Leg, error)
}

// Member is a Line that belongs to a browser's session.
type Member interface {
	Line
	// Session names the session and the application it is for.
	Session() (id, appKey string)
}

// Switchboard knows the lines of each account. It is safe for concurrent use.
type Switchboard interface {
	// Attach adds a line to an account, login@domain; detach takes it away. A
	// call to an account rings all its lines and the first that answers has it.
	Attach(account string, l Line) (detach func())
}

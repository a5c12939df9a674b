// Package leg is the contract between a call and those who speak a protocol:
// a SIP dialog or a browser is a Leg, and what it sends and receives once it
// is answered is its Media. Neither side of the contract imports the other.
package leg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/media"
)

// Leg is one remote party of a call. Its methods are safe for concurrent use.
type Leg interface {
	// Events delivers what happens, in order, and is closed after Ended. The
	// leg never blocks for long on it: the reader must keep reading.
	Events() <-chan Event
	// SendDTMF sends digits (0-9 * # A-D). It returns when they are queued
	// (RFC4733) or answered (INFO).
	SendDTMF(ctx context.Context, digits string, how DTMF) error
	// Hold asks the remote party to stop sending and says that this side does
	// not listen; Resume takes it back. They return when the remote party has
	// agreed; Held and Resumed follow on Events.
	Hold(ctx context.Context) error
	Resume(ctx context.Context) error
	// Hangup ends the leg in whatever way its state asks for (CANCEL, BYE,
	// or nothing) and is idempotent. Ended follows on Events.
	Hangup(ctx context.Context, c Cause) error
}

// Transferer is a Leg that can be asked to call somebody else.
type Transferer interface {
	// Transfer asks the remote party to call target, a user, a number or a SIP
	// URI, or, when replaces is the Call-ID of another leg, to take that leg's
	// place. It returns when the remote party has agreed to try; Transfer events
	// tell of the outcome, and a leg that was transferred is to be hung up.
	Transfer(ctx context.Context, target, replaces string) error
}

// Referee is a Leg whose other side can ask to be connected to somebody else
// (RFC 3515): the event Referred, one at a time.
type Referee interface {
	// Refer tells the other side, who asked, how that new call goes, by its SIP
	// status. The first final one ends the matter: 200 means that the other side is
	// not needed any more. It does not wait.
	Refer(code int, text string)
}

// Messenger is a Leg that carries text messages.
type Messenger interface {
	// SendMessage sends a text of at most 1300 bytes and returns when the remote
	// party has taken it.
	SendMessage(ctx context.Context, text string) error
}

// DTMF is the way a digit travels.
type DTMF string

// The ways known to the REST API ("type" of send_dtmf).
const (
	RFC4733   DTMF = "RFC2833"    // RTP telephone-event, RFC 4733
	INFO      DTMF = "INFO"       // SIP INFO with body application/dtmf
	INFORelay DTMF = "INFO_RELAY" // SIP INFO with body application/dtmf-relay
)

// EventType says what happened to a leg.
type EventType uint8

// Event types in the order an outgoing call meets them.
const (
	Trying          EventType = iota + 1 // 100
	Ringing                              // 180
	EarlyMedia                           // 183; Media is set when it carried SDP
	Answered                             // 2xx; Media is set
	Held                                 // one side put the other on hold
	Resumed                              // neither does any more
	MediaChanged                         // what was agreed on media has changed; Media is set
	Transfer                             // progress of a Transfer: Code and Text are the new call's status line
	MessageReceived                      // Text is what the other side wrote, of ContentType
	DTMFReceived                         // Digit and How are set
	KeyframeWanted                       // the other side asked for a key frame otherwise than by RTCP
	Referred                             // the other side asks us to call Text, a user or a SIP URI; see Referee
	Ended                                // last event; Cause is set
)

// Event is one thing that happened to a leg.
type Event struct {
	Type EventType
	// Code and Text are the SIP status line that caused it, 0 if none.
	Code  int
	Text  string
	Media Media
	Digit string
	How   DTMF
	Cause Cause
	// ContentType is text/plain or message/cpim.
	ContentType string
	// Replaces, of Referred, is that of the Request asked for.
	Replaces string
}

// Cause says why a leg ended.
type Cause struct {
	// Code is the final SIP status (486, 408, 200 for a normal BYE), 0 if none.
	Code int
	// Text is a plain sentence for logs and people.
	Text string
	// Local says that this side ended it.
	Local bool
	// Kind is what the SDK calls the reason.
	Kind CauseKind
}

// CauseKind groups causes by what a client is told.
type CauseKind uint8

// The kinds of cause.
const (
	Normal          CauseKind = iota // "Normal call clearing"
	Rejected                         // the callee or a proxy refused (4xx-6xx)
	Busy                             // 486, 600
	RequestTimeout                   // "Failed by request timeout"
	NoCommonCodecs                   // "No common codecs"
	RTPActivity                      // "Failed by RTP activity"
	Setup                            // "Failed by session creation": no port, no route, bad SDP
	Internal                         // "Failed by error"
	ICEFailed                        // "Failed by ICE error"
	DTLSFailed                       // "Failed by DTLS error"
	DTLSFingerprint                  // "Failed by DTLS fingerprint error"
)

// Info is the text the SDK and REST clients compare (CALL_STATUS_INFO).
func (k CauseKind) Info() string {
	switch k {
	case Normal, Busy, Rejected:
		return "Normal call clearing"
	case RequestTimeout:
		return "Failed by request timeout"
	case NoCommonCodecs:
		return "No common codecs"
	case RTPActivity:
		return "Failed by RTP activity"
	case Setup:
		return "Failed by session creation"
	case ICEFailed:
		return "Failed by ICE error"
	case DTLSFailed:
		return "Failed by DTLS error"
	case DTLSFingerprint:
		return "Failed by DTLS fingerprint error"
	}
	return "Failed by error"
}

func (c Cause) Error() string {
	if c.Code != 0 {
		return fmt.Sprintf("%s (SIP %d)", c.Text, c.Code)
	}
	return c.Text
}

// Format is one negotiated payload type.
type Format struct {
	PayloadType uint8
	Codec       media.Codec
	ClockRate   int
	Channels    int
	// Fmtp is the parameter string of the remote party's a=fmtp, "" if none.
	Fmtp string
}

// TrackInfo is one negotiated media section. Sections refused by either side
// are not listed.
type TrackInfo struct {
	Kind media.Kind
	// Formats are those the remote party may send, its preference first;
	// telephone-event is not among them. Of each codec the first is what it
	// takes, too.
	Formats []Format
	// Noise are payload types of comfort noise (RFC 3389) at 8000 Hz.
	Noise []uint8
	// Events are the formats of telephone-events (RFC 4733) that this side may
	// send by ForwardRTP; their Codec is "telephone-event".
	Events []Format
	// PacketTime is the length of sound the remote party would like in a packet
	// (a=ptime, RFC 8866 section 6.4), 0 if it does not say.
	PacketTime time.Duration
	// Receive and Send are this side's view of the negotiated direction.
	Receive, Send bool
}

// Packet is something received on a leg's media sockets.
type Packet struct {
	Kind media.Kind
	// Exactly one of RTP and RTCP is set. The memory belongs to the receiver.
	RTP  *rtp.Packet
	RTCP []rtcp.Packet
	// At is the arrival time.
	At time.Time
}

// Media is the RTP and RTCP of an answered leg. The leg itself sends comfort
// silence, sender and receiver reports and telephone-events.
type Media interface {
	Tracks() []TrackInfo
	// Run receives until ctx ends or the leg does, calling recv on one
	// goroutine per track; recv must not block.
	Run(ctx context.Context, recv func(Packet)) error
	// RequestKeyframe asks the remote party for a key frame once; repeated, in
	// one way after the other that it may understand (RTCP PLI, FIR, SIP INFO,
	// re-INVITE). The caller limits the rate.
	RequestKeyframe()
	// KeyframeCame tells that a key frame was received, so that the leg learns
	// which of its requests are obeyed.
	KeyframeCame()
	// WriteRTP sends media of our own, packet after packet of each kind; SSRC,
	// sequence numbers and the RTP clock are the leg's. A packet that may not be
	// sent now (hold, a digit that sounds) is dropped without an error; the
	// error is ErrEnded once the leg has ended.
	WriteRTP(k media.Kind, p Outgoing) error
	// Stats are the counters of each section.
	Stats() []Stats
}

// ErrEnded says that a leg's media has ended.
var ErrEnded = errors.New("the call's media has ended")

// Outgoing is a packet for the remote party.
type Outgoing struct {
	// PayloadType is one of the track's Formats.
	PayloadType uint8
	// At is the moment the sound or picture belongs to, by this machine's clock.
	// Sender reports relate RTP timestamps to the same clock, so what is At the
	// same moment is played together. Sound goes on without holes while each
	// At is the end of the packet before.
	At     time.Time
	Length time.Duration // of the sound in it, 0 for a picture
	Marker bool
	// Payload is not kept.
	Payload []byte
}

// Stats are the RTP counters of one media section. Packet counts never shrink.
type Stats struct {
	Kind             media.Kind
	Local, Remote    string // host:port
	PacketsReceived  uint64
	BytesReceived    uint64
	PacketsLost      int64 // RFC 3550 appendix A.3, cumulative
	PacketsRejected  uint64
	JitterMS         float64
	PacketsSent      uint64
	BytesSent        uint64
	LastPacket       time.Time // zero before the first
	KeyframeRequests uint64
}

// Request is what it takes to call somebody.
type Request struct {
	CallID string
	// Callee is a user, a number or a whole SIP URI.
	Callee string
	// Caller is the user part of From; Login when empty.
	Caller      string
	DisplayName string
	// Login, AuthName and Password are the SIP account.
	Login, AuthName, Password string
	// Domain is that of From and To; Proxy and Port say where requests go.
	Domain, Proxy string
	Port          int
	// Transport is udp, tcp or tls; when empty, Proxy or Domain or the settings say.
	Transport string
	// SRTP is off, secure, optional or required; when empty, the settings say.
	SRTP string
	// Register asks for a REGISTER before the INVITE (S2-12).
	Register bool
	// SendAudio and SendVideo make a section sendrecv instead of recvonly (S2-24, S2-25).
	SendAudio, SendVideo bool
	// ToRTMP says that the call goes straight to RTMP, for codecs_exclude_sip_rtmp.
	ToRTMP bool
	// Like, when not nil, describes the leg this one will be joined to: its kinds
	// are the only ones offered, its audio codecs go before others and its video
	// codecs (with their fmtp) are the only ones, so that packets can be passed on
	// as they are. Receive and Send are seen from this side, as everywhere.
	Like []TrackInfo
	// Referable lets the other side ask to be connected to somebody else; see Referee.
	Referable bool
	// Replaces names the dialog at the callee whose place this call takes, as the
	// header of that name does (RFC 3891), "" for none.
	Replaces string
}

// Dialer starts an outgoing leg. It returns at once; progress and failure
// come as events. The leg's goroutines end with ctx of the agent behind it.
type Dialer interface {
	Dial(ctx context.Context, r Request) (Leg, error)
}

// Texter is a Dialer that can send a text without a call.
type Texter interface {
	// SendText sends a text of at most 1300 bytes as text/plain or message/cpim (""
	// means the first) and returns when it was taken. Of r it uses what says who
	// writes to whom and by which server.
	SendText(ctx context.Context, r Request, contentType, text string) error
}

package rest

import (
	"context"
	"strings"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/calls"
	"lineout/outputs"
)

// Calls is what the API needs of the call registry. Errors carry their class
// by package fault.
type Calls interface {
	// Startup reserves the call's names and returns; dialling goes on after it.
	Startup(ctx context.Context, r calls.Request) error
	Find(f calls.Filter) []calls.Info
	Terminate(ctx context.Context, callID string) error
	// SendDTMF sends digits of 0-9 * # A-D; how is RFC2833, INFO or INFO_RELAY.
	SendDTMF(ctx context.Context, callID, digits, how string) error
	// Hold puts the other party on hold or takes it back.
	Hold(ctx context.Context, callID string, hold bool) error
	// Transfer asks the other party to call target or to take the place of us in
	// the call replaces.
	Transfer(ctx context.Context, callID, target, replaces string) error
	// SendMessage sends a text to the other party.
	SendMessage(ctx context.Context, callID, text string) error
	// Answer takes, and Reject refuses, a call to this server that waits for it.
	Answer(ctx context.Context, a calls.Answer) error
	Reject(ctx context.Context, callID string, code int) error
	// SendText sends a text outside of a call to r's callee.
	SendText(ctx context.Context, r calls.Request, contentType, text string) error
	// InjectStream and InjectSound send a live stream or a file to the other
	// party; EndInjection ends both.
	InjectStream(ctx context.Context, callID, streamName string) error
	InjectSound(ctx context.Context, callID, fileName string) error
	EndInjection(ctx context.Context, callID string) error
	// Tap makes a named stream of a user's call, and Untap ends it ("" ends all).
	Tap(ctx context.Context, t calls.Tap) error
	Untap(ctx context.Context, callID, streamName string) error
	// Stats measures a call that has not ended.
	Stats(callID string) (calls.Stats, error)
}

func (a *API) callMethods() map[string]outputs.Method {
	return map[string]outputs.Method{
		"call/startup":      a.callStartup,
		"call/find":         a.callFind,
		"call/find_all":     a.callFindAll,
		"call/terminate":    a.callTerminate,
		"call/send_dtmf":    a.callSendDTMF,
		"call/hold":         a.callHold(true),
		"call/unhold":       a.callHold(false),
		"call/transfer":     a.callTransfer,
		"call/send_message": a.callSendMessage,
		"call/stats":        a.callStats,
		"call/tap":          a.callTap,
		"call/untap":        a.callUntap,
		"call/answer":       a.callAnswer,
		"call/reject":       a.callReject,

		"registration/find_all": a.registrationFindAll,
		"user/find_all":         a.userFindAll,
		"message/send":          a.messageSend,

		"call/inject_sound":            a.callInject(true),
		"call/inject_stream":           a.callInject(false), // the older name
		"call/inject_stream/startup":   a.callInject(false),
		"call/inject_stream/terminate": a.callEndInjection,
	}
}

// sipAccount are the keys of an account; the oldest pages nest them.
type sipAccount struct {
	SIPLogin    loose.String `json:"sipLogin"`
	SIPAuthName loose.String `json:"sipAuthenticationName"`
	SIPPassword loose.String `json:"sipPassword"`
	SIPDomain   loose.String `json:"sipDomain"`
	SIPProxy    loose.String `json:"sipOutboundProxy"`
	SIPPort     loose.Int    `json:"sipPort"`
	Transport   loose.String `json:"sipTransport"` // ours
	SRTP        loose.String `json:"sipSrtp"`      // ours
	AppKey      loose.String `json:"appKey"`
	Register    loose.Bool   `json:"sipRegisterRequired"`
}

// callRequest is the body of /call/startup (rest-api 2.1).
type callRequest struct {
	sipAccount
	CallID      loose.String   `json:"callId"`
	Callee      loose.String   `json:"callee"`
	Caller      loose.String   `json:"caller"`
	VisibleName loose.String   `json:"visibleName"`
	ToStream    loose.String   `json:"toStream"`
	RTMPURL     loose.String   `json:"rtmpUrl"`
	RTMPStream  loose.String   `json:"rtmpStream"`
	HasAudio    loose.Bool     `json:"hasAudio"`
	HasVideo    loose.Bool     `json:"hasVideo"`
	Custom      map[string]any `json:"custom"`
	Connection  *sipAccount    `json:"connection"`
}

// callStartup only translates; what a call needs is judged by package calls.
func (a *API) callStartup(ctx context.Context, decode func(any) error) (any, error) {
	var q callRequest
	if err := decode(&q); err != nil {
		return nil, err
	}
	acc := q.sipAccount
	if q.Connection != nil {
		acc = *q.Connection
	}
	return nil, a.Calls.Startup(ctx, calls.Request{
		CallID: string(q.CallID), Callee: string(q.Callee), Caller: string(q.Caller), VisibleName: string(q.VisibleName),
		ToStream: string(q.ToStream), RTMPURL: string(q.RTMPURL), RTMPStream: string(q.RTMPStream),
		HasAudio: q.HasAudio.Or(false), HasVideo: q.HasVideo.Or(false),
		SIPLogin: string(acc.SIPLogin), SIPAuthName: string(acc.SIPAuthName), SIPPassword: string(acc.SIPPassword),
		SIPDomain: string(acc.SIPDomain), SIPProxy: string(acc.SIPProxy), SIPPort: port(acc.SIPPort),
		SIPTransport: string(acc.Transport), SIPSRTP: string(acc.SRTP),
		AppKey: string(acc.AppKey), Register: acc.Register.Or(true), Custom: q.Custom,
	})
}

// port keeps numbers that do not fit an int32 out of range on every machine.
func port(i loose.Int) int { return int(min(max(i.Or(0), -1), 1<<16)) }

func (a *API) callFind(_ context.Context, decode func(any) error) (any, error) {
	var q struct {
		CallID     loose.String `json:"callId"`
		Callee     loose.String `json:"callee"`
		RTMPURL    loose.String `json:"rtmpUrl"`
		Status     loose.String `json:"status"`
		StreamName loose.String `json:"streamName"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	return a.find(calls.Filter{CallID: string(q.CallID), Callee: string(q.Callee), RTMPURL: string(q.RTMPURL),
		Status: string(q.Status), StreamName: string(q.StreamName)})
}

func (a *API) callFindAll(context.Context, func(any) error) (any, error) {
	return a.find(calls.Filter{})
}

func (a *API) find(f calls.Filter) (any, error) {
	found := a.Calls.Find(f)
	if len(found) == 0 {
		if f == (calls.Filter{}) {
			return nil, fault.New(fault.NotFound, "there are no calls")
		}
		return nil, fault.New(fault.NotFound, "no call has the given parameters")
	}
	out := make([]callObject, 0, len(found))
	for _, i := range found {
		out = append(out, newCallObject(i))
	}
	return out, nil
}

// callID decodes the body of the methods that act on one call.
func callID(decode func(any) error) (string, error) {
	var q struct {
		CallID loose.String `json:"callId"`
	}
	if err := decode(&q); err != nil {
		return "", err
	}
	if q.CallID == "" {
		return "", fault.New(fault.BadRequest, "key %q is missing", "callId")
	}
	return string(q.CallID), nil
}

func (a *API) callTerminate(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	return nil, a.Calls.Terminate(ctx, id)
}

// callHold is an addition to the documented methods (rest-api 2.8, S1-5, S1-6).
func (a *API) callHold(hold bool) outputs.Method {
	return func(ctx context.Context, decode func(any) error) (any, error) {
		id, err := callID(decode)
		if err != nil {
			return nil, err
		}
		return nil, a.Calls.Hold(ctx, id, hold)
	}
}

// callTransfer is an addition, as callHold.
func (a *API) callTransfer(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	var q struct {
		Target   loose.String `json:"target"`
		Replaces loose.String `json:"replaces"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	if (q.Target == "") == (q.Replaces == "") {
		return nil, fault.New(fault.BadRequest, "give one of the keys %q and %q", "target", "replaces")
	}
	return nil, a.Calls.Transfer(ctx, id, string(q.Target), string(q.Replaces))
}

// callSendMessage is an addition, as callHold (S0-4).
func (a *API) callSendMessage(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	var q struct {
		Body loose.String `json:"body"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	if q.Body == "" {
		return nil, fault.New(fault.BadRequest, "key %q is missing", "body")
	}
	return nil, a.Calls.SendMessage(ctx, id, string(q.Body))
}

// maxDigits bounds one send_dtmf: 64 digits take about ten seconds to send.
const maxDigits = 64

func (a *API) callSendDTMF(ctx context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	var q struct {
		DTMF loose.String `json:"dtmf"`
		Type loose.String `json:"type"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	digits := strings.ToUpper(string(q.DTMF))
	switch {
	case digits == "":
		return nil, fault.New(fault.BadRequest, "key %q is missing", "dtmf")
	case len(digits) > maxDigits:
		return nil, fault.New(fault.BadRequest, "key %q has %d digits, allowed are %d", "dtmf", len(digits), maxDigits)
	case strings.Trim(digits, "0123456789*#ABCD") != "":
		return nil, fault.New(fault.BadRequest, "key %q: %q holds more than 0-9, *, # and A-D", "dtmf", q.DTMF)
	}
	how := strings.ToUpper(string(q.Type))
	if how == "" {
		how = strings.ToUpper(a.cfg.DTMF)
	}
	switch how {
	case "RFC2833", "INFO", "INFO_RELAY":
	default:
		return nil, fault.New(fault.BadRequest, "key %q: %q is not one of RFC2833, INFO, INFO_RELAY", "type", q.Type)
	}
	return nil, a.Calls.SendDTMF(ctx, id, digits, how)
}

// messageSend sends a text outside of a call. Its keys are those of call/startup.
func (a *API) messageSend(ctx context.Context, decode func(any) error) (any, error) {
	var q struct {
		sipAccount
		Callee      loose.String `json:"callee"`
		Caller      loose.String `json:"caller"`
		VisibleName loose.String `json:"visibleName"`
		Body        loose.String `json:"body"`
		ContentType loose.String `json:"contentType"`
	}
	if err := decode(&q); err != nil {
		return nil, err
	}
	if q.Body == "" {
		return nil, fault.New(fault.BadRequest, "key %q is missing", "body")
	}
	return nil, a.Calls.SendText(ctx, calls.Request{Callee: string(q.Callee), Caller: string(q.Caller), VisibleName: string(q.VisibleName),
		SIPLogin: string(q.SIPLogin), SIPAuthName: string(q.SIPAuthName), SIPPassword: string(q.SIPPassword),
		SIPDomain: string(q.SIPDomain), SIPProxy: string(q.SIPProxy), SIPPort: port(q.SIPPort)}, string(q.ContentType), string(q.Body))
}

// callObject is a call in answers: the keys of S2-13 in its order, unset ones null.
type callObject struct {
	Custom           map[string]any    `json:"custom"`
	NodeID           *string           `json:"nodeId"`
	AppKey           *string           `json:"appKey"`
	SessionID        *string           `json:"sessionId"`
	CallID           string            `json:"callId"`
	ParentCallID     *string           `json:"parentCallId"`
	Incoming         bool              `json:"incoming"`
	Status           calls.Status      `json:"status"`
	SIPStatus        *int              `json:"sipStatus"`
	RTMPURL          *string           `json:"rtmpUrl"`
	RTMPStream       *string           `json:"rtmpStream"`
	StreamName       *string           `json:"streamName"`
	RTMPStreamStatus *string           `json:"rtmpStreamStatus"`
	Caller           *string           `json:"caller"`
	Callee           *string           `json:"callee"`
	HasAudio         bool              `json:"hasAudio"`
	HasVideo         bool              `json:"hasVideo"`
	SDP              *string           `json:"sdp"`
	VisibleName      *string           `json:"visibleName"`
	InviteParameters map[string]string `json:"inviteParameters"` // a nil map is null
	MediaProvider    *string           `json:"mediaProvider"`
	SIPMessageRaw    *string           `json:"sipMessageRaw"`
	IsMSRP           bool              `json:"isMsrp"`
	Target           *string           `json:"target"`
	HoldForTransfer  bool              `json:"holdForTransfer"`
	// Cause is an addition: why a call that is still listed has failed.
	Cause string `json:"cause,omitempty"`
}

func newCallObject(i calls.Info) callObject {
	o := callObject{Custom: i.Custom, NodeID: null(i.NodeID), AppKey: null(i.AppKey), SessionID: null(i.SessionID), CallID: i.CallID,
		ParentCallID: null(i.ParentCallID), Incoming: i.Incoming, Status: i.Status, SIPStatus: null(i.SIPStatus),
		RTMPURL: null(i.RTMPURL), RTMPStream: null(i.RTMPStream), StreamName: null(i.StreamName), RTMPStreamStatus: null(i.RTMPStreamStatus),
		Caller: null(i.Caller), Callee: null(i.Callee), HasAudio: i.HasAudio, HasVideo: i.HasVideo, SDP: null(i.SDP), SIPMessageRaw: null(i.SIPMessage),
		VisibleName: null(i.VisibleName), InviteParameters: i.InviteParameters, MediaProvider: null(i.MediaProvider),
		Target: null(i.Target), HoldForTransfer: i.HoldForTransfer}
	if i.Status == calls.Failed || i.Status == calls.Busy {
		o.Cause = i.Cause.Text
	}
	if o.Custom == nil {
		o.Custom = map[string]any{}
	}
	return o
}

// null makes a zero value a JSON null.
func null[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

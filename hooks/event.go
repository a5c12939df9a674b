package hooks

import (
	"encoding/json"

	"lineout/calls"
	"lineout/calls/leg"
)

// appKey is the internal application of calls made by REST, whatever
// application the call itself names (S2-37).
const appKey = "callApp"

// Methods are the last part of the address a notification is sent to.
const (
	callStatus = "CallStatusEvent"
	onMessage  = "OnMessageEvent"
	onDTMF     = "OnDTMFEvent" // ours: Web Call Server tells nobody of digits
)

// ofSessions are the methods that tell of browser sessions (hooks reference, section 5).
var ofSessions = []string{"connect", "ConnectionStatusEvent", "RegistrationStatusEvent", "OnCallEvent", "call", "answer", "hangup", "hold", "unhold",
	"transfer", "TransferStatusEvent", "sendDtmf", "publishStream", "unPublishStream", "playStream", "stopStream", "snapshot", "StreamStatusEvent", "sendData"}

// event is the body of a notification: the keys of S2-37 in its order. Unset
// keys are left out, other than in answers of the REST API.
type event struct {
	NodeID           string       `json:"nodeId"`
	AppKey           string       `json:"appKey"`
	SessionID        string       `json:"sessionId"`
	CallID           string       `json:"callId"`
	Incoming         bool         `json:"incoming"`
	Status           calls.Status `json:"status"`
	SIPStatus        int          `json:"sipStatus,omitempty"`
	RTMPURL          string       `json:"rtmpUrl,omitempty"`
	RTMPStream       string       `json:"rtmpStream,omitempty"`
	RTMPStreamStatus string       `json:"rtmpStreamStatus,omitempty"`
	Caller           string       `json:"caller,omitempty"`
	Callee           string       `json:"callee,omitempty"`
	HasAudio         bool         `json:"hasAudio"`
	HasVideo         bool         `json:"hasVideo"`
	VisibleName      string       `json:"visibleName,omitempty"`
	MediaProvider    string       `json:"mediaProvider,omitempty"`
	IsMSRP           bool         `json:"isMsrp"`
}

func newEvent(i calls.Info, node, session string) event {
	return event{NodeID: node, AppKey: appKey, SessionID: session, CallID: i.CallID, Incoming: i.Incoming,
		Status: i.Status, SIPStatus: i.SIPStatus, RTMPURL: i.RTMPURL, RTMPStream: i.RTMPStream,
		RTMPStreamStatus: i.RTMPStreamStatus, Caller: i.Caller, Callee: i.Callee, HasAudio: i.HasAudio,
		HasVideo: i.HasVideo, VisibleName: i.VisibleName, MediaProvider: i.MediaProvider}
}

func (e event) encode() ([]byte, error) { return json.Marshal(e) }

// ended is the notification of the end of a call whose last one is body: it did
// not survive the process that made it. ok is false when body is none of a
// running call.
func ended(body []byte) (out []byte, ok bool) {
	var e event
	if json.Unmarshal(body, &e) != nil || e.CallID == "" || e.Status == "" || e.Status.Final() {
		return nil, false
	}
	e.Status = calls.Finish
	out, err := e.encode()
	return out, err == nil
}

// message is the body of OnMessageEvent. callId is that of the call it was
// written in, and missing outside of calls.
type message struct {
	NodeID      string `json:"nodeId"`
	AppKey      string `json:"appKey"`
	SessionID   string `json:"sessionId"`
	ID          string `json:"id,omitempty"`
	CallID      string `json:"callId,omitempty"`
	From        string `json:"from"`
	To          string `json:"to"`
	VisibleName string `json:"visibleName,omitempty"`
	ContentType string `json:"contentType"`
	Body        string `json:"body"`
}

// digit is the body of OnDTMFEvent; dtmf and type are as in /call/send_dtmf (S2-16).
type digit struct {
	NodeID    string   `json:"nodeId"`
	AppKey    string   `json:"appKey"`
	SessionID string   `json:"sessionId"`
	CallID    string   `json:"callId"`
	Incoming  bool     `json:"incoming"`
	Caller    string   `json:"caller,omitempty"`
	Callee    string   `json:"callee,omitempty"`
	DTMF      string   `json:"dtmf"`
	Type      leg.DTMF `json:"type"`
}

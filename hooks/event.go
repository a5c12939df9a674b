package hooks

import (
	"encoding/json"

	"lineout/calls"
)

// appKey is the internal application of calls made by REST, whatever
// application the call itself names (S2-37).
const appKey = "callApp"

// method is the last part of the address a notification is sent to.
const method = "CallStatusEvent"

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

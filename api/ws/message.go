package ws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"lineout/api/loose"
)

// decode reads one frame of the envelope {"message":name,"data":[arg]}. arg is
// nil when data is missing, empty, null or [null]; data that is no list is
// taken as the argument itself.
func decode(frame []byte) (name string, arg json.RawMessage, err error) {
	var e struct {
		Message loose.String    `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(frame, &e); err != nil {
		return "", nil, fmt.Errorf("no JSON object with message and data: %w", err)
	}
	if e.Message == "" {
		return "", nil, errors.New("no message name")
	}
	data := bytes.TrimSpace(e.Data)
	if len(data) > 0 && data[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			return "", nil, fmt.Errorf("data of %q: %w", e.Message, err)
		}
		data = nil
		if len(list) > 0 {
			data = bytes.TrimSpace(list[0])
		}
	}
	if bytes.Equal(data, []byte("null")) {
		data = nil
	}
	return string(e.Message), json.RawMessage(data), nil
}

// encode writes one frame. data is always a list, because the SDK looks at its
// first element whatever the message (websdk-protocol P1).
func encode(name string, args ...any) ([]byte, error) {
	if args == nil {
		args = []any{}
	}
	return json.Marshal(struct {
		Message string `json:"message"`
		Data    []any  `json:"data"`
	}{name, args})
}

// The messages' arguments, as far as the server reads them. Unset options are
// absent, numbers and booleans may be strings.

type connection struct {
	AppKey              loose.String    `json:"appKey"`
	AuthToken           loose.String    `json:"authToken"`
	KeepAlive           loose.Bool      `json:"keepAlive"`
	ClientVersion       loose.String    `json:"clientVersion"`
	Custom              json.RawMessage `json:"custom"`
	SIPLogin            loose.String    `json:"sipLogin"`
	SIPAuthName         loose.String    `json:"sipAuthenticationName"`
	SIPPassword         loose.String    `json:"sipPassword"`
	SIPDomain           loose.String    `json:"sipDomain"`
	SIPOutboundProxy    loose.String    `json:"sipOutboundProxy"`
	SIPProxy            loose.String    `json:"sipProxy"`
	SIPPort             loose.Int       `json:"sipPort"`
	SIPRegisterRequired loose.Bool      `json:"sipRegisterRequired"`
}

type streamMessage struct {
	MediaSessionID loose.String `json:"mediaSessionId"`
	Name           loose.String `json:"name"`
	MediaProvider  loose.String `json:"mediaProvider"`
	SDP            loose.String `json:"sdp"`
}

type callMessage struct {
	CallID      loose.String `json:"callId"`
	Callee      loose.String `json:"callee"`
	VisibleName loose.String `json:"visibleName"`
	SDP         loose.String `json:"sdp"`
	Target      loose.String `json:"target"`
	DTMF        loose.String `json:"dtmf"`
	Type        loose.String `json:"type"`
}

type dataMessage struct {
	OperationID loose.String    `json:"operationId"`
	Payload     json.RawMessage `json:"payload"`
}

// What the server sends. Every stream and call object carries a status: one
// without would set the SDK's status to undefined (P4, P9).

type userData struct {
	AuthToken           string `json:"authToken"`
	AppKey              string `json:"appKey"`
	SIPLogin            string `json:"sipLogin,omitempty"`
	SIPDomain           string `json:"sipDomain,omitempty"`
	SIPRegisterRequired bool   `json:"sipRegisterRequired"`
}

type streamStatus struct {
	MediaSessionID string `json:"mediaSessionId"`
	Name           string `json:"name"`
	Published      bool   `json:"published"`
	Status         string `json:"status"`
	Info           string `json:"info,omitempty"`
	MediaProvider  string `json:"mediaProvider,omitempty"`
	RecordName     string `json:"recordName,omitempty"`
}

type streamEvent struct {
	MediaSessionID string          `json:"mediaSessionId"`
	Type           string          `json:"type"`
	Payload        json.RawMessage `json:"payload"`
}

type available struct {
	ID     string `json:"id"`
	Status string `json:"status"` // the string "true" or "false" (P8)
	Info   string `json:"info"`
}

type callStatus struct {
	CallID string `json:"callId"`
	Status string `json:"status"`
	// Info is one of CALL_STATUS_INFO, Reason says it in words.
	Info      string `json:"info,omitempty"`
	SIPStatus int    `json:"sipStatus,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// incomingCall is what the SDK makes a call object of: its options are read
// from it, so there must be nothing in it that happens to be one (4.4).
type incomingCall struct {
	CallID      string `json:"callId"`
	Incoming    bool   `json:"incoming"`
	Caller      string `json:"caller"`
	Callee      string `json:"callee"`
	VisibleName string `json:"visibleName"`
}

type transferStatus struct {
	CallID   string `json:"callId"`
	Incoming bool   `json:"incoming"`
	Status   string `json:"status"`
}

type dataStatus struct {
	OperationID string `json:"operationId"`
	Status      string `json:"status"`
	Info        string `json:"info,omitempty"`
}

type failure struct {
	APIMethod string `json:"apiMethod"`
	ID        string `json:"id,omitempty"`
	Status    string `json:"status"`
	Info      string `json:"info"`
	SIPStatus int    `json:"sipStatus,omitempty"`
}

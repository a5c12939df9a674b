package ws

import "encoding/json"

// handlers act on a session's messages after connection. Their error means
// that the argument could not be used; it is logged at debug and not fatal.
var handlers = map[string]func(*session, json.RawMessage) error{
	"playStream":      playStream,
	"stopStream":      stopStream,
	"availableStream": availableStream,
	"snapshot":        snapshot,
	"publishStream":   publishStream,
	"unPublishStream": unPublishStream,
	"sendData":        sendData,

	"call":     endCall("FAILED"),
	"answer":   endCall("FAILED"),
	"hold":     endCall("FAILED"),
	"unhold":   endCall("FAILED"),
	"transfer": endCall("FAILED"),
	"hangup":   endCall("FINISH"),

	// No reply is expected to these, and nobody here wants them.
	"sendDtmf":                       ignore,
	"sendStreamEvent":                ignore,
	"submitBugReport":                ignore,
	"sessionDebug":                   ignore,
	"pushLogs":                       ignore,
	"webRTCMetricsClientDescription": ignore,
	"webRTCMetricsBatch":             ignore,
}

func ignore(*session, json.RawMessage) error { return nil }

// snapshot is refused: this server decodes no pictures.
func snapshot(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	info := "Snapshots are not available on this server"
	if s.server.deps.Stream(string(m.Name)) == nil {
		info = infoNotFound
	}
	s.send("notifyStreamEvent", streamEvent{MediaSessionID: string(m.MediaSessionID), Type: "snapshotFailed", Payload: map[string]string{"info": info}})
	return nil
}

func publishStream(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	s.send("notifyStreamStatusEvent", streamStatus{MediaSessionID: string(m.MediaSessionID), Name: string(m.Name), Published: true,
		Status: "FAILED", Info: "Publishing from a browser is not available on this server"})
	return nil
}

func unPublishStream(s *session, arg json.RawMessage) error {
	var m streamMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	s.send("notifyStreamStatusEvent", streamStatus{MediaSessionID: string(m.MediaSessionID), Name: string(m.Name), Published: true,
		Status: "UNPUBLISHED", Info: infoStoppedByUser})
	return nil
}

// sendData is refused rather than accepted and thrown away: no application
// here takes data.
func sendData(s *session, arg json.RawMessage) error {
	var m dataMessage
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	s.send("DataStatusEvent", dataStatus{OperationID: string(m.OperationID), Status: "FAILED", Info: "No application on this server takes data"})
	return nil
}

// endCall ends the SDK's call object at once: browser sessions place no calls
// here, and a call without an answer would stay pending on the page.
func endCall(status string) func(*session, json.RawMessage) error {
	return func(s *session, arg json.RawMessage) error {
		var m callMessage
		if err := json.Unmarshal(orObject(arg), &m); err != nil {
			return err
		}
		s.send("finish", callStatus{CallID: string(m.CallID), Status: status, Info: "Browser sessions cannot place calls on this server"})
		return nil
	}
}

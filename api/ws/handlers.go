package ws

import (
	"encoding/json"
	"strings"
)

// handlers act on a session's messages after connection. Their error means
// that the argument could not be used; it is logged at debug and not fatal.
var handlers = map[string]func(*session, json.RawMessage) error{
	"playStream":      playStream,
	"stopStream":      stopStream,
	"availableStream": availableStream,
	"snapshot":        snapshot,
	"publishStream":   publishStream,
	"unPublishStream": unPublishStream,
	"sendStreamEvent": sendStreamEvent,

	"call":     placeCall,
	"answer":   answerCall,
	"hangup":   hangupCall,
	"hold":     request("hold", hold),
	"unhold":   request("unhold", unhold),
	"sendDtmf": request("sendDtmf", sendDTMF),
	"transfer": request("transfer", transfer),

	"sendData":        sendData,
	"submitBugReport": submitBugReport,
	"sessionDebug":    sessionDebug,

	// No reply is expected to these, and nobody here wants them.
	"pushLogs":                       ignore,
	"webRTCMetricsClientDescription": ignore,
	"webRTCMetricsBatch":             ignore,
}

func ignore(*session, json.RawMessage) error { return nil }

// What a session's bug reports may put into the log.
const maxReport, maxReports = 2048, 10

func submitBugReport(s *session, arg json.RawMessage) error {
	s.mu.Lock()
	s.reports++
	n := s.reports
	s.mu.Unlock()
	if n <= maxReports {
		text := string(arg)
		if len(text) > maxReport {
			text = strings.ToValidUTF8(text[:maxReport], "") + "…"
		}
		s.log.Warn("bug report of a browser", "remote", s.remote, "report", text)
	}
	return nil
}

// sessionDebug logs the names of the session's messages.
func sessionDebug(s *session, arg json.RawMessage) error {
	var m struct {
		Command string `json:"command"`
	}
	if err := json.Unmarshal(orObject(arg), &m); err != nil {
		return err
	}
	on := m.Command == "start"
	s.debug.Store(on)
	status := "STOPPED"
	if on {
		status = "STARTED"
	}
	s.send("notifySessionDebugEvent", map[string]string{"status": status})
	return nil
}

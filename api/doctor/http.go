package doctor

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"lineout/api/fault"
	"lineout/api/rest"
)

// Routes are the patterns of the doctor; guard lets the operator's requests
// through, and page is what people see.
//
//	GET /rest-api/call/doctor             list of calls
//	GET /rest-api/call/doctor?callId=ID   one call
//	GET /rest-api/call/trace?callId=ID    its packets, for Wireshark
//	GET /doctor                           the page
func (s *Service) Routes(guard func(http.Handler) http.Handler, page http.Handler) map[string]http.Handler {
	return map[string]http.Handler{
		"GET /rest-api/call/doctor": guard(http.HandlerFunc(s.serveReport)),
		"GET /rest-api/call/trace":  guard(http.HandlerFunc(s.serveTrace)),
		"/doctor":                   guard(page),
	}
}

func (s *Service) serveReport(w http.ResponseWriter, r *http.Request) {
	var v any
	if id := r.URL.Query().Get("callId"); id == "" {
		v = s.List()
	} else {
		report, err := s.Report(id)
		if err != nil {
			rest.WriteError(w, r, err)
			return
		}
		v = report
	}
	data, err := json.Marshal(v)
	if err != nil {
		rest.WriteError(w, r, err)
		return
	}
	answer(w, "application/json;charset=UTF-8", data)
}

func (s *Service) serveTrace(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("callId")
	if id == "" {
		rest.WriteError(w, r, fault.New(fault.BadRequest, "the parameter callId is missing"))
		return
	}
	var b bytes.Buffer // no larger than trace_call_bytes and the messages
	if err := s.Trace(id, &b); err != nil {
		rest.WriteError(w, r, err)
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="trace.pcap"`)
	answer(w, "application/vnd.tcpdump.pcap", b.Bytes())
}

func answer(w http.ResponseWriter, kind string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(data) // the client is gone if this fails
}

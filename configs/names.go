package configs

import (
	"fmt"
	"strings"
)

// notNeeded are settings of Web Call Server that its users have in their files
// and that need no counterpart here, with the reason. A name that some section
// declares is not looked up here.
var notNeeded = map[string]string{
	"rtp_session_init_always":  "receivers are always created when the call is set up",
	"sip_single_route_only":    "recording of calls does not depend on it",
	"sip_add_contact_id":       "plain Contact headers are always accepted",
	"sip_msg_listener":         "Java extension point",
	"call_record_listener":     "Java extension point",
	"rtmfp.port":               "Flash clients are not served",
	"compact_media_port_usage": "RTP always has even ports and RTCP the next odd one",
	"rtp_bundle":               "all WebRTC media always shares one port",
	"generate_av_for_ua":       "filler is made only where media is missing, whoever the caller is",
	"auto_login_url":           "the old web phone is not served",
	"get_callee_url":           "the old web phone is not served",
	"balance_header":           "the old web phone is not served",
	"cost_header":              "the old web phone is not served",
	"wss.keystore.password":    "no Java key store is used",
	"wss.cert.password":        "no Java key store is used",
	"keep_alive.enabled":       "no push is dropped for unanswered pings while data flows",
	"rtmp_agent.sdp":           "codecs are read from the stream itself",
	"enable_extended_logging":  "use the log level",
	"client_log_level":         "use the log level",
	"client_dump_level":        "use a packet analyser; signalling is plain SIP",

	"rtmp_transponder_send_metadata": "onMetaData is always sent",
	"record_audio_buffer_max_size":   "the recorder's buffer is bounded by time and bytes",
}

// unknown is the warning about a name no section has.
func (s *Set) unknown(e entry) string {
	if why := notNeeded[e.name]; why != "" {
		return fmt.Sprintf("setting %q (%s) is not needed here and ignored: %s", e.name, e.origin, why)
	}
	if near := s.nearest(e.name); near != "" {
		return fmt.Sprintf("setting %q (%s) is not known and ignored; did you mean %q?", e.name, e.origin, near)
	}
	return fmt.Sprintf("setting %q (%s) is not known and ignored", e.name, e.origin)
}

// nearest returns the known name that looks most like name, "" if none does.
func (s *Set) nearest(name string) string {
	fold := func(n string) string {
		return strings.ToLower(strings.NewReplacer(".", "_", "-", "_").Replace(n))
	}
	if len(name) > 100 {
		return ""
	}
	want := fold(name)
	best, bestDistance := "", 1+max(2, len(want)/4)
	for _, st := range s.settings {
		if d := distance(want, fold(st.name)); d < bestDistance {
			best, bestDistance = st.name, d
		}
	}
	if bestDistance >= len(want) {
		return ""
	}
	return best
}

// distance is the Levenshtein distance, with a swap of neighbours as one edit.
func distance(a, b string) int {
	var before []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur := make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev = prev, cur
	}
	return prev[len(b)]
}

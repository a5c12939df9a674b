package admin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Stat is what the statistics page counts beside the process itself.
type Stat struct {
	// WebSockets are the connected WebSocket sessions.
	WebSockets int
	// Calls are the calls that have not ended.
	Calls int
	// WebRTCIn are the streams browsers and WHIP publish, WebRTCOut the WebRTC
	// viewers, RTMPOut the running pushes.
	WebRTCIn, WebRTCOut, RTMPOut int
	// Recordings are the files being written.
	Recordings int
}

// stat answers /?action=stat in the form the vendor's console parses: the
// first line has to be a header and the first word of each header, in lower
// case, is the group's key, so these four headers must stay as they are.
func (d Deps) stat(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Query().Get("format") == "json" {
		d.statJSON(w)
		return
	}
	var s Stat
	if d.Stat != nil {
		s = d.Stat()
	}
	total, free := memory()
	var b strings.Builder
	group := func(name string, kv ...any) {
		fmt.Fprintf(&b, "-----%s Stats-----\n", name)
		for i := 0; i+1 < len(kv); i += 2 {
			fmt.Fprintf(&b, "%v=%v\n", kv[i], kv[i+1])
		}
	}
	group("Connection", "connections", s.WebSockets, "connections_websocket", s.WebSockets, "connections_rtmfp", 0)
	group("Stream", "streams_rtmfp_in", 0, "streams_rtmfp_out", 0, "streams_rtmp_in", 0, "streams_rtmp_out", s.RTMPOut,
		"streams_rtsp_in", 0, "streams_rtsp_out", 0, "streams_webrtc_in", s.WebRTCIn, "streams_webrtc_out", s.WebRTCOut,
		"streams_sip_in", len(d.Streams.List())-s.WebRTCIn, "streams_viewers", s.WebRTCOut, "streams_recording", s.Recordings)
	group("Core", "core_threads", pprof.Lookup("threadcreate").Count())
	group("System", "system_java_cpu_usage", cpuUsage(d.Start), "system_memory_total", total, "system_memory_free", free)
	group("Call", "calls", s.Calls)
	w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	_, _ = w.Write([]byte(b.String()))
}

// statJSON is the variant the console's metrics dialog asks for: one entry
// per published stream has to be there.
func (d Deps) statJSON(w http.ResponseWriter) {
	type entry struct {
		Distributors map[string]any `json:"distributors"`
	}
	full := map[string]entry{}
	for _, s := range d.Streams.List() {
		full[s.Name()] = entry{map[string]any{}}
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_ = json.NewEncoder(w).Encode(map[string]any{"transcoding_stats": map[string]any{"transcoding_video_full_info": full}})
}

// cpuUsage is the share of one core the process has used since start, in percent.
func cpuUsage(start time.Time) string {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return "0"
	}
	used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	share := 100 * used.Seconds() / math.Max(time.Since(start).Seconds(), 0.001)
	return strconv.FormatFloat(share, 'f', 1, 64)
}

// memory is the machine's memory in bytes, zeros where /proc does not tell.
func memory() (total, free int64) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	return meminfo(string(data))
}

func meminfo(text string) (total, free int64) {
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			total = kib * 1024
		case "MemAvailable:":
			free = kib * 1024
		}
	}
	return total, free
}

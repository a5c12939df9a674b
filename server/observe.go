package server

import (
	"lineout/api/admin"
	"lineout/api/rest"
	"lineout/calls"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

// viewers lists those who play a stream, for /stream/find.
func (s *Server) viewers() []rest.Viewer {
	var out []rest.Viewer
	for _, v := range s.player.Viewers() {
		out = append(out, rest.Viewer{MediaSessionID: v.ID, SessionID: v.SessionID, Name: v.Stream, Status: v.State,
			Provider: "WebRTC", AudioCodec: media.Codec(v.AudioCodec), VideoCodec: media.Codec(v.VideoCodec), Created: v.Since,
			Metrics: map[string]float64{"VIDEO_NACK": float64(v.NACKs)},
			Stop:    func(string) { s.player.Terminate(v.ID) }})
	}
	return out
}

// stat counts for the statistics page.
func (s *Server) stat() admin.Stat {
	st := admin.Stat{WebSockets: s.sockets.Sessions(), WebRTCOut: len(s.player.Viewers())}
	for status, n := range s.calls.Counts().ByStatus {
		if !status.Final() {
			st.Calls += n
		}
	}
	for _, str := range s.hub.List() {
		for _, a := range str.Attachments() {
			if a.State() != pipeline.Active {
				continue
			}
			switch kindOf(a.Label()) {
			case "rtmp":
				st.RTMPOut++
			case "record":
				st.Recordings++
			}
		}
	}
	return st
}

// kindOf is the part of a sink's label that says what kind it is.
func kindOf(label string) string {
	for i := range label {
		if c := label[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return label[:i]
		}
	}
	return label
}

// metrics are those of calls, their media and streams.
func (s *Server) metrics() []outputs.Metric {
	n := s.calls.Counts()
	out := []outputs.Metric{
		{Name: "lineout_calls_started_total", Help: "Calls accepted by /call/startup.", Value: float64(n.Started)},
		{Name: "lineout_calls_established_total", Help: "Calls that were answered.", Value: float64(n.Established)},
		{Name: "lineout_calls_failed_total", Help: "Calls that ended with FAILED or BUSY.", Value: float64(n.Failed)},
	}
	for _, st := range []calls.Status{calls.Pending, calls.Trying, calls.Ring, calls.SessionProgress, calls.Established, calls.Hold} {
		out = append(out, outputs.Metric{Name: "lineout_calls", Help: "Calls now, by status.",
			Labels: map[string]string{"status": string(st)}, Value: float64(n.ByStatus[st])})
	}
	for id, list := range s.calls.Media() {
		for _, m := range list {
			l := map[string]string{"call": id, "kind": m.Kind.String()}
			out = append(out,
				outputs.Metric{Name: "lineout_rtp_packets_received_total", Help: "RTP packets accepted, per running call.", Labels: l, Value: float64(m.PacketsReceived)},
				outputs.Metric{Name: "lineout_rtp_bytes_received_total", Help: "RTP payload bytes accepted, per running call.", Labels: l, Value: float64(m.BytesReceived)},
				outputs.Metric{Name: "lineout_rtp_packets_lost", Help: "RTP packets lost (RFC 3550 appendix A.3), per running call.", Labels: l, Value: float64(m.PacketsLost)},
				outputs.Metric{Name: "lineout_rtp_packets_rejected_total", Help: "Packets from a source that is not the call's, per running call.", Labels: l, Value: float64(m.PacketsRejected)},
				outputs.Metric{Name: "lineout_rtp_jitter_seconds", Help: "Interarrival jitter (RFC 3550 section 6.4.1), per running call.", Labels: l, Value: m.JitterMS / 1000},
				outputs.Metric{Name: "lineout_keyframe_requests_total", Help: "Key frames asked for, per running call.", Labels: l, Value: float64(m.KeyframeRequests)})
		}
	}
	return append(out, s.streamMetrics()...)
}

func (s *Server) streamMetrics() []outputs.Metric {
	streams := s.hub.List()
	out := []outputs.Metric{{Name: "lineout_streams", Help: "Streams that exist now.", Value: float64(len(streams))}}
	sinks := map[[2]string]int{}
	for _, str := range streams {
		for _, a := range str.Attachments() {
			kind := kindOf(a.Label())
			sinks[[2]string{kind, a.State().String()}]++
			st := a.Stats()
			l := map[string]string{"stream": str.Name(), "sink": a.Label()}
			out = append(out,
				outputs.Metric{Name: "lineout_sink_frames_total", Help: "Frames delivered, per running sink.", Labels: l, Value: float64(st.Frames)},
				outputs.Metric{Name: "lineout_sink_dropped_total", Help: "Frames dropped because the sink was slow, per running sink.", Labels: l, Value: float64(st.Dropped)},
				outputs.Metric{Name: "lineout_sink_queue_seconds", Help: "Media time waiting for the sink.", Labels: l, Value: st.QueueDelay.Seconds()})
		}
	}
	for k, n := range sinks {
		out = append(out, outputs.Metric{Name: "lineout_sinks", Help: "Sinks now, by kind and state.",
			Labels: map[string]string{"kind": k[0], "state": k[1]}, Value: float64(n)})
	}
	return out
}

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
	st := admin.Stat{WebSockets: s.sockets.Sessions(), WebRTCIn: s.publishing.Count(), WebRTCOut: len(s.player.Viewers())}
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
		{Name: "lineout_injected_streams_total", Help: "Streams begun to be sent into calls.", Value: float64(n.InjectedStreams)},
		{Name: "lineout_injected_sounds_total", Help: "Sound files begun to be played into calls.", Value: float64(n.InjectedSounds)},
	}
	for _, st := range []calls.Status{calls.Pending, calls.Trying, calls.Ring, calls.SessionProgress, calls.Established, calls.Hold} {
		out = append(out, outputs.Metric{Name: "lineout_calls", Help: "Calls now, by status.",
			Labels: map[string]string{"status": string(st)}, Value: float64(n.ByStatus[st])})
	}
	out = append(out, s.registrationMetrics()...)
	for _, st := range s.calls.AllStats() {
		out = append(out, callMetrics(st)...)
	}
	return append(out, s.streamMetrics()...)
}

// registrationMetrics count our bindings elsewhere, and those of phones here.
func (s *Server) registrationMetrics() []outputs.Metric {
	bound, failing := 0, 0
	for _, r := range s.agent.Registrations() {
		if r.Registered {
			bound++
		}
		if r.Failures > 0 {
			failing++
		}
	}
	return []outputs.Metric{
		{Name: "lineout_sip_accounts_registered", Help: "SIP accounts registered at their server now.", Value: float64(bound)},
		{Name: "lineout_sip_accounts_failing", Help: "SIP accounts whose last REGISTER failed.", Value: float64(failing)},
		{Name: "lineout_sip_phones_registered", Help: "SIP phones of users registered at this server now.", Value: float64(len(s.agent.Phones()))},
	}
}

// callMetrics are those of one running call. They go with it.
func callMetrics(st calls.Stats) []outputs.Metric {
	var out []outputs.Metric
	l := map[string]string{"call": st.CallID}
	add := func(name, help string, v float64) {
		out = append(out, outputs.Metric{Name: "lineout_" + name, Help: help + ", per running call.", Labels: l, Value: v})
	}
	if len(st.Tracks) > 0 {
		add("av_correction_seconds", "What sender reports add to the picture's offset over arrival times", st.Sync.Correction.Seconds())
		add("av_error_seconds", "How far the picture is from where it should be; positive: it has to come later", st.Sync.Error.Seconds())
		add("av_disagreement_seconds", "How far sender reports contradict arrival times", st.Sync.Disagreement.Seconds())
		add("av_offset_p50_seconds", "Half of the pictures were nearer to their place", st.Sync.OffsetP50.Seconds())
		add("av_offset_p99_seconds", "99 of 100 pictures were nearer to their place", st.Sync.OffsetP99.Seconds())
		add("av_offset_max_seconds", "The picture furthest from its place", st.Sync.OffsetMax.Seconds())
		add("av_jumps_total", "Corrections of the picture's offset too large for small steps", float64(st.Sync.Jumps))
		add("sender_drift_ppm", "The other party's clock against its sound samples, in parts per million", st.Sync.DriftPPM)
		add("rtp_queue_dropped_total", "Packets that came faster than they could be taken", float64(st.QueueDropped))
	}
	for _, t := range st.Tracks {
		l = map[string]string{"call": st.CallID, "kind": t.Kind.String()}
		add("rtp_packets_received_total", "RTP packets accepted", float64(t.Transport.PacketsReceived))
		add("rtp_bytes_received_total", "RTP payload bytes accepted", float64(t.Transport.BytesReceived))
		add("rtp_packets_sent_total", "RTP packets sent", float64(t.Transport.PacketsSent))
		add("rtp_packets_lost", "RTP packets lost (RFC 3550 appendix A.3)", float64(t.Transport.PacketsLost))
		add("rtp_packets_missing_total", "RTP packets that were not there when their turn came", float64(t.Input.Lost))
		add("rtp_packets_late_total", "RTP packets that came after their turn", float64(t.Input.Late))
		add("rtp_packets_reordered_total", "RTP packets that were overtaken but in time", float64(t.Input.Reordered))
		add("rtp_packets_duplicate_total", "RTP packets that came twice", float64(t.Input.Duplicates))
		add("rtp_packets_rejected_total", "Packets from a source that is not the call's", float64(t.Transport.PacketsRejected))
		add("rtp_jitter_seconds", "Interarrival jitter (RFC 3550 section 6.4.1)", t.Transport.JitterMS/1000)
		add("frames_received_total", "Frames handed on to the stream", float64(t.Frames))
		add("frames_damaged_total", "Frames that missed packets", float64(t.Input.Damaged))
		add("frames_dropped_total", "Whole frames that could not be decoded for want of a key frame", float64(t.Input.Dropped))
		add("frames_filler_total", "Generated frames", float64(t.Input.Filler))
		add("keyframe_requests_total", "Key frames asked for", float64(t.Transport.KeyframeRequests))
		if t.SinceLast >= 0 {
			add("rtp_silent_seconds", "Time since the newest RTP packet", t.SinceLast.Seconds())
		}
		if t.Kind == media.Video {
			add("keyframes_received_total", "Key frames handed on to the stream", float64(t.Keyframes))
			add("keyframe_answers_total", "Key frames that came because pictures could not be decoded", float64(t.Input.KeyframeAnswers))
			add("keyframe_wait_seconds_total", "Time from requests to these answers", t.Input.KeyframeWait.Seconds())
			add("freezes_total", "Pictures that came later than 3 intervals (as WebRTC's freezeCount)", float64(t.Input.Freezes))
			add("freeze_seconds_total", "Length of the freezes", t.Input.FreezeTime.Seconds())
		} else {
			add("concealed_seconds_total", "Length of the holes in the sound that outputs had to fill", t.Input.Concealed.Seconds())
			add("filler_seconds_total", "Length of generated sound", t.Input.FillerTime.Seconds())
		}
		if t.MOS > 0 {
			add("call_mos", "Mean opinion score of the sound, estimated by the E-model of ITU-T G.107", t.MOS)
		}
	}
	return out
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

package server

import (
	"testing"
	"time"

	"lineout/calls"
	"lineout/calls/leg"
	"lineout/media"
	"lineout/pipeline/rtpin"
)

func TestMetricsOfACall(t *testing.T) {
	st := calls.Stats{CallID: "c", Sync: calls.SyncStats{Error: 3 * time.Millisecond, Jumps: 1, OffsetP99: 6 * time.Millisecond}, Tracks: []calls.TrackStats{
		{Kind: media.Audio, MOS: 4.2, SinceLast: 20 * time.Millisecond, Input: rtpin.TrackStats{Lost: 5, Concealed: 2 * time.Second}, Transport: leg.Stats{JitterMS: 2}},
		{Kind: media.Video, SinceLast: -1, Input: rtpin.TrackStats{Freezes: 2, KeyframeWait: time.Second}, Keyframes: 7, Transport: leg.Stats{KeyframeRequests: 3}},
	}}
	got := map[string]float64{}
	help := map[string]string{}
	for _, m := range callMetrics(st) {
		key := m.Name + "/" + m.Labels["kind"]
		if _, twice := got[key]; twice || m.Labels["call"] != "c" {
			t.Errorf("%s: twice %v, labels %v", key, twice, m.Labels)
		}
		if h, ok := help[m.Name]; m.Help == "" || ok && h != m.Help {
			t.Errorf("%s has the help texts %q and %q", m.Name, h, m.Help)
		}
		got[key], help[m.Name] = m.Value, m.Help
	}
	for key, want := range map[string]float64{
		"lineout_av_error_seconds/": 0.003, "lineout_av_jumps_total/": 1, "lineout_av_offset_p99_seconds/": 0.006, "lineout_concealed_seconds_total/audio": 2,
		"lineout_freezes_total/video": 2, "lineout_keyframe_wait_seconds_total/video": 1, "lineout_call_mos/audio": 4.2, "lineout_rtp_silent_seconds/audio": 0.02,
		"lineout_rtp_packets_missing_total/audio": 5, "lineout_rtp_jitter_seconds/audio": 0.002,
		"lineout_keyframe_requests_total/video": 3, "lineout_keyframes_received_total/video": 7,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v, want %v", key, v, want)
		}
	}
	for _, key := range []string{"lineout_call_mos/video", "lineout_rtp_silent_seconds/video", "lineout_keyframes_received_total/audio"} {
		if _, ok := got[key]; ok {
			t.Errorf("%s is there", key)
		}
	}
	if n := len(callMetrics(calls.Stats{CallID: "ringing"})); n != 0 {
		t.Errorf("%d metrics of a call that was not answered", n)
	}
}

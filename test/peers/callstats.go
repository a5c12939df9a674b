package peers

import (
	"net"
	"strconv"
	"testing"
)

// CallStats is what /call/stats says of a call, the keys tests look at.
type CallStats struct {
	QueueDropped int          `json:"queueDropped"`
	Sync         CallSync     `json:"sync"`
	Tracks       []TrackStats `json:"tracks"`
}

// CallSync is how sound and picture were brought together.
type CallSync struct {
	Mode             string  `json:"mode"` // "none", "arrival", "sender"
	CorrectionMillis float64 `json:"correctionMs"`
	ErrorMillis      float64 `json:"errorMs"`
}

// TrackStats is one media section of a call.
type TrackStats struct {
	Kind         string  `json:"kind"`
	Codec        string  `json:"codec"`
	LocalAddress string  `json:"localAddress"` // where the server receives it
	Packets      int     `json:"packets"`
	Lost         int     `json:"lost"`
	Rejected     int     `json:"rejected"`
	Frames       int     `json:"frames"`
	KeyFrames    int     `json:"keyFrames"`
	Gaps         int     `json:"gaps"`
	Damaged      int     `json:"damaged"`
	Dropped      int     `json:"dropped"`
	Reports      int     `json:"senderReports"`
	JitterMillis float64 `json:"jitterMs"`
	Concealed    float64 `json:"concealedMs"`
	Freezes      int     `json:"freezes"`
	FreezeMillis float64 `json:"freezeMs"`
}

// Port is where the server receives the track, 0 without a track.
func (s *TrackStats) Port() int {
	if s == nil {
		return 0
	}
	_, port, _ := net.SplitHostPort(s.LocalAddress)
	n, _ := strconv.Atoi(port)
	return n
}

// Track is the track of a kind ("audio", "video"), nil if there is none.
func (s *CallStats) Track(kind string) *TrackStats {
	for i := range s.Tracks {
		if s.Tracks[i].Kind == kind {
			return &s.Tracks[i]
		}
	}
	return nil
}

// CallStats asks /call/stats.
func (l *Lineout) CallStats(t testing.TB, id string) *CallStats {
	t.Helper()
	var s CallStats
	l.Must(t, "/rest-api/call/stats", map[string]string{"callId": id}, &s)
	return &s
}

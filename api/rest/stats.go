package rest

import (
	"context"
	"math"
	"time"

	"lineout/calls"
	"lineout/calls/bridge"
	"lineout/media"
)

// callStats is /call/stats, an addition to the vendor's interface.
func (a *API) callStats(_ context.Context, decode func(any) error) (any, error) {
	id, err := callID(decode)
	if err != nil {
		return nil, err
	}
	s, err := a.Calls.Stats(id)
	if err != nil {
		return nil, err
	}
	return newStatsObject(s), nil
}

// statsObject is the answer of /call/stats. Times are milliseconds, counters
// count from the answer of the call.
type statsObject struct {
	CallID       string       `json:"callId"`
	StreamName   string       `json:"streamName"`
	Status       calls.Status `json:"status"`
	AgeMS        int64        `json:"ageMs"`
	QueueDropped uint64       `json:"queueDropped"`
	// InjectedStream and InjectedSound are what is sent to the other party.
	InjectedStream *string       `json:"injectedStream"`
	InjectedSound  *string       `json:"injectedSound"`
	Sync           syncObject    `json:"sync"`
	Tracks         []trackObject `json:"tracks"`
	// Joined are the ways of a user's call that carry something.
	Joined []flowObject `json:"joined,omitempty"`
}

type flowObject struct {
	To               string  `json:"to"` // user, or the other party
	Kind             string  `json:"kind"`
	Plan             string  `json:"plan"` // in words
	Passed           uint64  `json:"passed"`
	Converted        uint64  `json:"converted"`
	Dropped          uint64  `json:"dropped"`
	Lost             uint64  `json:"lost"`
	KeyframeRequests uint64  `json:"keyFrameRequests"`
	DelayP50MS       float64 `json:"delayP50Ms"`
	DelayP99MS       float64 `json:"delayP99Ms"`
	Error            *string `json:"error"`
}

type syncObject struct {
	Mode           string  `json:"mode"` // none, arrival, sender
	CorrectionMS   float64 `json:"correctionMs"`
	ErrorMS        float64 `json:"errorMs"`
	DriftPPM       float64 `json:"driftPpm"`
	Jumps          uint64  `json:"jumps"`
	OffsetP50MS    float64 `json:"offsetP50Ms"`
	OffsetP99MS    float64 `json:"offsetP99Ms"`
	OffsetMaxMS    float64 `json:"offsetMaxMs"`
	DisagreementMS float64 `json:"disagreementMs"`
}

type trackObject struct {
	Kind             string       `json:"kind"`
	Codec            *media.Codec `json:"codec"`
	Local            *string      `json:"localAddress"`
	Remote           *string      `json:"remoteAddress"`
	Packets          uint64       `json:"packets"`
	Bytes            uint64       `json:"bytes"`
	Lost             uint64       `json:"lost"`
	LossPercent      float64      `json:"lossPercent"`
	Late             uint64       `json:"late"`
	Reordered        uint64       `json:"reordered"`
	Duplicates       uint64       `json:"duplicates"`
	Rejected         uint64       `json:"rejected"`
	JitterMS         float64      `json:"jitterMs"`
	LastPacketMS     *int64       `json:"lastPacketMs"`
	Frames           uint64       `json:"frames"`
	Keyframes        uint64       `json:"keyFrames"`
	KeyframeRequests uint64       `json:"keyFrameRequests"`
	Gaps             uint64       `json:"gaps"`
	Damaged          uint64       `json:"damaged"`
	Dropped          uint64       `json:"dropped"`
	Filler           uint64       `json:"filler"`
	FillerMS         float64      `json:"fillerMs"`
	ConcealedMS      float64      `json:"concealedMs"`
	Freezes          uint64       `json:"freezes"`
	FreezeMS         float64      `json:"freezeMs"`
	KeyframeAnswers  uint64       `json:"keyFrameAnswers"`
	KeyframeAnswerMS float64      `json:"keyFrameAnswerMs"`
	KbitRate         float64      `json:"kbitPerSecond"`
	FPS              float64      `json:"framesPerSecond"`
	PacketsSent      uint64       `json:"packetsSent"`
	BytesSent        uint64       `json:"bytesSent"`
	SenderReports    uint64       `json:"senderReports"`
	RefusedReports   uint64       `json:"senderReportsRefused"`
	SSRCChanges      uint64       `json:"ssrcChanges"`
	MOS              *float64     `json:"mos"`
}

func newStatsObject(s calls.Stats) statsObject {
	o := statsObject{CallID: s.CallID, StreamName: s.StreamName, Status: s.Status, AgeMS: s.Age.Milliseconds(), QueueDropped: s.QueueDropped,
		InjectedStream: null(s.Injected.Stream), InjectedSound: null(s.Injected.Sound),
		Sync: syncObject{Mode: string(s.Sync.Mode), CorrectionMS: millis(s.Sync.Correction), ErrorMS: millis(s.Sync.Error),
			DriftPPM: round(s.Sync.DriftPPM, 10), Jumps: s.Sync.Jumps, OffsetP50MS: millis(s.Sync.OffsetP50),
			OffsetP99MS: millis(s.Sync.OffsetP99), OffsetMaxMS: millis(s.Sync.OffsetMax), DisagreementMS: millis(s.Sync.Disagreement)},
		Tracks: make([]trackObject, 0, len(s.Tracks))}
	for _, t := range s.Tracks {
		o.Tracks = append(o.Tracks, newTrackObject(t))
	}
	if j := s.Joined; j != nil {
		o.Joined = append(flows("other", j.ToOther), flows("user", j.ToUser)...)
	}
	return o
}

func flows(to string, fs []bridge.FlowStats) (out []flowObject) {
	for _, f := range fs {
		if f.Passed+f.Converted+f.Dropped > 0 {
			out = append(out, flowObject{To: to, Kind: f.Kind.String(), Plan: f.Reason, Passed: f.Passed, Converted: f.Converted, Dropped: f.Dropped,
				Lost: f.Lost, KeyframeRequests: f.KeyframeRequests, DelayP50MS: millis(f.DelayP50), DelayP99MS: millis(f.DelayP99), Error: null(f.Error)})
		}
	}
	return out
}

func newTrackObject(t calls.TrackStats) trackObject {
	x := t.Transport
	o := trackObject{Kind: t.Kind.String(), Codec: null(t.Codec), Local: null(x.Local), Remote: null(x.Remote),
		Packets: x.PacketsReceived, Bytes: x.BytesReceived, Rejected: x.PacketsRejected,
		Lost: t.Input.Lost, LossPercent: round(100*t.Loss, 100), Late: t.Input.Late, Reordered: t.Input.Reordered, Duplicates: t.Input.Duplicates,
		JitterMS: millis(t.Input.Jitter), Frames: t.Frames, Keyframes: t.Keyframes, KeyframeRequests: x.KeyframeRequests,
		Gaps: t.Input.Gaps, Damaged: t.Input.Damaged, Dropped: t.Input.Dropped, Filler: t.Input.Filler,
		FillerMS: millis(t.Input.FillerTime), ConcealedMS: millis(t.Input.Concealed), Freezes: t.Input.Freezes, FreezeMS: millis(t.Input.FreezeTime),
		KeyframeAnswers: t.Input.KeyframeAnswers, KeyframeAnswerMS: millis(t.Input.KeyframeAnswer()),
		KbitRate: round(t.KbitRate, 10), FPS: round(t.FPS, 10), PacketsSent: x.PacketsSent, BytesSent: x.BytesSent,
		SenderReports: t.Input.SenderReports, RefusedReports: t.Input.RefusedReports, SSRCChanges: t.Input.SSRCChanges,
		MOS: null(round(t.MOS, 100))}
	if t.SinceLast >= 0 {
		ms := t.SinceLast.Milliseconds()
		o.LastPacketMS = &ms
	}
	if t.Kind == media.Audio { // every frame of sound can be decoded by itself
		o.Keyframes = 0
	}
	return o
}

// millis is a duration in milliseconds with three digits behind the point.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// round keeps 1/unit. JSON knows no other numbers than finite ones.
func round(v, unit float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return math.Round(v*unit) / unit
}

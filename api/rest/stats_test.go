package rest

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/calls"
	"lineout/calls/leg"
	"lineout/media"
	"lineout/pipeline/rtpin"
)

func TestCallStats(t *testing.T) {
	f := &fakeCalls{stats: map[string]calls.Stats{
		"new": {CallID: "new", StreamName: "s", Status: calls.Ring, Sync: calls.SyncStats{Mode: rtpin.SyncNone}},
		"c1": {CallID: "c1", StreamName: "s1", Status: calls.Established, Age: 90 * time.Second, QueueDropped: 1, Injected: calls.Injected{Stream: "live"},
			Sync: calls.SyncStats{Mode: rtpin.SyncSender, Correction: -12500 * time.Microsecond, Error: time.Millisecond, DriftPPM: -7.04, Jumps: 2,
				OffsetP50: time.Millisecond, OffsetP99: 6 * time.Millisecond, OffsetMax: 14500 * time.Microsecond, Disagreement: -13 * time.Millisecond},
			Tracks: []calls.TrackStats{
				{Kind: media.Audio, Codec: "PCMA", Transport: leg.Stats{Local: "127.0.0.1:31000", Remote: "127.0.0.1:36000", PacketsReceived: 4500,
					BytesReceived: 774000, PacketsRejected: 3, PacketsSent: 4499, BytesSent: 719840},
					Input: rtpin.TrackStats{Packets: 4500, Lost: 4, Late: 1, Reordered: 2, Duplicates: 3, Jitter: 1250 * time.Microsecond, Gaps: 4, SenderReports: 18, SSRCChanges: 1,
						Concealed: 80 * time.Millisecond, FillerTime: 3 * time.Second},
					Frames: 4500, Keyframes: 4500, KbitRate: 64.04, FPS: 50, Loss: 0.00089, SinceLast: 12 * time.Millisecond, MOS: 4.391},
				{Kind: media.Video, Transport: leg.Stats{Local: "127.0.0.1:31002", KeyframeRequests: 2},
					Input: rtpin.TrackStats{Damaged: 1, Dropped: 9, Filler: 5, RefusedReports: 6, Lost: 8, Freezes: 2, FreezeTime: 900 * time.Millisecond,
						KeyframeAnswers: 2, KeyframeWait: 300 * time.Millisecond},
					Keyframes: 7, KbitRate: math.NaN(), SinceLast: -1},
			}},
	}}
	a := newAPI(t, Config{}, f, nil)
	w := post(a, "/rest-api/call/stats", `{"callId":"c1"}`)
	require.Equal(t, 200, w.Code)
	require.Equal(t, `{"callId":"c1","streamName":"s1","status":"ESTABLISHED","ageMs":90000,"queueDropped":1,"injectedStream":"live","injectedSound":null,`+
		`"sync":{"mode":"sender","correctionMs":-12.5,"errorMs":1,"driftPpm":-7,"jumps":2,"offsetP50Ms":1,"offsetP99Ms":6,"offsetMaxMs":14.5,"disagreementMs":-13},"tracks":[`+
		`{"kind":"audio","codec":"PCMA","localAddress":"127.0.0.1:31000","remoteAddress":"127.0.0.1:36000","packets":4500,"bytes":774000,`+
		`"lost":4,"lossPercent":0.09,"late":1,"reordered":2,"duplicates":3,"rejected":3,"jitterMs":1.25,"lastPacketMs":12,`+
		`"frames":4500,"keyFrames":0,"keyFrameRequests":0,"gaps":4,"damaged":0,"dropped":0,"filler":0,"fillerMs":3000,"concealedMs":80,"freezes":0,"freezeMs":0,"keyFrameAnswers":0,"keyFrameAnswerMs":0,"kbitPerSecond":64,"framesPerSecond":50,`+
		`"packetsSent":4499,"bytesSent":719840,"senderReports":18,"senderReportsRefused":0,"ssrcChanges":1,"mos":4.39},`+
		`{"kind":"video","codec":null,"localAddress":"127.0.0.1:31002","remoteAddress":null,"packets":0,"bytes":0,`+
		`"lost":8,"lossPercent":0,"late":0,"reordered":0,"duplicates":0,"rejected":0,"jitterMs":0,"lastPacketMs":null,`+
		`"frames":0,"keyFrames":7,"keyFrameRequests":2,"gaps":0,"damaged":1,"dropped":9,"filler":5,"fillerMs":0,"concealedMs":0,"freezes":2,"freezeMs":900,"keyFrameAnswers":2,"keyFrameAnswerMs":150,"kbitPerSecond":0,"framesPerSecond":0,`+
		`"packetsSent":0,"bytesSent":0,"senderReports":0,"senderReportsRefused":6,"ssrcChanges":0,"mos":null}]}`, w.Body.String())
	require.Equal(t, `{"callId":"new","streamName":"s","status":"RING","ageMs":0,"queueDropped":0,"injectedStream":null,"injectedSound":null,`+
		`"sync":{"mode":"none","correctionMs":0,"errorMs":0,"driftPpm":0,"jumps":0,"offsetP50Ms":0,"offsetP99Ms":0,"offsetMaxMs":0,"disagreementMs":0},"tracks":[]}`, post(a, "/rest-api/call/stats", `{"callId":"new"}`).Body.String())
	require.Equal(t, 404, post(a, "/rest-api/call/stats", `{"callId":"other"}`).Code)
	require.Equal(t, 400, post(a, "/rest-api/call/stats", `{}`).Code)
}

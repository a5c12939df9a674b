package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/media"
	"lineout/pipeline"
)

// world is a hub with two streams and one viewer behind the API.
func world(t *testing.T) (*API, *pipeline.Hub, *[]string) {
	t.Helper()
	hub := pipeline.NewHub(pipeline.HubConfig{Codecs: codecs.NewTable(nil, nil)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })

	s, err := hub.Create("call_stream1", pipeline.Meta{AppKey: "defaultApp", SessionID: "s1", Provider: "SIP", CallID: "c"})
	require.NoError(t, err)
	s.AddTrack(&media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000, Channels: 1})
	v := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	v.SetParams(&media.Params{Width: 640, Height: 360})
	s.AddTrack(v)
	s.SetReady()
	_, err = hub.Create("early", pipeline.Meta{})
	require.NoError(t, err)

	a := newAPI(t, Config{}, nil, hub)
	var stopped []string
	a.RecordName = func(id string) string { return map[string]string{s.ID(): "a.mp4"}[id] }
	a.Viewers = func() []Viewer {
		return []Viewer{{MediaSessionID: "viewer-1", SessionID: "ws-1", Name: "call_stream1", Status: "PLAYING", Provider: "WebRTC", Transport: "UDP",
			AudioCodec: g711.PCMA, Created: time.UnixMilli(1000), Metrics: map[string]float64{"VIDEO_NACK": 3},
			Stop: func(reason string) { stopped = append(stopped, reason) }}}
	}
	return a, hub, &stopped
}

func find(t *testing.T, a *API, body string) []map[string]any {
	t.Helper()
	w := post(a, "/rest-api/stream/find", body)
	if w.Code == http.StatusNotFound {
		return nil
	}
	require.Equal(t, 200, w.Code, w.Body)
	var l []map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &l))
	return l
}

func TestStreamFind(t *testing.T) {
	a, hub, _ := world(t)
	id := hub.Get("call_stream1").ID()
	for body, want := range map[string]int{
		`{}`: 3, `{"name":"call_stream1"}`: 2, `{"name":"call_stream1","published":"true"}`: 1, `{"published":false}`: 1, `{"status":"PENDING"}`: 1,
		`{"mediaSessionId":"` + id + `"}`: 1, `{"mediaSessionIds":["` + id + `","viewer-1"]}`: 2, `{"mediaSessionIds":"viewer-1"}`: 1, `{"mediaSessionIds":[]}`: 0,
		`{"mediaSessionId":null,"name":null,"published":null}`: 3, `{"name":"none"}`: 0, `{"status":"PLAYING","published":true}`: 0,
	} {
		require.Len(t, find(t, a, body), want, body)
	}
	require.Equal(t, 200, ask(a, http.MethodGet, "/rest-api/stream/find_all", "").Code)
	require.Equal(t, 404, ask(newAPI(t, Config{}, nil, nil), http.MethodGet, "/rest-api/stream/find_all", "").Code)

	o := find(t, a, `{"mediaSessionId":"`+id+`"}`)[0]
	created := o["createDate"]
	require.Equal(t, map[string]any{"appKey": "defaultApp", "sessionId": "s1", "mediaSessionId": id, "name": "call_stream1", "published": true, "hasVideo": true,
		"hasAudio": true, "status": "PUBLISHING", "sdp": nil, "info": nil, "audioCodec": "PCMA", "videoCodec": "H264", "record": true, "recordName": "a.mp4",
		"width": 640.0, "height": 360.0, "transport": nil, "createDate": created, "mediaType": "publish", "audioState": map[string]any{"muted": false},
		"videoState": map[string]any{"muted": false}, "mediaProvider": "SIP"}, o)

	hub.Get("call_stream1").SetMuted(media.Video, true)
	o = find(t, a, `{"mediaSessionId":"`+id+`"}`)[0]
	require.Equal(t, map[string]any{"muted": true}, o["videoState"])
	require.Equal(t, map[string]any{"muted": false}, o["audioState"])

	o = find(t, a, `{"published":false,"display":["metrics"]}`)[0]
	require.Equal(t, "play", o["mediaType"])
	require.Equal(t, false, o["hasVideo"])
	require.Equal(t, 3.0, o["metrics"].(map[string]any)["VIDEO_NACK"])
	hub.Get("call_stream1").SetQuality(func() pipeline.Quality {
		return pipeline.Quality{Audio: pipeline.TrackQuality{Lost: 9}, Video: pipeline.TrackQuality{Lost: 4}}
	})
	require.EqualValues(t, 4, find(t, a, `{"mediaSessionId":"`+id+`","display":["metrics"]}`)[0]["metrics"].(map[string]any)["VIDEO_LOST"])
	for _, k := range []string{"VIDEO_WIDTH", "VIDEO_HEIGHT", "VIDEO_RATE", "VIDEO_NACK", "VIDEO_B_FRAMES", "VIDEO_LOST", "VIDEO_FPS"} {
		require.Contains(t, find(t, a, `{"mediaSessionId":"`+id+`","display":["metrics"]}`)[0]["metrics"], k, "the console reads all of them")
	}
}

func TestStreamTerminate(t *testing.T) {
	a, hub, stopped := world(t)
	s := hub.Get("call_stream1")
	w := post(a, "/rest-api/stream/terminate", `{"mediaSessionId":"viewer-1"}`)
	require.Equal(t, 200, w.Code)
	require.Empty(t, w.Body.String())
	require.Equal(t, []string{"Stopped by rest /terminate"}, *stopped)
	require.Equal(t, 404, post(a, "/rest-api/stream/terminate", `{"name":"none"}`).Code)

	require.Equal(t, 200, post(a, "/rest-api/stream/terminate", `{"name":"call_stream1","published":true}`).Code)
	<-s.Closing()
	require.Equal(t, "Stopped by rest /terminate", s.Reason())
	require.NotNil(t, hub.Get("early"))

	require.Equal(t, 200, post(a, "/rest-api/stream/terminate", ``).Code, "no keys means all")
	require.Nil(t, hub.Get("early"))
}

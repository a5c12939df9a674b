package rest

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"

	"lineout/api/fault"
	"lineout/api/loose"
	"lineout/media"
	"lineout/outputs"
	"lineout/pipeline"
)

// Viewer is someone who plays a stream; the REST API calls it a stream with
// published=false.
type Viewer struct {
	// MediaSessionID is the viewer's own id, unlike that of the stream it plays.
	MediaSessionID, SessionID, Name, AppKey string
	// Status is one of the SDK's: PENDING, PLAYING, PAUSED, STOPPED, FAILED.
	Status string
	// Provider is "WebRTC" and the like; Transport is UDP or TCP, "" if unknown.
	Provider, Transport    string
	AudioCodec, VideoCodec media.Codec
	Width, Height          int
	Created                time.Time
	// Metrics has the keys the console shows (VIDEO_RATE in bit/s, VIDEO_NACK, ...).
	Metrics map[string]float64
	// Stop ends the viewer's session; it does not wait.
	Stop func(reason string)
}

// stoppedByREST is the text clients compare (STREAM_STATUS_INFO).
const stoppedByREST = "Stopped by rest /terminate"

func (a *API) streamMethods() map[string]outputs.Method {
	return map[string]outputs.Method{
		"stream/find":      a.streamFind,
		"stream/find_all":  a.streamFindAll,
		"stream/terminate": a.streamTerminate,
	}
}

// streamFilter is the body of /stream/find and /stream/terminate: keys that
// are missing or null match all, the others are joined by AND.
type streamFilter struct {
	MediaSessionID  loose.String `json:"mediaSessionId"`
	MediaSessionIDs stringList   `json:"mediaSessionIds"`
	Name            loose.String `json:"name"`
	Published       loose.Bool   `json:"published"`
	Status          loose.String `json:"status"`
	Display         stringList   `json:"display"`
}

func (f *streamFilter) match(o *streamObject) bool {
	return (f.MediaSessionID == "" || string(f.MediaSessionID) == o.MediaSessionID) &&
		(f.MediaSessionIDs == nil || slices.Contains(f.MediaSessionIDs, o.MediaSessionID)) &&
		(f.Name == "" || string(f.Name) == o.Name) &&
		(!f.Published.Set || f.Published.Value == o.Published) &&
		(f.Status == "" || string(f.Status) == o.Status)
}

// stringList accepts a list of strings, or one string.
type stringList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *stringList) UnmarshalJSON(raw []byte) error {
	var items []loose.String
	if len(raw) > 0 && raw[0] == '[' {
		if err := json.Unmarshal(raw, &items); err != nil {
			return err
		}
	} else {
		var one loose.String
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
		if one == "" {
			return nil
		}
		items = []loose.String{one}
	}
	*l = make(stringList, 0, len(items))
	for _, it := range items {
		*l = append(*l, string(it))
	}
	return nil
}

// found is a stream or viewer with the way to end it.
type found struct {
	object streamObject
	stop   func(reason string)
}

func (a *API) streams(f streamFilter) []found {
	metrics := slices.Contains(f.Display, "metrics")
	var out []found
	for _, s := range a.Streams.List() {
		if o := a.published(s); f.match(&o) {
			if metrics {
				o.Metrics = a.sourceMetrics(s, &o)
			}
			out = append(out, found{o, s.Close})
		}
	}
	if a.Viewers != nil {
		for _, v := range a.Viewers() {
			if o := played(v); f.match(&o) {
				if metrics {
					o.Metrics = viewerMetrics(v)
				}
				out = append(out, found{o, v.Stop})
			}
		}
	}
	return out
}

func (a *API) streamFind(_ context.Context, decode func(any) error) (any, error) {
	var f streamFilter
	if err := decode(&f); err != nil {
		return nil, err
	}
	return listStreams(a.streams(f))
}

func (a *API) streamFindAll(context.Context, func(any) error) (any, error) {
	return listStreams(a.streams(streamFilter{}))
}

func listStreams(l []found) (any, error) {
	if len(l) == 0 {
		return nil, fault.New(fault.NotFound, "no stream has the given parameters")
	}
	out := make([]streamObject, 0, len(l))
	for _, f := range l {
		out = append(out, f.object)
	}
	return out, nil
}

// streamTerminate ends all that match; without keys that is every stream and
// viewer (rest-api 4). Ending a call's stream ends its call.
func (a *API) streamTerminate(_ context.Context, decode func(any) error) (any, error) {
	var f streamFilter
	if err := decode(&f); err != nil {
		return nil, err
	}
	l := a.streams(f)
	if len(l) == 0 {
		return nil, fault.New(fault.NotFound, "no stream has the given parameters")
	}
	for _, s := range l {
		if s.stop != nil {
			s.stop(stoppedByREST)
		}
	}
	return nil, nil
}

// muted is the audioState and videoState of a stream object.
type muted struct {
	Muted bool `json:"muted"`
}

// streamObject is a stream in answers: the keys of StreamStatusEvent, unset ones null.
type streamObject struct {
	AppKey         *string            `json:"appKey"`
	SessionID      *string            `json:"sessionId"`
	MediaSessionID string             `json:"mediaSessionId"`
	Name           string             `json:"name"`
	Published      bool               `json:"published"`
	HasVideo       bool               `json:"hasVideo"`
	HasAudio       bool               `json:"hasAudio"`
	Status         string             `json:"status"`
	SDP            *string            `json:"sdp"`
	Info           *string            `json:"info"`
	AudioCodec     *media.Codec       `json:"audioCodec"`
	VideoCodec     *media.Codec       `json:"videoCodec"`
	Record         bool               `json:"record"`
	RecordName     *string            `json:"recordName"`
	Width          int                `json:"width"`
	Height         int                `json:"height"`
	Transport      *string            `json:"transport"`
	CreateDate     int64              `json:"createDate"` // milliseconds since 1970
	MediaType      string             `json:"mediaType"`  // publish or play
	AudioState     muted              `json:"audioState"`
	VideoState     muted              `json:"videoState"`
	MediaProvider  *string            `json:"mediaProvider"`
	Metrics        map[string]float64 `json:"metrics,omitempty"`
}

// published describes a source's stream.
func (a *API) published(s *pipeline.Stream) streamObject {
	m := s.Meta()
	o := streamObject{AppKey: null(m.AppKey), SessionID: null(m.SessionID), MediaSessionID: s.ID(), Name: s.Name(), Published: true,
		Status: "PENDING", CreateDate: s.Created().UnixMilli(), MediaType: "publish", MediaProvider: null(m.Provider),
		AudioState: muted{s.Muted(media.Audio)}, VideoState: muted{s.Muted(media.Video)}}
	select {
	case <-s.Ready():
		o.Status = "PUBLISHING"
	default:
	}
	if t := s.Track(media.Audio); t != nil {
		o.HasAudio, o.AudioCodec = true, &t.Codec
	}
	if t := s.Track(media.Video); t != nil {
		o.HasVideo, o.VideoCodec = true, &t.Codec
		if p := t.Params(); p != nil {
			o.Width, o.Height = p.Width, p.Height
		}
	}
	if a.RecordName != nil {
		o.RecordName = null(a.RecordName(o.MediaSessionID))
		o.Record = o.RecordName != nil
	}
	return o
}

// sourceMetrics are the numbers the console shows of a published stream.
func (a *API) sourceMetrics(s *pipeline.Stream, o *streamObject) map[string]float64 {
	m := map[string]float64{"VIDEO_WIDTH": float64(o.Width), "VIDEO_HEIGHT": float64(o.Height), "VIDEO_RATE": 0, "VIDEO_FPS": 0,
		"VIDEO_NACK": 0, "VIDEO_LOST": 0, "VIDEO_B_FRAMES": 0}
	t := s.Track(media.Video)
	if t == nil {
		return m
	}
	if q, ok := s.Quality(); ok {
		m["VIDEO_LOST"] = float64(q.Video.Lost)
	}
	for _, l := range s.Graph().Tracks {
		if l.ID == t.ID {
			m["VIDEO_RATE"], m["VIDEO_FPS"] = math.Round(l.KbitRate*1000), math.Round(l.FPS*10)/10
		}
	}
	return m
}

// played describes a viewer.
func played(v Viewer) streamObject {
	return streamObject{AppKey: null(v.AppKey), SessionID: null(v.SessionID), MediaSessionID: v.MediaSessionID, Name: v.Name,
		HasAudio: v.AudioCodec != "", HasVideo: v.VideoCodec != "", Status: v.Status, AudioCodec: null(v.AudioCodec), VideoCodec: null(v.VideoCodec),
		Width: v.Width, Height: v.Height, Transport: null(v.Transport), CreateDate: v.Created.UnixMilli(), MediaType: "play", MediaProvider: null(v.Provider)}
}

// viewerMetrics fills the console's keys; what the output does not tell is 0.
func viewerMetrics(v Viewer) map[string]float64 {
	m := map[string]float64{"VIDEO_WIDTH": float64(v.Width), "VIDEO_HEIGHT": float64(v.Height), "VIDEO_RATE": 0, "VIDEO_FPS": 0,
		"VIDEO_NACK": 0, "VIDEO_LOST": 0, "VIDEO_B_FRAMES": 0}
	maps.Copy(m, v.Metrics)
	return m
}

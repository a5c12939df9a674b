package pipeline

import (
	"time"

	"lineout/media"
)

// Graph is a picture of a stream as it runs now, for people who debug it.
type Graph struct {
	Name       string      `json:"name"`
	ID         string      `json:"mediaSessionId"`
	Provider   string      `json:"provider"`
	CallID     string      `json:"callId,omitempty"`
	AgeSeconds float64     `json:"ageSeconds"`
	Ready      bool        `json:"ready"`
	Tracks     []GraphLane `json:"tracks"`
	Converters []GraphNode `json:"converters"`
	Sinks      []GraphSink `json:"sinks"`
}

// GraphLane is a track with what came through it. Rates are averages over its
// life so far.
type GraphLane struct {
	ID       string      `json:"id"`
	Codec    media.Codec `json:"codec"`
	Width    int         `json:"width,omitempty"`
	Height   int         `json:"height,omitempty"`
	Frames   uint64      `json:"frames"`
	Keys     uint64      `json:"keyFrames"`
	Bytes    uint64      `json:"bytes"`
	Refused  uint64      `json:"refused"`
	KbitRate float64     `json:"kbitPerSecond"`
	FPS      float64     `json:"framesPerSecond"`
	// SilentMS is the time since the newest frame.
	SilentMS int64 `json:"silentMs"`
	// PositionMS is the newest frame's place on the timeline.
	PositionMS int64 `json:"positionMs"`
}

// GraphNode is a shared conversion.
type GraphNode struct {
	Name      string  `json:"name"`
	Consumers int     `json:"consumers"`
	Frames    uint64  `json:"frames"`
	Queue     int     `json:"queueFrames"`
	Dropped   uint64  `json:"dropped"`
	BusyMS    float64 `json:"busyMs"`
}

// GraphSink is an attachment.
type GraphSink struct {
	Label        string `json:"label"`
	State        string `json:"state"`
	Error        string `json:"error,omitempty"`
	Frames       uint64 `json:"frames"`
	Bytes        uint64 `json:"bytes"`
	Dropped      uint64 `json:"dropped"`
	Retries      uint64 `json:"retries"`
	QueueFrames  int    `json:"queueFrames"`
	QueueBytes   int    `json:"queueBytes"`
	QueueDelayMS int64  `json:"queueDelayMs"`
}

// Graph describes the stream as it is now.
func (s *Stream) Graph() Graph {
	now := time.Now()
	g := Graph{Name: s.name, ID: s.id, Provider: s.meta.Provider, CallID: s.meta.CallID,
		AgeSeconds: now.Sub(s.created).Seconds(),
		Tracks:     []GraphLane{}, Converters: []GraphNode{}, Sinks: []GraphSink{}}
	select {
	case <-s.ready:
		g.Ready = true
	default:
	}
	for _, l := range *s.lanes.Load() {
		g.Tracks = append(g.Tracks, l.graph(now))
	}
	s.mu.Lock()
	for _, n := range s.nodes {
		frames, _, _, dropped := n.queue.stats()
		g.Converters = append(g.Converters, GraphNode{Name: n.name, Consumers: n.refs, Frames: n.frames.Load(),
			Queue: frames, Dropped: dropped, BusyMS: float64(n.busy.Load()) / 1e6})
	}
	s.mu.Unlock()
	for _, a := range s.Attachments() {
		st := a.Stats()
		gs := GraphSink{Label: a.label, State: a.State().String(), Frames: st.Frames, Bytes: st.Bytes,
			Dropped: st.Dropped, Retries: st.Retries, QueueFrames: st.QueueFrames, QueueBytes: st.QueueBytes,
			QueueDelayMS: st.QueueDelay.Milliseconds()}
		if err := a.Err(); err != nil {
			gs.Error = err.Error()
		} else if err := a.Missing(); err != nil {
			gs.Error = err.Error()
		}
		g.Sinks = append(g.Sinks, gs)
	}
	return g
}

func (l *lane) graph(now time.Time) GraphLane {
	g := GraphLane{ID: l.track.ID, Codec: l.track.Codec, Frames: l.frames.Load(), Keys: l.keys.Load(),
		Bytes: l.bytes.Load(), Refused: l.refused.Load(), PositionMS: l.lastDTS.Load() / 1e6}
	if p := l.track.Params(); p != nil {
		g.Width, g.Height = p.Width, p.Height
	}
	if at := l.lastAt.Load(); at != 0 {
		g.SilentMS = now.Sub(time.Unix(0, at)).Milliseconds()
	}
	if sec := time.Duration(l.lastDTS.Load()).Seconds(); sec > 0 {
		g.KbitRate = float64(g.Bytes) * 8 / 1000 / sec
		g.FPS = float64(g.Frames) / sec
	}
	return g
}

package calls

import (
	"time"

	"lineout/api/fault"
	"lineout/calls/bridge"
	"lineout/calls/leg"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/rtpin"
)

// Stats are a running call's measurements, at most a second old.
type Stats struct {
	CallID, StreamName string
	Status             Status
	// Age is the time since the call was asked for.
	Age time.Duration
	// Tracks are what was agreed with the other party, none before its answer.
	Tracks []TrackStats
	Sync   SyncStats
	// QueueDropped counts packets that came faster than they could be taken.
	QueueDropped uint64
	// Injected is what is sent to the other party.
	Injected Injected
	// Joined is what is sent on between a user and the other party, nil in calls
	// without a user and before the answer.
	Joined *Joined
}

// Joined are the counters of both ways of joined media.
type Joined struct{ ToOther, ToUser []bridge.FlowStats }

// SyncStats say how sound and picture are kept together; see rtpin.Stats.
type SyncStats struct {
	Mode rtpin.SyncMode
	// Correction is what sender reports add to the picture's offset over what
	// arrival times say, Error how far the picture still is from its place.
	Correction, Error time.Duration
	// Disagreement is how far sender reports contradict arrival times, used or not.
	Disagreement time.Duration
	// OffsetP50, OffsetP99 and OffsetMax are the sizes of Error of all pictures so far.
	OffsetP50, OffsetP99, OffsetMax time.Duration
	// DriftPPM is the sender's clock against its samples, in parts per million.
	DriftPPM float64
	// Jumps counts corrections too large to be made in small steps.
	Jumps uint64
}

// TrackStats are one direction of one kind of media: what the other party sends.
type TrackStats struct {
	Kind  media.Kind
	Codec media.Codec
	// Transport are the counters of the section's sockets.
	Transport leg.Stats
	// Input are those of what makes frames of the packets.
	Input rtpin.TrackStats
	// Frames were handed on to the stream, Keyframes of them are key frames;
	// Silent is the time since the newest, 0 before the first.
	Frames, Keyframes uint64
	// KbitRate and FPS are averages since the first frame.
	KbitRate, FPS float64
	// Loss is the share of packets that did not come in time, 0 to 1.
	Loss float64
	// SinceLast is the time since the newest packet, negative before the first.
	SinceLast time.Duration
	// MOS estimates how the sound is liked, 1 to 4.5; 0 for pictures and before
	// any packet. See mos.
	MOS float64
}

// Stats measures a call that has not ended.
func (m *Manager) Stats(id string) (Stats, error) {
	m.mu.Lock()
	c := m.calls[id]
	m.mu.Unlock()
	if c == nil {
		return Stats{}, fault.New(fault.NotFound, "there is no call with callId %q", id)
	}
	return c.stats(time.Now()), nil
}

// AllStats measures all calls that have not ended.
func (m *Manager) AllStats() []Stats {
	m.mu.Lock()
	l := make([]*call, 0, len(m.calls))
	for _, c := range m.calls {
		l = append(l, c)
	}
	m.mu.Unlock()
	now := time.Now()
	out := make([]Stats, 0, len(l))
	for _, c := range l {
		out = append(out, c.stats(now))
	}
	return out
}

func (c *call) stats(now time.Time) Stats {
	c.mu.Lock()
	s := Stats{CallID: c.info.CallID, Status: c.info.Status, Age: now.Sub(c.created),
		Injected: *c.inject.state.Load()}
	md, t, stream := c.md, c.tap, c.stream
	if stream != nil { // users' calls need not have one
		s.StreamName = stream.Name()
	}
	c.mu.Unlock()
	if c.user != nil {
		if j := c.user.joint.Load(); j != nil {
			b := j.bridge.Stats()
			s.Joined = &Joined{ToOther: b.AToB, ToUser: b.BToA}
		}
	}
	if md == nil {
		return s
	}
	var in rtpin.Stats
	if t != nil {
		s.QueueDropped = t.Dropped()
		if p := t.Stats(); p != nil {
			in = *p
		}
	}
	s.Sync = SyncStats{Mode: in.Sync, Correction: in.SenderCorrection, Error: in.SyncError, Disagreement: in.Disagreement,
		OffsetP50: in.OffsetP50, OffsetP99: in.OffsetP99, OffsetMax: in.OffsetMax, DriftPPM: in.DriftPPM, Jumps: in.Jumps}
	if s.Sync.Mode == "" {
		s.Sync.Mode = rtpin.SyncNone
	}
	var lanes []pipeline.GraphLane
	if stream != nil {
		lanes = stream.Graph().Tracks
	}
	for _, x := range md.Stats() {
		var tr *media.Track
		if stream != nil {
			tr = stream.Track(x.Kind)
		}
		s.Tracks = append(s.Tracks, trackStats(x, in, tr, lanes, now))
	}
	return s
}

func trackStats(x leg.Stats, in rtpin.Stats, tr *media.Track, lanes []pipeline.GraphLane, now time.Time) TrackStats {
	t := TrackStats{Kind: x.Kind, Transport: x, Input: in.Audio, SinceLast: -1}
	if x.Kind == media.Video {
		t.Input = in.Video
	}
	if !x.LastPacket.IsZero() {
		t.SinceLast = max(now.Sub(x.LastPacket), 0)
	}
	t.Loss = loss(t.Input)
	if tr == nil {
		return t
	}
	t.Codec = tr.Codec
	for _, l := range lanes {
		if l.ID == tr.ID && l.Codec == tr.Codec {
			t.Frames, t.Keyframes, t.KbitRate, t.FPS = l.Frames, l.Keys, l.KbitRate, l.FPS
		}
	}
	if x.Kind == media.Audio && t.Input.Packets > 0 {
		t.MOS = mos(tr.Codec, t.Loss, t.Input.Jitter)
	}
	return t
}

// loss is the share of a track's packets that were missing when their turn came.
func loss(t rtpin.TrackStats) float64 {
	inTime := t.Packets - min(t.Packets, t.Late+t.Duplicates+t.Refused)
	if t.Lost == 0 {
		return 0
	}
	return float64(t.Lost) / float64(t.Lost+inTime)
}

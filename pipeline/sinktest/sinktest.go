// Package sinktest is the conformance suite that every sink passes: the order
// of calls, missing kinds, a change of picture size, cancelling, opening again,
// and that shared frames are left as they were.
package sinktest

import (
	"context"
	_ "embed"
	"encoding/binary"
	"hash/fnv"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"lineout/codecs"
	ourh264 "lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/pipeline"
)

//go:embed testdata/clip.h264
var clipH264 []byte // 320x180, 25 pictures/s, 2 s, a key frame each second

//go:embed testdata/small.h264
var smallH264 []byte // 176x144, 25 pictures/s, 1 s

//go:embed testdata/clip.ivf
var clipVP8 []byte // like clip.h264

//go:embed testdata/small.ivf
var smallVP8 []byte // like small.h264

//go:embed testdata/clip.aac
var clipAAC []byte // 48 kHz mono, 3 s

// Spec says how to make what is tested.
type Spec struct {
	// New returns a fresh sink whose peer or disk works. The suite closes what
	// it opens; anything else is cleaned up by t.Cleanup.
	New func(t *testing.T) pipeline.Sink
	// NewStuck returns a sink whose peer accepts and then neither reads nor
	// answers. Nil for sinks that cannot be held up.
	NewStuck func(t *testing.T) pipeline.Sink
	// Bound is how long Open, Write and Close may take once their context has
	// ended; 0 means 5 s. It catches a sink that hangs, not a slow machine.
	Bound time.Duration
}

// Run runs the suite.
func Run(t *testing.T, s Spec) {
	if s.Bound == 0 {
		s.Bound = 5 * time.Second
	}
	t.Run("audio only", func(t *testing.T) { s.life(t, true, false) })
	if len(s.New(t).Accepts().Video) > 0 {
		t.Run("both kinds", func(t *testing.T) { s.life(t, true, true) })
		t.Run("video only", func(t *testing.T) { s.life(t, false, true) })
		t.Run("picture size changes", s.resize)
	}
	t.Run("opens again after close", s.again)
	t.Run("gap and late start", s.gap)
	t.Run("cancelled before open", s.cancelled)
	t.Run("closed without a frame", s.empty)
	if s.NewStuck != nil {
		t.Run("stuck peer is left when told", s.stuck)
	}
}

// Source makes frames on one timeline, as a stream would deliver them.
type Source struct {
	Audio, Video *media.Track
	audio        []*media.Frame
	video        []*media.Frame
	small        []*media.Frame
}

// NewSource returns tracks and frames of codecs the sink accepts. It fails the
// test for a sink that takes none of AAC, G.711 and Opus, or video but neither
// H.264 nor VP8. Without video in acc there is none.
func NewSource(t testing.TB, acc pipeline.Accepts) *Source {
	t.Helper()
	src := &Source{Video: &media.Track{ID: "video", Kind: media.Video, ClockRate: 90000, RequestKeyframe: func() {}}}
	switch {
	case len(acc.Video) == 0:
	case accepts(acc.Video, ourh264.Name):
		src.Video.Codec = ourh264.Name
		src.video = pictures(t, clipH264, src.Video, 0)
		src.small = pictures(t, smallH264, src.Video, 2*time.Second)
	case accepts(acc.Video, vp8.Name):
		src.Video.Codec = vp8.Name
		src.video = vp8Pictures(t, clipVP8, src.Video, 0)
		src.small = vp8Pictures(t, smallVP8, src.Video, 2*time.Second)
	default:
		t.Fatalf("the sink takes %v and the suite has only H264 and VP8 for video", acc.Video)
	}
	switch {
	case accepts(acc.Audio, "AAC"):
		src.Audio = &media.Track{ID: "audio", Kind: media.Audio, Codec: "AAC", ClockRate: 48000, Channels: 1}
		src.audio = aacFrames(t, src.Audio)
	case accepts(acc.Audio, "PCMU"):
		src.Audio = &media.Track{ID: "audio", Kind: media.Audio, Codec: "PCMU", ClockRate: 8000, Channels: 1}
		src.audio = g711Frames(src.Audio)
	case accepts(acc.Audio, opus.Name):
		src.Audio = &media.Track{ID: "audio", Kind: media.Audio, Codec: opus.Name, ClockRate: opus.ClockRate, Channels: 2}
		src.audio = opusFrames(src.Audio)
	default:
		t.Fatalf("the sink takes %v and the suite has only AAC, PCMU and opus for audio", acc.Audio)
	}
	return src
}

func accepts(l []media.Codec, c media.Codec) bool {
	for _, x := range l {
		if x == c {
			return true
		}
	}
	return false
}

// Frames returns two seconds of the wanted kinds in DTS order.
func (s *Source) Frames(audio, video bool) []*media.Frame {
	var a, v []*media.Frame
	if audio {
		a = s.audio
	}
	if video {
		v = s.video // none if the sink takes none
	}
	return merge(a, v)
}

// Resized returns three seconds in which the picture size changes after two.
func (s *Source) Resized() []*media.Frame {
	return merge(s.audio, append(append([]*media.Frame(nil), s.video...), s.small...))
}

func merge(a, v []*media.Frame) []*media.Frame {
	var out []*media.Frame
	for len(a) > 0 || len(v) > 0 {
		if len(v) == 0 || len(a) > 0 && a[0].DTS <= v[0].DTS {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, v = append(out, v[0]), v[1:]
		}
	}
	return out
}

func pictures(t testing.TB, annexB []byte, tr *media.Track, from time.Duration) []*media.Frame {
	t.Helper()
	var all h264.AnnexB
	var frames []*media.Frame
	var params *media.Params
	for _, unit := range splitUnits(annexB) {
		if err := all.Unmarshal(unit); err != nil {
			t.Fatalf("clip: %v", err)
		}
		data := [][]byte(all)
		params = ourh264.Codec.Params(params, data)
		frames = append(frames, &media.Frame{Track: tr, Params: params, PTS: from, DTS: from,
			Key: ourh264.Codec.Keyframe(data), Data: data, Arrival: time.Now()})
		from += 40 * time.Millisecond
	}
	if len(frames) == 0 || frames[0].Params == nil || !frames[0].Key {
		t.Fatal("clip does not begin with a key frame and its parameters")
	}
	return frames
}

// vp8Pictures reads an IVF file: a header of 32 bytes, and 12 bytes before
// each frame of which the first four are its size.
func vp8Pictures(t testing.TB, ivf []byte, tr *media.Track, from time.Duration) []*media.Frame {
	t.Helper()
	var frames []*media.Frame
	var params *media.Params
	for b := ivf[32:]; len(b) >= 12; from += 40 * time.Millisecond {
		n := 12 + int(binary.LittleEndian.Uint32(b))
		data := [][]byte{b[12:n:n]}
		b = b[n:]
		params = vp8.Codec.Params(params, data)
		frames = append(frames, &media.Frame{Track: tr, Params: params, PTS: from, DTS: from,
			Key: vp8.Codec.Keyframe(data), Data: data, Arrival: time.Now()})
	}
	if len(frames) == 0 || !frames[0].Key {
		t.Fatal("clip does not begin with a key frame")
	}
	return frames
}

// opusFrames are packets of 20 ms that say "silence".
func opusFrames(tr *media.Track) []*media.Frame {
	p := &media.Params{SampleRate: opus.ClockRate, Channels: 2}
	var frames []*media.Frame
	for i := range 150 {
		at := time.Duration(i) * 20 * time.Millisecond
		frames = append(frames, &media.Frame{Track: tr, Params: p, PTS: at, DTS: at,
			Duration: 20 * time.Millisecond, Key: true, Data: [][]byte{{0xf8, 0xff, 0xfe}}, Arrival: time.Now()})
	}
	return frames
}

// splitUnits cuts an Annex B stream of one slice per picture into access units.
func splitUnits(b []byte) [][]byte {
	var units [][]byte
	start, seen := 0, false
	for i := 0; i+4 < len(b); i++ {
		if b[i] != 0 || b[i+1] != 0 || b[i+2] != 1 {
			continue
		}
		from := i
		if i > 0 && b[i-1] == 0 {
			from = i - 1
		}
		if seen {
			units = append(units, b[start:from])
			start, seen = from, false
		}
		if ty := b[i+3] & 0x1f; ty == 1 || ty == 5 {
			seen = true
		}
	}
	return append(units, b[start:])
}

func aacFrames(t testing.TB, tr *media.Track) []*media.Frame {
	t.Helper()
	var pkts mpeg4audio.ADTSPackets
	if err := pkts.Unmarshal(clipAAC); err != nil {
		t.Fatalf("clip: %v", err)
	}
	asc, err := mpeg4audio.AudioSpecificConfig{Type: pkts[0].Type, SampleRate: pkts[0].SampleRate,
		ChannelConfig: uint8(pkts[0].ChannelConfig), ChannelCount: pkts[0].ChannelCount}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p := &media.Params{SampleRate: 48000, Channels: 1, Sets: [][]byte{asc}}
	var frames []*media.Frame
	for i, k := range pkts {
		at := time.Duration(i) * 1024 * time.Second / 48000
		if at >= 3*time.Second {
			break
		}
		frames = append(frames, &media.Frame{Track: tr, Params: p, PTS: at, DTS: at,
			Duration: 1024 * time.Second / 48000, Key: true, Data: [][]byte{k.AU}, Arrival: time.Now()})
	}
	return frames
}

func g711Frames(tr *media.Track) []*media.Frame {
	p := &media.Params{SampleRate: 8000, Channels: 1}
	var frames []*media.Frame
	for i := range 150 {
		at := time.Duration(i) * 20 * time.Millisecond
		payload := make([]byte, 160)
		for j := range payload {
			payload[j] = byte(i*31 + j)
		}
		frames = append(frames, &media.Frame{Track: tr, Params: p, PTS: at, DTS: at,
			Duration: 20 * time.Millisecond, Key: true, Data: [][]byte{payload}, Arrival: time.Now()})
	}
	return frames
}

// digest covers all of a frame that a sink could spoil.
func digest(fs []*media.Frame) uint64 {
	h := fnv.New64a()
	for _, f := range fs {
		for _, d := range f.Data {
			h.Write(d)
			h.Write([]byte{0})
		}
		var b [8]byte
		for i := range b {
			b[i] = byte(f.PTS >> (8 * i))
		}
		h.Write(b[:])
		if f.Params != nil {
			for _, x := range f.Params.Sets {
				h.Write(x)
			}
		}
	}
	return h.Sum64()
}

func (s *Source) tracks(audio, video bool) []*media.Track {
	var ts []*media.Track
	if audio {
		s.Audio.SetParams(s.audio[0].Params)
		ts = append(ts, s.Audio)
	}
	if video && len(s.video) > 0 {
		s.Video.SetParams(s.video[0].Params)
		ts = append(ts, s.Video)
	}
	return ts
}

func write(t *testing.T, k pipeline.Sink, fs []*media.Frame) {
	t.Helper()
	before := digest(fs)
	for i, f := range fs {
		if f.Params != nil {
			f.Track.SetParams(f.Params)
		}
		if err := k.Write(t.Context(), f); err != nil {
			t.Fatalf("write frame %d (%s at %s): %v", i, f.Track.ID, f.DTS, err)
		}
	}
	if digest(fs) != before {
		t.Error("the sink changed frames that others share")
	}
}

func (s Spec) life(t *testing.T, audio, video bool) {
	k := s.New(t)
	src := NewSource(t, k.Accepts())
	if err := k.Open(t.Context(), src.tracks(audio, video)); err != nil {
		t.Fatalf("open: %v", err)
	}
	write(t, k, src.Frames(audio, video))
	if err := k.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
}

func (s Spec) again(t *testing.T) {
	k := s.New(t)
	src := NewSource(t, k.Accepts())
	for round := range 3 {
		if err := k.Open(t.Context(), src.tracks(true, true)); err != nil {
			t.Fatalf("open %d: %v", round, err)
		}
		write(t, k, shifted(src.Frames(true, true), time.Duration(round)*10*time.Second))
		if err := k.Close(t.Context()); err != nil {
			t.Fatalf("close %d: %v", round, err)
		}
	}
}

func shifted(fs []*media.Frame, by time.Duration) []*media.Frame {
	out := make([]*media.Frame, len(fs))
	for i, f := range fs {
		g := *f
		g.PTS, g.DTS = f.PTS+by, f.DTS+by
		out[i] = &g
	}
	return out
}

func (s Spec) resize(t *testing.T) {
	k := s.New(t)
	src := NewSource(t, k.Accepts())
	if err := k.Open(t.Context(), src.tracks(true, true)); err != nil {
		t.Fatalf("open: %v", err)
	}
	write(t, k, src.Resized())
	if err := k.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
}

// gap begins in mid-stream and leaves a hole of half a second.
func (s Spec) gap(t *testing.T) {
	k := s.New(t)
	src := NewSource(t, k.Accepts())
	if err := k.Open(t.Context(), src.tracks(true, true)); err != nil {
		t.Fatalf("open: %v", err)
	}
	var fs []*media.Frame
	for _, f := range shifted(src.Frames(true, true), time.Hour) {
		if d := f.DTS - time.Hour; d >= 500*time.Millisecond && d < time.Second {
			continue
		}
		f.Gap = f.DTS-time.Hour >= time.Second && f.DTS-time.Hour < 1030*time.Millisecond
		fs = append(fs, f)
	}
	write(t, k, fs)
	if err := k.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
}

// bounded fails the test when fn outlives the bound.
func (s Spec) bounded(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(s.Bound):
		t.Fatalf("%s did not return within %s of its context's end", what, s.Bound)
	}
}

func (s Spec) cancelled(t *testing.T) {
	k := s.New(t)
	src := NewSource(t, k.Accepts())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.bounded(t, "Open", func() {
		if k.Open(ctx, src.tracks(true, true)) == nil {
			_ = k.Close(ctx) // not every sink has to dial; it then closes as usual
		}
	})
}

func (s Spec) empty(t *testing.T) {
	k := s.New(t)
	src := NewSource(t, k.Accepts())
	if err := k.Open(t.Context(), src.tracks(true, true)); err != nil {
		t.Fatalf("open: %v", err)
	}
	if err := k.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
}

// stuck writes until the sink blocks or fails, then cancels.
func (s Spec) stuck(t *testing.T) {
	k := s.NewStuck(t)
	src := NewSource(t, k.Accepts())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	opened := false
	s.bounded(t, "Open and Write", func() {
		if k.Open(ctx, src.tracks(true, true)) != nil {
			return
		}
		opened = true
		for round := 0; ctx.Err() == nil; round++ {
			for _, f := range shifted(src.Frames(true, true), time.Duration(round)*3*time.Second) {
				if k.Write(ctx, f) != nil {
					return
				}
			}
		}
	})
	if opened {
		s.bounded(t, "Close", func() { _ = k.Close(ctx) })
	}
}

// Table is a codec table for tests that run a sink on a real stream.
func Table(conv ...codecs.Converter) *codecs.Table {
	return codecs.NewTable([]codecs.Codec{ourh264.Codec, vp8.Codec, opus.Codec}, conv)
}

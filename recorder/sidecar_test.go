package recorder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lineout/media"
	"lineout/pipeline"
	"lineout/recorder/clip"
)

func withSidecar(c *Config) { c.Sidecar, c.Template = true, "{streamName}" }

// sidecarOf reads and proves a file's sidecar.
func sidecarOf(t testing.TB, file string) *Sidecar {
	t.Helper()
	b, err := os.ReadFile(file + sidecarExt)
	require.NoError(t, err)
	s, err := decodeSidecar(b)
	require.NoError(t, err, "%s", b)
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := sha256.Sum256(body)
	require.Equal(t, hex.EncodeToString(sum[:]), s.File.SHA256)
	require.EqualValues(t, len(body), s.File.Size)
	require.Equal(t, filepath.Base(file), s.File.Name)
	return s
}

func TestSidecarSaysWhatTheFileHolds(t *testing.T) {
	for name, make := range map[string]func(testing.TB) *clip.Clip{"mp4": clip.New, "webm": func(tb testing.TB) *clip.Clip { return clip.NewVP8(tb, "320x240") }} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, withSidecar)
			s := b.sinkMeta("x", pipeline.Meta{Login: "10005", CallID: "call-7", Caller: "100", Callee: "sip:200@example.org", AppKey: "app", Provider: "SIP"})
			lost := uint64(10)
			s.r.stream.SetQuality(func() pipeline.Quality {
				lost += 5
				return pipeline.Quality{Sync: "sender", DriftPPM: 12.5, Video: pipeline.TrackQuality{Lost: lost, Jitter: 1500 * time.Microsecond},
					Audio: pipeline.TrackQuality{Concealed: time.Duration(lost) * time.Millisecond}}
			})
			c := make(t)
			s.r.stream.AddTrack(c.Video)
			s.Accepts()
			ctx := context.Background()
			require.NoError(t, s.Open(ctx, c.Tracks()))
			begin := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
			n := 0
			require.NoError(t, c.Frames(0, 10*time.Second, func(f *media.Frame) error {
				g := *f
				g.NTP = begin.Add(f.PTS)
				if f.Track.Kind == media.Video {
					g.NTP = g.NTP.Add(-time.Duration(n%3) * 10 * time.Millisecond) // a picture up to 20 ms late
					n++
					if f.DTS > 4*time.Second && f.DTS < 5*time.Second {
						return nil
					}
					g.Gap = f.DTS == 5*time.Second
				}
				return s.Write(ctx, &g)
			}))
			require.NoError(t, s.Close(ctx))
			b.stop()
			require.ElementsMatch(t, []string{"x." + name, "x." + name + ".json"}, files(t, b.dir))
			path := filepath.Join(b.dir, "x."+name)
			k := sidecarOf(t, path)
			require.Equal(t, callFacts{CallID: "call-7", Caller: "100", Callee: "sip:200@example.org", Login: "10005", AppKey: "app", Provider: "SIP"}, k.Call)
			require.Equal(t, "x", k.Stream.Name)
			require.Equal(t, s.r.stream.ID(), k.Stream.MediaSessionID)
			require.Equal(t, "2026-01-02T03:04:05.678Z", *k.Start.Sender)
			require.Equal(t, "2023-11-14T22:13:20.000Z", k.Start.Server)
			require.InDelta(t, 10_000, k.DurationMS, 25)
			require.Equal(t, clockText(begin.Add(time.Duration(k.DurationMS)*time.Millisecond)), *k.End.Sender)
			require.Equal(t, 1, k.Part)
			require.True(t, k.Last)
			require.False(t, k.Recovered)
			require.Equal(t, []Gap{{Track: "video", What: gapLoss, AtMS: 4000, LengthMS: 1000}}, k.Gaps)
			require.Equal(t, &AVOffset{MinMS: 0, MaxMS: 20, MeanMS: k.AVOffset.MeanMS, P99MS: 21, Frames: 226}, k.AVOffset)
			require.InDelta(t, 10, k.AVOffset.MeanMS, 0.2)
			require.EqualValues(t, 5, k.Quality.Video.Lost)
			require.Equal(t, 1.5, k.Quality.Video.JitterMS)
			require.EqualValues(t, 5, k.Quality.Audio.ConcealedMS)
			p := ffprobe(t, path)
			for _, tr := range k.Tracks {
				require.Len(t, p[tr.Kind].Packets, int(tr.Frames))
				require.NotEmpty(t, tr.Parameters)
				require.Positive(t, tr.Bytes)
				require.InDelta(t, p[tr.Kind].end()*1000, tr.EndMS, 25)
			}
			require.Equal(t, "320x240", p["video"].Size)
			require.Equal(t, [2]int{320, 240}, [2]int{k.Tracks[0].Width, k.Tracks[0].Height})
			require.Contains(t, []int{1, 2}, k.Tracks[1].Channels)
			require.Equal(t, 48000, k.Tracks[1].SampleRate)
		})
	}
}

// sinkMeta is sink with facts about a call.
func (b *bench) sinkMeta(name string, m pipeline.Meta) *sink {
	s, err := b.hub.Create(name, m)
	require.NoError(b.t, err)
	r := &recording{o: b.Output, stream: s, dir: b.dir, template: b.template(""), syncEvery: time.Hour}
	r.frames.total, r.bytes.total = &b.Output.frames, &b.Output.bytes
	r.stopping.Store(true)
	k := &sink{r: r, w: b.finish}
	k.Accepts()
	return k
}

// The sender's clock is often known a few seconds late only.
func TestSidecarKnowsTheSendersClockLate(t *testing.T) {
	b := newBench(t, withSidecar)
	s := b.sink("x", nil)
	c := clip.New(t)
	ctx := context.Background()
	require.NoError(t, s.Open(ctx, c.Tracks()))
	begin := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	require.NoError(t, c.Frames(2*time.Second, 8*time.Second, func(f *media.Frame) error {
		g := *f
		if f.PTS > 5*time.Second {
			g.NTP = begin.Add(f.PTS)
		}
		return s.Write(ctx, &g)
	}))
	require.NoError(t, s.Close(ctx))
	b.stop()
	k := sidecarOf(t, filepath.Join(b.dir, "x.mp4"))
	require.Equal(t, "2026-01-02T03:04:07.678Z", *k.Start.Sender)
}

// A file that found no room is finalised when there is some, at the latest
// when the server stops.
func TestFileWaitsForRoom(t *testing.T) {
	dir := t.TempDir()
	live := writeLive(t, dir, "x", 2*time.Second)
	f, err := os.OpenFile(live, os.O_RDWR, 0)
	require.NoError(t, err)
	require.True(t, lockNew(f, live))
	w := newFinisher(dir, 1, nil, slog.New(slog.DiscardHandler))
	w.sidecar = &SidecarApp{Name: "lineout"}
	require.True(t, noSpace(&os.PathError{Err: syscall.ENOSPC}))
	require.False(t, noSpace(syscall.EFBIG))
	require.True(t, w.postpone(job{f: f, path: live, last: true, seen: &seen{}}))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, w.run(ctx, 20*time.Second))
	require.Equal(t, []string{"x.mp4", "x.mp4.json"}, files(t, dir))
	for range maxLater {
		require.True(t, w.postpone(job{f: f}))
	}
	require.False(t, w.postpone(job{f: f}), "bounded")
}

// One byte changed anywhere in a sidecar shows.
func TestSidecarShowsDamage(t *testing.T) {
	c := &Sidecar{Schema: sidecarSchema, File: SidecarFile{Name: "x.mp4", Size: 7}}
	b, err := c.encode()
	require.NoError(t, err)
	got, err := decodeSidecar(b)
	require.NoError(t, err)
	require.Equal(t, c, got)
	for i := range b {
		for _, bit := range []byte{1, 0x20, 0x80} {
			b[i] ^= bit
			_, err := decodeSidecar(b)
			require.Error(t, err, "byte %d", i)
			b[i] ^= bit
		}
	}
	for n := range b {
		_, err := decodeSidecar(b[:n])
		require.Error(t, err)
	}
	c.Schema = 99
	b, err = c.encode()
	require.NoError(t, err)
	_, err = decodeSidecar(b)
	require.ErrorContains(t, err, "99")
}

func FuzzSidecar(f *testing.F) {
	b, err := (&Sidecar{Schema: sidecarSchema}).encode()
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSidecar(b); err == nil {
			require.Equal(t, sidecarSchema, s.Schema)
		}
	})
}

// The hook finds the sidecar in place.
func TestSidecarIsThereBeforeTheHook(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	script := filepath.Join(t.TempDir(), "hook.sh")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\ncp \"$2.json\" "+out+"\n"), 0o755))
	b := newBench(t, func(c *Config) { withSidecar(c); c.HookScript = script })
	record(t, b.sink("x", nil), clip.New(t), 0, 2*time.Second)
	b.stop()
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	_, err = decodeSidecar(got)
	require.NoError(t, err)
}

func TestSidecarReplacesNothing(t *testing.T) {
	b := newBench(t, withSidecar)
	other := filepath.Join(b.dir, "x.mp4.json")
	require.NoError(t, os.WriteFile(other, []byte("dear"), 0o644))
	record(t, b.sink("x", nil), clip.New(t), 0, time.Second)
	b.stop()
	require.ElementsMatch(t, []string{"x.mp4.json", "x_1.mp4", "x_1.mp4.json"}, files(t, b.dir))
	got, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, "dear", string(got))
	sidecarOf(t, filepath.Join(b.dir, "x_1.mp4"))
}

// Wherever a process ends, the next one leaves the file with its sidecar, once.
func TestSidecarOfARecoveredFile(t *testing.T) {
	for _, stage := range []string{"growing", "temp half written", "linked", "sidecar half written", "sidecar linked"} {
		t.Run(stage, func(t *testing.T) {
			dir := t.TempDir()
			live, temp, final := filepath.Join(dir, "x.live.mp4"), filepath.Join(dir, "x.tmp.mp4"), filepath.Join(dir, "x.mp4")
			writeLive(t, dir, "x", 2*time.Second)
			w := newFinisher(dir, 1, nil, slog.New(slog.DiscardHandler))
			w.sidecar = &SidecarApp{Name: "lineout", Version: "test"}
			f, err := os.Open(live)
			require.NoError(t, err)
			st, _ := f.Stat()
			s, err := scanFile(f, st.Size())
			require.NoError(t, err)
			d, err := writeFinal(context.Background(), f, s, temp)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			switch stage {
			case "growing":
				require.NoError(t, os.Remove(temp))
			case "temp half written":
				require.NoError(t, os.Truncate(temp, 100))
			default:
				require.NoError(t, os.Link(temp, final))
			}
			half := tempSidecar(live)
			switch stage {
			case "sidecar half written":
				require.NoError(t, os.WriteFile(half, []byte("{"), 0o644))
			case "sidecar linked":
				w.writeSidecar(job{path: live}, s, final, d, false)
				require.NoError(t, os.Link(final+sidecarExt, half))
			}
			w.recoverAll(context.Background())
			require.Equal(t, []string{"x.mp4", "x.mp4.json"}, files(t, dir))
			k := sidecarOf(t, final)
			require.Equal(t, stage != "sidecar linked", k.Recovered)
			if k.Recovered {
				require.Nil(t, k.Gaps)
			}
			require.EqualValues(t, 50, k.Tracks[0].Frames)
		})
	}
}

// What a full disk took is a gap before the first frame of the next part.
func TestSidecarNamesWhatAFaultTook(t *testing.T) {
	if !inProcess(t) {
		return
	}
	b := newBench(t, withSidecar)
	s := b.sink("x", nil)
	c := clip.New(t)
	ctx := context.Background()
	s.r.stopping.Store(false)
	require.NoError(t, s.Open(ctx, c.Tracks()))
	undo := fullDisk(t, 150<<10)
	var failed time.Duration
	require.ErrorIs(t, c.Frames(0, 20*time.Second, func(f *media.Frame) error {
		failed = f.DTS
		return s.Write(ctx, f)
	}), syscall.EFBIG)
	require.NoError(t, s.Close(ctx))
	undo()
	s.r.stopping.Store(true)
	require.NoError(t, s.Open(ctx, c.Tracks()))
	require.NoError(t, c.Frames(20*time.Second, 22*time.Second, func(f *media.Frame) error { return s.Write(ctx, f) }))
	require.NoError(t, s.Close(ctx))
	b.stop()
	one, two := sidecarOf(t, filepath.Join(b.dir, "x_1.mp4")), sidecarOf(t, filepath.Join(b.dir, "x.mp4"))
	require.False(t, one.Last)
	require.True(t, two.Last)
	require.Equal(t, 2, two.Part)
	require.Empty(t, one.Gaps)
	require.Len(t, two.Gaps, 2)
	for _, g := range two.Gaps {
		require.Equal(t, gapDisk, g.What)
		var held SidecarTrack
		for _, tr := range one.Tracks {
			if tr.Kind == g.Track {
				held = tr
			}
		}
		// The gap begins where the first part ends and ends where the second begins.
		require.InDelta(t, held.EndMS, 20_000+g.AtMS, 45, "%+v", g)
		require.InDelta(t, 20_000, 20_000+g.AtMS+g.LengthMS, 25)
		require.Less(t, held.EndMS, failed.Milliseconds()+1)
	}
}

func TestGapsAreBoundedAndJoined(t *testing.T) {
	var g gapLog
	for i := range maxGaps + 10 {
		at := time.Duration(i) * time.Second
		g.note(span{media.Audio, gapFiller, at, at + 20*time.Millisecond})
		g.note(span{media.Audio, gapFiller, at + 20*time.Millisecond, at + 40*time.Millisecond})
	}
	require.Len(t, g.spans, maxGaps)
	require.Positive(t, g.omitted)
	require.Equal(t, Gap{Track: "audio", What: gapFiller, AtMS: 1000, LengthMS: 40}, g.list(0)[1])
	b, err := json.Marshal((&gapLog{}).list(0))
	require.NoError(t, err)
	require.Equal(t, "[]", string(b))
}

// TestSidecarDigits: keys pressed while the file was written, on its clock, the
// key itself only where it may be written down; those of an earlier part are not repeated.
func TestSidecarDigits(t *testing.T) {
	b := newBench(t, withSidecar)
	s := b.sink("x", nil)
	c := clip.New(t)
	ctx := context.Background()
	begin := time.Now()
	s.r.stream.AddDigit(pipeline.Digit{At: begin, Key: "1", By: "INFO"}) // before the recording
	require.NoError(t, s.Open(ctx, c.Tracks()))
	begin = begin.Add(-time.Minute).Truncate(time.Millisecond)
	s.r.stream.AddDigit(pipeline.Digit{At: begin.Add(-time.Second), Key: "2", By: "INFO"}) // before its first frame
	require.NoError(t, c.Frames(0, 4*time.Second, func(f *media.Frame) error {
		g := *f
		g.Arrival = begin.Add(f.DTS)
		return s.Write(ctx, &g)
	}))
	for _, d := range []pipeline.Digit{{At: begin.Add(1500 * time.Millisecond), Key: "5", By: "RFC2833"}, {At: begin.Add(2 * time.Second), By: "INFO_RELAY"},
		{At: begin.Add(50 * time.Second), Key: "#", By: "RFC2833"}} {
		s.r.stream.AddDigit(d)
	}
	require.NoError(t, s.Close(ctx))
	b.stop()
	k := sidecarOf(t, filepath.Join(b.dir, "x.mp4"))
	two, five, hash := "2", "5", "#"
	require.Equal(t, []SidecarDigit{{0, &two, "INFO"}, {1500, &five, "RFC2833"}, {2000, nil, "INFO_RELAY"}, {k.DurationMS, &hash, "RFC2833"}}, k.Digits)
	require.Zero(t, k.DigitsOmitted)
}

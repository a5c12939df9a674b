package fillvideo

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lineout/codecs/h264"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ms     = time.Millisecond
	margin = 700 * ms
)

// bare is an inner sink that notes what it gets, as HLS is: no late tracks.
type bare struct {
	tracks []*media.Track
	got    []*media.Frame
	opens  int
	every  time.Duration
}

func (b *bare) Accepts() pipeline.Accepts {
	return pipeline.Accepts{Audio: []media.Codec{"AAC"}, Video: []media.Codec{h264.Name}, KeyframeEvery: b.every}
}
func (b *bare) Open(_ context.Context, ts []*media.Track) error {
	b.opens++
	b.tracks = ts
	return nil
}
func (b *bare) Write(_ context.Context, f *media.Frame) error { b.got = append(b.got, f); return nil }
func (b *bare) Close(context.Context) error                   { return nil }

// adder takes late tracks, as RTMP does.
type adder struct {
	bare
	added []*media.Track
	at    int // frames it had then
}

func (a *adder) AddTrack(_ context.Context, t *media.Track) error {
	a.added, a.at = append(a.added, t), len(a.got)
	return nil
}

func config() Config {
	return Config{Size: "640x360", Rate: 5, Repeat: 2 * time.Second, Margin: margin}
}

// call is a source of frames for a wrapped sink.
type call struct {
	t            *testing.T
	s            pipeline.Sink
	audio, video *media.Track
	params       *media.Params
	asked        int
}

func newCall(t *testing.T, inner pipeline.Sink, c Config, generate bool) *call {
	x := &call{t: t, s: Wrap(inner, c, generate), params: &media.Params{Width: 320, Height: 240},
		audio: &media.Track{ID: "audio", Kind: media.Audio, Codec: "AAC"}}
	x.video = &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, RequestKeyframe: func() { x.asked++ }}
	return x
}

func (x *call) open(ts ...*media.Track) {
	x.t.Helper()
	if err := x.s.Open(context.Background(), ts); err != nil {
		x.t.Fatal(err)
	}
}

// sound writes 20 ms frames of sound, from one time until before another.
func (x *call) sound(from, to time.Duration) {
	for at := from; at < to; at += 20 * ms {
		x.write(&media.Frame{Track: x.audio, PTS: at, DTS: at, Key: true, Data: [][]byte{{1}}})
	}
}

func (x *call) picture(at time.Duration, key bool) *media.Frame {
	f := &media.Frame{Track: x.video, Params: x.params, PTS: at, DTS: at, Key: key, Data: [][]byte{{0x65, byte(at / ms)}}}
	x.write(f)
	return f
}

func (x *call) write(f *media.Frame) {
	x.t.Helper()
	if err := x.s.Write(context.Background(), f); err != nil {
		x.t.Fatal(err)
	}
}

// check wants what must always hold: each kind's DTS grows strictly, sound is
// all there and untouched, real pictures kept their times, a key frame comes
// first after each change of who makes the pictures. It returns the pictures.
func check(t *testing.T, got []*media.Frame) (pictures []*media.Frame) {
	t.Helper()
	last := map[media.Kind]time.Duration{media.Audio: -time.Hour, media.Video: -time.Hour}
	var before *media.Frame
	for i, f := range got {
		k := f.Track.Kind
		if f.DTS <= last[k] {
			t.Fatalf("frame %d: %s at %v after %v", i, k, f.DTS, last[k])
		}
		last[k] = f.DTS
		if k == media.Audio {
			continue
		}
		if (before == nil || before.Filler != f.Filler) && !f.Key {
			t.Fatalf("frame %d at %v: no key frame first", i, f.DTS)
		}
		before = f
		pictures = append(pictures, f)
	}
	return pictures
}

func TestBlackFromTheStart(t *testing.T) {
	in := &adder{bare: bare{every: 2 * time.Second}}
	x := newCall(t, in, config(), true)
	x.open(x.audio)
	if len(in.tracks) != 2 || in.tracks[1].Kind != media.Video || in.tracks[1].Params().Width != 640 || in.tracks[1].Params().Height != 360 {
		t.Fatalf("opened with %v", in.tracks)
	}
	x.sound(500*ms, 10500*ms)
	pics := check(t, in.got)
	if in.got[0] != pics[0] || !pics[0].Key || pics[0].DTS != 500*ms {
		t.Errorf("begins with %+v", in.got[0])
	}
	// 5 a second up to the margin before the end, a key frame each 2 s.
	if n := len(pics); n != 47 {
		t.Errorf("%d pictures", n)
	}
	for i, f := range pics {
		if f.DTS != 500*ms+time.Duration(i)*200*ms || f.Key != (i%10 == 0) || !f.Filler || f.PTS != f.DTS {
			t.Errorf("picture %d: %+v", i, f)
		}
		if f.Key && !h264.HasParameterSets(f.Data) {
			t.Errorf("picture %d has no parameter sets", i)
		}
	}
	if n := len(in.got) - len(pics); n != 500 {
		t.Errorf("%d frames of sound of 500", n)
	}
}

// Real pictures that come 8 s late take over with their first key frame and
// its parameters; nothing is moved for them.
func TestLateVideoTakesOver(t *testing.T) {
	for name, in := range map[string]pipeline.Sink{"adder": &adder{}, "bare": &bare{}} {
		t.Run(name, func(t *testing.T) {
			x := newCall(t, in, config(), true)
			x.open(x.audio)
			x.sound(0, 8*time.Second)
			if err := x.s.(pipeline.TrackAdder).AddTrack(t.Context(), x.video); err != nil {
				t.Fatal(err)
			}
			x.picture(7900*ms, false)
			x.sound(8*time.Second, 8200*ms)
			first := x.picture(8033*ms, true) // a little late, as pictures are
			second := x.picture(8066*ms, false)
			x.sound(8200*ms, 12*time.Second)
			b, a := asBare(in)
			pics := check(t, b.got)
			n := 0
			for n < len(pics) && pics[n].Filler {
				n++
			}
			if n+2 > len(pics) || pics[n] != first || pics[n+1] != second || pics[n-1].DTS > first.DTS-margin/2 {
				t.Fatalf("after %d generated pictures came %+v", n, pics[n:])
			}
			if x.asked == 0 {
				t.Error("no key frame was asked for")
			}
			if a != nil && (len(a.added) != 1 || a.added[0] != x.video || a.got[a.at] != first) {
				t.Errorf("the track was introduced %v at frame %d", a.added, a.at)
			}
			if b.opens != 1 {
				t.Errorf("%d opens", b.opens)
			}
		})
	}
}

func asBare(s pipeline.Sink) (*bare, *adder) {
	if a, ok := s.(*adder); ok {
		return &a.bare, a
	}
	return s.(*bare), nil
}

// Pictures that stop are repeated while there is sound, and real ones come
// back with a key frame.
func TestPicturesStop(t *testing.T) {
	in := &bare{every: 3 * time.Second}
	x := newCall(t, in, config(), false)
	x.open(x.audio, x.video)
	key := x.picture(0, true)
	for at := 40 * ms; at < 5*time.Second; at += 40 * ms {
		x.sound(at-40*ms, at)
		x.picture(at, false)
	}
	real := len(check(t, in.got))
	x.sound(4960*ms, 16*time.Second)
	x.picture(15950*ms, false) // refers to what nobody has
	asked := x.asked
	back := x.picture(15990*ms, true)
	x.picture(16030*ms, false)
	x.sound(16*time.Second, 17*time.Second)
	pics := check(t, in.got)
	var at []time.Duration
	for _, f := range pics[real : len(pics)-2] {
		if !f.Filler || !f.Key || &f.Data[0] != &key.Data[0] || f.Params != key.Params {
			t.Errorf("not the last key frame again: %+v", f)
		}
		at = append(at, f.DTS)
	}
	// Noticed with the sound at 6.98 s, and then each 3 s.
	if len(at) != 4 || at[0] != 6980*ms-margin || at[3] != at[0]+9*time.Second {
		t.Errorf("repeated at %v", at)
	}
	if pics[len(pics)-2] != back || asked == 0 {
		t.Errorf("came back with %+v, key frame asked for %d times", pics[len(pics)-2], asked)
	}
}

// A sender of few pictures is waited for once it is known as one.
func TestSlowPictures(t *testing.T) {
	in := &bare{}
	x := newCall(t, in, config(), false)
	x.open(x.audio, x.video)
	for at := time.Duration(0); at < 60*time.Second; at += 4 * time.Second {
		x.picture(at, at < 12*time.Second) // the first ones are key frames, as it was asked to send
		x.sound(at, at+4*time.Second)
	}
	filler, real := 0, 0
	for _, f := range check(t, in.got) {
		if f.Filler {
			filler++
		} else {
			real++
		}
	}
	in.got = nil
	x.open(x.audio, x.video) // long after the stream began
	x.picture(160*time.Second, true)
	x.sound(160*time.Second, 163*time.Second)
	if n := len(check(t, in.got)); n != 2 {
		t.Errorf("%d pictures, want one and its repetition", n)
	}
	if real != 15 || filler != 1 {
		t.Errorf("%d real pictures of 15, %d generated, want only those of the first pause", real, filler)
	}
}

// A real picture never yields its time: one whose place is taken is left out,
// and a key frame is asked for.
func TestNoPlaceLeft(t *testing.T) {
	in := &bare{}
	x := newCall(t, in, config(), true)
	x.open(x.audio)
	x.sound(0, 5*time.Second)
	if err := x.s.(pipeline.TrackAdder).AddTrack(t.Context(), x.video); err != nil {
		t.Fatal(err)
	}
	n := len(in.got)
	last := in.got[n-1].DTS - margin
	x.picture(last-time.Second, true)
	x.picture(last+margin, false)
	if len(in.got) != n || x.asked != 2 {
		t.Errorf("%d frames more, key frame asked for %d times", len(in.got)-n, x.asked)
	}
	x.picture(last+margin+40*ms, true)
	if pics := check(t, in.got); pics[len(pics)-1].Filler {
		t.Error("the key frame that fits did not come through")
	}
}

// After a pause of the sound the hole stays a hole.
func TestPauseOfSound(t *testing.T) {
	in := &bare{}
	x := newCall(t, in, config(), true)
	x.open(x.audio)
	x.sound(0, 2*time.Second)
	n := len(check(t, in.got))
	x.sound(62*time.Second, 62020*ms)
	if pics := check(t, in.got); len(pics) != n+1 || pics[n].DTS != 62*time.Second-margin {
		t.Errorf("%d pictures fill the hole", len(pics)-n)
	}
}

// A new connection begins like the first, and time goes on.
func TestOpensAgain(t *testing.T) {
	in := &bare{}
	x := newCall(t, in, config(), true)
	x.open(x.audio)
	x.sound(0, 3*time.Second)
	x.open(x.audio)
	x.sound(3*time.Second, 6*time.Second)
	n := 0
	for i, f := range check(t, in.got) {
		if i > 0 && f.Key && f.DTS == 3*time.Second {
			n++
		}
	}
	if n != 1 {
		t.Error("the second connection has no key frame at its start")
	}
}

func TestWithoutGenerate(t *testing.T) {
	in := &bare{}
	x := newCall(t, in, config(), false)
	x.open(x.audio)
	x.sound(0, 10*time.Second)
	if pics := check(t, in.got); len(pics) != 0 {
		t.Errorf("%d pictures nobody asked for", len(pics))
	}
	if err := x.s.(pipeline.TrackAdder).AddTrack(t.Context(), x.video); !errors.Is(err, pipeline.ErrReopen) {
		t.Errorf("late video: %v", err)
	}
	c := config()
	c.Repeat = 0
	if Wrap(in, c, false) != pipeline.Sink(in) {
		t.Error("a sink is wrapped for nothing")
	}
	c.Repeat = time.Second / 2
	if c.Validate() == nil {
		t.Error("half a second is taken")
	}
	for _, size := range []string{"", "640", "640x", "641x360", "axb", "0x0"} {
		c := config()
		c.Size = size
		if c.Validate() == nil {
			t.Errorf("size %q is taken", size)
		}
	}
}

func TestConforms(t *testing.T) {
	sinktest.Run(t, sinktest.Spec{New: func(*testing.T) pipeline.Sink { return Wrap(&bare{}, config(), true) }})
}

func TestNoAllocationWhileNothingIsMissing(t *testing.T) {
	in := &null{}
	x := newCall(t, in, config(), true)
	x.open(x.audio, x.video)
	x.picture(0, true)
	v := &media.Frame{Track: x.video}
	a := &media.Frame{Track: x.audio}
	if n := testing.AllocsPerRun(100, func() {
		v.DTS += 40 * ms
		a.DTS += 40 * ms
		x.write(v)
		x.write(a)
	}); n != 0 {
		t.Errorf("%v allocations per picture and sound", n)
	}
}

type null struct{ bare }

func (*null) Write(context.Context, *media.Frame) error { return nil }

package rtpin

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"lineout/codecs/g711"
	"lineout/codecs/opus"
	"lineout/media"
)

// Whatever the network does: order, references, Gap (check), bounded delay,
// and sync.
func TestInputProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string, hi int) time.Duration {
			return time.Duration(rapid.IntRange(0, hi).Draw(t, label)) * ms
		}
		flowOf := func(k string) flow {
			f := flow{
				start: draw(k+" start", 3000), end: 30 * sec,
				latency:  20*ms + draw(k+" latency", 40),
				delay:    5*ms + draw(k+" delay", 100),
				loss:     float64(rapid.IntRange(0, 10).Draw(t, k+" loss")) / 100,
				dup:      float64(rapid.IntRange(0, 5).Draw(t, k+" dup")) / 100,
				burst:    draw(k+" burst", 1000),
				quietSR:  rapid.Bool().Draw(t, k+" no SR"),
				srStuck:  rapid.Bool().Draw(t, k+" stuck SR"),
				keyEvery: rapid.IntRange(10, 300).Draw(t, k+" key every"),
			}
			if j := draw(k+" jitter", 15); j > 0 {
				f.jitter = exponential(j)
			}
			if at := draw(k+" restart", 30000); at > 5*sec && at < 25*sec {
				f.newSSRC = []time.Duration{at}
			}
			if at := draw(k+" base", 30000); at > 5*sec && at < 25*sec {
				f.newBase = []time.Duration{at}
			}
			return f
		}
		cfg := DefaultConfig()
		cfg.InBuffer = rapid.Bool().Draw(t, "rtp_in_buffer")
		a, v := flowOf("audio"), flowOf("video")
		burst := max(a.burst-a.start, v.burst-v.start, 0)
		s := newSim(t, cfg, rapid.Int64().Draw(t, "seed"), &a, &v).run().check()
		most := cfg.JitterMax + ms
		if cfg.InBuffer {
			most += cfg.InBufferMax
		}
		for _, f := range s.frames {
			if d := f.at - f.Arrival.Sub(t0); d > most {
				t.Fatalf("%v frame at %v was held for %v", f.Track.Kind, f.DTS, d)
			}
		}
		limit := misled(&a, &v) + a.rough + v.rough + 10*ms
		for _, c := range []struct{ from, limit time.Duration }{{0, limit + burst}, {12 * sec, limit}} { // what a burst leaves is slewed
			if errs := s.errors(c.from, 30*sec); len(errs) > 0 && errs[len(errs)-1] > c.limit {
				t.Fatalf("A/V error of up to %v from %v on, limit %v", errs[len(errs)-1], c.from, c.limit)
			}
		}
		if n := len(s.of(media.Audio)); n < 1000 {
			t.Fatalf("only %d audio frames came out", n)
		}
		if s.in.Stats().Audio.HeldFrames != 0 || s.in.Stats().Video.HeldFrames != 0 {
			t.Fatal("frames are left after Flush")
		}
	})
}

// misled is how far off sound and picture may be by what both tracks' arrival
// says, or their reports: what repeats the newest frame's timestamp is wrong by
// that frame's age, always by the same where frames divide the time between
// reports. The estimate is one of the two or between them. Jitter adds to it by what
// begins a source or its timestamps late, and by the age that a repeat is taken for.
func misled(a, v *flow) time.Duration {
	arrival := (a.latency - 20*ms + a.delay - v.latency - v.delay).Abs()
	if a.quietSR || v.quietSR {
		return arrival
	}
	var least, most time.Duration // by how much reports put the picture too late
	if v.srStuck {
		least, most = v.latency, v.latency+v.interval
	}
	if a.srStuck {
		least, most = least-a.latency-a.interval, most-a.latency
	}
	return max(arrival, -least, most)
}

// Packets in order, nothing missing, rtp_in_buffer off: no delay at all.
func TestNoAddedDelay(t *testing.T) {
	cfg := DefaultConfig()
	cfg.InBuffer = false
	a, v := flow{end: mins}, flow{end: mins}
	s := newSim(t, cfg, 1, &a, &v).run().check()
	for _, f := range s.frames {
		if d := f.at - f.Arrival.Sub(t0); d != 0 {
			t.Fatalf("%v frame at %v was held for %v", f.Track.Kind, f.DTS, d)
		}
	}
	if len(s.of(media.Audio)) != a.captured || len(s.of(media.Video)) != v.captured {
		t.Fatalf("%d of %d audio and %d of %d video frames", len(s.of(media.Audio)), a.captured, len(s.of(media.Video)), v.captured)
	}
}

// With rtp_in_buffer frames of both kinds come in one order, and no later than
// the slower track makes necessary.
func TestInterleaved(t *testing.T) {
	for _, late := range []time.Duration{0, 100 * ms, 300 * ms} {
		a := flow{end: mins, jitter: exponential(2 * ms)}
		v := flow{end: mins, delay: 10*ms + late, jitter: exponential(2 * ms)}
		s := newSim(t, DefaultConfig(), 1, &a, &v).run().check()
		for i := 1; i < len(s.frames); i++ {
			if s.frames[i].DTS < s.frames[i-1].DTS {
				t.Fatalf("video %v late: %v %v after %v", late, s.frames[i].Track.Kind, s.frames[i].DTS, s.frames[i-1].DTS)
			}
			if d := s.frames[i].at - s.frames[i].Arrival.Sub(t0); d > 120*ms+late && s.frames[i].DTS > sec && s.frames[i].DTS < 59*sec {
				t.Fatalf("video %v late: frame %v held for %v", late, s.frames[i].DTS, d)
			}
		}
		if s.frames[0].DTS != 0 {
			t.Fatalf("the timeline starts at %v", s.frames[0].DTS)
		}
		// It starts where both exist.
		if va := s.of(media.Video)[0].DTS; va > 20*ms {
			t.Fatalf("the first picture comes at %v", va)
		}
	}
}

// One track alone is not held once the other is known not to come or to sleep.
// A sender that stalls and then catches up, losing nothing: the timeline is that
// of the timestamps, nothing is inserted into it.
func TestStallInsertsNothing(t *testing.T) {
	for _, length := range []time.Duration{1000 * ms, 1500 * ms, 2500 * ms} {
		for _, speed := range []float64{1.25, 2, 20} {
			st := stall{at: 3 * time.Second, length: length, speed: speed}
			a := flow{end: 30 * time.Second, latency: 20 * ms, jitter: exponential(2 * ms), stall: st}
			v := flow{end: 30 * time.Second, latency: 5 * ms, jitter: exponential(2 * ms), stall: st}
			s := newSim(t, DefaultConfig(), 1, &a, &v).run().check()
			name := fmt.Sprintf("stall of %v, then %v times real time", length, speed)
			for _, k := range []media.Kind{media.Audio, media.Video} {
				frames := s.of(k)
				first, last := frames[0], frames[len(frames)-1]
				if d := (last.DTS - first.DTS) - (last.captured - first.captured); d > 20*ms || d < -20*ms {
					t.Errorf("%s: %v is longer by %v", name, k, d)
				}
				for _, f := range frames {
					if f.Gap {
						t.Errorf("%s: a gap in %v at %v", name, k, f.DTS)
					}
				}
			}
			s.bound(name, 0, 30*time.Second, 30*ms)
		}
	}
}

func TestLonelyTrackIsNotHeld(t *testing.T) {
	a := flow{end: mins}
	v := flow{end: 10 * sec}
	s := newSim(t, DefaultConfig(), 1, &a, &v).run().check()
	for _, f := range s.of(media.Audio) {
		if d := f.at - f.Arrival.Sub(t0); f.DTS > 14*sec && d != 0 || d > 400*ms {
			t.Fatalf("audio frame %v held for %v", f.DTS, d)
		}
	}
	one := flow{end: mins}
	s = newSim(t, DefaultConfig(), 1, &one, nil)
	s.in.Expect(media.Video, true)
	s.run().check()
	for _, f := range s.of(media.Audio) {
		if d := f.at - f.Arrival.Sub(t0); f.DTS > sec && d != 0 || d > 400*ms {
			t.Fatalf("audio frame %v held for %v although video never came", f.DTS, d)
		}
	}
	if len(s.of(media.Audio)) != one.captured {
		t.Fatal("audio is missing")
	}
}

// The late track takes its place; the first one's frames lie exactly where
// they would without it.
func TestLateTrackMovesNothing(t *testing.T) {
	for _, late := range []media.Kind{media.Audio, media.Video} {
		a, v := flow{end: 30 * sec, jitter: exponential(2 * ms)}, flow{end: 30 * sec, jitter: exponential(2 * ms)}
		first := media.Audio
		if late == media.Audio {
			a.start, first = 8*sec, media.Video
		} else {
			v.start = 8 * sec
		}
		s := newSim(t, DefaultConfig(), 1, &a, &v).run().check()
		frames := s.of(first)
		for _, f := range frames {
			if d := (f.DTS - f.captured) - (frames[0].DTS - frames[0].captured); d > 15*ms || d < -15*ms || first == media.Audio && (d > 200*time.Microsecond || d < -200*time.Microsecond) {
				t.Fatalf("%v late: %v frame %v moved by %v", late, first, f.DTS, d)
			}
		}
	}
}

func TestKeyframeRequests(t *testing.T) {
	asked := []time.Duration{}
	in := NewInput(DefaultConfig(), t0)
	now := time.Duration(0)
	tr := &media.Track{ID: "video", Kind: media.Video, Codec: "TEST", ClockRate: 90000}
	tr.RequestKeyframe = func() { asked = append(asked, now) }
	if err := in.AddTrack(TrackSpec{Track: tr, Formats: formats(media.Video)}); err != nil {
		t.Fatal(err)
	}
	var out []*media.Frame
	send := func(n int, key bool) {
		b := make([]byte, 100)
		b[14] = 1
		if key {
			b[12] = 1
		}
		in.PushRTP(media.Video, &rtp.Packet{Header: rtp.Header{PayloadType: 96, SequenceNumber: uint16(n), Timestamp: uint32(n * 3600), Marker: true}, Payload: b}, t0.Add(now))
		in.Poll(t0.Add(now), func(f *media.Frame) { out = append(out, f) })
	}
	for n := range 100 { // 4 s without a key frame
		send(n, false)
		now += 40 * ms
	}
	if len(out) != 0 || len(asked) < 7 || len(asked) > 9 {
		t.Fatalf("%d frames, asked at %v", len(out), asked)
	}
	for i := 1; i < len(asked); i++ {
		if asked[i]-asked[i-1] < 500*ms {
			t.Fatalf("asked at %v", asked)
		}
	}
	send(100, true)
	asked = nil
	for n := 101; n < 150; n++ {
		now += 40 * ms
		send(n, false)
	}
	if len(asked) != 0 || len(out) < 45 {
		t.Fatalf("asked at %v, %d frames", asked, len(out))
	}
	now += 80 * ms
	send(151, false) // 150 is lost
	for range 3 {
		now += 40 * ms
		in.Poll(t0.Add(now), func(f *media.Frame) { out = append(out, f) })
	}
	if len(asked) != 1 || !out[0].Key || tr.Params() == nil {
		t.Fatalf("asked at %v after a loss", asked)
	}
	// On hold there is nobody to ask.
	asked = nil
	for range 100 {
		now += 100 * ms
		in.Poll(t0.Add(now), func(*media.Frame) {})
	}
	if len(asked) > 4 {
		t.Fatalf("asked %d times while nothing came", len(asked))
	}
}

// A phone that negotiated PCMA and PCMU may switch; the lead adds a new track
// from within the hook, and no packet is lost.
func TestCodecChange(t *testing.T) {
	in := NewInput(DefaultConfig(), t0)
	fs := map[uint8]Format{8: {Codec: g711.CodecPCMA, ClockRate: 8000}, 0: {Codec: g711.CodecPCMU, ClockRate: 8000}, 111: {Codec: opus.Codec, ClockRate: 48000}}
	add := func(f Format) {
		err := in.AddTrack(TrackSpec{Track: &media.Track{ID: "audio", Kind: media.Audio, Codec: f.Codec.Name(), ClockRate: f.ClockRate}, Formats: fs})
		if err != nil {
			t.Fatal(err)
		}
	}
	add(fs[8])
	changes := 0
	in.OnCodecChange = func(k media.Kind, pt uint8, f Format) {
		changes++
		if pt != 101 {
			add(f)
		}
	}
	var out []*media.Frame
	ts := uint32(1000)
	for n := range 300 {
		pt, step, payload := uint8(8), uint32(160), make([]byte, 160)
		switch {
		case n >= 200:
			pt, step, payload = 111, 960, []byte{0xf8, 0xff, 0xfe}
		case n >= 100:
			pt = 0
		}
		at := t0.Add(time.Duration(n) * 20 * ms)
		in.PushRTP(media.Audio, &rtp.Packet{Header: rtp.Header{PayloadType: pt, SequenceNumber: uint16(n), Timestamp: ts}, Payload: payload}, at)
		in.Poll(at, func(f *media.Frame) { out = append(out, f) })
		ts += step
	}
	in.Flush(t0.Add(6*sec), func(f *media.Frame) { out = append(out, f) })
	if changes != 2 || len(out) != 300 {
		t.Fatalf("%d changes, %d frames", changes, len(out))
	}
	for n, f := range out {
		want := []media.Codec{g711.PCMA, g711.PCMU, opus.Name}[n/100]
		if f.Track.Codec != want || f.DTS != time.Duration(n)*20*ms || f.Gap != (n == 100 || n == 200) {
			t.Fatalf("frame %d: %v at %v, gap %v", n, f.Track.Codec, f.DTS, f.Gap)
		}
	}
	if s := in.Stats().Audio; s.CodecChanges != 2 || s.Lost != 0 {
		t.Fatalf("%+v", s)
	}
}

// A hook that does nothing: the packets are dropped and counted, once reported.
func TestCodecChangeUnheeded(t *testing.T) {
	in := NewInput(DefaultConfig(), t0)
	_ = in.AddTrack(TrackSpec{Track: &media.Track{Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000}, Formats: formats(media.Audio)})
	calls, frames := 0, 0
	in.OnCodecChange = func(media.Kind, uint8, Format) { calls++ }
	for n := range 100 {
		pt := uint8(8)
		switch {
		case n >= 50 && n%10 == 0:
			pt = 101 // telephone-event, not negotiated as media
		case n >= 50:
			pt = 0
		}
		at := t0.Add(time.Duration(n) * 20 * ms)
		in.PushRTP(media.Audio, &rtp.Packet{Header: rtp.Header{PayloadType: pt, SequenceNumber: uint16(n), Timestamp: uint32(160 * n)}, Payload: make([]byte, 160)}, at)
		in.Poll(at, func(*media.Frame) { frames++ })
	}
	if s := in.Stats().Audio; calls != 1 || frames != 50 || s.OtherCodec != 45 || s.Ignored != 50 || s.Lost != 0 {
		t.Fatalf("%d calls, %d frames, %+v", calls, frames, s)
	}
}

func TestGoodbyeEndsTheWait(t *testing.T) {
	in := NewInput(DefaultConfig(), t0)
	for _, k := range []media.Kind{media.Audio, media.Video} {
		c := media.Codec(g711.PCMA)
		rate := 8000
		if k == media.Video {
			c, rate = "TEST", 90000
		}
		if err := in.AddTrack(TrackSpec{Track: &media.Track{Kind: k, Codec: c, ClockRate: rate}, Formats: formats(k), Expected: true}); err != nil {
			t.Fatal(err)
		}
	}
	key := make([]byte, 100)
	key[12], key[14] = 1, 1
	frames := 0
	emit := func(*media.Frame) { frames++ }
	in.PushRTP(media.Video, &rtp.Packet{Header: rtp.Header{PayloadType: 96, SSRC: 5}, Payload: key}, t0)
	for n := range 20 {
		at := t0.Add(time.Duration(n) * 20 * ms)
		in.PushRTP(media.Audio, &rtp.Packet{Header: rtp.Header{PayloadType: 8, SequenceNumber: uint16(n), Timestamp: uint32(160 * n)}, Payload: make([]byte, 160)}, at)
		in.Poll(at, emit)
	}
	held := in.Stats().Audio.HeldFrames
	in.PushRTCP(media.Video, []rtcp.Packet{&rtcp.Goodbye{Sources: []uint32{5}}}, t0.Add(390*ms))
	in.Poll(t0.Add(390*ms), emit)
	if held < 10 || in.Stats().Audio.HeldFrames != 0 || frames+int(in.Stats().Audio.Trimmed) != 21 {
		t.Fatalf("%d were held, %d are after BYE, %d came out", held, in.Stats().Audio.HeldFrames, frames)
	}
}

func TestNTPOnFrames(t *testing.T) {
	a, v := flow{end: 20 * sec}, flow{end: 20 * sec}
	s := newSim(t, DefaultConfig(), 1, &a, &v).run().check()
	for _, f := range s.frames {
		switch {
		case f.at < 10*sec && !f.NTP.IsZero():
			t.Fatal("NTP before a second report confirms the first")
		case f.at > 11*sec:
			if d := f.NTP.Sub(t0) - f.captured; d > ms || d < -ms {
				t.Fatalf("%v frame captured %v says %v", f.Track.Kind, f.captured, f.NTP.Sub(t0))
			}
		}
	}
	if st := s.in.Stats(); st.Sync != SyncSender || st.Audio.SenderReports != 3 {
		t.Fatalf("%+v", st)
	}
	b := flow{end: 20 * sec, srTime: func(d time.Duration) time.Duration { return d - 56*365*24*time.Hour }}
	for _, f := range newSim(t, DefaultConfig(), 1, &b, nil).run().check().frames {
		if !f.NTP.IsZero() {
			t.Fatalf("a clock that is not set became %v", f.NTP)
		}
	}
}

func TestAddTrackRefuses(t *testing.T) {
	tr := func(k media.Kind, c media.Codec, rate int) *media.Track {
		return &media.Track{Kind: k, Codec: c, ClockRate: rate}
	}
	for _, c := range []struct {
		spec TrackSpec
		want string
	}{
		{TrackSpec{}, "audio or video"},
		{TrackSpec{Track: tr(0, g711.PCMA, 8000)}, "audio or video"},
		{TrackSpec{Track: tr(media.Audio, g711.PCMA, 0)}, "clock rate"},
		{TrackSpec{Track: tr(media.Audio, opus.Name, 48000), Formats: formats(media.Audio)}, "no payload type carries"},
		{TrackSpec{Track: tr(media.Audio, g711.PCMA, 16000), Formats: formats(media.Audio)}, "no payload type carries"},
		{TrackSpec{Track: tr(media.Audio, g711.PCMA, 8000), Formats: map[uint8]Format{8: {}}}, "payload type 8"},
	} {
		err := NewInput(DefaultConfig(), t0).AddTrack(c.spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestDefaultsAreThoseOfTheTags(t *testing.T) {
	v := reflect.ValueOf(DefaultConfig())
	for i := range v.NumField() {
		f := v.Type().Field(i)
		want, got := f.Tag.Get("default"), v.Field(i).Interface()
		switch got := got.(type) {
		case bool:
			if (want == "true") != got {
				t.Errorf("%s: %v, the tag says %s", f.Name, got, want)
			}
		case int:
			if want != "5" || got != 5 {
				t.Errorf("%s: %v, the tag says %s", f.Name, got, want)
			}
		case time.Duration:
			if d, err := time.ParseDuration(want); (err != nil || d != got) && !(want == "0" && got == 0) {
				t.Errorf("%s: %v, the tag says %s", f.Name, got, want)
			}
		}
	}
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c = Config{InBufferMax: -1, JitterMin: -1, JitterMax: -2, GeneratorDelay: -1}
	err := c.Validate()
	for _, name := range []string{"rtp_in_buffer_max", "rtp_jitter_min", "rtp_jitter_max", "rtp_sync_slew", "generate_av_start_delay"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// Comfort noise (RFC 3389) between packets of G.711 is no loss, no other codec
// and no sound: its level is handed on where the silence begins, and the next
// packet lies at its right time.
func TestComfortNoise(t *testing.T) {
	in := NewInput(DefaultConfig(), t0)
	in.OnCodecChange = func(media.Kind, uint8, Format) { t.Error("comfort noise was taken for a codec") }
	tr := &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}
	if err := in.AddTrack(TrackSpec{Track: tr, Formats: map[uint8]Format{8: {Codec: g711.CodecPCMA, ClockRate: 8000}}, Noise: []uint8{13}}); err != nil {
		t.Fatal(err)
	}
	var frames, noise []*media.Frame
	emit := func(f *media.Frame) {
		if f.Noise != 0 {
			noise = append(noise, f)
		} else {
			frames = append(frames, f)
		}
	}
	seq := uint16(65530)
	send := func(pt uint8, at time.Duration, payload ...byte) {
		in.PushRTP(media.Audio, &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq,
			Timestamp: uint32(at / time.Millisecond * 8), SSRC: 7}, Payload: payload}, t0.Add(at))
		seq++
		in.Poll(t0.Add(at), emit)
	}
	send(13, 0, 50) // begins no stream
	for i := range 50 {
		send(8, time.Duration(i)*20*ms+20*ms, make([]byte, 160)...)
	}
	for i := range 10 { // two seconds of pause, described every 200 ms, with and without a spectrum
		send(13, sec+20*ms+time.Duration(i)*200*ms, []byte{byte(50 + i), 100, 100}[:1+i%3]...)
	}
	send(13, 2900*ms) // nothing said
	for i := range 50 {
		send(8, 3*sec+20*ms+time.Duration(i)*20*ms, make([]byte, 160)...)
	}
	in.Flush(t0.Add(5*sec), emit)
	if len(frames) != 100 {
		t.Fatalf("%d frames of 100 packets", len(frames))
	}
	for i, f := range frames {
		want := frames[0].PTS + time.Duration(i)*20*ms
		if i >= 50 {
			want += 2 * sec
		}
		if f.PTS != want || f.Gap || len(f.Data[0]) != 160 {
			t.Errorf("frame %d at %v, want %v; gap %v; %d bytes", i, f.PTS, want, f.Gap, len(f.Data[0]))
		}
	}
	if len(noise) != 10 {
		t.Fatalf("%d of 10 descriptions", len(noise))
	}
	for i, f := range noise {
		if want := frames[49].PTS + 20*ms + time.Duration(i)*200*ms; f.PTS != want || int(f.Noise) != -50-i || len(f.Data) > 0 || f.Duration != 0 {
			t.Errorf("description %d at %v, want %v: %+v", i, f.PTS, want, f)
		}
	}
	if s := in.Stats().Audio; s.Lost != 0 || s.Ignored != 0 || s.Noise != 11 || s.Refused != 1 || s.CodecChanges != 0 {
		t.Errorf("%+v", s)
	}
}

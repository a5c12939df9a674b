package send

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lineout/calls/leg"
	"lineout/calls/pack"
	"lineout/codecs"
	"lineout/codecs/aac"
	"lineout/codecs/g711"
	"lineout/codecs/g722"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/pipeline"
	"lineout/pipeline/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

var table = codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMA, g711.CodecPCMU, g722.Codec, aac.Codec}, nil)

// phone is a leg that keeps what it is sent.
type phone struct {
	leg.Media
	tracks []leg.TrackInfo
	sent   []packet
	err    error
}

type packet struct {
	kind media.Kind
	now  time.Time
	leg.Outgoing
}

func (p *phone) Tracks() []leg.TrackInfo { return p.tracks }

func (p *phone) WriteRTP(k media.Kind, o leg.Outgoing) error {
	o.Payload = slices.Clone(o.Payload)
	p.sent = append(p.sent, packet{k, time.Now(), o})
	return p.err
}

func audio(fs ...leg.Format) leg.TrackInfo {
	return leg.TrackInfo{Kind: media.Audio, Send: true, Formats: fs}
}

func video(fs ...leg.Format) leg.TrackInfo {
	return leg.TrackInfo{Kind: media.Video, Send: true, Formats: fs}
}

func format(pt uint8, c media.Codec, clock int, fmtp string) leg.Format {
	return leg.Format{PayloadType: pt, Codec: c, ClockRate: clock, Fmtp: fmtp}
}

var (
	pcma = format(8, g711.PCMA, 8000, "")
	pcmu = format(0, g711.PCMU, 8000, "")
	op   = format(111, opus.Name, 48000, "")
	avc0 = format(113, h264.Name, 90000, "packetization-mode=0;profile-level-id=42801f")
	avc1 = format(112, h264.Name, 90000, "profile-level-id=42801f; packetization-mode=1")
	vp   = format(114, vp8.Name, 90000, "")
)

func sink(p *phone) *Sink { return New(p, table, slog.New(slog.DiscardHandler)) }

func TestConformance(t *testing.T) {
	for name, tracks := range map[string][]leg.TrackInfo{
		"G.711 and H.264": {audio(pcmu), video(avc1)},
		"Opus and VP8":    {audio(op), video(vp)},
		"mode 0":          {audio(pcmu), video(avc0)},
	} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Spec{New: func(*testing.T) pipeline.Sink { return sink(&phone{tracks: tracks}) }})
		})
	}
}

// TestPlan: what a leg takes follows from its tracks.
func TestPlan(t *testing.T) {
	held := audio(pcma)
	held.Send = false
	for name, c := range map[string]struct {
		tracks       []leg.TrackInfo
		audio, video []media.Codec
		pt           uint8
	}{
		"one clock only":        {[]leg.TrackInfo{audio(pcma, op, pcmu)}, []media.Codec{g711.PCMA, g711.PCMU}, nil, 0},
		"other clock":           {[]leg.TrackInfo{audio(op, pcma)}, []media.Codec{opus.Name}, nil, 0},
		"the first number wins": {[]leg.TrackInfo{audio(pcma, format(99, g711.PCMA, 8000, ""))}, []media.Codec{g711.PCMA}, nil, 0},
		"mode 1 wins":           {[]leg.TrackInfo{audio(pcma), video(avc0, avc1)}, []media.Codec{g711.PCMA}, []media.Codec{h264.Name}, 112},
		"mode 1 first":          {[]leg.TrackInfo{video(avc1, avc0)}, nil, []media.Codec{h264.Name}, 112},
		"on hold":               {[]leg.TrackInfo{held}, nil, nil, 0},
		"unknown codec":         {[]leg.TrackInfo{audio(format(3, "GSM", 8000, ""))}, nil, nil, 0},
	} {
		s := sink(&phone{tracks: c.tracks})
		a := s.Accepts()
		if !slices.Equal(a.Audio, c.audio) || !slices.Equal(a.Video, c.video) || a.Streaming {
			t.Errorf("%s: %+v", name, a)
		}
		if pt := s.plan.Load().formats[h264.Name].PayloadType; pt != c.pt {
			t.Errorf("%s: payload type %d", name, pt)
		}
		if f, ok := s.plan.Load().formats[g711.PCMA]; ok && f.PayloadType != 8 {
			t.Errorf("%s: payload type %d", name, f.PayloadType)
		}
	}
	p := &phone{tracks: []leg.TrackInfo{audio(pcma)}}
	s := sink(p)
	if s.Stale() {
		t.Error("stale without a change")
	}
	for name, tr := range map[string]leg.TrackInfo{"hold": held, "another number": audio(format(98, g711.PCMA, 8000, "")),
		"another length": {Kind: media.Audio, Send: true, Formats: []leg.Format{pcma}, PacketTime: 30 * ms}} {
		if p.tracks = []leg.TrackInfo{tr}; !s.Stale() {
			t.Errorf("%s is not noticed", name)
		}
	}
}

// track makes one with frames that are written by play.
func soundTrack(c media.Codec) *media.Track {
	return &media.Track{ID: "audio", Kind: media.Audio, Codec: c, ClockRate: 8000, Channels: 1}
}

func frame(tr *media.Track, pts, length time.Duration) *media.Frame {
	n := int(length / (125 * time.Microsecond))
	d := make([]byte, n)
	for i := range d {
		d[i] = byte(pts/ms) + byte(i)
	}
	return &media.Frame{Track: tr, PTS: pts, DTS: pts, Duration: length, Key: true, Data: [][]byte{d}}
}

// TestPacketTime: sound is cut to the length the other party wants, whatever
// the source's, without a byte or a sample lost or moved.
func TestPacketTime(t *testing.T) {
	for _, c := range []struct{ in, out time.Duration }{{20 * ms, 20 * ms}, {20 * ms, 30 * ms}, {30 * ms, 20 * ms}, {60 * ms, 20 * ms}, {10 * ms, 40 * ms}, {20 * ms, 0}} {
		synctest.Test(t, func(t *testing.T) {
			a := audio(pcma)
			a.PacketTime = c.out
			p := &phone{tracks: []leg.TrackInfo{a}}
			s, tr := sink(p), soundTrack(g711.PCMA)
			if err := s.Open(t.Context(), []*media.Track{tr}); err != nil {
				t.Fatal(err)
			}
			var want, got []byte
			begin := time.Now()
			for at := time.Duration(0); at < 600*ms; at += c.in {
				f := frame(tr, at, c.in)
				want = append(want, f.Data[0]...)
				if err := s.Write(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.in)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			length := c.out
			if length == 0 {
				length = 20 * ms
			}
			at := begin.Add(lead)
			for i, x := range p.sent {
				if x.Length != length || len(x.Payload) != int(length/(125*time.Microsecond)) || !x.At.Equal(at) || x.Marker || x.PayloadType != 8 {
					t.Errorf("%v to %v: packet %d: %v of %v, %d bytes", c.in, c.out, i, x.At.Sub(begin), x.Length, len(x.Payload))
				}
				at = at.Add(x.Length)
				got = append(got, x.Payload...)
			}
			if !slices.Equal(want, got) {
				t.Errorf("%v to %v: %d bytes became %d, or others", c.in, c.out, len(want), len(got))
			}
		})
	}
}

// TestMoments: sound and picture keep their distance on the timeline, whichever
// comes first and however late the other; pauses and leaps do not tear them.
func TestMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &phone{tracks: []leg.TrackInfo{audio(pcma), video(vp)}}
		s := sink(p)
		a := soundTrack(g711.PCMA)
		v := &media.Track{ID: "video", Kind: media.Video, Codec: vp8.Name, ClockRate: 90000}
		if err := s.Open(t.Context(), []*media.Track{a, v}); err != nil {
			t.Fatal(err)
		}
		picture := func(pts time.Duration) {
			s.Write(t.Context(), &media.Frame{Track: v, PTS: pts, DTS: pts, Key: true, Data: [][]byte{make([]byte, 3000)}})
		}
		last := func() packet { return p.sent[len(p.sent)-1] }
		begin := time.Now()
		pts := time.Hour
		picture(pts)
		if n := len(p.sent); n != 3 || p.sent[0].Marker || p.sent[1].Marker || !p.sent[2].Marker || !p.sent[0].At.Equal(last().At) {
			t.Fatalf("a picture of 3000 bytes: %d packets", n)
		}
		zero := last().At.Add(-pts)
		if !last().At.Equal(begin.Add(lead)) {
			t.Errorf("begins %v from now", last().At.Sub(begin))
		}
		time.Sleep(30 * ms) // a conversion holds the sound back
		s.Write(t.Context(), frame(a, pts, 20*ms))
		if !last().At.Equal(zero.Add(pts)) || last().kind != media.Audio {
			t.Errorf("the sound is %v from its picture", last().At.Sub(zero.Add(pts)))
		}
		time.Sleep(10 * time.Second) // a pause of the source
		pts += 10 * time.Second
		s.Write(t.Context(), frame(a, pts, 20*ms))
		if !last().At.Equal(zero.Add(pts)) {
			t.Errorf("after a pause %v off", last().At.Sub(zero.Add(pts)))
		}
		time.Sleep(20*ms + 180*ms) // the source hangs, and goes on where it was
		pts += 20 * ms
		s.Write(t.Context(), frame(a, pts, 20*ms))
		zero = last().At.Add(-pts)
		if !last().At.Equal(time.Now().Add(lead)) {
			t.Errorf("sound that comes late is for %v from now, a time that silence was sent for", last().At.Sub(time.Now()))
		}
		picture(pts)
		if !last().At.Equal(zero.Add(pts)) {
			t.Errorf("its picture is %v off", last().At.Sub(zero.Add(pts)))
		}
		pts += 7 * time.Second // a leap of the source's timestamps: nobody waits for that
		s.Write(t.Context(), frame(a, pts, 20*ms))
		if d := last().At.Sub(time.Now()); d < 0 || d > lead+20*ms {
			t.Errorf("after a leap %v ahead", d)
		}
		zero = last().At.Add(-pts)
		picture(pts + 20*ms)
		if !last().At.Equal(zero.Add(pts + 20*ms)) {
			t.Errorf("the picture after the leap is %v off", last().At.Sub(zero.Add(pts+20*ms)))
		}
		time.Sleep(time.Second) // what comes far too late is not played in the past
		s.Write(t.Context(), frame(a, pts+20*ms, 20*ms))
		if d := last().At.Sub(time.Now()); d < 0 || d > lead+20*ms {
			t.Errorf("late sound is %v ahead", d)
		}
	})
}

// TestParameterSets: a key frame whose sets were told elsewhere gets them.
func TestParameterSets(t *testing.T) {
	for _, c := range []struct {
		f     leg.Format
		types []byte // of the NAL units, as packed
	}{{avc1, []byte{24, 5}}, {avc0, []byte{7, 8, 5}}} {
		p := &phone{tracks: []leg.TrackInfo{video(c.f)}}
		s := sink(p)
		v := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
		v.SetParams(&media.Params{Sets: [][]byte{{0x67, 0x64, 0, 0x1f, 1}, {0x68, 2}}})
		if err := s.Open(t.Context(), []*media.Track{v}); err != nil {
			t.Fatal(err)
		}
		for _, key := range []bool{true, false} {
			nal := byte(0x41)
			if key {
				nal = 0x65
			}
			if err := s.Write(t.Context(), &media.Frame{Track: v, Key: key, Data: [][]byte{{nal, 1, 2}}}); err != nil {
				t.Fatal(err)
			}
		}
		var types []byte
		for _, x := range p.sent {
			types = append(types, x.Payload[0]&31)
		}
		if !slices.Equal(types, append(c.types, 1)) {
			t.Errorf("mode %d: %v", pack.PacketizationMode(c.f.Fmtp), types)
		}
	}
}

func TestKeyframeWanted(t *testing.T) {
	s := sink(&phone{tracks: []leg.TrackInfo{video(vp)}})
	s.KeyframeWanted() // before any track
	asked := 0
	v := &media.Track{ID: "video", Kind: media.Video, Codec: vp8.Name, RequestKeyframe: func() { asked++ }}
	if err := s.Open(t.Context(), []*media.Track{v}); err != nil {
		t.Fatal(err)
	}
	if s.KeyframeWanted(); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// TestErrors: the end of the call is no fault of the sink, all else is.
func TestErrors(t *testing.T) {
	p := &phone{tracks: []leg.TrackInfo{audio(pcma)}, err: leg.ErrEnded}
	s, tr := sink(p), soundTrack(g711.PCMA)
	if err := s.Open(t.Context(), []*media.Track{soundTrack(g722.Name)}); err == nil {
		t.Error("a codec the other party does not take was opened")
	}
	if err := s.Open(t.Context(), []*media.Track{tr}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), frame(tr, 0, 25*ms)); err != nil {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	p.err = context.DeadlineExceeded
	s.Open(t.Context(), []*media.Track{tr})
	if err := s.Write(t.Context(), frame(tr, 0, 25*ms)); err == nil {
		t.Error("a fault of the network is hidden")
	}
}

// BenchmarkWrite is the cost of a packet of sound.
func BenchmarkWrite(b *testing.B) {
	s := sink(&phone{tracks: []leg.TrackInfo{audio(pcma)}})
	s.md = deaf{s.md}
	tr := soundTrack(g711.PCMA)
	if err := s.Open(b.Context(), []*media.Track{tr}); err != nil {
		b.Fatal(err)
	}
	f := frame(tr, 0, 20*ms)
	b.ReportAllocs()
	for b.Loop() {
		f.PTS += 20 * ms
		if err := s.Write(b.Context(), f); err != nil {
			b.Fatal(err)
		}
	}
}

type deaf struct{ leg.Media }

func (deaf) WriteRTP(media.Kind, leg.Outgoing) error { return nil }

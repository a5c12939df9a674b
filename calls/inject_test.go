package calls

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/calls/sound"
	"lineout/codecs/g711"
	"lineout/codecs/vp8"
	"lineout/media"
	"lineout/pipeline"
)

// soundFile is length of A-law in a WAVE file whose samples are all of one code.
func soundFile(t *testing.T, dir, name string, length time.Duration, code byte) {
	t.Helper()
	n := int(length / (125 * time.Microsecond))
	var b bytes.Buffer
	b.WriteString("RIFF\x00\x00\x00\x00WAVEfmt ")
	for _, v := range []any{uint32(16), uint16(6), uint16(1), uint32(8000), uint32(8000), uint16(1), uint16(8)} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteString("data")
	binary.Write(&b, binary.LittleEndian, uint32(n))
	b.Write(bytes.Repeat([]byte{code}, n))
	if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// studio is a rig with a call "c" that may be sent sound, and a folder of files.
type studio struct {
	*rig
	md   *puppetMedia
	call *puppet
	live *media.Track
	src  *pipeline.Stream
	pts  time.Duration
}

func newStudio(t *testing.T) *studio {
	dir := t.TempDir()
	soundFile(t, dir, "a.wav", time.Second, 0x11)
	soundFile(t, dir, "b.wav", time.Second, 0x22)
	s := &studio{}
	s.rig = newRig(t, func(d *Deps) {
		d.Sounds = &sound.Folder{Config: sound.Config{Dir: dir}}
	})
	s.m.Startup(t.Context(), request("c"))
	s.call, s.md = s.phones.leg("c"), audioOnly()
	s.md.tracks[0].Send = true
	s.call.events <- leg.Event{Type: leg.Answered, Code: 200, Media: s.md}
	var err error
	if s.src, err = s.hub.Create("live", pipeline.Meta{}); err != nil {
		t.Fatal(err)
	}
	s.live = &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000, Channels: 1}
	s.src.AddTrack(s.live)
	s.src.SetReady()
	synctest.Wait()
	return s
}

// run lets the live stream go on for a time; its code is 0x33.
func (s *studio) run(d time.Duration) {
	for end := s.pts + d; s.pts < end; s.pts += 20 * time.Millisecond {
		s.src.Write(&media.Frame{Track: s.live, PTS: s.pts, DTS: s.pts, Duration: 20 * time.Millisecond, Key: true,
			Data: [][]byte{bytes.Repeat([]byte{0x33}, 160)}})
		time.Sleep(20 * time.Millisecond)
	}
	synctest.Wait()
}

// heard is what was sent since the last time, by code and in packets.
func (s *studio) heard() (order []byte, count map[byte]int) {
	s.md.mu.Lock()
	defer s.md.mu.Unlock()
	count = map[byte]int{}
	for _, p := range s.md.sent {
		c := p.Payload[len(p.Payload)/2]
		if c == 0xd5 {
			continue // the rest of a file's last packet
		}
		if count[c]++; len(order) == 0 || order[len(order)-1] != c {
			order = append(order, c)
		}
	}
	s.md.sent = nil
	return order, count
}

func (s *studio) state() Injected {
	st, err := s.m.Stats("c")
	if err != nil {
		s.t.Fatal(err)
	}
	return st.Injected
}

// TestInjectStream: from start to end, to the end of the source, and to the end
// of the call.
func TestInjectStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStudio(t)
		defer s.stop()
		ctx := t.Context()
		if err := s.m.InjectStream(ctx, "c", "live"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.run(time.Second)
		if _, n := s.heard(); n[0x33] != 50 || s.state().Stream != "live" {
			t.Errorf("%d packets of a second, %+v", n[0x33], s.state())
		}
		if l := s.src.Attachments(); len(l) != 1 || l[0].Label() != "call:c" || l[0].State() != pipeline.Active {
			t.Errorf("attachments %v", l)
		}
		if err := s.m.EndInjection(ctx, "c"); err != nil {
			t.Fatal(err)
		}
		s.run(time.Second)
		if _, n := s.heard(); len(n) != 0 || s.state() != (Injected{}) || len(s.src.Attachments()) != 0 {
			t.Errorf("after the end: %v %+v", n, s.state())
		}
		if err := s.m.EndInjection(ctx, "c"); code(err) != fault.NotFound {
			t.Error(err)
		}
		s.m.InjectStream(ctx, "c", "live")
		synctest.Wait()
		s.run(time.Second)
		s.src.Close("gone")
		<-s.src.Done()
		synctest.Wait()
		if _, n := s.heard(); n[0x33] != 50 || s.state() != (Injected{}) {
			t.Errorf("after the source's end: %v %+v", n, s.state())
		}
		if err := s.m.InjectStream(ctx, "c", "live"); code(err) != fault.NotFound {
			t.Error(err)
		}
		if err := s.m.InjectStream(ctx, "c", "s-c"); err != nil { // its own: an echo
			t.Error(err)
		}
		if c := s.m.Counts(); c.InjectedStreams != 3 || c.InjectedSounds != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// TestInjectSound: a file is played whole and once, goes before a stream, and
// another takes its place.
func TestInjectSound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStudio(t)
		defer s.stop()
		ctx := t.Context()
		s.m.InjectStream(ctx, "c", "live")
		synctest.Wait()
		s.run(time.Second)
		if err := s.m.InjectSound(ctx, "c", "a.wav"); err != nil {
			t.Fatal(err)
		}
		s.run(500 * time.Millisecond)
		if got := s.state(); got != (Injected{"live", "a.wav"}) {
			t.Errorf("%+v", got)
		}
		s.run(time.Second)
		if order, n := s.heard(); string(order) != "\x33\x11\x33" || n[0x11] != 50 || n[0x33] < 74 || n[0x33] > 75 || s.state() != (Injected{Stream: "live"}) {
			t.Errorf("stream, file, stream: % x %v %+v", order, n, s.state())
		}
		s.m.InjectSound(ctx, "c", "a.wav")
		s.run(200 * time.Millisecond)
		s.m.InjectSound(ctx, "c", "b.wav")
		s.run(200 * time.Millisecond)
		if err := s.m.InjectStream(ctx, "c", "live"); err != nil { // waits
			t.Error(err)
		}
		s.run(time.Second)
		if order, n := s.heard(); string(order) != "\x11\x22\x33" || n[0x11] < 9 || n[0x11] > 11 || n[0x22] != 50 {
			t.Errorf("file, file, stream: % x %v", order, n)
		}
		s.m.InjectSound(ctx, "c", "a.wav")
		s.run(200 * time.Millisecond)
		s.m.EndInjection(ctx, "c")
		s.heard()
		s.run(time.Second)
		if _, n := s.heard(); len(n) != 0 {
			t.Errorf("after the end: %v", n)
		}
		s.m.InjectSound(ctx, "c", "a.wav") // the call ends under it
		if c := s.m.Counts(); c.InjectedSounds != 5 {
			t.Errorf("%+v", c)
		}
	})
}

// TestInjectHold: nothing is sent to who does not want it, and it goes on after.
func TestInjectHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStudio(t)
		defer s.stop()
		ctx := t.Context()
		change := func(tr ...leg.TrackInfo) {
			s.md.mu.Lock()
			s.md.tracks = tr
			s.md.mu.Unlock()
			s.call.events <- leg.Event{Type: leg.MediaChanged, Media: s.md}
			synctest.Wait()
		}
		open := s.md.tracks[0]
		held := open
		held.Send = false
		s.m.InjectStream(ctx, "c", "live")
		synctest.Wait()
		s.run(time.Second)
		s.heard()
		change(held)
		s.run(time.Second)
		if _, n := s.heard(); len(n) != 0 || s.state().Stream != "live" {
			t.Errorf("on hold: %v %+v", n, s.state())
		}
		if err := s.m.InjectSound(ctx, "c", "a.wav"); code(err) != fault.Conflict {
			t.Error(err)
		}
		if err := s.m.InjectStream(ctx, "c", "live"); code(err) != fault.Conflict {
			t.Error(err)
		}
		change(open)
		s.run(time.Second)
		if _, n := s.heard(); n[0x33] != 50 {
			t.Errorf("after hold: %v", n)
		}
		mulaw := open
		mulaw.Formats = []leg.Format{{PayloadType: 0, Codec: g711.PCMU, ClockRate: 8000, Channels: 1}}
		change(mulaw)
		s.run(time.Second)
		s.md.mu.Lock()
		defer s.md.mu.Unlock()
		if n := len(s.md.sent); n < 49 || s.md.sent[n-1].PayloadType != 0 {
			t.Errorf("after a change of the codec: %d packets", n)
		}
	})
}

func TestInjectRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStudio(t)
		defer s.stop()
		ctx := t.Context()
		s.m.Startup(ctx, request("early"))
		s.m.Startup(ctx, request("deaf"))
		s.phones.leg("deaf").events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		synctest.Wait()
		for _, c := range []struct {
			call, name string
			want       fault.Code
		}{{"none", "live", fault.NotFound}, {"c", "none", fault.NotFound}, {"early", "live", fault.Conflict}, {"deaf", "live", fault.Conflict}} {
			if err := s.m.InjectStream(ctx, c.call, c.name); code(err) != c.want {
				t.Errorf("stream: %+v: %v", c, err)
			}
		}
		for _, c := range []struct {
			call, name string
			want       fault.Code
		}{{"none", "a.wav", fault.NotFound}, {"c", "none.wav", fault.NotFound}, {"c", "../x", fault.BadRequest}, {"early", "a.wav", fault.Conflict}, {"deaf", "a.wav", fault.Conflict}} {
			if err := s.m.InjectSound(ctx, c.call, c.name); code(err) != c.want {
				t.Errorf("sound: %+v: %v", c, err)
			}
		}
	})
}

// TestInjectKeyframe: what the other party asks for reaches the source, by RTCP
// and by SIP.
func TestInjectKeyframe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStudio(t)
		defer s.stop()
		asked := 0
		pics, err := s.hub.Create("pics", pipeline.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		pics.AddTrack(&media.Track{ID: "video", Kind: media.Video, Codec: vp8.Name, ClockRate: 90000, RequestKeyframe: func() { asked++ }})
		pics.SetReady()
		s.md.tracks = append(s.md.tracks, leg.TrackInfo{Kind: media.Video, Send: true,
			Formats: []leg.Format{{PayloadType: 114, Codec: vp8.Name, ClockRate: 90000}}})
		if err := s.m.InjectStream(t.Context(), "c", "pics"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if asked == 0 {
			t.Error("no key frame was asked for at the beginning")
		}
		asked = 0
		for i, p := range []rtcp.Packet{&rtcp.PictureLossIndication{}, &rtcp.FullIntraRequest{}, &rtcp.ReceiverReport{}} {
			s.md.in <- leg.Packet{Kind: media.Video, RTCP: []rtcp.Packet{p}, At: time.Now()}
			synctest.Wait()
			if want := min(i+1, 2); asked != want {
				t.Errorf("%T: asked %d times, want %d", p, asked, want)
			}
		}
		s.call.events <- leg.Event{Type: leg.KeyframeWanted}
		synctest.Wait()
		if asked != 3 {
			t.Errorf("asked %d times", asked)
		}
	})
}

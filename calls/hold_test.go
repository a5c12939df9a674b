package calls

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/media"
)

// TestHold: HOLD while a side holds; only a call that is up can be held.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		if err := r.m.Hold(t.Context(), "c", true); code(err) != fault.Internal {
			t.Errorf("holding a call that rings: %v", err)
		}
		if err := r.m.Hold(t.Context(), "none", true); code(err) != fault.NotFound {
			t.Errorf("holding no call: %v", err)
		}
		r.phones.leg("c").events <- leg.Event{Type: leg.Answered, Code: 200, Media: audioOnly()}
		for _, want := range []Status{Hold, Established} {
			synctest.Wait()
			if err := r.m.Hold(t.Context(), "c", want == Hold); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := r.m.Find(Filter{CallID: "c"}); len(got) != 1 || got[0].Status != want {
				t.Errorf("status %+v, want %s", got, want)
			}
		}
	})
}

// TestVideoJoinsAndLeaves: tracks follow what is agreed in the running call;
// the stream lives on, and a track that comes back is the same one.
func TestVideoJoinsAndLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(d *Deps) { d.Codecs = codecs.NewTable([]codecs.Codec{g711.CodecPCMA, h264.Codec}, nil) })
		defer r.stop()
		r.m.Startup(t.Context(), request("c"))
		c := newCamera()
		video := c.tracks
		c.tracks = audioOnly().tracks
		events := r.phones.leg("c").events
		events <- leg.Event{Type: leg.Answered, Code: 200, Media: c}
		synctest.Wait()
		s := r.hub.Get("s-c")
		change := func(tracks ...leg.TrackInfo) {
			c.tracks = tracks
			events <- leg.Event{Type: leg.MediaChanged, Media: c}
			synctest.Wait()
		}
		frames := func() uint64 {
			for _, tr := range s.Graph().Tracks {
				if tr.ID == "video" {
					return tr.Frames
				}
			}
			return 0
		}
		audio := c.tracks[0]
		change(audio, video[0])
		if s.Track(media.Video) == nil {
			t.Fatal("the stream has no video")
		}
		c.key <- struct{}{}
		c.shoot(time.Second)
		first := frames()
		if first == 0 {
			t.Error("no pictures")
		}
		change(audio)
		for i := range 50 {
			c.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8,
				SequenceNumber: uint16(i), Timestamp: uint32(160 * i), SSRC: 3}, Payload: make([]byte, 160)}}
			time.Sleep(20 * time.Millisecond)
		}
		if st, err := r.m.Stats("c"); err != nil || len(s.Tracks()) != 2 {
			t.Errorf("%+v %v", st, err)
		}
		again := video[0]
		again.Formats = []leg.Format{{PayloadType: 97, Codec: h264.Name, ClockRate: 90000}}
		change(audio, again)
		c.pt = 97
		c.key <- struct{}{}
		c.shoot(time.Second)
		if frames() <= first || len(s.Tracks()) != 2 {
			t.Errorf("%d pictures after %d, %d tracks", frames(), first, len(s.Tracks()))
		}
		select {
		case <-s.Closing():
			t.Error("the stream ended")
		default:
		}
	})
}

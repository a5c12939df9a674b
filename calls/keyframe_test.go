package calls

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"lineout/calls/leg"
	"lineout/codecs"
	"lineout/codecs/h264"
	"lineout/media"
)

// camera is a party that sends pictures, a key frame only when told to.
type camera struct {
	*puppetMedia
	seq   uint16
	frame uint32
	pt    uint8
	key   chan struct{} // the next picture is a key frame
}

func newCamera() *camera {
	return &camera{pt: 96, key: make(chan struct{}, 1), puppetMedia: &puppetMedia{in: make(chan leg.Packet, 100),
		tracks: []leg.TrackInfo{{Kind: media.Video, Receive: true,
			Formats: []leg.Format{{PayloadType: 96, Codec: h264.Name, ClockRate: 90000}}}}}}
}

// shoot sends pictures for a time, 25 a second.
func (c *camera) shoot(d time.Duration) {
	for range d / (40 * time.Millisecond) {
		units := [][]byte{{0x41, 0x9a, 1, 2, 3}}
		select {
		case <-c.key:
			units = [][]byte{
				{0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x32, 0x8f, 0x18, 0x32, 0x48}, // 640x360
				{0x68, 0xcb, 0x8c, 0xb2}, {0x65, 0x88, 1, 2, 3}}
		default:
		}
		for i, u := range units {
			c.in <- leg.Packet{Kind: media.Video, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: c.pt,
				SequenceNumber: c.seq, Timestamp: 3600 * c.frame, SSRC: 7, Marker: i == len(units)-1}, Payload: u}}
			c.seq++
		}
		c.frame++
		time.Sleep(40 * time.Millisecond)
	}
}

// waits are the times between the requests that came since the n-th.
func (c *camera) waits(n int) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []time.Duration
	for i := n + 1; i < len(c.asked); i++ {
		out = append(out, c.asked[i].Sub(c.asked[i-1]))
	}
	return out
}

func (c *camera) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked)
}

// filming is a call whose first key frame has come.
func filming(t *testing.T) (*rig, *camera, *media.Track) {
	r := newRig(t, func(d *Deps) { d.Codecs = codecs.NewTable([]codecs.Codec{h264.Codec}, nil) })
	r.m.Startup(t.Context(), request("c"))
	c := newCamera()
	r.phones.leg("c").events <- leg.Event{Type: leg.Answered, Code: 200, Media: c}
	synctest.Wait()
	c.key <- struct{}{}
	c.shoot(time.Second)
	tr := r.hub.Get("s-c").Track(media.Video)
	if g := r.hub.Get("s-c").Graph(); g.Tracks[0].Keys != 1 || c.requests() != 0 {
		r.stop()
		t.Fatalf("after the first key frame: %+v, %d requests", g.Tracks, c.requests())
	}
	return r, c, tr
}

// A request that the other party overlooks is repeated before a viewer wonders.
func TestKeyframeRequestIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, tr := filming(t)
		defer r.stop()
		tr.AskKeyframe()
		c.shoot(200 * time.Millisecond)
		tr.AskKeyframe() // a second viewer: the same request serves it
		c.shoot(11 * time.Second)
		got := c.waits(0)
		want := []time.Duration{300, 600, 1000, 1000, 1000, 1000, 1000, 1000, 1000}
		if len(got) != len(want) {
			t.Fatalf("waits %v, want %d", got, len(want))
		}
		for i := range want {
			if d := got[i] - want[i]*time.Millisecond; d < 0 || d > 40*time.Millisecond {
				t.Errorf("wait %d was %v, want %v", i, got[i], want[i]*time.Millisecond)
			}
		}
		// Given up, and asked again by the next who wants one.
		n := c.requests()
		tr.AskKeyframe()
		c.shoot(80 * time.Millisecond)
		if c.requests() != n+1 {
			t.Errorf("%d requests after the one who came later, want one", c.requests()-n)
		}
	})
}

// Two that come shortly after each other are both answered: the key frame of
// the first may be gone when the second viewer is there.
func TestKeyframeRequestAfterAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, tr := filming(t)
		defer r.stop()
		tr.AskKeyframe()
		synctest.Wait()
		c.key <- struct{}{}
		c.shoot(80 * time.Millisecond)
		tr.AskKeyframe()
		c.shoot(280 * time.Millisecond)
		if w := c.waits(0); len(w) != 1 || w[0] < 300*time.Millisecond || w[0] > 340*time.Millisecond {
			t.Errorf("waits %v, want one of 300 ms", w)
		}
	})
}

// A party that always needs longer is not asked twice for each key frame.
func TestSlowKeyframesAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, tr := filming(t)
		defer r.stop()
		var repeats []int
		for range 5 {
			n := c.requests()
			tr.AskKeyframe()
			c.shoot(440 * time.Millisecond)
			c.key <- struct{}{}
			c.shoot(2 * time.Second)
			repeats = append(repeats, c.requests()-n-1)
		}
		if repeats[0] != 1 || repeats[1]+repeats[2]+repeats[3]+repeats[4] != 0 {
			t.Errorf("repeated %v times, want once at first and then never", repeats)
		}
	})
}

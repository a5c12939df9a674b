package calls

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"lineout/api/fault"
	"lineout/calls/leg"
	"lineout/codecs/g711"
	"lineout/media"
	"lineout/pipeline/rtpin"
)

func TestStatsOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop()
		if _, err := r.m.Stats("c"); code(err) != fault.NotFound {
			t.Errorf("unknown call: %v", err)
		}
		r.m.Startup(t.Context(), request("c"))
		if s, err := r.m.Stats("c"); err != nil || s.Status != Pending || s.StreamName != "s-c" || len(s.Tracks) != 0 {
			t.Errorf("before the answer: %+v, %v", s, err)
		}
		md := audioOnly()
		start := time.Now()
		md.stats = []leg.Stats{{Kind: media.Audio, Local: "127.0.0.1:1", Remote: "127.0.0.1:2", PacketsReceived: 90, PacketsSent: 7,
			LastPacket: start.Add(10 * time.Second)}}
		r.phones.leg("c").events <- leg.Event{Type: leg.Answered, Code: 200, Media: md}
		synctest.Wait()
		for i := range 100 {
			if i%10 != 5 {
				md.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2,
					PayloadType: 8, SequenceNumber: uint16(i), Timestamp: uint32(160 * i), SSRC: 7}, Payload: make([]byte, 160)}}
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		md.in <- leg.Packet{Kind: media.Audio, At: time.Now(), RTP: &rtp.Packet{Header: rtp.Header{Version: 2,
			PayloadType: 8, SequenceNumber: 100, Timestamp: 160 * 600, SSRC: 7}, Payload: make([]byte, 160)}}
		synctest.Wait()
		all := r.m.AllStats()
		s, err := r.m.Stats("c")
		if err != nil || len(s.Tracks) != 1 || len(all) != 1 || all[0].CallID != "c" {
			t.Fatalf("%+v, %v; all: %+v", s, err, all)
		}
		x := s.Tracks[0]
		// Outputs see the same figures and who the parties are.
		stream := r.m.d.Streams.Get("s-c")
		if q, ok := stream.Quality(); !ok || q.Audio.Lost != x.Input.Lost || q.Audio.Jitter != x.Input.Jitter || q.Audio.Concealed != x.Input.Concealed {
			t.Errorf("quality: %+v, %v", q, ok)
		}
		if m := stream.Meta(); m.CallID != "c" || m.Callee == "" || m.Callee != request("c").Callee {
			t.Errorf("meta: %+v", m)
		}
		if s.Status != Established || s.Age != 12*time.Second || s.Sync.Mode != rtpin.SyncNone {
			t.Errorf("call: %+v", s)
		}
		if x.Codec != g711.PCMA || x.Transport.PacketsSent != 7 || x.Input.Lost != 10 || x.Frames < 90 || x.SinceLast != 2*time.Second {
			t.Errorf("track: %+v", x)
		}
		if math.Abs(x.Loss-0.1) > 0.002 || x.MOS < 3.3 || x.MOS > 3.5 {
			t.Errorf("loss %v, MOS %v", x.Loss, x.MOS)
		}
		r.m.Terminate(t.Context(), "c")
		if _, err := r.m.Stats("c"); code(err) != fault.NotFound {
			t.Errorf("after the end: %v", err)
		}
	})
}

// The figures are those of the formulas in G.107 worked out by hand.
func TestMOS(t *testing.T) {
	for name, c := range map[string]struct {
		codec  media.Codec
		loss   float64
		jitter time.Duration
		want   float64
	}{
		"perfect":        {"PCMA", 0, 0, 4.40},
		"one percent":    {"PCMU", 0.01, 0, 4.32},
		"ten percent":    {"PCMA", 0.1, 0, 3.39},
		"jitter 100 ms":  {"opus", 0, 100 * time.Millisecond, 4.14},
		"G.729":          {"G729", 0, 0, 4.09},
		"unknown codec":  {"X", 0, 0, 4.14},
		"nothing comes":  {"PCMA", 1, 0, 1.16},
		"beyond telling": {"G729", 1, 5 * time.Second, 1},
	} {
		if got := mos(c.codec, c.loss, c.jitter); math.Abs(got-c.want) > 0.02 {
			t.Errorf("%s: %.3f, want %.2f", name, got, c.want)
		}
	}
}

// More loss or jitter never sounds better, and the scale is kept.
func TestMOSFallsWithLossAndJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom([]media.Codec{"PCMA", "opus", "G729", "other"}).Draw(t, "codec")
		loss := rapid.Float64Range(0, 1).Draw(t, "loss")
		jitter := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "jitter"))
		a := mos(c, loss, jitter)
		if a < 1 || a > 4.5 {
			t.Fatalf("%v is off the scale", a)
		}
		if b := mos(c, loss+0.01, jitter); b > a+1e-9 {
			t.Fatalf("more loss: %v after %v", b, a)
		}
		if b := mos(c, loss, jitter+10*time.Millisecond); b > a+1e-9 {
			t.Fatalf("more jitter: %v after %v", b, a)
		}
	})
}

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		in   rtpin.TrackStats
		want float64
	}{
		{rtpin.TrackStats{}, 0},
		{rtpin.TrackStats{Packets: 99, Lost: 1}, 0.01},
		{rtpin.TrackStats{Packets: 100, Lost: 1, Late: 1}, 0.01}, // it came, but too late
		{rtpin.TrackStats{Packets: 198, Lost: 1, Duplicates: 99}, 0.01},
		{rtpin.TrackStats{Packets: 1, Lost: 5, Late: 3}, 1},
	} {
		if got := loss(c.in); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %v, want %v", c.in, got, c.want)
		}
	}
}

package rtpin

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtp"

	"lineout/media"
)

// decoded is the order in which n pictures come, by groups that end with the one
// shown last coming first: "P b b" with group 3, two levels of b with 4.
func decoded(n, group int) (shown []int) {
	shown = []int{0}
	for at := 1; at < n; at += group {
		last := at + group - 1
		shown = append(shown, last)
		if group == 4 { // the middle one is referred to as well
			shown = append(shown, at+1, at, at+2)
			continue
		}
		for i := at; i < last; i++ {
			shown = append(shown, i)
		}
	}
	return shown
}

func TestReorder(t *testing.T) {
	const step = 40 * ms
	for _, c := range []struct {
		name            string
		group, depth    int
		header          int
		wrong, learning int // pictures that may be decoded after they are shown
	}{
		{"as they come", 1, 0, 0, 0, 0},
		{"B-frames", 3, 1, 1, 0, 0},
		{"B-pyramid", 4, 2, 2, 0, 0},
		{"the header claims what is not done", 1, 4, 4, 0, 0},
		{"B-frames of which the header says nothing", 3, 1, 0, 3, 5},
		{"B-pyramid of which the header says nothing", 4, 2, 0, 5, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r reorder
			p := &media.Params{FrameRate: 25, Reorder: c.header}
			r.reset(p)
			wrong := 0
			last := -time.Hour
			for i, at := range decoded(200, c.group) {
				pts := time.Second + time.Duration(at)*step
				dts := r.place(pts, p)
				if dts <= last || dts > pts {
					wrong++
					if i >= c.learning {
						t.Errorf("picture %d, shown at %v, is decoded at %v after %v", i, pts, dts, last)
					}
				}
				if i > 20 && pts-dts > time.Duration(2*c.depth+c.group-1)*step {
					t.Errorf("picture %d, shown at %v, is decoded as soon as %v", i, pts, dts)
				}
				last = max(last, dts)
			}
			if wrong > c.wrong || r.depth != c.depth {
				t.Errorf("%d pictures were decoded too late; the depth is %d", wrong, r.depth)
			}
		})
	}
}

// Pictures that come in another order than they are shown keep their times.
func TestInputReorders(t *testing.T) {
	const n, step = 241, 40 * ms
	in := NewInput(DefaultConfig(), t0)
	tr := &media.Track{Kind: media.Video, Codec: "TEST", ClockRate: 90000}
	if err := in.AddTrack(TrackSpec{Track: tr, Formats: formats(media.Video), Expected: true}); err != nil {
		t.Fatal(err)
	}
	var out []*media.Frame
	emit := func(f *media.Frame) { out = append(out, f) }
	in.byKind(media.Video).order.depth = 1 // as if the header had said so
	for i, shown := range decoded(n, 3) {
		b := make([]byte, 40)
		binary.BigEndian.PutUint64(b, uint64(time.Duration(shown)*step))
		binary.BigEndian.PutUint32(b[8:], uint32(i+1))
		if i == 0 {
			b[12] = 1
		}
		b[14] = 1
		at := t0.Add(time.Duration(i) * step)
		in.PushRTP(media.Video, &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: uint16(i), Timestamp: uint32(shown * 3600), SSRC: 1, Marker: true}, Payload: b}, at)
		in.Poll(at, emit)
	}
	in.Flush(t0.Add(n*step), emit)
	if len(out) != n {
		t.Fatalf("%d pictures of %d", len(out), n)
	}
	for i, f := range out {
		captured := time.Duration(binary.BigEndian.Uint64(f.Data[0]))
		if d := f.PTS - out[0].PTS - captured; d != 0 {
			t.Errorf("picture captured at %v is shown off by %v", captured, d)
		}
		if f.PTS < f.DTS || i > 0 && f.DTS != out[i-1].DTS+step {
			t.Errorf("picture shown at %v is decoded at %v after %v", f.PTS, f.DTS, out[i-1].DTS)
		}
	}
	if q := in.Stats().Video; q.Restamped > 0 || q.Gaps > 0 {
		t.Errorf("%+v", q)
	}
}

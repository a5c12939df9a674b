package rtmp

import (
	"net"
	"testing"
	"time"

	"lineout/media"
)

// discard is a connection that takes everything.
type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error)      { return len(p), nil }
func (discard) SetWriteDeadline(time.Time) error { return nil }
func (discard) SetDeadline(time.Time) error      { return nil }
func (discard) Close() error                     { return nil }

// BenchmarkWrite is the cost of one frame from Sink.Write to the socket.
func BenchmarkWrite(b *testing.B) {
	c := theClip(b)
	for _, k := range []struct {
		name  string
		kind  media.Kind
		units []unit
		p     *media.Params
	}{{"video", media.Video, c.video, c.videoParams}, {"audio", media.Audio, c.audio, c.audioParams}} {
		b.Run(k.name, func(b *testing.B) {
			s := newTestSink(b, "rtmp://h/live", time.Second, time.Second)
			s.conn = newConn(discard{}, s.addr, time.Second)
			s.conn.w.size = outChunkSize
			tr := &media.Track{ID: k.kind.String(), Kind: k.kind, ClockRate: 48000, Channels: 1}
			tr.SetParams(k.p)
			s.join(tr)
			f := &media.Frame{Track: tr, Params: k.p}
			n := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				u := k.units[i%len(k.units)]
				f.DTS += 20 * time.Millisecond
				f.PTS, f.Key, f.Data = f.DTS, u.key, u.data
				if err := s.Write(b.Context(), f); err != nil {
					b.Fatal(err)
				}
				n += f.Size()
			}
			b.ReportMetric(float64(n)/float64(b.N), "bytes/frame")
			s.unwatch()
		})
	}
}

// What the benchmark shows must stay so: no allocation per frame.
func TestNoAllocationPerFrame(t *testing.T) {
	c := theClip(t)
	s := newTestSink(t, "rtmp://h/live", time.Second, time.Second)
	s.conn = newConn(discard{}, s.addr, time.Second)
	s.conn.w.size = outChunkSize
	v, a := &media.Track{ID: "video", Kind: media.Video, Codec: "H264"}, &media.Track{ID: "audio", Kind: media.Audio, Codec: "AAC", ClockRate: 48000, Channels: 1}
	v.SetParams(c.videoParams)
	a.SetParams(c.audioParams)
	s.join(v)
	s.join(a)
	defer s.unwatch()
	fv, fa := &media.Frame{Track: v, Params: c.videoParams, Key: true, Data: c.video[0].data}, &media.Frame{Track: a, Params: c.audioParams, Key: true, Data: c.audio[0].data}
	n := testing.AllocsPerRun(200, func() {
		for _, f := range []*media.Frame{fv, fa} {
			f.DTS += 20 * time.Millisecond
			f.PTS = f.DTS
			if err := s.Write(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per picture and access unit", n)
	}
}

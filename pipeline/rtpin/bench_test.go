package rtpin

import (
	"testing"
	"time"

	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/media"
)

func benchInput(b *testing.B, kinds ...media.Kind) *Input {
	in := NewInput(DefaultConfig(), t0)
	audio, video := realFormats()
	for _, k := range kinds {
		c, fs := codecs.Codec(g711.CodecPCMA), audio
		if k == media.Video {
			c, fs = h264.Codec, video
		}
		if err := in.AddTrack(TrackSpec{Track: &media.Track{ID: k.String(), Kind: k, Codec: c.Name(), ClockRate: c.ClockRate()}, Formats: fs, Expected: true}); err != nil {
			b.Fatal(err)
		}
	}
	return in
}

// The parameter sets of a 640x360 baseline stream.
var (
	benchSPS = []byte{0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2e, 0x48}
	benchPPS = []byte{0x68, 0xcb, 0x83, 0xcb, 0x20}
)

// benchPackets are n packets in order: 50 audio packets a second, or 25
// pictures a second of 4 packets each. The packets are made beforehand: they
// belong to whoever reads the network.
func benchPackets(k media.Kind, n int) ([]*rtp.Packet, []time.Duration) {
	ps, at := make([]*rtp.Packet, n), make([]time.Duration, n)
	payload := make([]byte, 1000)
	payload[0], payload[1] = 0x61, 0x9a
	for i := range n {
		p := &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: uint16(i), Timestamp: uint32(i * 160)}, Payload: payload[:160]}
		at[i] = time.Duration(i) * 20 * ms
		if k == media.Video {
			p.PayloadType, p.Timestamp, p.Marker, p.Payload = 96, uint32(i/4*3600), i%4 == 3, payload
			at[i] = time.Duration(i/4)*40*ms + time.Duration(i%4)*200*time.Microsecond
			switch i {
			case 0:
				p.Payload = benchSPS
			case 1:
				p.Payload = benchPPS
			case 2:
				p.Payload = append([]byte{0x65, 0x88}, payload[2:]...)
			case 3:
				p.Payload = append([]byte{0x65, 0x08}, payload[2:]...)
			}
		}
		ps[i] = p
	}
	return ps, at
}

func benchOne(b *testing.B, k media.Kind) {
	const chunk = 50000
	b.ReportAllocs()
	frames := 0
	emit := func(*media.Frame) { frames++ }
	var ps []*rtp.Packet
	var at []time.Duration
	var in *Input
	for i := 0; i < b.N; i++ {
		if i%chunk == 0 {
			b.StopTimer()
			ps, at = benchPackets(k, min(chunk, b.N))
			in = benchInput(b, k)
			b.StartTimer()
		}
		now := t0.Add(at[i%chunk])
		in.PushRTP(k, ps[i%chunk], now)
		in.Poll(now, emit)
	}
	b.ReportMetric(float64(frames)/float64(b.N), "frames/packet")
}

func BenchmarkAudioPacket(b *testing.B) { benchOne(b, media.Audio) }
func BenchmarkVideoPacket(b *testing.B) { benchOne(b, media.Video) }

// A second of a call: 50 audio and 100 video packets, in step.
func BenchmarkCallSecond(b *testing.B) {
	b.ReportAllocs()
	const seconds = 100
	emit := func(*media.Frame) {}
	a, aAt := benchPackets(media.Audio, 50*seconds)
	v, vAt := benchPackets(media.Video, 100*seconds)
	var in *Input
	for i := 0; i < b.N; i++ {
		n := i % seconds
		if n == 0 {
			in = benchInput(b, media.Audio, media.Video)
		}
		x, y := n*50, n*100
		for x < (n+1)*50 || y < (n+1)*100 {
			if y >= (n+1)*100 || x < (n+1)*50 && aAt[x] <= vAt[y] {
				in.PushRTP(media.Audio, a[x], t0.Add(aAt[x]))
				in.Poll(t0.Add(aAt[x]), emit)
				x++
			} else {
				in.PushRTP(media.Video, v[y], t0.Add(vAt[y]))
				in.Poll(t0.Add(vAt[y]), emit)
				y++
			}
		}
	}
}

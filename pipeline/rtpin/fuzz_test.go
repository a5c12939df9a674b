package rtpin

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

func realFormats() (audio, video map[uint8]Format) {
	f := func(c codecs.Codec) Format { return Format{Codec: c, ClockRate: c.ClockRate()} }
	return map[uint8]Format{0: f(g711.CodecPCMU), 8: f(g711.CodecPCMA), 111: f(opus.Codec)},
		map[uint8]Format{96: f(h264.Codec), 97: f(vp8.Codec)}
}

// The input is a list of records: kind and time step, length, bytes of an RTP
// or RTCP packet. Nothing may panic, grow without bound, or break the order.
func FuzzInput(f *testing.F) {
	record := func(flags byte, b []byte) []byte {
		return append([]byte{flags, byte(len(b) >> 8), byte(len(b))}, b...)
	}
	var seed []byte
	for i := range uint16(6) {
		a, _ := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: i, Timestamp: uint32(i) * 160, SSRC: 1}, Payload: make([]byte, 160)}).Marshal()
		v, _ := (&rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, PayloadType: 96, SequenceNumber: i, Timestamp: uint32(i) * 3600, SSRC: 2}, Payload: []byte{0x65, 0x88, 1, 2}}).Marshal()
		seed = append(append(seed, record(0x14, a)...), record(0x15, v)...)
	}
	sr, _ := (&rtcp.SenderReport{SSRC: 1, NTPTime: 1 << 40, RTPTime: 5}).Marshal()
	bye, _ := (&rtcp.Goodbye{Sources: []uint32{1}}).Marshal()
	f.Add(seed)
	f.Add(append(seed, record(2, append(sr, bye...))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := DefaultConfig()
		cfg.GeneratorDelay = 300 * ms
		in := NewInput(cfg, t0)
		audio, video := realFormats()
		add := func(k media.Kind, c codecs.Codec) {
			fs := audio
			if k == media.Video {
				fs = video
			}
			tr := &media.Track{ID: k.String(), Kind: k, Codec: c.Name(), ClockRate: c.ClockRate(), RequestKeyframe: func() {}}
			if err := in.AddTrack(TrackSpec{Track: tr, Formats: fs, Expected: true}); err != nil {
				t.Fatal(err)
			}
		}
		add(media.Audio, g711.CodecPCMA)
		add(media.Video, h264.Codec)
		in.OnCodecChange = func(k media.Kind, _ uint8, f Format) { add(k, f.Codec) }
		last := map[media.Kind]time.Duration{}
		emit := func(f *media.Frame) {
			if d, ok := last[f.Track.Kind]; f.DTS < 0 || ok && f.DTS <= d {
				t.Fatalf("%v: %v after %v", f.Track.Kind, f.DTS, d)
			}
			if f.Track.Kind == media.Video && f.Params == nil {
				t.Fatal("a picture without parameters")
			}
			last[f.Track.Kind] = f.DTS
		}
		now := t0
		for len(b) >= 3 {
			flags, n := b[0], int(binary.BigEndian.Uint16(b[1:]))
			b = b[3:]
			n = min(n, len(b))
			k := media.Audio + media.Kind(flags&1)
			now = now.Add(time.Duration(flags>>2) * ms * 4)
			if flags&2 == 0 {
				p := &rtp.Packet{}
				if p.Unmarshal(b[:n]) == nil {
					in.PushRTP(k, p, now)
				}
			} else if ps, err := rtcp.Unmarshal(b[:n]); err == nil {
				in.PushRTCP(k, ps, now)
			}
			b = b[n:]
			in.Poll(now, emit)
			if s := in.Stats(); s.Audio.HeldFrames > queueFrames+8 || s.Video.HeldFrames > queueFrames+8 {
				t.Fatalf("%+v", s)
			}
		}
		in.Flush(now, emit)
	})
}

package rtpin

import (
	"bytes"
	"math/rand"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/media"
)

// encodeClip makes 8 s of H.264 baseline with a key frame every 2 s, as access
// units of NAL units.
func encodeClip(t *testing.T) [][][]byte {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=25:duration=8",
		"-pix_fmt", "yuv420p", "-c:v", "libx264", "-profile:v", "baseline", "-tune", "zerolatency", "-g", "50", "-x264-params", "slices=1:aud=1", "-f", "h264", "-").Output()
	if err != nil {
		t.Fatalf("encoding a clip with ffmpeg (apt-get install ffmpeg): %v", err)
	}
	var units [][][]byte
	for _, n := range bytes.Split(out, []byte{0, 0, 1}) {
		n = bytes.TrimRight(n, "\x00")
		if len(n) == 0 {
			continue
		}
		if n[0]&0x1f == 9 {
			units = append(units, nil)
			continue
		}
		units[len(units)-1] = append(units[len(units)-1], n)
	}
	return units
}

// decode returns what ffmpeg's decoder complains of, and how many pictures it shows.
func decode(t *testing.T, frames []*media.Frame) (complaints string, pictures int) {
	t.Helper()
	var b bytes.Buffer
	for _, f := range frames {
		for _, n := range f.Data {
			b.Write([]byte{0, 0, 0, 1})
			b.Write(n)
		}
	}
	cmd := exec.Command("ffmpeg", "-loglevel", "warning", "-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "gray", "-vf", "scale=16:16", "-")
	cmd.Stdin = &b
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("decoding with ffmpeg: %v\n%s", err, stderr.String())
	}
	return stderr.String(), len(out) / 256
}

// Real H.264 over a network that loses, overtakes and doubles packets: what
// comes out decodes without one complaint.
func TestRealVideoDecodes(t *testing.T) {
	units := encodeClip(t)
	for _, loss := range []float64{0, .01, .05} {
		in := NewInput(DefaultConfig(), t0)
		audio, video := realFormats()
		vt := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
		at := &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000}
		for _, s := range []TrackSpec{{vt, video, true}, {at, audio, true}} {
			if err := in.AddTrack(s); err != nil {
				t.Fatal(err)
			}
		}
		type sent struct {
			k  media.Kind
			p  *rtp.Packet
			at time.Duration
		}
		var net []sent
		rnd := rand.New(rand.NewSource(7))
		send := func(k media.Kind, p *rtp.Packet, at time.Duration) {
			if rnd.Float64() >= loss {
				net = append(net, sent{k, p, at + time.Duration(rnd.ExpFloat64()*3e6)})
			}
			if rnd.Float64() < .02 {
				net = append(net, sent{k, p.Clone(), at + 10*ms})
			}
		}
		pz := h264.Codec.NewPacketizer(1000)
		seq := uint16(65500)
		for i, u := range units {
			ps, err := pz.Packetize(u)
			if err != nil {
				t.Fatal(err)
			}
			for k, b := range ps {
				send(media.Video, &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 2, PayloadType: 96, SequenceNumber: seq, Timestamp: uint32(0xfffff000 + i*3600), Marker: k == len(ps)-1}, Payload: bytes.Clone(b)}, time.Duration(i)*40*ms+time.Duration(k)*ms)
				seq++
			}
		}
		for i := range 400 {
			send(media.Audio, &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 1, PayloadType: 8, SequenceNumber: uint16(i), Timestamp: uint32(i * 160)}, Payload: make([]byte, 160)}, time.Duration(i)*20*ms)
		}
		slices.SortStableFunc(net, func(a, b sent) int { return int(a.at - b.at) })
		var frames []*media.Frame
		sound := 0
		emit := func(f *media.Frame) {
			if f.Track == vt {
				frames = append(frames, f)
			} else {
				sound++
			}
		}
		for _, s := range net {
			in.PushRTP(s.k, s.p, t0.Add(s.at))
			in.Poll(t0.Add(s.at), emit)
		}
		in.Flush(t0.Add(10*sec), emit)
		complaints, pictures := decode(t, frames)
		if complaints != "" || pictures != len(frames) {
			t.Errorf("loss %v: %d frames, %d pictures, the decoder says:\n%s", loss, len(frames), pictures, complaints)
		}
		if loss == 0 && (len(frames) != len(units) || sound != 400) {
			t.Errorf("%d of %d pictures and %d of 400 sounds without loss", len(frames), len(units), sound)
		}
		if p := vt.Params(); p == nil || p.Width != 320 || p.Height != 180 || len(frames) < 5 {
			t.Errorf("loss %v: %d frames, parameters %+v", loss, len(frames), p)
		}
		t.Logf("loss %v: %d of %d pictures decodable, %+v", loss, len(frames), len(units), in.Stats().Video)
	}
}

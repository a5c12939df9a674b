package rtpin

import (
	"bytes"
	"crypto/sha256"
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

// decode returns what ffmpeg's decoder complains of, and the pictures it shows.
func decode(t *testing.T, units [][][]byte) (complaints string, pictures [][sha256.Size]byte) {
	t.Helper()
	var b bytes.Buffer
	for _, u := range units {
		for _, n := range u {
			b.Write([]byte{0, 0, 0, 1})
			b.Write(n)
		}
	}
	cmd := exec.Command("ffmpeg", "-loglevel", "warning", "-err_detect", "explode", "-xerror", "-f", "h264", "-i", "-", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	cmd.Stdin = &b
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("decoding with ffmpeg: %v\n%s", err, stderr.String())
	}
	for p := range slices.Chunk(out, 320*180*3/2) {
		pictures = append(pictures, sha256.Sum256(p))
	}
	return stderr.String(), pictures
}

// Real H.264 over a network that loses, overtakes and doubles packets: what
// comes out decodes without one complaint, and each picture is one of those the
// encoder meant, to the bit, in their order. Besides chance, what hurts most is
// lost: parameter sets, the head of key frames, whole pictures.
func TestRealVideoDecodes(t *testing.T) {
	units := encodeClip(t)
	_, meant := decode(t, units)
	if len(meant) != len(units) {
		t.Fatalf("%d pictures in %d access units", len(meant), len(units))
	}
	none := func(i, k int, b []byte) bool { return false }
	for _, c := range []struct {
		name string
		loss float64
		lose func(i, k int, b []byte) bool // packet k of picture i
	}{
		{"nothing lost", 0, none},
		{"1 % lost", .01, none},
		{"5 % lost", .05, none},
		{"10 % lost", .1, none},
		{"SPS and PPS of the second key frame lost", 0, func(i, _ int, b []byte) bool { n := b[0] & 0x1f; return i == 50 && (n == 7 || n == 8 || n == 24) }},
		{"SPS and PPS of the first key frame lost", 0, func(i, _ int, b []byte) bool { n := b[0] & 0x1f; return i == 0 && (n == 7 || n == 8 || n == 24) }},
		{"first packet of the key frame's picture lost", 0, func(i, _ int, b []byte) bool { return i == 100 && b[0]&0x1f == 28 && b[1]&0x80 != 0 }},
		{"last packet of the key frame lost", 0, func(i, _ int, b []byte) bool { return i == 100 && b[0]&0x1f == 28 && b[1]&0x40 != 0 }},
		{"whole pictures lost", 0, func(i, _ int, _ []byte) bool { return i == 20 || i == 75 || i == 100 }},
	} {
		loss := c.loss
		in := NewInput(DefaultConfig(), t0)
		audio, video := realFormats()
		vt := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
		at := &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000}
		for _, s := range []TrackSpec{{Track: vt, Formats: video, Expected: true}, {Track: at, Formats: audio, Expected: true}} {
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
				if c.lose(i, k, b) {
					seq++
					continue
				}
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
		got := make([][][]byte, len(frames))
		for i, f := range frames {
			got[i] = f.Data
		}
		complaints, pictures := decode(t, got)
		if complaints != "" || len(pictures) != len(frames) {
			t.Errorf("%s: %d frames, %d pictures, the decoder says:\n%s", c.name, len(frames), len(pictures), complaints)
		}
		next := 0
		for i, p := range pictures {
			for next < len(meant) && meant[next] != p {
				next++
			}
			if next == len(meant) {
				t.Errorf("%s: picture %d of what came out is none that was sent, or not in its order", c.name, i)
				break
			}
		}
		if c.name == "nothing lost" && (len(frames) != len(units) || sound != 400) {
			t.Errorf("%d of %d pictures and %d of 400 sounds without loss", len(frames), len(units), sound)
		}
		if p := vt.Params(); p == nil || p.Width != 320 || p.Height != 180 || len(frames) < 5 {
			t.Errorf("%s: %d frames, parameters %+v", c.name, len(frames), p)
		}
		t.Logf("%s: %d of %d pictures decodable, %+v", c.name, len(frames), len(units), in.Stats().Video)
	}
}

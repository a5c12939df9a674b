package webrtc

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/codecs/vp8"
	"lineout/media"
)

// chromium is what a Chromium player offers, shortened.
const chromium = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=ice-options:trickle\r\n" +
	"a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\na=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n" +
	"a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 107 109 39\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n" +
	"a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\na=setup:actpass\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n" +
	"a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n" +
	"a=rtpmap:103 H264/90000\r\na=fmtp:103 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n" +
	"a=rtpmap:104 H264/90000\r\na=rtcp-fb:104 ccm fir\r\na=rtcp-fb:104 nack\r\na=rtcp-fb:104 nack pli\r\na=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n" +
	"a=rtpmap:107 H264/90000\r\na=fmtp:107 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n" +
	"a=rtpmap:109 H264/90000\r\na=fmtp:109 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=64001f\r\n"

func audioOf(c codecs.Codec) *media.Track {
	return &media.Track{ID: "audio", Kind: media.Audio, Codec: c.Name(), ClockRate: c.ClockRate()}
}

func videoOf(c codecs.Codec, profile byte) *media.Track {
	tr := &media.Track{ID: "video", Kind: media.Video, Codec: c.Name(), ClockRate: 90000}
	tr.SetParams(&media.Params{Sets: [][]byte{{0x67, profile, 0, 0x1f}}})
	return tr
}

func TestChoose(t *testing.T) {
	strip := func(pts ...string) string {
		o := chromium
		for _, pt := range pts {
			for _, l := range strings.SplitAfter(chromium, "\r\n") {
				if strings.HasPrefix(l, "a=rtpmap:"+pt+" ") || strings.HasPrefix(l, "a=fmtp:"+pt+" ") {
					o = strings.Replace(o, l, "", 1)
				}
			}
			o = strings.Replace(o, " "+pt+"\r\n", "\r\n", 1)
			o = strings.Replace(o, " "+pt+" ", " ", 1)
		}
		return o
	}
	convert := codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMU, g711.CodecPCMA},
		[]codecs.Converter{{From: g711.PCMA, To: opus.Name}, {From: g711.PCMA, To: g711.PCMU}})
	for name, x := range map[string]struct {
		offer        string
		audio, video *media.Track
		want         choice
		apt, vpt     int
	}{
		"all passed through":           {chromium, audioOf(g711.CodecPCMA), videoOf(h264.Codec, 0x42), choice{"PCMA", "H264"}, 8, 104},
		"source is main profile":       {chromium, audioOf(opus.Codec), videoOf(h264.Codec, 0x4d), choice{"opus", "H264"}, 111, 107},
		"source is high, mode 1 first": {chromium, audioOf(opus.Codec), videoOf(h264.Codec, 0x64), choice{"opus", "H264"}, 111, 104},
		"only mode 0 offered":          {strip("104", "107", "109"), nil, videoOf(h264.Codec, 0x42), choice{"", "H264"}, 0, 103},
		"no PCMA: player's order wins": {strip("8"), audioOf(g711.CodecPCMA), nil, choice{"opus", ""}, 111, 0},
		"no PCMA, no opus":             {strip("8", "111"), audioOf(g711.CodecPCMA), nil, choice{"PCMU", ""}, 0, 0},
		"VP8":                          {chromium, nil, videoOf(vp8.Codec, 0), choice{"", "VP8"}, 0, 96},
		"no rtpmap for a static type":  {strings.Replace(chromium, "a=rtpmap:8 PCMA/8000\r\n", "", 1), audioOf(g711.CodecPCMA), nil, choice{"PCMA", ""}, 8, 0},
		"nothing fits":                 {strip("103", "104", "107", "109"), nil, videoOf(h264.Codec, 0x42), choice{}, 0, 0},
		"no H264: the sound plays":     {strip("103", "104", "107", "109"), audioOf(g711.CodecPCMA), videoOf(h264.Codec, 0x42), choice{"PCMA", ""}, 8, 0},
		"bare line feeds":              {strings.ReplaceAll(chromium, "\r\n", "\n"), audioOf(g711.CodecPCMA), nil, choice{"PCMA", ""}, 8, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseOffer(x.offer)
			if err != nil {
				t.Fatal(err)
			}
			got, err := choose(o, x.audio, x.video, convert)
			if got != x.want || (err != nil) != (x.want == choice{}) {
				t.Fatalf("%v, %v, want %v", got, err, x.want)
			}
			for _, s := range o.sections {
				want := x.apt
				if s.kind == media.Video {
					want = x.vpt
				}
				if s.chosen != nil && int(s.chosen.pt) != want {
					t.Errorf("%s got payload type %d, want %d", s.kind, s.chosen.pt, want)
				}
			}
		})
	}
}

// The rules of conversion hold for browsers, and the SDK's player learns why it
// gets nothing by the text its pages know.
func TestRules(t *testing.T) {
	base := codecs.NewTable([]codecs.Codec{h264.Codec, vp8.Codec, opus.Codec, g711.CodecPCMA}, []codecs.Converter{
		{From: g711.PCMA, To: opus.Name, ClockRate: 48000}, {From: opus.Name, To: opus.Name, ClockRate: 48000},
		{From: h264.Name, To: vp8.Name, ClockRate: 90000}, {From: h264.Name, To: h264.Name, ClockRate: 90000},
		{From: vp8.Name, To: h264.Name, ClockRate: 90000}})
	vp8Only := chromium
	for _, l := range strings.SplitAfter(chromium, "\r\n") {
		if strings.HasPrefix(l, "a=rtpmap:") && strings.Contains(l, "H264") {
			vp8Only = strings.Replace(vp8Only, l, "", 1)
		}
	}
	for name, x := range map[string]struct {
		rules        codecs.Rules
		offer        string
		audio, video *media.Track
		want         choice
		vpt          int
		info         string
	}{
		"nothing to convert":  {codecs.Rules{NoConversion: true}, chromium, audioOf(g711.CodecPCMA), videoOf(h264.Codec, 0x4d), choice{"PCMA", "H264"}, 107, ""},
		"the picture is left": {codecs.Rules{NoConversion: true}, vp8Only, audioOf(g711.CodecPCMA), videoOf(h264.Codec, 0x42), choice{"PCMA", ""}, 0, ""},
		"nothing is left":     {codecs.Rules{NoConversion: true}, vp8Only, nil, videoOf(h264.Codec, 0x42), choice{}, 0, "Transcoding required, but disabled"},
		"all anew":            {codecs.Rules{NoPassThrough: true}, chromium, audioOf(g711.CodecPCMA), videoOf(h264.Codec, 0x4d), choice{"opus", "H264"}, 104, ""},
		"H264 excluded":       {codecs.Rules{ExcludeStreaming: []string{"h264"}}, chromium, audioOf(opus.Codec), videoOf(h264.Codec, 0x42), choice{"opus", "VP8"}, 96, ""},
		"all video excluded":  {codecs.Rules{ExcludeStreaming: []string{"h264", "vp8"}}, chromium, nil, videoOf(h264.Codec, 0x42), choice{}, 0, "No common codecs"},
	} {
		t.Run(name, func(t *testing.T) {
			table, _ := base.With(x.rules)
			o, err := parseOffer(x.offer)
			if err != nil {
				t.Fatal(err)
			}
			got, err := choose(o, x.audio, x.video, table)
			var pe *PlayError
			if got != x.want || errors.As(err, &pe) != (x.info != "") || pe != nil && pe.StreamInfo() != x.info {
				t.Fatalf("%v, %v, want %v %s", got, err, x.want, x.info)
			}
			if s := o.find(media.Video); s.chosen != nil && int(s.chosen.pt) != x.vpt {
				t.Errorf("video got payload type %d, want %d", s.chosen.pt, x.vpt)
			}
		})
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(chromium)
	f.Add("v=0\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n")
	f.Add("v=0\r\no=- 0 0 IN IP4 0\r\ns=-\r\nt=0 0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96 999 -1\r\na=mid:v\r\na=bundle-only\r\na=fingerprint:x y\r\na=rtpmap:96 H264/\r\na=fmtp:96\r\n")
	tr := &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMU, ClockRate: 8000}
	vt := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOffer(text)
		if err != nil {
			return
		}
		if _, err := choose(o, tr, vt, table()); err != nil {
			return
		}
		reduced, err := o.reduced()
		if err != nil {
			return
		}
		again, err := parseOffer(reduced)
		if err != nil {
			t.Fatalf("the reduced offer cannot be read: %v\n%s", err, reduced)
		}
		for _, s := range again.sections {
			if len(s.codecs) != 1 {
				t.Fatalf("the reduced offer has %d codecs\n%s", len(s.codecs), reduced)
			}
		}
		_, _ = o.answer(reduced)
	})
}

func TestTimestamp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := rapid.SampledFrom([]int{8000, 48000, 90000}).Draw(t, "clock")
		pts := time.Duration(rapid.Int64Range(0, int64(1000*24*time.Hour)).Draw(t, "pts"))
		want := new(big.Int).Mul(big.NewInt(int64(pts)), big.NewInt(int64(clock)))
		want.Add(want, big.NewInt(int64(time.Second)/2)).Div(want, big.NewInt(int64(time.Second)))
		if got := timestamp(pts, clock); got != uint32(want.Uint64()) {
			t.Fatalf("%v at %d Hz is %d, want %d", pts, clock, got, uint32(want.Uint64()))
		}
	})
}

func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 70).Draw(t, "size")
		r := newRing(size)
		seq := uint16(rapid.IntRange(65400, 65535).Draw(t, "first"))
		first, n := seq, 0
		for n < 300 {
			var ps []packet
			for range rapid.IntRange(0, 9).Draw(t, "batch") {
				ps = append(ps, packet{seq: seq, payload: []byte{byte(seq)}})
				seq++
				n++
			}
			r.put(ps)
			if len(ps) == 0 {
				n++
			}
		}
		have := int(seq - first)
		for back := 1; back <= have; back++ {
			p, ok := r.get(seq - uint16(back))
			if want := back <= len(r.buf); ok != want || ok && p.seq != seq-uint16(back) {
				t.Fatalf("packet %d back in a ring of %d: %v %v", back, len(r.buf), p, ok)
			}
		}
		if _, ok := r.get(seq); ok {
			t.Fatal("a packet that was never put")
		}
	})
}

func TestPack(t *testing.T) {
	tr := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	l := newLane(media.Video, h264.Codec, DefaultConfig())
	params := &media.Params{Sets: [][]byte{testSPS, testPPS}}
	small, big := []byte{0x65, 1, 2, 3}, append([]byte{0x41}, make([]byte, 3000)...)
	pkt := func(b []byte) []*rtp.Packet { return []*rtp.Packet{{Payload: b}} }

	ps, err := l.pack(&media.Frame{Track: tr, Params: params, Key: true, PTS: time.Second, Data: [][]byte{small}, Packets: pkt(small)})
	if err != nil || len(ps) != 3 || &ps[2].payload[0] != &small[0] || &ps[0].payload[0] != &testSPS[0] || !ps[2].marker || ps[0].marker || ps[2].ts != 90000 {
		t.Fatalf("key frame without parameter sets: %+v, %v", ps, err)
	}
	own := [][]byte{testSPS, testPPS, small}
	ps, _ = l.pack(&media.Frame{Track: tr, Params: params, Key: true, Data: own, Packets: []*rtp.Packet{{Payload: testSPS}, {Payload: testPPS}, {}, {Payload: small}}})
	if len(ps) != 3 || ps[0].seq != 3 {
		t.Fatalf("key frame with its own parameter sets and an empty packet: %+v", ps)
	}
	ps, _ = l.pack(&media.Frame{Track: tr, Data: [][]byte{big}, Packets: pkt(big)})
	total := 0
	for i, p := range ps {
		if len(p.payload) > l.mtu || p.marker != (i == len(ps)-1) {
			t.Fatalf("packet %d of a frame that is too large has %d bytes, marker %v", i, len(p.payload), p.marker)
		}
		total += len(p.payload)
	}
	if len(ps) < 3 || total < len(big) {
		t.Fatalf("%d packets, %d bytes", len(ps), total)
	}
	if p, ok := l.ring.get(ps[0].seq); !ok || string(p.payload) != string(ps[0].payload) {
		t.Error("a packet that was cut anew is not in the ring")
	}
}

func TestPassThroughAllocatesNothing(t *testing.T) {
	l := newLane(media.Video, h264.Codec, DefaultConfig())
	tr := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	f := &media.Frame{Track: tr, Data: [][]byte{{0x41}}, Packets: []*rtp.Packet{{Payload: make([]byte, 1100)}, {Payload: make([]byte, 1100)}}}
	s := &sender{lane: l, write: nullWriter{}}
	o := s.begin(packet{})
	if n := testing.AllocsPerRun(100, func() {
		ps, _ := l.pack(f)
		_, _ = s.send(o, ps)
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

type nullWriter struct{}

func (nullWriter) WriteRTP(_ *rtp.Header, p []byte) (int, error) { return len(p), nil }
func (nullWriter) Write(b []byte) (int, error)                   { return len(b), nil }

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"ip":                        func(c *Config) { c.IP = "host" },
		"ip_local":                  func(c *Config) { c.IPLocal = "x" },
		"webrtc.play_wait":          func(c *Config) { c.PlayWait = 0 },
		"webrtc.connect_timeout":    func(c *Config) { c.ConnectTimeout = -1 },
		"webrtc.disconnect_timeout": func(c *Config) { c.DisconnectTimeout = 0 },
		"webrtc.mtu":                func(c *Config) { c.MTU = 9000 },
		"webrtc.nack_buffer":        func(c *Config) { c.NackBuffer = -1 },
		"webrtc.ice_servers":        func(c *Config) { c.ICEServers = []string{"turn:x|user|se\"cret"} },
	} {
		c := DefaultConfig()
		edit(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

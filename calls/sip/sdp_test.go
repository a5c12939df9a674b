package sip

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lineout/codecs"
	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/codecs/opus"
	"lineout/media"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// offer builds the description of a call with both sections.
func offer(formats []wireFormat, send bool) *localSession {
	l := &localSession{name: "lineout/1.0", version: 1437391553771, address: "203.0.113.7"}
	for i, k := range []media.Kind{media.Audio, media.Video} {
		l.sections = append(l.sections, localSection{kind: k, proto: "RTP/AVP", port: 31022 + 2*i, formats: localFormats(ofKind(formats, k)),
			dir: makeDirection(send, true), ssrc: 1478013757 + uint32(i), cname: "rtp/" + k.String() + "/Xq2tlLcX89tTjaji"})
	}
	return l
}

// TestOfferForm holds the form of S2-30 and S2-31 byte for byte.
func TestOfferForm(t *testing.T) {
	c := defaults(t)
	all, unknown := selectFormats(c.Codecs, table(), c.CodecsExcludeSIP)
	if len(unknown) > 0 {
		t.Errorf("unknown codecs in the defaults: %v", unknown)
	}
	seed, _ := selectFormats([]string{"alaw", "ulaw", "opus", "h264", "vp8"}, table(), c.CodecsExcludeSIP, c.CodecsExcludeSIPRTMP)
	for _, g := range []struct {
		file string
		got  *localSession
	}{
		{"offer_seed.sdp", offer(seed, true)},
		{"offer_all.sdp", offer(all, true)},
		{"offer_recvonly.sdp", offer(all, false)},
	} {
		// The rest of an INVITE is about 420 bytes, 250 more with credentials, and 1472 go
		// into an Ethernet frame. With all that was offered once this was 1035 bytes.
		if n := len(g.got.String()); n > 960 {
			t.Errorf("%s has %d bytes", g.file, n)
		}
		path := filepath.Join("testdata", g.file)
		if *update {
			if err := os.WriteFile(path, []byte(g.got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if g.got.String() != string(want) {
			t.Errorf("%s: got\n%s", g.file, g.got)
		}
	}
}

// Every setting means the same codec here as in the settings of the outputs.
func TestNamesOfSettings(t *testing.T) {
	for _, f := range wireFormats {
		if c, known := codecs.Named(f.setting); !known || c != f.codec {
			t.Errorf("%s means %q elsewhere, %q here", f.setting, c, f.codec)
		}
	}
}

func TestSelectFormats(t *testing.T) {
	got, unknown := selectFormats([]string{"vp8", "Opus", "g729", "ulaw", "telephone-event", "ulaw", "speex16", "cn", "mpv"}, table(), []string{"ULAW"})
	var names []string
	for _, f := range got {
		names = append(names, f.rtpmap)
	}
	if want := []string{"VP8/90000", "opus/48000/2", "G729/8000", "telephone-event/8000", "telephone-event/16000", "telephone-event/48000", "SPEEX/16000", "CN/8000"}; !slices.Equal(names, want) {
		t.Errorf("formats %v, want %v", names, want)
	}
	if want := []string{"mpv"}; !slices.Equal(unknown, want) {
		t.Errorf("unknown %v, want %v", unknown, want)
	}
}

// An answer to a phone that wants no silence descriptors must not ask for them
// (RFC 7261 section 3.1); comfort noise is answered if it is set.
func TestAnswerOfSilence(t *testing.T) {
	for _, tc := range []struct{ codecs, sdp, want string }{
		{"g729", "18\na=rtpmap:18 G729/8000\na=fmtp:18 annexb=no", "[{18 G729/8000 annexb=no}]"},
		{"g729", "18\na=fmtp:18 annexb=yes", "[{18 G729/8000 }]"},
		{"ulaw", "0 13", "[{0 pcmu/8000 }]"},
		{"ulaw,cn", "0 13", "[{0 pcmu/8000 } {13 CN/8000 }]"},
	} {
		s, err := parseSDP([]byte("c=IN IP4 192.0.2.1\nm=audio 5 RTP/AVP " + tc.sdp))
		if err != nil {
			t.Fatal(err)
		}
		ours, _ := selectFormats(strings.Split(tc.codecs, ","), table())
		a, ok := agree(&s.media[0], ours, false)
		if !ok {
			t.Fatalf("%s: not agreed", tc.sdp)
		}
		if got := fmt.Sprint(a.echo(&s.media[0], ours)); got != tc.want {
			t.Errorf("%s: answered %s, want %s", tc.sdp, got, tc.want)
		}
	}
}

// A library that is missing is named once, with what to install.
func TestMissingLibraryIsSaid(t *testing.T) {
	k := codecs.NewTable([]codecs.Codec{g711.CodecPCMA, opus.Codec, h264.Codec}, nil)
	for _, n := range []media.Codec{"SPEEX/8000", "SPEEX/16000"} {
		k.Lack(n, errors.New("cannot open libspeex.so.1 (Debian package libspeex1)"))
	}
	var out strings.Builder
	a, err := New(defaults(t), k, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Count(text, "libspeex1") != 1 || !strings.Contains(text, "codecs=speex16,speex") {
		t.Errorf("log: %s", text)
	}
	for _, f := range a.toStream {
		if strings.HasPrefix(f.rtpmap, "SPEEX") {
			t.Errorf("%s is offered", f.rtpmap)
		}
	}
}

const baresipAnswer = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=tool:baresip 1.0.0\r\n" +
	"m=audio 20000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:20009\r\na=sendrecv\r\na=label:1\r\n" +
	"m=video 20002 RTP/AVP 113\r\nc=IN IP4 192.0.2.2\r\na=rtpmap:113 H264/90000\r\na=fmtp:113 packetization-mode=0;profile-level-id=42e01f\r\na=sendonly\r\na=ssrc:4711 cname:x\r\na=rtcp-mux\r\n"

func TestParseSDP(t *testing.T) {
	s, err := parseSDP([]byte(baresipAnswer))
	if err != nil {
		t.Fatal(err)
	}
	a, v := &s.media[0], &s.media[1]
	if a.kind != media.Audio || a.port != 20000 || a.rtcpPort != 20009 || a.host != "192.0.2.1" || a.dir != sendrecv || len(a.formats) != 2 {
		t.Errorf("audio %+v", a)
	}
	if v.kind != media.Video || v.host != "192.0.2.2" || v.dir != sendonly || v.ssrc != 4711 || !v.mux || mode(v.formats[0].fmtp) != 0 {
		t.Errorf("video %+v", v)
	}
	for _, bad := range []string{"", "v=1\r\nm=audio 1 RTP/AVP 0", "m=audio x RTP/AVP 0", "m=audio 70000 RTP/AVP 0", "m=audio 1 RTP/AVP", "c=IN IP4 a b\r\nm=audio 1 RTP/AVP 0",
		"c=IN IP4 <x>\r\nm=audio 1 RTP/AVP 0", strings.Repeat("m=audio 1 RTP/AVP 0\n", 17), strings.Repeat("a=x\n", 2000), "m=audio 1 RTP/AVP 0\na=" + strings.Repeat("x", 5000)} {
		if _, err := parseSDP([]byte(bad)); err == nil {
			t.Errorf("taken: %.40q", bad)
		}
	}
}

func TestAgree(t *testing.T) {
	c := defaults(t)
	ours, _ := selectFormats(c.Codecs, table())
	audio, video := ofKind(ours, media.Audio), ofKind(ours, media.Video)
	for _, tc := range []struct {
		name, sdp string
		ours      []wireFormat
		formats   []uint8
		codec     media.Codec
		event     uint8
		usable    bool
	}{
		{"static types without rtpmap", "m=audio 5 RTP/AVP 0 8", audio, []uint8{0, 8}, "PCMU", 0, true},
		{"port 0", "m=audio 0 RTP/AVP 0", audio, []uint8{0}, "PCMU", 0, false},
		{"encrypted", "m=audio 5 RTP/SAVP 0", audio, []uint8{0}, "PCMU", 0, true},
		{"encrypted by DTLS", "m=audio 5 UDP/TLS/RTP/SAVPF 0", audio, []uint8{0}, "PCMU", 0, false},
		{"feedback profile", "m=audio 5 RTP/AVPF 0", audio, []uint8{0}, "PCMU", 0, true},
		{"another number for opus", "m=audio 5 RTP/AVP 96\na=rtpmap:96 OPUS/48000/2", audio, []uint8{96, 111}, "opus", 0, true},
		{"events on the clock of the audio", "m=audio 5 RTP/AVP 96 97 98\na=rtpmap:96 opus/48000/2\na=rtpmap:97 telephone-event/8000\na=rtpmap:98 telephone-event/48000", audio, []uint8{96, 111}, "opus", 98, true},
		{"events only on another clock", "m=audio 5 RTP/AVP 111 101\na=rtpmap:111 opus/48000/2\na=rtpmap:101 telephone-event/8000", audio, []uint8{111}, "opus", 101, true},
		{"static G.729", "m=audio 5 RTP/AVP 18", audio, []uint8{18}, "G729", 0, true},
		{"Speex by its clock", "m=audio 5 RTP/AVP 110 111 102\na=rtpmap:110 speex/16000\na=rtpmap:111 speex/8000\na=rtpmap:102 telephone-event/16000", audio, []uint8{110, 111, 98, 97}, "SPEEX/16000", 102, true},
		{"Speex of 32 kHz is not taken", "m=audio 5 RTP/AVP 110\na=rtpmap:110 speex/32000", audio, nil, "", 0, true},
		{"comfort noise is no codec", "m=audio 5 RTP/AVP 13 0\na=rtpmap:13 CN/8000", audio, []uint8{0}, "PCMU", 0, true},
		{"nothing in common", "m=audio 5 RTP/AVP 15 101\na=rtpmap:15 G728/8000\na=rtpmap:101 telephone-event/8000", audio, nil, "", 0, true},
		{"opus mono is not opus", "m=audio 5 RTP/AVP 96\na=rtpmap:96 opus/48000", audio, nil, "", 0, true},
		{"H.264 mode 0 alone", "m=video 5 RTP/AVP 99\na=rtpmap:99 H264/90000\na=fmtp:99 profile-level-id=42e01f", video, []uint8{99, 112, 113}, "H264", 0, true},
		{"an rtpmap for a static number", "m=audio 5 RTP/AVP 8\na=rtpmap:8 pcma/8000/1", audio, []uint8{8}, "PCMA", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := parseSDP([]byte("c=IN IP4 192.0.2.1\n" + tc.sdp))
			if err != nil {
				t.Fatal(err)
			}
			m := &s.media[0]
			if m.usable() != tc.usable {
				t.Errorf("usable %v", m.usable())
			}
			a, ok := agree(m, tc.ours, true)
			if ok != (tc.formats != nil) {
				t.Fatalf("agreed %v", ok)
			}
			if !ok {
				return
			}
			var pts []uint8
			for _, f := range a.formats {
				pts = append(pts, f.PayloadType)
			}
			if !slices.Equal(pts, tc.formats) || a.send.codec != tc.codec || a.eventPT != tc.event {
				t.Errorf("formats %v send %v event %d", pts, a.send, a.eventPT)
			}
		})
	}
}

// TestAnswerEchoes: our answer keeps the peer's numbers and H.264 mode.
func TestAnswerEchoes(t *testing.T) {
	ours, _ := selectFormats(defaults(t).Codecs, table())
	s, err := parseSDP([]byte("c=IN IP4 192.0.2.1\nm=video 5 RTP/AVP 31 97 98\na=rtpmap:97 H264/90000\na=fmtp:97 packetization-mode=1\na=rtpmap:98 VP8/90000"))
	if err != nil {
		t.Fatal(err)
	}
	a, ok := agree(&s.media[0], ofKind(ours, media.Video), false)
	if !ok || len(a.formats) != 2 {
		t.Fatalf("%v %+v", ok, a)
	}
	want := []localFormat{{97, "H264/90000", "packetization-mode=1; profile-level-id=420020"}, {98, "VP8/90000", ""}}
	if got := a.echo(&s.media[0], ofKind(ours, media.Video)); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

// FuzzSDP: whatever a peer writes is read or refused, and what is agreed on is
// consistent; our answer to it can be read again.
func FuzzSDP(f *testing.F) {
	for _, s := range []string{baresipAnswer, "v=0\nm=audio 1 RTP/AVP 0 8 101\n", "c=IN IP6 ::1\nm=video 9/2 RTP/AVPF 96\na=rtpmap:96 VP8/90000\na=inactive\n",
		"m=audio 0 RTP/AVP 0\na=rtcp:0 IN IP4 x\na=ssrc:99999999999 x\na=fmtp:0\na=rtpmap:0", "v=0\r\nm=audio 5 RTP/AVP 127 128 -1\r\na=rtpmap:127 opus/48000/2/3"} {
		f.Add([]byte(s))
	}
	ours, _ := selectFormats(defaults(f).Codecs, table())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSDP(b)
		if err != nil {
			return
		}
		l := localSession{name: "x/1", address: "192.0.2.1"}
		for i := range s.media {
			m := &s.media[i]
			_, _ = m.usable(), m.held()
			a, ok := agree(m, ofKind(ours, m.kind), i%2 == 0)
			if !ok {
				l.sections = append(l.sections, refusal(m))
				continue
			}
			if p := a.byPT[a.sendPT]; p.codec == "" || p.event || p != a.send {
				t.Fatalf("we would send payload type %d, agreed is %+v", a.sendPT, p)
			}
			for _, g := range a.formats {
				if p := a.byPT[g.PayloadType]; p.codec != g.Codec || p.event {
					t.Fatalf("format %+v, table %+v", g, p)
				}
			}
			l.sections = append(l.sections, localSection{kind: m.kind, proto: m.proto, port: 4, formats: a.echo(m, ofKind(ours, m.kind))})
		}
		again, err := parseSDP([]byte(l.String()))
		if err != nil || len(again.media) != len(s.media) {
			t.Fatalf("our answer cannot be read: %v\n%s", err, &l)
		}
	})
}

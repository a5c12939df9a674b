package webrtc

import (
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"lineout/codecs/g711"
	"lineout/codecs/h264"
	"lineout/media"
)

// A player is told how long to keep the picture back only if it offers that
// and gets sound to wait for.
func TestHoldbackIsNegotiated(t *testing.T) {
	audio := &media.Track{ID: "audio", Kind: media.Audio, Codec: g711.PCMA, ClockRate: 8000}
	video := &media.Track{ID: "video", Kind: media.Video, Codec: h264.Name, ClockRate: 90000}
	with := func(id string) string { return chromium + "a=extmap:" + id + " " + playoutDelay + "\r\n" }
	for name, x := range map[string]struct {
		offer        string
		audio, video *media.Track
		least        time.Duration
		id           uint8
		data         string
	}{
		"offered":                    {with("5"), audio, video, 90 * time.Millisecond, 5, "\x00\x93\xe8"},
		"offered for receiving":      {with("5/recvonly"), audio, video, 90 * time.Millisecond, 5, "\x00\x93\xe8"},
		"offered for sending only":   {with("5/sendonly"), audio, video, 90 * time.Millisecond, 0, ""},
		"not offered":                {chromium, audio, video, 90 * time.Millisecond, 0, ""},
		"an id of the two-byte form": {with("15"), audio, video, 90 * time.Millisecond, 0, ""},
		"no id":                      {with("x"), audio, video, 90 * time.Millisecond, 0, ""},
		"a picture without sound":    {with("5"), nil, video, 90 * time.Millisecond, 0, ""},
		"sound without a picture":    {with("5"), audio, nil, 90 * time.Millisecond, 0, ""},
		"turned off":                 {with("5"), audio, video, 0, 0, ""},
		"more than can be said":      {with("5"), audio, video, time.Hour, 5, "\x3e\x83\xe8"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseOffer(x.offer)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := choose(o, x.audio, x.video, table()); err != nil {
				t.Fatal(err)
			}
			hold := newHoldback(o, x.least)
			s := &sender{hold: hold}
			plain, keyed := s.newHeader(false), s.newHeader(true)
			if got := string(keyed.GetExtension(x.id)); hold.id != x.id || x.id != 0 && got != x.data {
				t.Fatalf("id %d, data %x; want %d, %x", hold.id, got, x.id, x.data)
			}
			if plain.Extension || keyed.Extension != (x.id != 0) {
				t.Fatalf("extension: %v in all packets, %v in those of key frames", plain.Extension, keyed.Extension)
			}
		})
	}
}

// Over the wire: the answer names the extension, every packet of a key frame
// has it and no other, and what is sent again is the same to the bit.
func TestHoldbackIsSent(t *testing.T) {
	r := newRig(t, nil)
	src := newSource(t, r, "call", g711.CodecPCMA, h264.Codec)
	src.st.SetReady()
	src.play(t)
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	if err := me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: playoutDelay}, webrtc.RTPCodecTypeVideo); err != nil {
		t.Fatal(err)
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.DisableSRTPReplayProtection(true) // to see what is sent again
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	p := newPlayerWith(t, &me, se, aud, vid)
	if code := p.whep(t, r, "call"); code != 201 {
		t.Fatalf("status %d", code)
	}
	if strings.Count(p.answer, playoutDelay) != 1 || strings.Index(p.answer, playoutDelay) < strings.Index(p.answer, "m=video") {
		t.Fatalf("the answer does not name the extension once, for video:\n%s", p.answer)
	}
	key, other := 0, 0
	var sent *rtp.Packet
	for key == 0 || other < 5 {
		k := p.next(t)
		if len(k.Payload) < 2 || k.Payload[0]&0x1f != 28 { // all pictures here come as FU-A
			continue
		}
		if k.Payload[1]&0x1f == 5 {
			key, sent = key+1, k
		} else {
			other++
		}
		if k.Extension != (k.Payload[1]&0x1f == 5) {
			t.Fatalf("packet %d, part of a key frame: %v, says how long to keep it back: %v", k.SequenceNumber, k.Payload[1]&0x1f == 5, k.Extension)
		}
	}
	if err := p.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: sent.SSRC, Nacks: []rtcp.NackPair{{PacketID: sent.SequenceNumber}}}}); err != nil {
		t.Fatal(err)
	}
	for {
		k := p.next(t)
		if k.SSRC == sent.SSRC && k.SequenceNumber == sent.SequenceNumber {
			if !k.Extension || string(k.Payload) != string(sent.Payload) || !reflect.DeepEqual(k.Header, sent.Header) {
				t.Fatalf("sent again as %v, first was %v", k.Header, sent.Header)
			}
			return
		}
	}
}

package webrtc

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"lineout/codecs/g711"
	"lineout/codecs/h264"
)

func TestPlayH264AndPCMA(t *testing.T) {
	r := newRig(t, nil)
	s := newSource(t, r, "call 1/ä", g711.CodecPCMA, h264.Codec)
	s.st.SetReady()
	s.play(t)
	p := newPlayer(t, webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo)
	if code := p.whep(t, r, "call%201%2F%C3%A4"); code != http.StatusCreated {
		t.Fatalf("POST gave %d", code)
	}
	var video []byte
	last := map[uint32]uint16{}
	first := true
	for audio := 0; audio < 25 || len(last) < 2; {
		k := p.next(t)
		if seq, ok := last[k.SSRC]; ok && k.SequenceNumber != seq+1 {
			t.Fatalf("sequence number %d after %d", k.SequenceNumber, seq)
		}
		last[k.SSRC] = k.SequenceNumber
		if k.PayloadType == 8 {
			audio++
			continue
		}
		if first && k.Payload[0]&0x1f != 7 {
			t.Fatalf("video begins with NAL type %d, want the SPS a decoder needs", k.Payload[0]&0x1f)
		}
		first = false
		video = append(video, k.Payload[0]&0x1f)
	}
	if len(video) < 4 || video[1] != 8 || video[2] != 28 {
		t.Fatalf("NAL types of the first packets are %v, want SPS, PPS, then the key frame's fragments", video)
	}
	for _, line := range []string{"m=audio 9", "m=video 9", "a=group:BUNDLE 0 1", "a=sendonly", "a=candidate", "a=ice-lite", "a=setup:passive"} {
		if !strings.Contains(p.answer, line) {
			t.Errorf("the answer has no %q:\n%s", line, p.answer)
		}
	}
	infos := r.svc.Viewers()
	if len(infos) != 1 || infos[0].Stream != "call 1/ä" || infos[0].State != "PLAYING" || infos[0].PacketsSent == 0 {
		t.Errorf("listing is %+v", infos)
	}
}

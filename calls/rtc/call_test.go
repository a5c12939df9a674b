package rtc

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"lineout/calls/leg"
	"lineout/media"
)

func isRTP(k media.Kind) func(leg.Packet) bool {
	return func(p leg.Packet) bool { return p.Kind == k && p.RTP != nil }
}

// A browser calls: sound and picture pass both ways, numbers and reports fit.
func TestCallBothWays(t *testing.T) {
	s := newService(t, nil)
	b := newBrowser(t, kinds[:])
	p := dial(t, s, b, both)
	in := collect(t, p)
	m := p.Media()
	ts := m.Tracks()
	if len(ts) != 2 || ts[0].Kind != media.Audio || ts[0].Formats[0].Codec != "opus" || !ts[0].Send || !ts[0].Receive || ts[1].Formats[0].Codec != "H264" {
		t.Fatalf("%+v", ts)
	}
	body := []byte{1, 2, 3, 4, 5}
	for i := range uint16(3) {
		if err := b.out[media.Audio].WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: 10 + i, Timestamp: 960 * uint32(i)}, Payload: body}); err != nil {
			t.Fatal(err)
		}
	}
	got := received(t, in, isRTP(media.Audio))
	if !bytes.Equal(got.RTP.Payload, body) || got.RTP.PayloadType != ts[0].Formats[0].PayloadType || got.At.IsZero() || got.RTP.Extension {
		t.Errorf("%+v", got.RTP)
	}
	var vp8 uint8
	for _, f := range ts[1].Formats {
		if f.Codec == "VP8" {
			vp8 = f.PayloadType
		}
	}
	// Other way: forwarded packets keep their distances under our own SSRC.
	for i, seq := range []uint16{65534, 65535, 1, 0, 2} {
		src := &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 33, SSRC: 99, SequenceNumber: seq, Timestamp: 1000 + uint32(i)*3000, Marker: true}, Payload: []byte{0x10, byte(i)}}
		if err := m.ForwardRTP(media.Video, vp8, src, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	first := b.next(t)
	for i, d := range []uint16{1, 3, 2, 4} {
		k := b.next(t)
		if k.SequenceNumber != first.SequenceNumber+d || k.Timestamp != first.Timestamp+uint32(i+1)*3000 || k.SSRC == 99 || k.PayloadType != vp8 || k.Payload[1] != byte(i+1) {
			t.Errorf("packet %d: %+v after %+v", i, k.Header, first.Header)
		}
	}
	// The browser's NACK brings the very same packet again.
	if err := b.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: first.SSRC, Nacks: []rtcp.NackPair{{PacketID: first.SequenceNumber + 2}}}}); err != nil {
		t.Fatal(err)
	}
	if k := b.next(t); k.SequenceNumber != first.SequenceNumber+2 || k.Payload[1] != 3 {
		t.Errorf("sent again: %+v", k.Header)
	}
	// Its wish for a key frame is passed on.
	if err := b.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: first.SSRC}}); err != nil {
		t.Fatal(err)
	}
	received(t, in, func(p leg.Packet) bool {
		if p.Kind != media.Video || p.RTCP == nil {
			return false
		}
		_, ok := p.RTCP[0].(*rtcp.PictureLossIndication)
		return ok
	})
	st := m.Stats()
	if len(st) != 2 || st[0].PacketsReceived != 3 || st[1].PacketsSent != 5 || st[0].Remote == "" || st[0].Local == "" {
		t.Errorf("%+v", st)
	}
	hangUp(t, p)
	if err := m.ForwardRTP(media.Video, vp8, &rtp.Packet{}, time.Now()); err != leg.ErrEnded {
		t.Errorf("after the end: %v", err)
	}
	waitFor(t, "the browser to see the end", func() bool { return b.pc.ConnectionState() != webrtc.PeerConnectionStateConnected })
}

// A browser is called: it takes our offer, and both directions work.
func TestBrowserIsCalled(t *testing.T) {
	s := newService(t, nil)
	like := []leg.TrackInfo{
		{Kind: media.Audio, Formats: []leg.Format{{PayloadType: 8, Codec: "PCMA", ClockRate: 8000, Channels: 1}}},
		{Kind: media.Video, Formats: []leg.Format{{PayloadType: 112, Codec: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1; profile-level-id=42e01f"}}},
	}
	var offer string
	p, err := s.Offer(t.Context(), like, Options{ID: "in-1", SendSDP: func(s string) { offer = s }})
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(t, p)
	wantEvent(t, p, leg.Ringing)
	b := newBrowser(t, kinds[:])
	b.take(t, webrtc.SDPTypeOffer, offer)
	answer, err := b.pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.pc.SetLocalDescription(answer); err != nil {
		t.Fatal(err)
	}
	if err := p.SetAnswer(answer.SDP); err != nil {
		t.Fatal(err)
	}
	if err := p.SetAnswer(answer.SDP); err == nil {
		t.Error("a second answer is taken")
	}
	e := wantEvent(t, p, leg.Answered)
	ts := e.Media.Tracks()
	if len(ts) != 2 || ts[1].Formats[0].Codec != "H264" {
		t.Fatalf("%+v", ts)
	}
	pcma := false
	for _, f := range ts[0].Formats {
		pcma = pcma || f.Codec == "PCMA"
	}
	if !pcma {
		t.Errorf("the caller's codec is not agreed on: %+v", ts[0])
	}
	in := collect(t, p)
	b.up(t)
	if err := b.out[media.Audio].WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2}, Payload: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	received(t, in, isRTP(media.Audio))
	if err := p.Media().WriteRTP(media.Audio, leg.Outgoing{PayloadType: 8, At: time.Now(), Length: 20 * time.Millisecond, Payload: make([]byte, 160)}); err != nil {
		t.Fatal(err)
	}
	if k := b.next(t); k.PayloadType != 8 {
		t.Errorf("%+v", k.Header)
	}
}

// Early media, and an answer after it: one SDP, EarlyMedia, then Answered.
func TestEarlyMedia(t *testing.T) {
	s := newService(t, nil)
	b := newBrowser(t, kinds[:1])
	sdp := make(chan string, 2)
	p, in, err := s.Accept(t.Context(), b.offer(t), Options{SendSDP: func(s string) { sdp <- s }})
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(t, p)
	if !in.HasAudio || in.HasVideo || len(in.Tracks) != 1 || in.Tracks[0].Formats[0].Codec != "opus" || in.SDP == "" {
		t.Errorf("%+v", in)
	}
	wantEvent(t, p, leg.Trying)
	p.Ring(leg.Terms{}, false) // says nothing of media, so its terms are none
	if len(sdp) != 0 || p.Media() != nil {
		t.Error("ringing alone has sent an SDP")
	}
	like := both
	like.Like = []leg.TrackInfo{{Kind: media.Audio, Formats: []leg.Format{{PayloadType: 8, Codec: "PCMA", ClockRate: 8000, Channels: 1}}, Receive: true, Send: true}}
	p.Ring(like, true)
	answer := <-sdp
	if !strings.Contains(answer, "UDP/TLS/RTP/SAVPF 8 ") {
		t.Errorf("the other leg's codec is not the first: %s", answer)
	}
	b.take(t, webrtc.SDPTypeAnswer, answer)
	if e := wantEvent(t, p, leg.EarlyMedia); e.Media == nil {
		t.Error("early media without media")
	}
	p.Answer(leg.Terms{})
	wantEvent(t, p, leg.Answered)
	if len(sdp) != 0 {
		t.Error("a second SDP was sent")
	}
	if ts := p.Media().Tracks(); !ts[0].Send {
		t.Error("the terms given first do not hold")
	}
}

// Digits go to the browser as telephone-events and come from it as events.
func TestDigits(t *testing.T) {
	s := newService(t, nil)
	b := newBrowser(t, kinds[:1])
	p := dial(t, s, b, both)
	if err := p.SendDTMF(t.Context(), "5x", leg.INFO); err == nil {
		t.Error("a letter is taken for a digit")
	}
	if err := p.SendDTMF(t.Context(), "5", leg.INFO); err != nil {
		t.Fatal(err)
	}
	ends := 0
	for ends < 3 {
		k := b.next(t)
		if k.PayloadType != 110 || k.Payload[0] != 5 {
			t.Fatalf("%+v %x", k.Header, k.Payload)
		}
		if k.Payload[1]&0x80 != 0 {
			ends++
			if d := int(k.Payload[2])<<8 | int(k.Payload[3]); d != 7680 {
				t.Errorf("the digit is %d units of 48 kHz long", d)
			}
		}
	}
	// One that another leg sent is passed on as it is.
	if ev := p.Media().Tracks()[0].Events; len(ev) != 2 || ev[0].PayloadType != 110 || ev[1].ClockRate != 8000 {
		t.Errorf("events %+v", ev)
	}
	if err := p.Media().ForwardRTP(media.Audio, 126, &rtp.Packet{Header: rtp.Header{SSRC: 3, Timestamp: 80}, Payload: []byte{9, 10, 0, 160}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for {
		if k := b.next(t); k.PayloadType == 126 {
			if k.Payload[0] != 9 {
				t.Errorf("%x", k.Payload)
			}
			break
		}
	}
	for i, e := range [][2]byte{{11, 0}, {11, 0x80}, {11, 0x80}, {3, 0}} { // # and 3, of which packets repeat
		ts := uint32(1000)
		if e[0] == 3 {
			ts = 9000
		}
		if err := b.out[media.Audio].WriteRTP(&rtp.Packet{Header: rtp.Header{PayloadType: 110, SequenceNumber: uint16(i), Timestamp: ts}, Payload: []byte{e[0], e[1] | 10, 3, 0}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"#", "3"} {
		if e := wantEvent(t, p, leg.DTMFReceived); e.Digit != want || e.Text != "RTP" {
			t.Errorf("%+v, want %s", e, want)
		}
	}
}

// Hold: nothing more is sent and nothing delivered; afterwards both go on, and
// the browser sees no loss.
func TestHold(t *testing.T) {
	s := newService(t, nil)
	b := newBrowser(t, kinds[:1])
	p := dial(t, s, b, both)
	in := collect(t, p)
	m := p.Media()
	src := &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 5, SequenceNumber: 100, Timestamp: 1000}, Payload: []byte{1}}
	forward := func() {
		t.Helper()
		if err := m.ForwardRTP(media.Audio, 111, src, time.Now()); err != nil {
			t.Fatal(err)
		}
		src.SequenceNumber++
		src.Timestamp += 960
	}
	forward()
	first := b.next(t)
	if err := p.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEvent(t, p, leg.Held)
	if err := p.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		forward()
	}
	for i := range uint16(3) {
		_ = b.out[media.Audio].WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: i}, Payload: []byte{9}})
	}
	waitFor(t, "the browser's packets", func() bool { return m.Stats()[0].PacketsReceived == 3 })
	if err := p.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEvent(t, p, leg.Resumed)
	forward()
	k := b.next(t)
	if k.SequenceNumber != first.SequenceNumber+1 || int32(k.Timestamp-first.Timestamp) <= 0 {
		t.Errorf("after the hold: %+v, before: %+v", k.Header, first.Header)
	}
	_ = b.out[media.Audio].WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: 4}, Payload: []byte{7}})
	if got := received(t, in, isRTP(media.Audio)); got.RTP.Payload[0] != 7 {
		t.Errorf("a packet of the hold was delivered: %x", got.RTP.Payload)
	}
}

package sip

import (
	"errors"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"lineout/calls/leg"
	"lineout/media"
	"lineout/test/peers"
)

// browser is what a browser has, as Chrome says it.
var browser = []leg.TrackInfo{
	{Kind: media.Audio, Receive: true, Send: true, Formats: []leg.Format{
		{PayloadType: 111, Codec: "opus", ClockRate: 48000, Channels: 2}, {PayloadType: 9, Codec: "G722", ClockRate: 8000, Channels: 1},
		{PayloadType: 0, Codec: "PCMU", ClockRate: 8000, Channels: 1}}},
	{Kind: media.Video, Receive: true, Send: true, Formats: []leg.Format{
		{PayloadType: 96, Codec: "VP8", ClockRate: 90000},
		{PayloadType: 102, Codec: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"},
		{PayloadType: 104, Codec: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"},
		{PayloadType: 106, Codec: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\na=evil"}}},
}

// section is a media section of a description, with its lines.
func sectionOf(t testing.TB, body []byte, kind string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(body), "m="+kind+" ")
	if !ok {
		t.Fatalf("no %s in\n%s", kind, body)
	}
	rest, _, _ = strings.Cut(rest, "\r\nm=")
	return rest
}

func wants(t testing.TB, section string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(section, l) {
			t.Errorf("no %q in\n%s", l, section)
		}
	}
}

// An offer for a browser holds what that has; a picture that leaves and comes
// back in mid-call changes the media, not the call.
func TestOfferLikeAnotherLeg(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	r := u.request()
	r.SendAudio, r.SendVideo, r.Like = false, false, browser
	c := s.dial(t, r)
	invite := u.expect(sipmsg.INVITE)
	sound, picture := sectionOf(t, invite.Body(), "audio"), sectionOf(t, invite.Body(), "video")
	wants(t, sound, "RTP/AVP 111 9 0 8 ", "a=sendrecv", "telephone-event/48000", "telephone-event/8000")
	wants(t, picture, "RTP/AVP 112 113 114\r\n", "a=rtpmap:112 VP8/90000", "a=fmtp:113 packetization-mode=1; profile-level-id=42001f; level-asymmetry-allowed=1\r\n",
		"a=fmtp:114 packetization-mode=0; profile-level-id=420020; level-asymmetry-allowed=1\r\n", "a=sendrecv")
	both := []string{"m=video 9 RTP/AVP 113", "a=rtpmap:113 H264/90000", "a=fmtp:113 packetization-mode=1; profile-level-id=42001f"}
	u.answer(invite, 200, u.sdp(both...))
	u.expect(sipmsg.ACK)
	md := c.wait(leg.Answered).Media
	if tr := md.Tracks(); len(tr) != 2 || tr[1].Formats[0].PayloadType != 113 || !tr[1].Send || !tr[1].Receive {
		t.Errorf("%+v", tr)
	}
	u.ask("INVITE", u.sdp("m=video 0 RTP/AVP 113"))
	u.response(200)
	u.ask("ACK", "")
	if e := c.wait(leg.MediaChanged); len(e.Media.Tracks()) != 1 {
		t.Errorf("%+v", e.Media.Tracks())
	}
	u.ask("INVITE", u.sdp(both...))
	u.response(200)
	u.ask("ACK", "")
	peers.Eventually(t, "the picture to come back", 5*time.Second, func() bool { return len(md.Tracks()) == 2 })
	if f := md.Tracks()[1].Formats[0]; f.Codec != "H264" || mode(f.Fmtp) != 1 {
		t.Errorf("%+v", f)
	}
}

func TestOfferOfTheKindsThereAre(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	r := u.request()
	r.Like = []leg.TrackInfo{{Kind: media.Audio, Send: true, Formats: []leg.Format{{Codec: "PCMU", ClockRate: 8000, Channels: 1}}}} // it only listens
	r.SendAudio, r.SendVideo = false, false
	s.dial(t, r)
	invite := u.expect(sipmsg.INVITE)
	wants(t, sectionOf(t, invite.Body(), "audio"), "RTP/AVP 0 8 ", "a=recvonly")
	if strings.Contains(string(invite.Body()), "m=video") {
		t.Errorf("a picture is offered:\n%s", invite.Body())
	}
	u.answer(invite, 486, "")
}

// A caller is answered with what the browser has, and the receiver is told what
// the caller has.
func TestAnswerLikeAnotherLeg(t *testing.T) {
	k := &desk{greet: func(l leg.Inbound) { l.Answer(leg.Terms{Like: browser}) }}
	s := take(t, k, nil)
	u := newUAC(t, s)
	end := func(c *call) {
		t.Helper()
		c.wait(leg.Answered)
		_ = c.Hangup(t.Context(), leg.Cause{})
		u.answer(u.next(sipmsg.BYE), 200, "")
		c.wait(leg.Ended)
	}
	u.invite("like", u.sdp("a=ptime:30")+lines("m=audio 9 RTP/AVP 3")+lines("m=video 9 RTP/AVP 98 97", "a=rtpmap:98 H265/90000", "a=rtpmap:97 H264/90000", "a=fmtp:97 packetization-mode=1;profile-level-id=64001f"))
	res := u.response(200)
	wants(t, sectionOf(t, res.Body(), "video"), "RTP/AVP 97\r\n", "a=fmtp:97 packetization-mode=1; profile-level-id=64001f\r\n", "a=sendrecv")
	u.to = res.To().Value()
	u.ack("")
	c, in := k.next(0)
	end(c)
	if len(in.Tracks) != 2 || in.Tracks[0].Formats[0].Codec != "PCMA" || in.Tracks[0].PacketTime != 30*time.Millisecond || !in.Tracks[1].Receive || !in.Tracks[1].Send || in.Tracks[1].Formats[0].PayloadType != 97 {
		t.Errorf("%+v", in.Tracks)
	}

	u.seq++
	u.invite("like-order", strings.Replace(u.sdp("a=rtpmap:96 opus/48000/2"), "RTP/AVP 8", "RTP/AVP 8 0 96", 1)+lines("m=video 9 RTP/AVP 97", "a=rtpmap:97 H265/90000"))
	res = u.response(200)
	wants(t, sectionOf(t, res.Body(), "audio"), "RTP/AVP 96 8 0\r\n")
	wants(t, string(res.Body()), "m=video 0 ")
	u.to = res.To().Value()
	u.ack("")
	c, _ = k.next(1)
	end(c)

	u.seq++
	u.invite("like-late", "") // our offer is in the 200
	res = u.response(200)
	wants(t, sectionOf(t, res.Body(), "audio"), "RTP/AVP 111 9 0 8 ")
	wants(t, sectionOf(t, res.Body(), "video"), "RTP/AVP 112 113 114\r\n")
	u.to = res.To().Value()
	u.ack(u.sdp())
	c, in = k.next(2)
	end(c)
	if in.Tracks != nil {
		t.Errorf("%+v", in.Tracks)
	}
}

// Packets of another leg arrive as they were sent, under our SSRC.
func TestForwardRTP(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	r := u.request()
	r.Like = []leg.TrackInfo{{Kind: media.Audio, Receive: true, Send: true, Formats: []leg.Format{{Codec: "PCMA", ClockRate: 8000, Channels: 1}}}}
	c := s.dial(t, r)
	invite := u.expect(sipmsg.INVITE)
	u.answer(invite, 200, u.sdp("a=rtpmap:101 telephone-event/8000"))
	u.expect(sipmsg.ACK)
	md := c.wait(leg.Answered).Media.(leg.Forwarder)
	p := &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 5, SequenceNumber: 7, Timestamp: 9, Marker: true, PayloadType: 99, Extension: true, CSRC: []uint32{1}}, Payload: []byte("as it is")}
	if err := md.ForwardRTP(media.Audio, 8, p, time.Now()); err != nil {
		t.Fatal(err)
	}
	p.SequenceNumber, p.Timestamp, p.Marker = 9, 329, false
	if err := md.ForwardRTP(media.Audio, 8, p, time.Now()); err != nil {
		t.Fatal(err)
	}
	var got []rtp.Packet
	buf := make([]byte, 1500)
	_ = u.rtp.SetReadDeadline(time.Now().Add(5 * time.Second))
	for len(got) < 2 {
		n, _, err := u.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		var q rtp.Packet
		if q.Unmarshal(append([]byte(nil), buf[:n]...)) == nil && string(q.Payload) == "as it is" {
			got = append(got, q)
		}
	}
	a, b := got[0], got[1]
	if a.PayloadType != 8 || a.SSRC == 5 || a.SSRC != b.SSRC || !a.Marker || b.Marker || b.SequenceNumber != a.SequenceNumber+2 || b.Timestamp != a.Timestamp+320 || a.Extension || len(a.CSRC) != 0 {
		t.Errorf("%+v then %+v", a.Header, b.Header)
	}
	p.Payload = make([]byte, 1490)
	for what, err := range map[string]error{
		"no section":   md.ForwardRTP(media.Video, 8, p, time.Now()),
		"not agreed":   md.ForwardRTP(media.Audio, 77, p, time.Now()),
		"does not fit": md.ForwardRTP(media.Audio, 8, p, time.Now()),
	} {
		if err == nil || errors.Is(err, leg.ErrEnded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_ = c.Hangup(t.Context(), leg.Cause{})
	u.answer(u.next(sipmsg.BYE), 200, "")
	c.wait(leg.Ended)
	if err := md.ForwardRTP(media.Audio, 8, p, time.Now()); !errors.Is(err, leg.ErrEnded) {
		t.Error(err)
	}
}

func TestForwardRTPDoesNotAllocate(t *testing.T) {
	u, s := newUAS(t), start(t, nil)
	md := u.establish(t, s, func(r *leg.Request) { r.SendAudio = true }).wait(leg.Answered).Media.(leg.Forwarder)
	p := &rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 5}, Payload: make([]byte, 160)}
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		p.SequenceNumber++
		p.Timestamp += 160
		if err := md.ForwardRTP(media.Audio, 8, p, now); err != nil {
			t.Fatal(err)
		}
	}); n > 0.5 {
		t.Errorf("%v allocations for a packet", n)
	}
}

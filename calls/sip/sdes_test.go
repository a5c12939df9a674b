package sip

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"lineout/calls/leg"
	"lineout/test/peers"
)

var testKey = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 30))

func TestParseCrypto(t *testing.T) {
	for _, good := range []string{
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey,
		"999999999 aes_cm_128_hmac_sha1_32 INLINE:" + testKey + "|2^31 WSH=64 -X=1",
		"0 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|1048576",
	} {
		if c, ok := parseCrypto(good); !ok || len(c.key) != 30 {
			t.Errorf("%q was refused", good)
		}
	}
	for _, bad := range []string{
		"", "1", "x AES_CM_128_HMAC_SHA1_80 inline:" + testKey, "1 F8_128_HMAC_SHA1_80 inline:" + testKey,
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey[:20], "1 AES_CM_128_HMAC_SHA1_80 outline:" + testKey,
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^31|1:4", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + ";inline:" + testKey,
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " UNENCRYPTED_SRTP", "1000000000 AES_CM_128_HMAC_SHA1_80 inline:" + testKey,
		"1 AEAD_AES_256_GCM inline:" + testKey,
	} {
		if c, ok := parseCrypto(bad); ok {
			t.Errorf("%q was taken as %v", bad, c)
		}
	}
	for _, c := range newCryptos() {
		if back, ok := parseCrypto(c.line()); !ok || back != c {
			t.Errorf("%v does not come back", c)
		}
		if s := fmt.Sprintf("%v %+v", c, c); strings.Contains(s, base64.StdEncoding.EncodeToString([]byte(c.key))) || strings.Contains(s, c.key) {
			t.Errorf("%v shows its key", c)
		}
	}
}

func FuzzParseCrypto(f *testing.F) {
	f.Add("1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^31|1:4 KDR=1")
	f.Add("1 AEAD_AES_128_GCM inline:")
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := parseCrypto(s)
		if !ok {
			return
		}
		if back, again := parseCrypto(c.line()); !again || back != c {
			t.Errorf("%q became %v", s, c)
		}
		if _, err := c.context(); err != nil {
			t.Error(err)
		}
	})
}

// sealed makes RTP packets and encrypts them.
func sealed(t *testing.T, g *guard, seq uint16, payload string) []byte {
	t.Helper()
	b := make([]byte, 0, 200)
	raw, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: seq, SSRC: 5}, Payload: []byte(payload)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out, err := g.seal(append(b, raw...), false)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGuard: each suite both ways; roll-over, loss and disorder; replayed,
// changed and foreign packets are refused; a key that is agreed on again keeps
// its counters, a new one counts from there on.
func TestGuard(t *testing.T) {
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			var a, b guard
			ka, kb := newCrypto(1, s), newCrypto(1, s)
			if err := a.use(ka, kb); err != nil {
				t.Fatal(err)
			}
			if err := b.use(kb, ka); err != nil {
				t.Fatal(err)
			}
			take := func(p []byte, ok bool) {
				t.Helper()
				out, err := b.open(append([]byte(nil), p...), false)
				if (err == nil) != ok || ok && !bytes.HasSuffix(out, []byte("voice")) {
					t.Errorf("%q %v", out, err)
				}
			}
			first := sealed(t, &a, 65534, "voice")
			if bytes.Contains(first, []byte("voice")) {
				t.Fatal("sent in the clear")
			}
			take(first, true)
			take(first, false)
			lost, late := sealed(t, &a, 65535, "voice"), sealed(t, &a, 0, "voice")
			for seq := range uint16(3) { // the roll-over
				take(sealed(t, &a, seq+1, "voice"), true)
			}
			take(late, true)
			_ = lost
			changed := sealed(t, &a, 9, "voice")
			changed[len(changed)-1] ^= 1
			take(changed, false)
			if err := b.use(kb, ka); err != nil { // agreed on again
				t.Fatal(err)
			}
			take(sealed(t, &a, 10, "voice"), true)
			take(late, false)
			next := newCrypto(1, s)
			if err := b.use(kb, next); err != nil {
				t.Fatal(err)
			}
			take(sealed(t, &a, 11, "voice"), false)
			if err := a.use(next, kb); err != nil {
				t.Fatal(err)
			}
			take(sealed(t, &a, 12, "voice"), true)
			report := []byte{0x80, 201, 0, 1, 0, 0, 0, 5}
			c, err := a.seal(append([]byte(nil), report...), true)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := b.open(c, true); err != nil || !bytes.Equal(out, report) {
				t.Errorf("RTCP %x %v", out, err)
			}
			if _, err := b.open(report, true); err == nil {
				t.Error("RTCP in the clear was taken")
			}
		})
	}
}

// TestNoDowngrade: what the other side may answer and offer without that media
// goes on in the clear behind our back.
func TestNoDowngrade(t *testing.T) {
	ours := newCryptos()
	plain, wrong, right := &sdpMedia{proto: "RTP/AVP"}, &sdpMedia{proto: "RTP/AVP", cryptos: []crypto{newCrypto(77, suites[0])}}, &sdpMedia{proto: "RTP/AVP", cryptos: []crypto{newCrypto(4, suites[3])}}
	savp := &sdpMedia{proto: "RTP/SAVP"}
	for i, c := range []struct {
		on, must bool
		m        *sdpMedia
		ok, then bool
	}{
		{false, false, plain, true, false}, {false, true, plain, false, false}, {true, false, plain, false, true},
		{false, false, wrong, true, false}, {false, true, wrong, false, false}, {false, false, savp, false, false},
		{false, true, right, true, true}, {true, false, right, true, true},
	} {
		var g guard
		if c.on {
			if err := g.use(ours[0], newCrypto(1, suites[0])); err != nil {
				t.Fatal(err)
			}
		}
		commit, err := g.answered(ours, c.must, c.m)
		if err == nil {
			commit()
		}
		if _, on := g.own(); (err == nil) != c.ok || on != c.then {
			t.Errorf("answer %d: %v, encrypted %v", i, err, on)
		}
	}
	for i, c := range []struct {
		on       bool
		mode     srtpMode
		m        *sdpMedia
		ok, then bool
	}{
		{false, srtpOff, plain, true, false}, {false, srtpOff, right, true, false}, {false, srtpOff, savp, false, false},
		{false, srtpRequired, plain, false, false}, {true, srtpSecure, plain, false, true}, {false, srtpSecure, right, true, true}, {true, srtpOff, right, true, true},
	} {
		var g guard
		if c.on {
			if err := g.use(ours[3], newCrypto(1, suites[3])); err != nil {
				t.Fatal(err)
			}
		}
		keys, commit, err := g.offered(c.mode, c.m)
		if err == nil {
			commit()
		}
		if _, on := g.own(); (err == nil) != c.ok || on != c.then || on && err == nil && keys[0].tag != 4 {
			t.Errorf("offer %d: %v %v, encrypted %v", i, keys, err, on)
		}
		if c.on && err == nil && keys[0].key != ours[3].key {
			t.Errorf("offer %d: our key changed without need", i)
		}
	}
}

// TestBaresipSRTP calls baresip, which must have its media encrypted, over TLS
// and over UDP; without encryption on one side there is no call.
func TestBaresipSRTP(t *testing.T) {
	t.Parallel()
	own := peers.NewAuthority(t).Issue(t, "localhost", "127.0.0.1")
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{TLS: own, SRTP: "srtp-mand"})
	plain := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10007"})
	s := start(t, secured(own, false))
	for _, c := range []struct{ transport, mode string }{{"tls", ""}, {"udp", "required"}, {"udp", "optional"}, {"tcp", "optional"}} {
		t.Run(c.transport+","+c.mode, func(t *testing.T) {
			r := direct(phone)
			if r.Transport, r.SRTP = c.transport, c.mode; c.transport == "tls" {
				r.Port = phone.Port + 1
			}
			call := s.dial(t, r)
			m := call.wait(leg.Answered).Media
			phone.WaitEvent(t, "CALL_ESTABLISHED")
			peers.Eventually(t, "sound and picture", 15*time.Second, func() bool { return call.count(8) > 100 && call.keyframes() > 0 })
			if err := call.Hold(t.Context()); err != nil { // new keys or the same ones: it goes on
				t.Fatal(err)
			}
			if err := call.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			n, k := call.count(8), call.keyframes()
			peers.Eventually(t, "sound after the hold", 10*time.Second, func() bool { return call.count(8) > n+100 })
			peers.Eventually(t, "a key frame, asked for by SRTCP", 10*time.Second, func() bool {
				m.RequestKeyframe()
				return call.keyframes() > k
			})
			phone.Hold(t)
			call.wait(leg.Held)
			phone.Resume(t)
			n = call.count(8)
			peers.Eventually(t, "sound after their hold", 10*time.Second, func() bool { return call.count(8) > n+50 })
			for _, st := range m.Stats() {
				t.Logf("%s: %d packets, %d lost, %d rejected, sent %d", st.Kind, st.PacketsReceived, st.PacketsLost, st.PacketsRejected, st.PacketsSent)
				if st.PacketsRejected > st.PacketsReceived/50 {
					t.Errorf("%d of %d packets were rejected", st.PacketsRejected, st.PacketsReceived)
				}
			}
			for _, sec := range m.(*session).sections {
				if key, on := sec.guard.own(); !on {
					t.Errorf("%s is not encrypted", sec.kind)
				} else {
					t.Logf("%s: %s", sec.kind, key.suite.name)
					if strings.Contains(s.log.String(), base64.StdEncoding.EncodeToString([]byte(key.key))) {
						t.Error("the log shows a key")
					}
				}
			}
			phone.Hangup(t)
			call.wait(leg.Ended)
		})
	}
	r := direct(phone)
	r.CallID = "mandatory there"
	r.CallID, r.SRTP = "mandatory-there", "off"
	if end := s.dial(t, r).wait(leg.Ended); end.Cause.Code != 488 {
		t.Errorf("a call without encryption to who must have it: %+v", end.Cause)
	}
	r = direct(plain)
	r.CallID, r.SRTP = "mandatory-here", "required"
	if end := s.dial(t, r).wait(leg.Ended); end.Cause.Code != 488 {
		t.Errorf("a call with encryption to who has none: %+v", end.Cause)
	}
	r.CallID, r.SRTP = "optional-here", "optional"
	call := s.dial(t, r)
	call.wait(leg.Answered)
	peers.Eventually(t, "sound in the clear", 10*time.Second, func() bool { return call.count(8) > 20 })
}

// TestRefusedOfferChangesNothing: new keys and another address for the sound, and
// pictures without the encryption they had: 488, and the sound is as before (RFC
// 3261 section 14.1).
func TestRefusedOfferChangesNothing(t *testing.T) {
	t.Parallel()
	u, s := newUAS(t), start(t, nil)
	video := []string{"m=video 9010 RTP/AVP 112", "a=rtpmap:112 H264/90000"}
	c := u.establish(t, s, func(r *leg.Request) { r.SendVideo = true }, video...)
	d := s.find(u.in.CallID().Value())
	old := [2]crypto{newCrypto(1, suites[0]), newCrypto(1, suites[0])}
	for _, x := range d.media.sections {
		if err := x.guard.use(old[0], old[1]); err != nil {
			t.Fatal(err)
		}
	}
	offer := u.sdp(append([]string{"a=crypto:" + newCrypto(1, suites[0]).line()}, video...)...)
	u.ask("INVITE", strings.Replace(offer, fmt.Sprint("audio ", u.rtpPort()), "audio 9020", 1), fmt.Sprintf("Contact: <sip:bob@127.0.0.1:%d>", u.port()), "Content-Type: application/sdp")
	for {
		if r, ok := u.read().(*sipmsg.Response); ok && r.StatusCode >= 200 {
			if r.StatusCode != 488 {
				t.Fatalf("want 488, got\n%s", r)
			}
			break
		}
	}
	u.ask("ACK", "")
	for _, x := range d.media.sections {
		x.guard.mu.Lock()
		if x.guard.txKey.key != old[0].key || x.guard.rxKey.key != old[1].key {
			t.Errorf("%v has other keys", x.kind)
		}
		x.guard.mu.Unlock()
	}
	if st := c.wait(leg.Answered).Media.Stats(); len(st) != 2 || st[0].Remote != fmt.Sprint("127.0.0.1:", u.rtpPort()) {
		t.Errorf("media %+v", st)
	}
	if n := c.countEvents(leg.MediaChanged); n != 0 {
		t.Errorf("%d changes were told", n)
	}
}

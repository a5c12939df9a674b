package sip

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"lineout/calls/leg"
	"lineout/media"
	"lineout/test/peers"
)

// direct is a request that calls a soft phone without a server between.
func direct(p *peers.Softphone) leg.Request {
	return leg.Request{Callee: p.User, Login: "10005", DisplayName: `Ann "A" \ B`, Domain: "127.0.0.1", Port: p.Port, SendAudio: true, SendVideo: true}
}

// TestBaresipCodecs calls a real soft phone with each codec it shares with us,
// counts what comes, asks for a key frame, sends digits, and hangs up.
func TestBaresipCodecs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, audio, video string
		audioPT, videoPT   uint8
	}{
		{"PCMA+H264", peers.PCMA, peers.H264, 8, 113},
		{"Opus+H264 mode 1", peers.Opus, peers.H264M, 111, 112},
		{"PCMU only", peers.PCMU, peers.None, 0, 0},
		{"PCMA+VP8", peers.PCMA, peers.VP8, 8, 114},
	} {
		t.Run(c.name, func(t *testing.T) {
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Audio: c.audio, Video: c.video})
			s := start(t, nil)
			call := s.dial(t, direct(phone))
			answer := call.wait(leg.Answered)
			phone.WaitEvent(t, "CALL_ESTABLISHED")
			tracks := answer.Media.Tracks()
			if want := 2; c.video == peers.None && len(tracks) != 1 || c.video != peers.None && len(tracks) != want {
				t.Fatalf("tracks: %+v", tracks)
			}
			peers.Eventually(t, "sound", 10*time.Second, func() bool { return call.count(c.audioPT) > 50 })
			if c.video != peers.None {
				peers.Eventually(t, "pictures", 10*time.Second, func() bool { return call.count(c.videoPT) > 50 })
			}
			if c.video == peers.H264 || c.video == peers.H264M {
				// Counted in packets, since on a busy machine the phone takes its time.
				before, sent := call.keyframes(), call.count(c.videoPT)
				answer.Media.RequestKeyframe()
				// A busy phone forgets a request, so it is repeated, as whoever receives pictures does.
				asked := sent
				peers.Eventually(t, "pictures after PLI", time.Minute, func() bool {
					if n := call.count(c.videoPT); n > asked+40 {
						asked = n
						answer.Media.RequestKeyframe()
					}
					return call.keyframes() > before || call.count(c.videoPT) > sent+250
				})
				if call.keyframes() == before {
					t.Error("no key frame among 250 packets after PLI")
				}
				t.Logf("key frame within %d packets of the request", call.count(c.videoPT)-sent)
			}
			if err := call.SendDTMF(context.Background(), "5#", leg.RFC4733); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"5", "#"} {
				phone.WaitEventFor(t, 10*time.Second, "the digit "+want, func(e peers.Event) bool {
					return e.Type == "CALL_DTMF_START" && e.Param == want
				})
			}
			for _, st := range answer.Media.Stats() {
				t.Logf("%+v", st)
				if st.PacketsLost != 0 || st.PacketsRejected != 0 {
					t.Errorf("%v: lost %d, rejected %d", st.Kind, st.PacketsLost, st.PacketsRejected)
				}
				if st.Kind == media.Audio && st.PacketsSent < 50 {
					t.Errorf("only %d packets of comfort silence were sent", st.PacketsSent)
				}
			}
			_ = call.Hangup(context.Background(), leg.Cause{Text: "enough"})
			if end := call.wait(leg.Ended); !end.Cause.Local || end.Cause.Text != "enough" {
				t.Errorf("cause %+v", end.Cause)
			}
			phone.WaitEvent(t, "CALL_CLOSED")
		})
	}
}

func TestBaresipHangsUp(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	call.wait(leg.Answered)
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	phone.Hangup(t)
	if end := call.wait(leg.Ended); end.Cause.Local || end.Cause.Kind != leg.Normal {
		t.Errorf("cause %+v", end.Cause)
	}
}

func TestBaresipCancelWhileRinging(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None, Manual: true})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	call.wait(leg.Ringing)
	_ = call.Hangup(context.Background(), leg.Cause{Text: "changed my mind"})
	if end := call.wait(leg.Ended); end.Cause.Text != "changed my mind" || !end.Cause.Local {
		t.Errorf("cause %+v", end.Cause)
	}
	phone.WaitEvent(t, "CALL_CLOSED")
}

func TestBaresipDeclines(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None, Manual: true})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	call.wait(leg.Ringing)
	phone.Hangup(t)
	if end := call.wait(leg.Ended); end.Cause.Kind != leg.Busy || end.Cause.Code != 486 || end.Cause.Local {
		t.Errorf("cause %+v", end.Cause)
	}
}

// TestBaresipHold: the phone holds and resumes by re-INVITE; the call and its
// ports live on.
func TestBaresipHold(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	call.wait(leg.Answered)
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	peers.Eventually(t, "sound", 10*time.Second, func() bool { return call.count(8) > 20 })
	phone.Hold(t)
	call.wait(leg.Held)
	phone.Resume(t)
	call.wait(leg.Resumed)
	n := call.count(8)
	peers.Eventually(t, "sound after the hold", 10*time.Second, func() bool { return call.count(8) > n+50 })
	phone.Hangup(t)
	call.wait(leg.Ended)
}

func TestBaresipInfoDigits(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	call.wait(leg.Answered)
	if err := call.SendDTMF(context.Background(), "7", leg.INFORelay); err != nil {
		t.Fatal(err)
	}
	phone.WaitEventFor(t, 10*time.Second, "the digit 7", func(e peers.Event) bool {
		return e.Type == "CALL_DTMF_START" && e.Param == "7"
	})
}

// TestBaresipDials: digits a phone sends in a call by RFC 4733 come once each
// and in order.
func TestBaresipDials(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	call.wait(leg.Answered)
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	dialled := func() (got []string) {
		call.mu.Lock()
		defer call.mu.Unlock()
		for _, e := range call.events {
			if e.Type == leg.DTMFReceived {
				got = append(got, e.Digit+" by "+string(e.How))
			}
		}
		return got
	}
	want := []string{"5 by RFC2833", "9 by RFC2833", "9 by RFC2833", "# by RFC2833"}
	for i, digit := range want {
		phone.Command(t, "sndcode", digit[:1])
		peers.Eventually(t, "the digit", 10*time.Second, func() bool { return len(dialled()) > i })
		phone.Command(t, "sndcode", "\x04") // the key is let go
	}
	if got := dialled(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestStopEndsCalls: the end of Run says BYE to a call that is up.
func TestStopEndsCalls(t *testing.T) {
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	call.wait(leg.Answered)
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	s.stop()
	phone.WaitEvent(t, "CALL_CLOSED")
	call.wait(leg.Ended)
	if _, err := s.Dial(context.Background(), direct(phone)); err == nil {
		t.Error("a call was taken after the end")
	}
}

// TestKamailio registers 10006 with digest and calls 10005 through the
// registrar, which challenges the INVITE too and records its route.
func TestKamailio(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cfg  peers.RegistrarConfig
	}{
		{"MD5", peers.RegistrarConfig{}},
		{"nonce once", peers.RegistrarConfig{OneTime: true}},
		{"no qop and 423", peers.RegistrarConfig{NoQOP: true, MinExpires: 600}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kam := peers.StartRegistrar(t, c.cfg)
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Registrar: kam, Expires: 3600})
			s := start(t, nil)
			r := leg.Request{Callee: "10005", Login: "10006", Password: "pw10006", Domain: "127.0.0.1",
				Proxy: "127.0.0.1", Port: kam.Port, Register: true, SendAudio: true}
			call := s.dial(t, r)
			call.wait(leg.Answered)
			phone.WaitEvent(t, "CALL_ESTABLISHED")
			if !kam.Registered("10006") {
				t.Error("10006 is not registered during its call")
			}
			peers.Eventually(t, "sound", 10*time.Second, func() bool { return call.count(8) > 50 })
			_ = call.Hangup(context.Background(), leg.Cause{Text: "enough"})
			call.wait(leg.Ended)
			phone.WaitEvent(t, "CALL_CLOSED")
			peers.Eventually(t, "the registration to be removed", 10*time.Second, func() bool { return !kam.Registered("10006") })
			if log := s.log.String(); strings.Count(log, "response=") == 0 || strings.Count(log, "response=") != strings.Count(log, `response=\"***`) {
				t.Error("credentials are in the log, or no message is")
			}
		})
	}
}

// TestKamailioSHA256 logs in with the newer digest; the soft phone does not
// know it, so nobody is there to answer.
func TestKamailioSHA256(t *testing.T) {
	kam := peers.StartRegistrar(t, peers.RegistrarConfig{SHA256: true})
	s := start(t, nil)
	call := s.dial(t, leg.Request{Callee: "10005", Login: "10006", Password: "pw10006", Domain: "127.0.0.1", Port: kam.Port, Register: true})
	if end := call.wait(leg.Ended); end.Cause.Code != 480 {
		t.Errorf("cause %+v", end.Cause)
	}
	if !strings.Contains(kam.Log(), "REGISTERED 10006") {
		t.Error("10006 was not registered")
	}
}

// TestKamailioRefuses: a wrong password, an unknown and an absent callee.
func TestKamailioRefuses(t *testing.T) {
	kam := peers.StartRegistrar(t, peers.RegistrarConfig{})
	s := start(t, nil)
	base := leg.Request{Callee: "10005", Login: "10006", Password: "pw10006", Domain: "127.0.0.1", Port: kam.Port}
	for _, c := range []struct {
		name   string
		change func(*leg.Request)
		code   int
	}{
		{"wrong password", func(r *leg.Request) { r.Password, r.Register = "no", true }, 401},
		{"wrong password for INVITE", func(r *leg.Request) { r.Password = "no" }, 407},
		{"no password", func(r *leg.Request) { r.Password = "" }, 407},
		{"unknown callee", func(r *leg.Request) { r.Callee = "99999" }, 404},
		{"callee not registered", func(r *leg.Request) {}, 480},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := base
			c.change(&r)
			end := s.dial(t, r).wait(leg.Ended)
			if end.Cause.Code != c.code || end.Cause.Kind != leg.Rejected || end.Cause.Text == "" {
				t.Errorf("cause %+v", end.Cause)
			}
			t.Log(end.Cause.Text)
		})
	}
}

// TestBaresipIsHeld: we hold the phone and take it back; it stops sending
// meanwhile.
func TestBaresipIsHeld(t *testing.T) {
	t.Parallel()
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{})
	s := start(t, nil)
	call := s.dial(t, direct(phone))
	m := call.wait(leg.Answered).Media
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	peers.Eventually(t, "sound", 10*time.Second, func() bool { return call.count(8) > 20 })
	if err := call.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	call.wait(leg.Held)
	n := call.count(8)
	if err := call.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	call.wait(leg.Resumed)
	if call.count(8) != n {
		t.Errorf("%d packets passed in the hold", call.count(8)-n)
	}
	peers.Eventually(t, "sound after the hold", 10*time.Second, func() bool { return call.count(8) > n+50 })
	k := call.keyframes()
	peers.Eventually(t, "a key frame after the hold", 10*time.Second, func() bool {
		m.RequestKeyframe()
		return call.keyframes() > k
	})
	phone.Hangup(t)
	call.wait(leg.Ended)
}

// TestBaresipIsTransferred: a phone follows our REFER to another phone and
// tells of it.
func TestBaresipIsTransferred(t *testing.T) {
	t.Parallel()
	first := peers.StartSoftphone(t, peers.SoftphoneConfig{Video: peers.None})
	second := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10007", Video: peers.None})
	s := start(t, nil)
	call := s.dial(t, direct(first))
	call.wait(leg.Answered)
	first.WaitEvent(t, "CALL_ESTABLISHED")
	if err := call.Leg.(leg.Transferer).Transfer(t.Context(), second.URI(), ""); err != nil {
		t.Fatal(err)
	}
	second.WaitEvent(t, "CALL_ESTABLISHED")
	peers.Eventually(t, "the outcome", 10*time.Second, func() bool {
		call.mu.Lock()
		defer call.mu.Unlock()
		for _, e := range call.events {
			if e.Type == leg.Transfer && e.Code == 200 {
				return true
			}
		}
		return false
	})
}

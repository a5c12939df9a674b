//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"lineout/test/media"
	"lineout/test/peers"
)

// comesIn waits for the one call that was made to the server.
func comesIn(t *testing.T, srv *peers.Lineout, status string) *peers.Call {
	t.Helper()
	var found *peers.Call
	peers.Eventually(t, "a call that came in and is "+status, 20*time.Second, func() bool {
		var calls []peers.Call
		if code, _ := srv.Post(t, "/rest-api/call/find_all", map[string]any{}, &calls); code != 200 || len(calls) != 1 || calls[0].Status != status {
			return false
		}
		found = &calls[0]
		return true
	})
	if !found.Incoming {
		t.Errorf("not incoming: %+v", found)
	}
	return found
}

// TestPhoneCallsIn: a phone calls the server, which is no registrar's user: the
// stream plays by HLS and WHEP and is recorded whole.
func TestPhoneCallsIn(t *testing.T) {
	for _, c := range []struct{ name, audio, video string }{{"pcma", peers.PCMA, peers.H264}, {"opus", peers.Opus, peers.None}} {
		t.Run(c.name, func(t *testing.T) {
			srv := peers.StartLineout(t, map[string]string{"sip_trunks": "name=lab from=127.0.0.0/8",
				"sip_routes": "called=1?? stream=in-{callee}-{caller} record=true,called=9* reject=486", "stream_record_policy_template": "{streamName}"})
			phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Audio: c.audio, Video: c.video})
			begin := time.Now()
			phone.Dial(t, fmt.Sprintf("sip:100@127.0.0.1:%d", srv.SIPPort))
			phone.WaitEvent(t, "CALL_ESTABLISHED")
			call := comesIn(t, srv, "ESTABLISHED")
			if call.Caller != "10005" || call.Callee != "100" || call.StreamName == nil || *call.StreamName != "in-100-10005" || call.SDP == nil {
				t.Errorf("call: %+v", call)
			}
			recordedCall(t, srv, phone, "in-100-10005", begin, c.video != peers.None)
		})
	}
}

// recordedCall plays the stream for a while, hangs up at the phone, and judges
// the recording.
func recordedCall(t *testing.T, srv *peers.Lineout, phone *peers.Softphone, stream string, begin time.Time, picture bool) {
	t.Helper()
	player := peers.StartPlayer(t, srv.URL("/whep/"+stream))
	checkTracks(t, measure(t, srv.HLSURL(stream), media.Options{Live: 10 * time.Second}), picture)
	if picture {
		played := player.Save(t, filepath.Join(t.TempDir(), "whep.mkv"))
		note(t, "WHEP: %+v", *played)
	}
	phone.Hangup(t)
	phone.WaitEvent(t, "CALL_CLOSED")
	lasted := time.Since(begin)
	peers.Eventually(t, "the end of the call", 10*time.Second, func() bool {
		status, _ := srv.Post(t, "/rest-api/call/find_all", map[string]any{}, nil)
		return status == 404
	})
	var mp4 string
	peers.Eventually(t, "the finished recording", 10*time.Second, func() bool {
		files := srv.Recordings(t, stream+".mp4")
		if len(files) == 1 {
			mp4 = files[0]
		}
		return len(files) == 1
	})
	sent := 0
	if picture {
		sent = phone.FramesSent(t)
	}
	checkWhole(t, measure(t, mp4, media.Options{}), sent, lasted)
}

// TestRouteRejects: the phone hears what the route says.
func TestRouteRejects(t *testing.T) {
	t.Parallel()
	srv := peers.StartLineout(t, map[string]string{"sip_trunks": "name=lab from=127.0.0.0/8", "sip_routes": "called=9* reject=486"})
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Video: peers.None})
	for callee, want := range map[string]string{"911": "486", "100": "603"} {
		phone.Dial(t, fmt.Sprintf("sip:%s@127.0.0.1:%d", callee, srv.SIPPort))
		e := phone.WaitEvent(t, "CALL_CLOSED")
		if len(e.Param) < 3 || e.Param[:3] != want {
			t.Errorf("the call to %s was closed with %q, want %s", callee, e.Param, want)
		}
	}
}

// TestAccountIsCalled: the server is registered as 10006 and 10005 calls it
// through the proxy; the REST API takes the call under a name of its own.
func TestAccountIsCalled(t *testing.T) {
	reg := peers.StartRegistrar(t, peers.RegistrarConfig{})
	srv := peers.StartLineout(t, map[string]string{
		"sip_accounts": fmt.Sprintf("login=10006 password=pw10006 domain=127.0.0.1 proxy=127.0.0.1 port=%d", reg.Port),
		"sip_routes":   "account=10006 answer=ask", "stream_record_policy_template": "{streamName}"})
	peers.Eventually(t, "the registration", 10*time.Second, func() bool { return reg.Registered("10006") })
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "10005", Registrar: reg})
	phone.Dial(t, fmt.Sprintf("sip:10006@127.0.0.1:%d", reg.Port))
	phone.WaitEvent(t, "CALL_RINGING")
	call := comesIn(t, srv, "RING")
	var accounts []struct {
		SIPLogin, Status string
		Standing         bool
		Calls            int
	}
	srv.Must(t, "/rest-api/registration/find_all", map[string]any{}, &accounts)
	if len(accounts) != 1 || accounts[0].SIPLogin != "10006" || accounts[0].Status != "REGISTERED" || !accounts[0].Standing || accounts[0].Calls != 1 {
		t.Errorf("accounts: %+v", accounts)
	}
	begin := time.Now()
	srv.Must(t, "/rest-api/call/answer", map[string]string{"callId": call.CallID, "toStream": "taken", "record": "true"}, nil)
	phone.WaitEvent(t, "CALL_ESTABLISHED")
	if status, text := srv.Post(t, "/rest-api/call/reject", map[string]string{"callId": call.CallID}, nil); status != 409 {
		t.Errorf("rejecting an answered call: %d %s", status, text)
	}
	recordedCall(t, srv, phone, "taken", begin, true)

	// What rings when the server stops is told to try elsewhere, and the binding goes.
	phone.Dial(t, fmt.Sprintf("sip:10006@127.0.0.1:%d", reg.Port))
	comesIn(t, srv, "RING")
	srv.Stop()
	if e := phone.WaitEvent(t, "CALL_CLOSED"); len(e.Param) < 3 || e.Param[:3] != "500" { // our 503, which a proxy must not pass on (RFC 3261 section 16.7)
		t.Errorf("at the stop the phone heard %q", e.Param)
	}
	if reg.Registered("10006") {
		t.Error("still registered after the stop")
	}
}

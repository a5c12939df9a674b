//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"lineout/test/peers"
)

// receivedPackets is what baresip says of a call's packets at its end: sent, received.
var receivedPackets = regexp.MustCompile(`packets:\s+(\d+)\s+(\d+)`)

// TestPhonesWithoutAnotherServer: two SIP phones register at the server itself
// and call one another, with sound and picture (S1-7, the third way).
func TestPhonesWithoutAnotherServer(t *testing.T) {
	t.Parallel()
	srv := peers.StartLineout(t, map[string]string{"users": "login=1001 password=pw1001,login=1002 password=pw1002", "sip_digest_algorithms": "MD5"})
	at := fmt.Sprintf("127.0.0.1:%d", srv.SIPPort)
	one := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "1001", Server: at})
	two := peers.StartSoftphone(t, peers.SoftphoneConfig{User: "1002", Server: at, Transport: "tcp"})
	var phones []struct{ SIPLogin, Source string }
	peers.Eventually(t, "the registrations", 10*time.Second, func() bool {
		status, _ := srv.Post(t, "/rest-api/user/find_all", map[string]any{}, &phones)
		return status == 200 && len(phones) == 2
	})
	one.Dial(t, "sip:1002@"+at)
	two.WaitEvent(t, "CALL_ESTABLISHED")
	one.WaitEvent(t, "CALL_ESTABLISHED")
	var calls []struct{ CallID, ParentCallID, Caller, Callee, Status string }
	if status, _ := srv.Post(t, "/rest-api/call/find_all", map[string]any{}, &calls); status != 200 || len(calls) != 2 {
		t.Errorf("status %d, calls %+v", status, calls)
	}
	for _, c := range calls {
		if c.Caller != "1001" || c.Callee != "1002" || c.Status != "ESTABLISHED" {
			t.Errorf("call %+v", c)
		}
	}
	for _, c := range calls { // some seconds of sound, whatever the machine makes of them
		peers.Eventually(t, "150 packets of sound", 30*time.Second, func() bool {
			s := srv.CallStats(t, c.CallID).Track("audio")
			return s != nil && s.Packets >= 150
		})
	}
	one.Hangup(t)
	two.WaitEvent(t, "CALL_CLOSED")
	for _, p := range []*peers.Softphone{one, two} {
		peers.Eventually(t, "the phone's statistics", 5*time.Second, func() bool { return len(receivedPackets.FindAllString(p.Log(), -1)) == 2 })
		for i, m := range receivedPackets.FindAllStringSubmatch(p.Log(), -1) {
			sent, _ := strconv.Atoi(m[1])
			got, _ := strconv.Atoi(m[2])
			note(t, "%s, %s: %d packets sent, %d received", p.User, []string{"sound", "picture"}[i], sent, got)
			if got < 75 {
				t.Errorf("phone %s received %d packets", p.User, got)
			}
		}
	}
	one.Dial(t, "sip:1003@"+at)
	one.WaitEvent(t, "CALL_CLOSED")
}

//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"lineout/test/peers"
)

// TestRecordSecureCall: a call over TLS to a phone that must have its media
// encrypted is recorded like any other: all of it, in step, without damage.
func TestRecordSecureCall(t *testing.T) {
	own := peers.NewAuthority(t).Issue(t, "localhost", "127.0.0.1")
	phone := peers.StartSoftphone(t, peers.SoftphoneConfig{TLS: own, SRTP: "srtp-mand"})
	srv := peers.StartLineout(t, map[string]string{"sip_record_stream": "true", "stream_record_policy_template": "{streamName}", "sip_tls_ca": own.CA})
	srv.Must(t, "/rest-api/call/startup", with(direct("secure-1", "secure_1", phone), map[string]any{
		"sipOutboundProxy": fmt.Sprintf("sip:127.0.0.1:%d;transport=tls", phone.Port+1), "sipPort": ""}), nil)
	srv.WaitCall(t, "secure-1", "ESTABLISHED")
	peers.Eventually(t, "6 s of pictures", 30*time.Second, func() bool {
		v := srv.CallStats(t, "secure-1").Track("video")
		return v != nil && v.Frames >= 150
	})
	srv.Must(t, "/rest-api/call/terminate", map[string]string{"callId": "secure-1"}, nil)
	file := filepath.Join(srv.RecordDir, "secure_1.mp4")
	peers.Eventually(t, "the sidecar", 10*time.Second, func() bool { return len(srv.Recordings(t, "secure_1.mp4.json")) == 1 })
	checkFormat(t, file, "aac", "h264", 0)
}

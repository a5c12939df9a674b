package peers

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MediaProxy is a running rtpengine: through it goes the RTP of the calls a
// registrar with RegistrarConfig.MediaProxy passes on.
type MediaProxy struct {
	*Process
	control int // UDP on 127.0.0.1
}

func startMediaProxy(t testing.TB) *MediaProxy {
	t.Helper()
	const media = 40 // ports: 4 for a call with sound and pictures, on each side
	port := Ports(t, media+2)
	// --table=-1: it forwards packets itself, not the kernel.
	cmd := exec.Command("rtpengine", "--config-file=none", "--foreground", "--log-stderr", "--log-level=6", "--table=-1", "--delete-delay=0",
		"--interface=127.0.0.1", fmt.Sprintf("--listen-ng=127.0.0.1:%d", port), fmt.Sprintf("--port-min=%d", port+2), fmt.Sprintf("--port-max=%d", port+1+media))
	p := &MediaProxy{Process: start(t, "rtpengine", cmd), control: port}
	p.await(t, "its control port", startTimeout, func() bool { return strings.Contains(p.Log(), "Startup complete") })
	return p
}

// portReport is what rtpengine says of a port when a call is over.
var portReport = regexp.MustCompile(`Port +127\.0\.0\.1:\d+ +<> +127\.0\.0\.1:\d+ *(\(RTCP\))? *,? SSRC [0-9a-f]+[^,]*, (\d+) p, (\d+) b`)

// Relayed waits for the end of the first call and returns the RTP packets that
// came from each side, which is told by the port they came to.
func (p *MediaProxy) Relayed(t testing.TB) (packets []int) {
	t.Helper()
	Eventually(t, "rtpengine's account of the call", 10*time.Second, func() bool {
		packets = nil
		for _, m := range portReport.FindAllStringSubmatch(p.Log(), -1) {
			if n, err := strconv.Atoi(m[2]); err == nil && m[1] == "" {
				packets = append(packets, n)
			}
		}
		return len(packets) >= 2
	})
	return packets
}

package rtmp

import (
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of <netinet/tcp.h>, which package syscall lacks.
const tcpUserTimeout = 0x12

// limitSilence lets the kernel end the connection when sent data stays without
// acknowledgement, or cannot be sent at all, for d (RFC 5482, tcp(7)). It sees
// a vanished peer and one that no longer reads long before the send buffer is
// full and Write blocks.
func limitSilence(fd uintptr, d time.Duration) error {
	return syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
}

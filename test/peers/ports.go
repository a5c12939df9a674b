package peers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Test ports lie below the ephemeral range of Linux (32768-60999), so that no
// outgoing connection takes one between the choice and its use, and below
// lineout's own defaults.
const (
	firstPort = 12000
	endPort   = 30000
	unit      = 10 // ports are given out in units, each guarded by one lock file
)

// Ports reserves n consecutive ports of 127.0.0.1 that are free for UDP and TCP
// and returns the first, which is even (RTP needs that, RFC 3550 section 11). No
// other test process gets them until the test ends.
func Ports(t testing.TB, n int) int {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("lineout-test-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatalf("reserve ports: %v", err)
	}
	units, all := (n+unit-1)/unit, (endPort-firstPort)/unit
	start := rand.IntN(all)
	for i := range all {
		u := (start + i) % all
		if u+units > all {
			continue
		}
		if locks := lockUnits(dir, u, units); locks != nil {
			if first := firstPort + u*unit; portsFree(first, n) {
				t.Cleanup(func() { closeAll(locks) })
				return first
			}
			closeAll(locks)
		}
	}
	t.Fatalf("no %d consecutive ports are free in %d-%d", n, firstPort, endPort-1)
	return 0
}

func lockUnits(dir string, u, n int) (locks []*os.File) {
	for k := u; k < u+n; k++ {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(firstPort+k*unit)), os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			locks = append(locks, f)
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			closeAll(locks)
			return nil
		}
	}
	return locks
}

func closeAll(fs []*os.File) {
	for _, f := range fs {
		f.Close() // the lock goes with it
	}
}

func portsFree(first, n int) bool {
	for p := first; p < first+n; p++ {
		a := fmt.Sprintf("127.0.0.1:%d", p)
		l, err := net.Listen("tcp", a)
		if err != nil {
			return false
		}
		l.Close()
		u, err := net.ListenPacket("udp", a)
		if err != nil {
			return false
		}
		u.Close()
	}
	return true
}

package rtc

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// relay is a NAT between a browser and us: it can lose everything for a while
// and come from another port.
type relay struct {
	in     *net.UDPConn
	server netip.AddrPort

	mu     sync.Mutex
	client netip.AddrPort
	out    *net.UDPConn
	mute   bool
	wg     sync.WaitGroup
}

func newRelay(t *testing.T, s *Service) *relay {
	in, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{in: in, server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(s.transport.Port()))}
	r.rebind(t)
	r.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := in.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.client = from
			if !r.mute {
				_, _ = r.out.WriteToUDPAddrPort(buf[:n], r.server)
			}
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = in.Close()
		r.mu.Lock()
		_ = r.out.Close()
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

// rebind goes on from another port; what comes to the old one is lost.
func (r *relay) rebind(t *testing.T) {
	out, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	if r.out != nil {
		_ = r.out.Close()
	}
	r.out = out
	r.mu.Unlock()
	r.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := out.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			if to := r.client; !r.mute && to.IsValid() {
				_, _ = r.in.WriteToUDPAddrPort(buf[:n], to)
			}
			r.mu.Unlock()
		}
	})
}

func (r *relay) lose(on bool) {
	r.mu.Lock()
	r.mute = on
	r.mu.Unlock()
}

// through is an SDP of ours whose candidate is the relay.
func (r *relay) through(sdp string) string {
	return strings.ReplaceAll(sdp, " "+strconv.Itoa(int(r.server.Port()))+" typ host",
		" "+strconv.Itoa(r.in.LocalAddr().(*net.UDPAddr).Port)+" typ host")
}

// eventually polls for longer than waitFor's usual pace, for what takes seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 150 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("gave up waiting for %s", what)
}

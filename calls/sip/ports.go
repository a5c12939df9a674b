package sip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"lineout/api/fault"
)

// quarantine keeps a released pair out of use so that late packets of the old
// call do not reach the next one.
const quarantine = 5 * time.Second

// socketBuffer holds a burst of one key frame at several Mbit/s.
const socketBuffer = 512 << 10

// portPool hands out even/odd UDP port pairs (RFC 3550 section 11, S2-32).
// Safe for concurrent use.
type portPool struct {
	local    netip.Addr
	from, to int
	mu       sync.Mutex
	free     []freePort // oldest release first
	held     int
}

type freePort struct {
	port  int
	after time.Time
}

// portPair is an RTP socket on an even port and an RTCP socket on the next one.
type portPair struct {
	port      int
	rtp, rtcp *net.UDPConn
}

func newPortPool(local netip.Addr, from, to int) *portPool {
	p := &portPool{local: local, from: from, to: to}
	for port := from + from%2; port < to; port += 2 {
		p.free = append(p.free, freePort{port: port})
	}
	return p
}

// take binds a free pair. Ports another program holds are passed over. When
// none is left the error is fault.Unavailable and names the settings.
func (p *portPool) take(now time.Time) (*portPair, error) {
	p.mu.Lock()
	tries := len(p.free)
	p.mu.Unlock()
	var last error
	for ; tries > 0; tries-- {
		port, ok := p.pop(now)
		if !ok {
			break
		}
		pair, err := p.bind(port)
		if err == nil {
			return pair, nil
		}
		last = err
		p.push(port, now)
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	err := fmt.Errorf("no free media port between media_port_from %d and media_port_to %d: %d pairs are in use; widen the range", p.from, p.to, p.inUse())
	if last != nil {
		err = fmt.Errorf("%w (%w)", err, last)
	}
	return nil, &fault.Error{Code: fault.Unavailable, Err: err}
}

func (p *portPool) pop(now time.Time) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 || p.free[0].after.After(now) {
		return 0, false
	}
	f := p.free[0]
	p.free = p.free[1:]
	p.held++
	return f.port, true
}

func (p *portPool) push(port int, after time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, freePort{port, after})
	p.held--
}

func (p *portPool) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

func (p *portPool) bind(port int) (*portPair, error) {
	listen := func(port int) (*net.UDPConn, error) {
		c, err := net.ListenUDP(family("udp", p.local), net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.local, uint16(port))))
		if err == nil {
			_ = c.SetReadBuffer(socketBuffer) // best effort: the kernel may cap it
		}
		return c, err
	}
	rtp, err := listen(port)
	if err != nil {
		return nil, err
	}
	rtcp, err := listen(port + 1)
	if err != nil {
		rtp.Close()
		return nil, err
	}
	return &portPair{port: port, rtp: rtp, rtcp: rtcp}, nil
}

// release closes the sockets and puts the pair into quarantine.
func (p *portPool) release(pair *portPair, now time.Time) {
	pair.rtp.Close()
	pair.rtcp.Close()
	p.push(pair.port, now.Add(quarantine))
}

package sip

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxBuckets bounds the table of a bucket per address.
	maxBuckets = 4096
	// strangerCalls are answers to INVITEs of one stranger, per second and at once.
	strangerCalls     = 1
	strangerCallBurst = 10
)

// buckets limits what each address may cost by a token bucket of its own. Safe
// for concurrent use. When the table is full, those that are full again go;
// if there are none, new addresses get nothing.
type buckets struct {
	rate, burst float64 // tokens per second, and at once
	mu          sync.Mutex
	by          map[netip.Addr]bucket
	swept       time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBuckets(rate, burst float64) *buckets {
	return &buckets{rate: rate, burst: burst, by: map[netip.Addr]bucket{}}
}

// allow takes a token of an address. IPv6 addresses count by their network of
// 64 bits, which one host has for itself.
func (b *buckets) allow(ip netip.Addr, now time.Time) bool {
	if ip.Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			ip = p.Addr()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.by[ip]
	if !ok {
		if len(b.by) >= maxBuckets && !b.sweep(now) {
			return false
		}
		k = bucket{b.burst, now}
	}
	k.tokens = min(b.burst, k.tokens+max(0, now.Sub(k.at).Seconds())*b.rate)
	k.at = now
	ok = k.tokens >= 1
	if ok {
		k.tokens--
	}
	b.by[ip] = k
	return ok
}

// sweep forgets the addresses whose bucket would be full now, at most once a
// second, and says whether there is room.
func (b *buckets) sweep(now time.Time) bool {
	if now.Sub(b.swept) < time.Second {
		return false
	}
	b.swept = now
	for ip, k := range b.by {
		if k.tokens+now.Sub(k.at).Seconds()*b.rate >= b.burst {
			delete(b.by, ip)
		}
	}
	return len(b.by) < maxBuckets
}

// Package limit bounds what one of many strangers may cost.
package limit

import (
	"net/netip"
	"sync"
	"time"
)

// maxBuckets bounds a table of buckets.
const maxBuckets = 4096

// Buckets gives each key a token bucket of its own. Passive: time is an
// argument. Safe for concurrent use. When the table is full, those that are full
// again go; if there are none, new keys get nothing.
type Buckets[K comparable] struct {
	rate, burst float64 // tokens per second, and at once
	mu          sync.Mutex
	by          map[K]bucket
	swept       time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

// New makes a table of buckets that hold burst tokens and get rate new ones per second.
func New[K comparable](rate, burst float64) *Buckets[K] {
	return &Buckets[K]{rate: rate, burst: burst, by: map[K]bucket{}}
}

// Host is what addresses count as: one of IPv6 as its network of 64 bits, which
// one host has for itself.
func Host(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap(); ip.Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// Take takes a token of k; false when there is none.
func (b *Buckets[K]) Take(k K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.look(k, now)
	if !ok {
		return false
	}
	ok = x.tokens >= 1
	if ok {
		x.tokens--
	}
	b.by[k] = x
	return ok
}

// Has says whether Take would get a token.
func (b *Buckets[K]) Has(k K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.look(k, now)
	return ok && x.tokens >= 1
}

// look is the bucket of k as it is now; false when there is no room for it.
func (b *Buckets[K]) look(k K, now time.Time) (bucket, bool) {
	x, ok := b.by[k]
	if !ok {
		if len(b.by) >= maxBuckets && !b.sweep(now) {
			return x, false
		}
		x = bucket{b.burst, now}
	}
	if now.After(x.at) { // callers on several goroutines may come out of order
		x.tokens = min(b.burst, x.tokens+now.Sub(x.at).Seconds()*b.rate)
		x.at = now
	}
	return x, true
}

// sweep forgets the buckets that would be full now, at most once a second, and
// says whether there is room.
func (b *Buckets[K]) sweep(now time.Time) bool {
	if now.Sub(b.swept) < time.Second {
		return false
	}
	b.swept = now
	for k, x := range b.by {
		if x.tokens+now.Sub(x.at).Seconds()*b.rate >= b.burst {
			delete(b.by, k)
		}
	}
	return len(b.by) < maxBuckets
}

package sip

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"lineout/calls/limit"
)

const (
	// Messages from hosts we have no business with, per second and at once.
	strangerRate  = 100
	strangerBurst = 200
	// The same from one of them.
	sourceRate  = 20
	sourceBurst = 100
	// The same from a trunk, a registrar or the host of a present call: far more
	// than any sends that is in order.
	peerRate  = 2000
	peerBurst = 8000
	// Requests outside of dialogs of one host; what is more is told to come later.
	requestRate  = 100
	requestBurst = 400
	requestRetry = time.Second
)

// admission says which messages are worth being parsed, over whatever transport
// they come: a bucket for each host, whatever the method, and one for all
// strangers together. Safe for concurrent use.
type admission struct {
	known        func(netip.Addr) bool
	each, peers  *limit.Buckets[netip.Addr]
	allStrangers *rate.Limiter
}

func newAdmission(known func(netip.Addr) bool) *admission {
	return &admission{known: known, each: limit.New[netip.Addr](sourceRate, sourceBurst), peers: limit.New[netip.Addr](peerRate, peerBurst),
		allStrangers: rate.NewLimiter(strangerRate, strangerBurst)}
}

// admit takes a message of a host.
func (a *admission) admit(src netip.Addr, now time.Time) bool {
	host := limit.Host(src)
	if a.known(src) {
		return a.peers.Take(host, now)
	}
	return a.each.Take(host, now) && a.allStrangers.AllowN(now, 1)
}
